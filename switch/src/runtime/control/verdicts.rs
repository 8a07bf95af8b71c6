//! Which policies are in force here, and what did they refuse?
//!
//! Puts names to what the tables and the workers know by number.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weft_policy::model::{ObjectName, Policy, Protocol};
use weft_policy::{Cluster, Direction, FlowInfo, PolicySetId, Question, Table};
use weft_wire::{FlowKey, IpProtocol};

use super::Control;
use super::open::Port;
use super::policy::object_name;
use super::report::seconds;
use crate::api::{Denial, DenialExample, Failure, PolicyReport};
use crate::path;
use crate::path::PortId;
use crate::policy_view::Reasons;
use crate::runtime::worker::Snapshot;

/// Pods named in one answer, over all policies: what fits a message.
const MOST_NAMES: usize = 10_000;
/// Denials in one answer.
const MOST_DENIALS: usize = 1000;

/// What one port's policies refused in one direction, over all workers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) packets: u64,
    pub(super) last: path::Denial,
}

/// By port and direction.
pub(super) type AllRefused = BTreeMap<(PortId, Direction), Refused>;

/// Adds up what the workers refused.
pub(super) fn refused(snapshots: &[Snapshot]) -> AllRefused {
    let mut all = AllRefused::new();
    for (port, direction, packets, last) in snapshots.iter().flat_map(|s| &s.denials) {
        let (packets, last) = (*packets, *last);
        let held = all
            .entry((*port, *direction))
            .or_insert(Refused { packets: 0, last });
        held.packets += packets;
        if held.last.at < last.at {
            held.last = last;
        }
    }
    all
}

pub(super) const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
    }
}

/// The question a packet asks; protocols that policies cannot name have no port.
pub(super) fn question(flow: &FlowKey) -> Question {
    let protocol = match flow.protocol {
        IpProtocol::TCP => Some(Protocol::Tcp),
        IpProtocol::UDP => Some(Protocol::Udp),
        IpProtocol::SCTP => Some(Protocol::Sctp),
        _ => None,
    };
    Question {
        from: flow.src,
        to: flow.dst,
        protocol,
        port: protocol.map_or(0, |_| flow.dst_port),
    }
}

impl Control {
    pub(super) fn policy_reports(&mut self) -> Result<Vec<PolicyReport>, Failure> {
        let refused = refused(&self.snapshots()?);
        let cluster = self.policies.cluster();
        let named = (MOST_NAMES / cluster.policies.len().max(1)).max(1);
        let reports = cluster.policies.values().map(|policy| {
            let here = self
                .ports
                .iter()
                .filter(|(_, port)| selects(cluster, policy, port));
            let here: Vec<(&PortId, &Port)> = here.collect();
            let mut isolates = Vec::new();
            let mut denied = 0;
            for (direction, isolation) in [
                (Direction::Ingress, &policy.ingress),
                (Direction::Egress, &policy.egress),
            ] {
                if isolation.isolates() {
                    isolates.push(name(direction).to_owned());
                    let counted = here
                        .iter()
                        .filter_map(|(id, _)| refused.get(&(**id, direction)));
                    denied += counted.map(|refused| refused.packets).sum::<u64>();
                }
            }
            let names = here.iter().filter_map(|(_, port)| pod_name(port));
            PolicyReport {
                namespace: policy.name.namespace.clone(),
                name: policy.name.name.clone(),
                selected: here.len(),
                pods: names.take(named).collect(),
                isolates,
                rules: policy.ingress.rules().len() + policy.egress.rules().len(),
                denied_packets: denied,
            }
        });
        Ok(reports.collect())
    }

    /// What the policies of each pod refused, most first.
    pub(super) fn denials(&self, snapshots: &[Snapshot]) -> Vec<Denial> {
        let mut denials = Vec::new();
        let mut refused: Vec<_> = refused(snapshots).into_iter().collect();
        refused.sort_by_key(|(_, refused)| std::cmp::Reverse(refused.packets));
        for ((id, direction), refused) in refused.into_iter().take(MOST_DENIALS) {
            let Some(port) = self.ports.get(&id) else {
                continue;
            };
            denials.push(Denial {
                pod: pod_name(port).unwrap_or_else(|| port.describe()),
                direction: name(direction).to_owned(),
                packets: refused.packets,
                policies: self.isolating(port, direction),
                example: self.denial_example(direction, &refused.last),
            });
        }
        denials
    }

