//! On which node does a pod run, and which addresses does it get?
//!
//! Owns placing: `spec.nodeName`, else the node whose podCIDR holds the address given, else where the
//! pod was before, else round robin; addresses given, else those it had, else the lowest free. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::{Value, json};

use super::endpoint::PodRef;
use super::error::Problem;
use super::manifest::Place;
use super::name::{self, LabName};
use super::plan::{Node, Plan, Pod};
use super::subnet;
use super::wanted::Wanted;

/// What is taken so far while pods find their places.
pub(crate) struct Placing<'p> {
    nodes: &'p [Node],
    before: BTreeMap<&'p PodRef, &'p Pod>,
    /// Who has an address, and where that was said.
    taken: BTreeMap<IpAddr, String>,
    turn: usize,
}

impl<'p> Placing<'p> {
    pub(crate) fn new(nodes: &'p [Node], before: Option<&'p Plan>) -> Self {
        let before = before
            .into_iter()
            .flat_map(|plan| &plan.pods)
            .map(|pod| (&pod.name, pod));
        Self {
            nodes,
            before: before.collect(),
            taken: BTreeMap::new(),
            turn: 0,
        }
    }

    /// Places all pods, sorted by name; lists every problem.
    pub(crate) fn place(
        &mut self,
        lab: &LabName,
        wanted: Vec<Wanted<'_>>,
    ) -> Result<Vec<Pod>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut seen: BTreeMap<PodRef, Place> = BTreeMap::new();
        let mut placed: Vec<(&Node, Wanted<'_>)> = Vec::new();
        for one in wanted {
            if let Some(first) = seen.get(&one.name) {
                let message = format!(
                    "pod {} is already defined at {}:{}",
                    one.name,
                    first.path.display(),
                    first.line
                );
                let next = "give each pod of a namespace its own name";
                problems.push(one.place().problem(0, message, next).field("metadata.name"));
                continue;
            }
            seen.insert(one.name.clone(), one.place().clone());
            match self
                .choose_node(&one)
                .and_then(|node| self.take_given(node, &one).map(|()| node))
            {
                Ok(node) => placed.push((node, one)),
                Err(problem) => problems.push(problem),
            }
        }
        for (node, one) in &placed {
            self.take_earlier(node, one);
        }
        let mut pods = Vec::new();
        for (node, one) in placed {
            match self.finish(lab, node, one) {
                Ok(pod) => pods.push(pod),
                Err(problem) => problems.push(problem),
            }
        }
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        if problems.is_empty() {
            Ok(pods)
        } else {
            Err(problems)
        }
    }

