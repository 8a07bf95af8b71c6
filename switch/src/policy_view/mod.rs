//! Who may talk to whom, by manifests alone?
//!
//! Owns the questions of `weft policy`: every pair at once ([`Matrix`]), one flow with its reasons
//! ([`Reasons`]), what changes between two versions ([`diff`]). Judges through the same compiled
//! [`Table`] the workers use, with every pod enforced as if it were on this node. Pure: reads no
//! file and asks no daemon.
//!
//! A pod whose manifest gives no address of a family is judged with one that no `ipBlock` of the
//! policies covers, those of everything (`0.0.0.0/0`, `::/0`) apart: see [`spare`].

mod endpoint;
mod matrix;
mod oddities;
mod reasons;
mod spare;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use weft_policy::model::{ObjectName, Pod};
use weft_policy::{Change, Cluster, Direction, Engine, PolicySetId, Table};
use weft_wire::FlowKey;

pub use endpoint::{Endpoint, Unknown};
pub use matrix::{Changed, Diff, Matrix, Pair, diff};
pub use oddities::oddities;
pub use reasons::{Reasons, SideReasons};
pub use words::{Family, Transport, Verdict};

/// What the manifests hold.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Namespaces, policies, and the pods that policies can select.
    pub cluster: Cluster,
    /// Every pod.
    pub members: Vec<Member>,
    /// Addresses of nodes, by name.
    pub nodes: BTreeMap<String, Vec<IpAddr>>,
}

/// One pod, whatever its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: ObjectName,
    /// Where it runs.
    pub node: Option<String>,
    /// Its addresses are the node's, and policies do not see it.
    pub host_network: bool,
    /// It is over: it talks to nobody.
    pub finished: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A flow's port, protocol and, where it matters, family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The destination port; meaningless for ICMP.
    pub port: u16,
    /// The protocol.
    pub transport: Transport,
    /// The family asked for; none: IPv4, unless an end has an IPv6 address only.
    pub family: Option<Family>,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.transport.with_port(self.port))
    }
}

/// One who sends or receives.
#[derive(Clone, Debug)]
struct End {
    name: ObjectName,
    node: Option<String>,
    /// None for a host-network pod, which no policy selects.
    set: Option<PolicySetId>,
    ipv4: Option<IpAddr>,
    ipv6: Option<IpAddr>,
    /// Only an IPv6 address is known of it.
    only_v6: bool,
}

impl End {
    const fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }
}

/// Manifests, compiled.
#[derive(Debug)]
pub struct View {
    cluster: Cluster,
    table: Table,
    ends: Vec<End>,
    by_name: BTreeMap<ObjectName, usize>,
    nodes: BTreeMap<String, Vec<IpAddr>>,
    notes: Vec<String>,
}

impl View {
    /// Compiles the manifests.
    #[must_use]
    pub fn new(inventory: Inventory) -> Self {
        let Inventory {
            mut cluster,
            members,
            nodes,
        } = inventory;
        let members: Vec<Member> = members.into_iter().filter(|m| !m.finished).collect();
        let mut notes = Vec::new();
        let lacking = give_addresses(&mut cluster, &members);
        notes.extend(note_of_spares(&cluster, &lacking));
        let (table, sets) = compile(&cluster);
        let mut ends = Vec::new();
        for member in members {
            let lacks = |family| lacking.contains(&(member.name.clone(), family));
            let only_v6 = lacks(Family::Ipv4) && !lacks(Family::Ipv6);
            let (set, addresses) = if member.host_network {
                (None, member.addresses)
            } else {
                let pod = cluster.pods.get(&member.name);
                let addresses = pod.map(|pod| pod.addresses.clone()).unwrap_or_default();
                (sets.get(&member.name).copied(), addresses)
            };
            if addresses.is_empty() {
                notes.push(format!(
                    "{} is left out: it has hostNetwork, and no Node object gives its node's \
                     address",
                    member.name
                ));
                continue;
            }
            let of = |family: Family| addresses.iter().copied().find(|ip| family.has(*ip));
            let (ipv4, ipv6) = (of(Family::Ipv4), of(Family::Ipv6));
            ends.push(End {
                name: member.name,
                node: member.node,
                set,
                ipv4,
                ipv6,
                only_v6: only_v6 || ipv4.is_none(),
            });
        }
        ends.sort_by(|a, b| a.name.cmp(&b.name));
        let names = ends.iter().enumerate();
        let by_name = names.map(|(at, end)| (end.name.clone(), at)).collect();
        Self {
            cluster,
            table,
            ends,
            by_name,
            nodes,
            notes,
        }
    }

