//! From all objects to [`Desired`] and what contradicts what.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::{
    ClusterState, Desired, LocalNode, Located, NodeObject, Object, ObjectKey, PeerNode, PodObject,
    Trouble, vtep_mac,
};

const EDIT: &str = "correct the file; it is read again as soon as it is saved";

/// One object and where it comes from.
type Placed<'a> = (&'a Arc<str>, &'a Located<Object>);
/// A contradiction: its line, where it is not that of the object, and what it is.
type Wrong = (Option<usize>, String);

struct Derivation<'a> {
    local: &'a LocalNode,
    desired: Desired,
    troubles: Vec<Trouble>,
}

/// Derives everything anew.
pub(super) fn derive(state: &ClusterState) -> (Desired, Vec<Trouble>) {
    let mut derivation = Derivation {
        local: &state.local,
        desired: Desired::default(),
        troubles: Vec::new(),
    };
    derivation.troubles.extend(state.broken.clone());
    for (origin, held) in &state.origins {
        for error in &held.errors {
            derivation.trouble(origin, error.line, error.to_string());
        }
    }
    let objects = derivation.without_doubles(state);
    let mut pods = Vec::new();
    for (origin, object) in objects {
        match &object.value {
            Object::Node(node) => derivation.node(origin, object.line, node),
            Object::Pod(pod) => pods.push((origin, object.line, pod)),
            Object::Namespace(_) => derivation.desired.namespaces += 1,
            Object::NetworkPolicy(_) => derivation.desired.policies += 1,
        }
    }
    for (origin, line, pod) in pods {
        derivation.pod(origin, line, pod);
    }
    derivation.desired.peers.sort_by(|a, b| a.name.cmp(&b.name));
    (derivation.desired, derivation.troubles)
}

impl<'a> Derivation<'a> {
    fn trouble(&mut self, origin: &str, line: usize, what: String) {
        self.troubles.push(Trouble {
            place: format!("{origin}:{line}"),
            what,
            next: EDIT.into(),
        });
    }

