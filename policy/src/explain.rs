//! Why may this flow pass, or why not?
//!
//! Walks the policies as they are written, for people; the fast path asks [`crate::Table`], and
//! tests hold the two to the same answer.

mod nearest;
mod words;

use std::fmt;
use std::net::IpAddr;

use crate::model::{
    Isolation, Labels, ObjectName, Peer, Peers, Pod, Policy, PortMatch, PortRange, Ports, Protocol,
    Rule, Scope,
};
use crate::{Cluster, Direction};

/// A flow to be explained: its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who sends.
    pub from: IpAddr,
    /// Who receives.
    pub to: IpAddr,
    /// The transport; none for ICMP and the like.
    pub protocol: Option<Protocol>,
    /// The destination port; meaningless without a protocol.
    pub port: u16,
}

/// One rule of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleName {
    /// The policy.
    pub policy: ObjectName,
    /// Which of its lists.
    pub direction: Direction,
    /// The place in the list, from 0; none for the policy as a whole, which isolates.
    pub index: Option<usize>,
}

impl fmt::Display for RuleName {
    /// As in `y/allow-web#ingress[0]`, or `y/deny-all` for the policy as a whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Egress => "egress",
            Direction::Ingress => "ingress",
        };
        match self.index {
            Some(index) => write!(f, "{}#{direction}[{index}]", self.policy),
            None => write!(f, "{}", self.policy),
        }
    }
}

/// The verdict for both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// At the sender.
    pub egress: Side,
    /// At the receiver.
    pub ingress: Side,
}

impl Explanation {
    /// Whether both ends allow.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        self.egress.allowed && self.ingress.allowed
    }
}

/// The verdict at one end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Whether this end lets the flow pass: no policy isolates it, a rule allows the flow, or it
    /// is a pod that talks to itself.
    pub allowed: bool,
    /// The policies that isolate this end in this direction, by name; if there are none,
    /// everything may pass.
    pub isolated_by: Vec<ObjectName>,
    /// The rules that allow the flow, in the order of their names.
    pub by: Vec<RuleName>,
    /// For a denied flow, the rule that comes closest, and what keeps it from matching; none
    /// where the isolating policies have no rule.
    pub nearest: Option<Nearest>,
}

/// A rule that nearly allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// The rule.
    pub rule: RuleName,
    /// What does not match: what the rule's name begins, this ends.
    pub why: String,
}

impl fmt::Display for Nearest {
    /// As in `y/allow-web#ingress[0] allows this peer, but on TCP 80 only`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.rule, self.why)
    }
}

/// Explains the verdict on `question`.
#[must_use]
pub fn explain(cluster: &Cluster, question: &Question) -> Explanation {
    Explanation {
        egress: side(cluster, Direction::Egress, question),
        ingress: side(cluster, Direction::Ingress, question),
    }
}

fn side(cluster: &Cluster, direction: Direction, question: &Question) -> Side {
    let sender = cluster.pod_at(question.from).map(AsRef::as_ref);
    let receiver = cluster.pod_at(question.to).map(AsRef::as_ref);
    let (here, peer, address) = match direction {
        Direction::Egress => (sender, receiver, question.to),
        Direction::Ingress => (receiver, sender, question.from),
    };
    let flow = Flow {
        direction,
        question,
        address,
        peer: peer.map(|pod| (pod, cluster.namespace_labels(&pod.name.namespace))),
        receiver,
    };
    let isolating: Vec<&Policy> = cluster
        .policies
        .values()
        .map(AsRef::as_ref)
        .filter(|policy| here.is_some_and(|pod| isolates(policy, direction, pod)))
        .collect();
    let rules = || isolating.iter().flat_map(|policy| named(policy, direction));
    let by: Vec<RuleName> = rules()
        .filter(|(name, rule)| flow.peers_match(name, rule) && flow.ports_match(rule))
        .map(|(name, _)| name)
        .collect();
    let allowed = isolating.is_empty() || !by.is_empty() || question.from == question.to;
    Side {
        allowed,
        isolated_by: isolating.iter().map(|policy| policy.name.clone()).collect(),
        by,
        nearest: if allowed {
            None
        } else {
            nearest::of(&flow, rules())
        },
    }
}

fn section(policy: &Policy, direction: Direction) -> &Isolation {
    match direction {
        Direction::Egress => &policy.egress,
        Direction::Ingress => &policy.ingress,
    }
}

fn isolates(policy: &Policy, direction: Direction, pod: &Pod) -> bool {
    section(policy, direction).isolates()
        && policy.name.namespace == pod.name.namespace
        && policy.pods.matches(&pod.labels)
}

/// The rules of a policy with their names.
fn named(policy: &Policy, direction: Direction) -> impl Iterator<Item = (RuleName, &Rule)> {
    let rules = section(policy, direction).rules().iter().enumerate();
    rules.map(move |(index, rule)| {
        let name = RuleName {
            policy: policy.name.clone(),
            direction,
            index: Some(index),
        };
        (name, rule)
    })
}

/// A flow as the rules of one end see it.
struct Flow<'a> {
    direction: Direction,
    question: &'a Question,
    /// The other end.
    address: IpAddr,
    /// The other end if it is a pod, and the labels of its namespace.
    peer: Option<(&'a Pod, Labels)>,
    /// Whose names ports have.
    receiver: Option<&'a Pod>,
}

impl Flow<'_> {
    fn peers_match(&self, name: &RuleName, rule: &Rule) -> bool {
        match &rule.peers {
            Peers::Any => true,
            Peers::Of(items) => items.iter().any(|item| self.peer_matches(name, item)),
        }
    }

    fn peer_matches(&self, rule: &RuleName, peer: &Peer) -> bool {
        match peer {
            Peer::Pods { namespaces, pods } => self.peer.as_ref().is_some_and(|(pod, labels)| {
                let inside = match namespaces {
                    Scope::Own => pod.name.namespace == rule.policy.namespace,
                    Scope::Matching(selector) => selector.matches(labels),
                };
                inside && pods.matches(&pod.labels)
            }),
            Peer::Block { cidr, except } => {
                cidr.contains(self.address)
                    && !except.iter().any(|hole| hole.contains(self.address))
            }
        }
    }

    fn ports_match(&self, rule: &Rule) -> bool {
        match &rule.ports {
            Ports::Any => true,
            Ports::Of(items) => items.iter().any(|item| self.port_matches(item)),
        }
    }

    fn port_matches(&self, item: &PortMatch) -> bool {
        let port = self.question.port;
        self.question.protocol == Some(item.protocol)
            && match &item.port {
                PortRange::Any => true,
                PortRange::Numbers(first, last) => (*first..=*last).contains(&port),
                PortRange::Named(name) => self.numbers(name, item.protocol).contains(&port),
            }
    }

    /// What the receiver calls `name`.
    fn numbers(&self, name: &str, protocol: Protocol) -> Vec<u16> {
        let ports = self.receiver.iter().flat_map(|pod| &pod.ports);
        ports
            .filter(|named| named.name == name && named.protocol == protocol)
            .map(|named| named.port)
            .collect()
    }
}

#[cfg(test)]
mod tests;