    fn choose_node(&mut self, one: &Wanted<'_>) -> Result<&'p Node, Problem> {
        if let Some(named) = one.node {
            let found = self.nodes.iter().find(|node| node.name == named.value);
            return found.ok_or_else(|| {
                let names: Vec<&str> = self.nodes.iter().map(|n| n.name.as_str()).collect();
                let message = format!("\"{}\" is no node of this lab", named.value);
                let next = format!("use one of {}, or leave nodeName out", names.join(", "));
                one.place()
                    .problem(named.referenced.line(), message, &next)
                    .field("spec.nodeName")
            });
        }
        if let Some((address, line)) = one.addresses.first() {
            let found = self
                .nodes
                .iter()
                .find(|n| n.pod_cidrs.iter().any(|c| c.contains(*address)));
            return found.ok_or_else(|| {
                let message = format!("{address} is in no node's podCIDR");
                let next = "choose an address of a node's range, or leave it out";
                one.place()
                    .problem(*line, message, next)
                    .field("status.podIPs")
            });
        }
        let turn = self.turn;
        self.turn += 1;
        let earlier = self.before.get(&one.name).map(|pod| pod.node.as_str());
        let stay = self
            .nodes
            .iter()
            .find(|node| Some(node.name.as_str()) == earlier);
        stay.or_else(|| self.nodes.get(turn % self.nodes.len().max(1)))
            .ok_or_else(|| {
                one.place()
                    .problem(0, "has no node to run on", "add a node to lab.yaml")
            })
    }

    /// Checks and takes the addresses the manifest gives.
    fn take_given(&mut self, node: &Node, one: &Wanted<'_>) -> Result<(), Problem> {
        for (address, line) in &one.addresses {
            let wrong = |message: String, next: &str| {
                Err(one
                    .place()
                    .problem(*line, message, next)
                    .field("status.podIPs"))
            };
            let Some(cidr) = node.pod_cidrs.iter().find(|cidr| cidr.contains(*address)) else {
                let message = format!(
                    "{address} is outside the podCIDRs of {} ({})",
                    node.name,
                    list(&node.pod_cidrs)
                );
                return wrong(
                    message,
                    "choose an address inside, leave it out, or name another node",
                );
            };
            if let Some(why) = subnet::reserved(*cidr, *address) {
                return wrong(
                    format!("{address} {why}"),
                    "choose another address of the range",
                );
            }
            if let Some(other) = self.taken.get(address) {
                return wrong(
                    format!("{address} is already the address of {other}"),
                    "choose another address",
                );
            }
            let place = one.place();
            let who = format!("{} ({}:{line})", one.name, place.path.display());
            self.taken.insert(*address, who);
        }
        Ok(())
    }

    /// Keeps the addresses a pod had, where they are still its node's and free.
    fn take_earlier(&mut self, node: &Node, one: &Wanted<'_>) {
        for address in self.earlier(node, one) {
            self.taken
                .entry(address)
                .or_insert_with(|| one.name.to_string());
        }
    }

    fn earlier(&self, node: &Node, one: &Wanted<'_>) -> Vec<IpAddr> {
        let Some(pod) = self
            .before
            .get(&one.name)
            .filter(|pod| pod.node == node.name)
        else {
            return Vec::new();
        };
        let given = |a: &IpAddr| {
            one.addresses
                .iter()
                .any(|(g, _)| g.is_ipv4() == a.is_ipv4())
        };
        let ours = |a: &IpAddr| node.pod_cidrs.iter().any(|cidr| cidr.contains(*a));
        pod.addresses
            .iter()
            .copied()
            .filter(|a| ours(a) && !given(a))
            .collect()
    }

    /// Gives the remaining addresses and writes the manifest the daemons will read.
    fn finish(&mut self, lab: &LabName, node: &Node, one: Wanted<'_>) -> Result<Pod, Problem> {
        let owner = one.name.to_string();
        let earlier = self.earlier(node, &one);
        let mut addresses = Vec::new();
        for cidr in &node.pod_cidrs {
            let given = one
                .addresses
                .iter()
                .map(|(a, _)| *a)
                .find(|a| cidr.contains(*a));
            let kept = earlier
                .iter()
                .copied()
                .find(|a| cidr.contains(*a) && self.taken.get(a) == Some(&owner));
            let free = || subnet::pod_addresses(*cidr).find(|a| !self.taken.contains_key(a));
            let Some(address) = given.or(kept).or_else(free) else {
                let message = format!("no address of {cidr} is left on {}", node.name);
                let next = "place some pods on another node with spec.nodeName";
                return Err(one.place().problem(0, message, next));
            };
            self.taken.entry(address).or_insert_with(|| owner.clone());
            addresses.push(address);
        }
        let netns = lab.pod_netns(&one.name.namespace, &one.name.name);
        if netns.len() > name::NETNS_NAME_MAX {
            let message =
                format!("its network namespace {netns} has a name of more than 255 bytes");
            return Err(one
                .place()
                .problem(0, message, "shorten the pod's name")
                .field("metadata.name"));
        }
        let manifest = filled(&one, node, &addresses);
        Ok(Pod {
            name: one.name,
            node: node.name.clone(),
            netns,
            addresses,
            listen: one.listen,
            manifest,
        })
    }
}

/// The manifest with what scheduler and kubelet would have written.
fn filled(one: &Wanted<'_>, node: &Node, addresses: &[IpAddr]) -> Value {
    let mut whole = one.document.whole.clone();
    set(
        &mut whole,
        &["metadata", "namespace"],
        json!(one.name.namespace),
    );
    set(&mut whole, &["spec", "nodeName"], json!(node.name));
    let ips: Vec<Value> = addresses
        .iter()
        .map(|a| json!({"ip": a.to_string()}))
        .collect();
    set(
        &mut whole,
        &["status", "podIP"],
        json!(addresses.first().map(ToString::to_string)),
    );
    set(&mut whole, &["status", "podIPs"], Value::Array(ips));
    whole
}

/// Sets a field, making the objects on the way to it.
pub(crate) fn set(object: &mut Value, path: &[&str], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *object = value;
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    if let Some(map) = object.as_object_mut() {
        set(map.entry(*first).or_insert(Value::Null), rest, value);
    }
}

fn list(cidrs: &[IpNetwork]) -> String {
    cidrs
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