    fn denial_example(&self, direction: Direction, denial: &path::Denial) -> DenialExample {
        let tables = self.tables.load();
        let reasons = Reasons::of(self.policies.cluster(), &question(&denial.flow), false);
        let side = match direction {
            Direction::Egress => reasons.egress,
            Direction::Ingress => reasons.ingress,
        };
        DenialExample {
            from: self.who(denial.flow.src),
            to: self.who(denial.flow.dst),
            flow: denial.flow.to_string(),
            policy: policy_of(tables.policy(), denial.rule),
            nearest: side.nearest,
            age_seconds: seconds(self.now().since(denial.at)),
        }
    }

    /// The policies that isolate a port's pod in a direction.
    pub(super) fn isolating(&self, port: &Port, direction: Direction) -> Vec<String> {
        let tables = self.tables.load();
        let set = self.policies.set_of(port.entry.pod.as_deref());
        let names = tables.policy().isolating(direction, set).iter();
        names.map(ToString::to_string).collect()
    }

    /// The pod that has an address, of this node or another; none for any other address.
    pub(super) fn who(&self, address: IpAddr) -> Option<String> {
        let port = self.port_at(address).map(|(_, port)| port);
        let here = port.and_then(pod_name);
        here.or_else(|| {
            let pod = self.policies.cluster().pod_at(address);
            pod.map(|pod| pod.name.to_string())
        })
    }

    /// The port of this node that has an address.
    pub(super) fn port_at(&self, address: IpAddr) -> Option<(PortId, &Port)> {
        let has = |port: &Port| port.entry.addresses().any(|own| own == address);
        let mut ports = self.ports.iter();
        ports
            .find(|(_, port)| has(port))
            .map(|(id, port)| (*id, port))
    }

    /// The policies of the pod that has an address, if it is of this node.
    fn set_at(&self, address: IpAddr) -> Option<PolicySetId> {
        let (_, port) = self.port_at(address)?;
        Some(self.policies.set_of(port.entry.pod.as_deref()))
    }

    /// Whether the tables of now let a tracked connection go on, and the rules by which they do:
    /// of the initiator's end and of the responder's.
    pub(super) fn standing(&self, flow: &FlowInfo) -> Standing {
        let tables = self.tables.load();
        let mut standing = Standing {
            allowed: true,
            rules: [None, None],
        };
        for (direction, address, remembered, rule) in [
            (Direction::Egress, flow.original.src, flow.egress, 0),
            (Direction::Ingress, flow.original.dst, flow.ingress, 1),
        ] {
            let Some((epoch, known)) = remembered else {
                continue;
            };
            let verdict = match self.set_at(address) {
                Some(set)
                    if epoch != tables.epoch && !self.is_exempt(direction, &flow.original) =>
                {
                    tables.policy().decide(direction, set, &flow.original)
                }
                _ => weft_policy::Verdict::Allow(known),
            };
            standing.allowed &= verdict.is_allowed();
            let (weft_policy::Verdict::Allow(id) | weft_policy::Verdict::Deny(id)) = verdict;
            let named = tables.policy().rule(id).map(ToString::to_string);
            if let Some(slot) = standing.rules.get_mut(rule) {
                *slot = named;
            }
        }
        standing
    }

    /// A pod's own node always reaches it.
    fn is_exempt(&self, direction: Direction, flow: &FlowKey) -> bool {
        direction == Direction::Ingress && self.tables.load().node.has(flow.src)
    }
}

/// What the tables of now say of a tracked connection.
pub(super) struct Standing {
    pub(super) allowed: bool,
    /// The rule of egress and of ingress, where one decided here.
    pub(super) rules: [Option<String>; 2],
}

fn policy_of(table: &Table, rule: weft_policy::RuleId) -> Option<String> {
    table.rule(rule).map(|rule| rule.policy.to_string())
}

fn pod_name(port: &Port) -> Option<String> {
    port.entry.pod.as_ref().map(ToString::to_string)
}

fn selects(cluster: &Cluster, policy: &Policy, port: &Port) -> bool {
    let name: Option<ObjectName> = port.entry.pod.as_deref().map(object_name);
    let pod = name.and_then(|name| cluster.pods.get(&name));
    pod.is_some_and(|pod| {
        pod.name.namespace == policy.name.namespace && policy.pods.matches(&pod.labels)
    })
}