    /// The objects, oldest first, each identity once.
    fn without_doubles(&mut self, state: &'a ClusterState) -> Vec<Placed<'a>> {
        let mut by_key: BTreeMap<ObjectKey, Placed<'a>> = BTreeMap::new();
        for (origin, held) in &state.origins {
            for object in &held.objects {
                let key = object.value.key();
                if let Some((first_origin, first)) = by_key.get(&key) {
                    let line = first.line;
                    let what = format!("{key}: is already defined at {first_origin}:{line}");
                    self.trouble(origin, object.line, what);
                } else {
                    by_key.insert(key, (origin, object));
                }
            }
        }
        let mut objects: Vec<_> = by_key.into_iter().collect();
        objects.sort_by_key(|(key, _)| state.first_seen.get(key).copied());
        objects.into_iter().map(|(_, placed)| placed).collect()
    }

    fn node(&mut self, origin: &str, line: usize, node: &NodeObject) {
        if node.name == self.local.name {
            self.own_node(origin, line, node);
            return;
        }
        let checked = self
            .peer(node)
            .and_then(|peer| match self.contradiction(&peer) {
                Some(what) => Err((None, what)),
                None => Ok(peer),
            });
        match checked {
            Ok(peer) => self.desired.peers.push(peer),
            Err((at, what)) => {
                let what = format!("Node {}: {what}", node.name);
                self.trouble(origin, at.unwrap_or(line), what);
            }
        }
    }

    /// Whether the own Node object agrees with the configuration.
    fn own_node(&mut self, origin: &str, line: usize, node: &NodeObject) {
        self.desired.own_mac = node.vtep_mac.as_ref().map(|mac| mac.value);
        let configured = &self.local.pod_cidrs;
        for cidr in node
            .pod_cidrs
            .iter()
            .filter(|cidr| !configured.contains(&cidr.value))
        {
            let what = format!(
                "Node {}: spec.podCIDRs: {} is not among node.pod_cidrs of this node's \
                 configuration ({})",
                node.name,
                cidr.value,
                list(configured)
            );
            self.trouble(origin, cidr.line, what);
        }
        let vtep = self.local.vtep;
        let same_family: Vec<_> = of_family(node, vtep).collect();
        if !same_family.is_empty() && !same_family.iter().any(|ip| ip.value == vtep) {
            let what = format!(
                "Node {}: status.addresses: lacks {vtep}, this node's address by configuration; \
                 other nodes would send to another place",
                node.name
            );
            self.trouble(origin, same_family.first().map_or(line, |ip| ip.line), what);
        }
    }

    fn peer(&self, node: &NodeObject) -> Result<PeerNode, Wrong> {
        if node.pod_cidrs.is_empty() {
            return Err((
                None,
                "spec.podCIDRs: is missing; its pods cannot be reached".into(),
            ));
        }
        unique_families(node)?;
        let Some(vtep) = of_family(node, self.local.vtep).next() else {
            let family = if self.local.vtep.is_ipv4() {
                "IPv4"
            } else {
                "IPv6"
            };
            let what = format!(
                "status.addresses: has no InternalIP of the underlay's family ({family}); its \
                 pods cannot be reached"
            );
            return Err((None, what));
        };
        Ok(PeerNode {
            name: node.name.clone(),
            vtep: vtep.value,
            mac: node
                .vtep_mac
                .as_ref()
                .map_or_else(|| vtep_mac(&node.name), |mac| mac.value),
            pod_cidrs: node.pod_cidrs.iter().map(|cidr| cidr.value).collect(),
        })
    }

    /// What this peer claims that another node already has.
    fn contradiction(&self, peer: &PeerNode) -> Option<String> {
        let local = self.local;
        let own = (&local.name, &local.pod_cidrs, local.vtep, None);
        let others = self.desired.peers.iter();
        let others = others.map(|p| (&p.name, &p.pod_cidrs, p.vtep, Some(p.mac)));
        for (name, cidrs, vtep, mac) in std::iter::once(own).chain(others) {
            for cidr in &peer.pod_cidrs {
                if let Some(theirs) = cidrs.iter().find(|theirs| overlap(cidr, theirs)) {
                    return Some(format!(
                        "spec.podCIDRs: {cidr} overlaps {theirs} of Node {name}"
                    ));
                }
            }
            if vtep == peer.vtep {
                return Some(format!(
                    "status.addresses: {vtep} is already the address of Node {name}"
                ));
            }
            if mac == Some(peer.mac) {
                return Some(format!(
                    "its VTEP MAC {} is already that of Node {name}",
                    peer.mac
                ));
            }
        }
        None
    }

    fn pod(&mut self, origin: &str, line: usize, pod: &PodObject) {
        let here = pod.node_name.as_deref() == Some(self.local.name.as_str());
        if !here || pod.host_network || pod.finished {
            return;
        }
        let mut accepted = pod.clone();
        accepted.ips.clear();
        for ip in &pod.ips {
            if let Some(what) = self.pod_address(ip.value) {
                let what = format!("Pod {}/{}: status.podIPs: {what}", pod.namespace, pod.name);
                self.trouble(origin, ip.line.max(line), what);
            } else {
                accepted.ips.push(ip.clone());
            }
        }
        self.desired
            .pods
            .insert((pod.namespace.clone(), pod.name.clone()), accepted);
    }

    /// Why a local pod cannot have `ip`.
    fn pod_address(&self, ip: IpAddr) -> Option<String> {
        let cidrs = &self.local.pod_cidrs;
        if let Some(what) = super::not_for_pods(&self.local.name, cidrs, ip) {
            return Some(what);
        }
        let holder = self
            .desired
            .pods
            .values()
            .find(|p| p.ips.iter().any(|i| i.value == ip))?;
        Some(format!(
            "{ip} is already the address of Pod {}/{}",
            holder.namespace, holder.name
        ))
    }
}

fn unique_families(node: &NodeObject) -> Result<(), Wrong> {
    for (index, cidr) in node.pod_cidrs.iter().enumerate() {
        let mut earlier = node.pod_cidrs.iter().take(index);
        if let Some(other) = earlier.find(|o| o.value.is_ipv4() == cidr.value.is_ipv4()) {
            let (a, b) = (cidr.value, other.value);
            let what = format!("spec.podCIDRs: {a} is a second range of its family, after {b}");
            return Err((Some(cidr.line), what));
        }
    }
    Ok(())
}

fn of_family(node: &NodeObject, vtep: IpAddr) -> impl Iterator<Item = &Located<IpAddr>> {
    node.internal_ips
        .iter()
        .filter(move |ip| ip.value.is_ipv4() == vtep.is_ipv4())
}

fn overlap(a: &IpNetwork, b: &IpNetwork) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}

pub(super) fn list(cidrs: &[IpNetwork]) -> String {
    let texts: Vec<_> = cidrs.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