    /// What a reader of answers has to know: who is left out, and whose address is made up.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn end(&self, name: &ObjectName) -> Option<&End> {
        self.by_name.get(name).and_then(|at| self.ends.get(*at))
    }

    /// Whether `to`, if it is on a node, is reached from that node itself.
    fn is_own_node(&self, source: IpAddr, to: &End) -> bool {
        let node = to.node.as_ref().and_then(|node| self.nodes.get(node));
        node.is_some_and(|addresses| addresses.contains(&source))
    }

    /// The verdict for a pair; none where they have no family in common.
    fn judge(&self, from: &End, to: &End, service: &Service) -> Option<Verdict> {
        if from.name == to.name {
            return Some(Verdict::Allow);
        }
        let family = service.family.unwrap_or_else(|| family_of(from, to));
        let (src, dst) = (from.address(family)?, to.address(family)?);
        let key = FlowKey {
            src,
            dst,
            protocol: service.transport.number(family),
            src_port: 0,
            dst_port: service.transport.port(service.port),
        };
        let allows = |direction, set: Option<PolicySetId>| {
            set.is_none_or(|set| self.table.decide(direction, set, &key).is_allowed())
        };
        let egress = allows(Direction::Egress, from.set);
        let ingress = self.is_own_node(src, to) || allows(Direction::Ingress, to.set);
        Some(Verdict::of(egress && ingress))
    }
}

/// IPv4, unless one of the two has only an IPv6 address.
fn family_of(from: &End, to: &End) -> Family {
    if from.only_v6 || to.only_v6 {
        Family::Ipv6
    } else {
        Family::Ipv4
    }
}

/// The table, and the policies of each pod.
fn compile(cluster: &Cluster) -> (Table, BTreeMap<ObjectName, PolicySetId>) {
    // The seed guards against senders who choose addresses; here nobody sends.
    let mut engine = Engine::new(0);
    for (name, labels) in &cluster.namespaces {
        engine.apply(Change::Namespace(name.clone(), labels.clone()));
    }
    for policy in cluster.policies.values() {
        engine.apply(Change::Policy(Arc::clone(policy)));
    }
    for (name, pod) in &cluster.pods {
        engine.apply(Change::Pod(Arc::clone(pod)));
        engine.enforce(name);
    }
    let table = engine.table();
    let names = cluster.pods.keys();
    let sets = names.map(|name| (name.clone(), engine.set_of(name)));
    (table, sets.collect())
}

/// Gives every pod that may talk an address of both families. Tells whom it gave one.
fn give_addresses(cluster: &mut Cluster, members: &[Member]) -> Vec<(ObjectName, Family)> {
    let mut lacking = Vec::new();
    for family in [Family::Ipv4, Family::Ipv6] {
        let mut spares = spare::addresses(cluster, family).into_iter();
        let pods = members.iter().filter(|member| !member.host_network);
        for name in pods.map(|member| &member.name) {
            let Some(pod) = cluster.pods.get_mut(name) else {
                continue;
            };
            if pod.addresses.iter().any(|ip| family.has(*ip)) {
                continue;
            }
            if let Some(spare) = spares.next() {
                let pod: &mut Pod = Arc::make_mut(pod);
                pod.addresses.push(spare);
                lacking.push((name.clone(), family));
            }
        }
    }
    lacking
}

/// Pods without any address of their own, where rules by address could matter.
fn note_of_spares(cluster: &Cluster, lacking: &[(ObjectName, Family)]) -> Option<String> {
    let both = |name: &ObjectName| lacking.contains(&(name.clone(), Family::Ipv6));
    let v4 = lacking.iter().filter(|(_, family)| *family == Family::Ipv4);
    let without = v4.filter(|(name, _)| both(name)).count();
    let asked = spare::blocks(cluster).any(|block| block.length() > 0);
    let pods = if without == 1 { "pod has" } else { "pods have" };
    (without > 0 && asked).then(|| {
        format!(
            "{without} {pods} no address in the manifests; no ipBlock narrower than everything \
             matches them"
        )
    })
}

#[cfg(test)]
mod tests;
