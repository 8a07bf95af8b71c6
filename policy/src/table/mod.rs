//! May this flow pass? One immutable answer book per publication.
//!
//! Owns the decision and nothing else: no packets, no state, no time. `decide`
//! neither allocates nor blocks, so any number of workers ask at once. The
//! direction is that of the pod whose policy set is asked: egress of the sender,
//! ingress of the receiver.

pub(crate) mod addresses;
pub(crate) mod gate;
pub(crate) mod ports;
pub(crate) mod rules;

use std::sync::Arc;

use weft_wire::FlowKey;

use crate::model::ObjectName;
use crate::{Direction, PolicySetId, RuleId, RuleName, Verdict};
use addresses::Addresses;
use gate::Way;
use rules::Rules;

/// The compiled policies of a node's pods. A copy costs nothing.
#[derive(Clone, Debug)]
pub struct Table {
    /// None if everybody may talk.
    book: Option<Arc<Book>>,
}

/// Everything there is to look up.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) addresses: Addresses,
    pub(crate) sets: Box<[PolicySet]>,
    pub(crate) rules: Rules,
    pub(crate) size: Size,
}

/// Both directions of pods selected alike.
#[derive(Clone, Debug)]
pub(crate) struct PolicySet {
    pub(crate) egress: Way,
    pub(crate) ingress: Way,
}

impl PolicySet {
    #[inline]
    const fn way(&self, direction: Direction) -> &Way {
        match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        }
    }
}

impl Table {
    /// The table of a cluster without policies: everybody may talk who obeys
    /// [`PolicySetId::UNSELECTED`], the only set it knows.
    #[must_use]
    pub const fn allow_all() -> Self {
        Self { book: None }
    }

    pub(crate) fn new(book: Book) -> Self {
        Self {
            book: Some(Arc::new(book)),
        }
    }

    /// Whether a pod obeying `set` may send (egress) or receive (ingress) the
    /// first packet of the flow `key`, written from sender to receiver. Nobody
    /// may where `set` is not of this table.
    #[must_use]
    pub fn decide(&self, direction: Direction, set: PolicySetId, key: &FlowKey) -> Verdict {
        // A pod reaches itself, whatever policies say.
        if key.src == key.dst {
            return Verdict::Allow(RuleId::DEFAULT);
        }
        let Some(book) = &self.book else {
            return if set == PolicySetId::UNSELECTED {
                Verdict::Allow(RuleId::DEFAULT)
            } else {
                Verdict::Deny(RuleId::DEFAULT)
            };
        };
        let gate = match book.sets.get(set.0 as usize).map(|set| set.way(direction)) {
            Some(Way::Gate(gate)) => gate,
            Some(Way::Open) => return Verdict::Allow(RuleId::DEFAULT),
            Some(Way::Closed) | None => return Verdict::Deny(RuleId::DEFAULT),
        };
        let peer = match direction {
            Direction::Egress => key.dst,
            Direction::Ingress => key.src,
        };
        let class = book.addresses.find(peer);
        gate.find(class, key.protocol, key.dst_port)
            .map_or_else(|| Verdict::Deny(gate.deny()), Verdict::Allow)
    }

    /// The rule behind a verdict; none for [`RuleId::DEFAULT`] and for rules that are gone. That
    /// of a denial is the first policy, by name, that isolates the pod.
    #[must_use]
    pub fn rule(&self, rule: RuleId) -> Option<&RuleName> {
        self.book.as_ref()?.rules.get(rule)
    }

    /// The policies that isolate the pods of `set` in a direction, by name.
    #[must_use]
    pub fn isolating(&self, direction: Direction, set: PolicySetId) -> &[ObjectName] {
        let set = self
            .book
            .as_ref()
            .and_then(|book| book.sets.get(set.0 as usize));
        match set.map(|set| set.way(direction)) {
            Some(Way::Gate(gate)) => gate.isolating(),
            _ => &[],
        }
    }

    /// How large the table is.
    #[must_use]
    pub fn size(&self) -> Size {
        self.book.as_ref().map(|book| book.size).unwrap_or_default()
    }
}

/// What a table consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Distinct kinds of peers: pods alike in namespace, labels and named ports.
    pub identities: usize,
    /// Addresses of pods.
    pub addresses: usize,
    /// Compiled policy sets.
    pub sets: usize,
    /// Port ranges over all (set, direction, identity); what several sets share counts once.
    pub entries: usize,
    /// Memory, about, in bytes.
    pub bytes: usize,
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use weft_wire::IpProtocol;

    use super::*;

    #[test]
    fn without_policies_everybody_may_talk() {
        let key = FlowKey {
            src: Ipv4Addr::new(10, 1, 0, 2).into(),
            dst: Ipv4Addr::new(10, 1, 1, 2).into(),
            protocol: IpProtocol::TCP,
            src_port: 40_000,
            dst_port: 80,
        };
        let table = Table::allow_all();
        for direction in [Direction::Egress, Direction::Ingress] {
            let verdict = table.decide(direction, PolicySetId::UNSELECTED, &key);
            assert_eq!(verdict, Verdict::Allow(RuleId::DEFAULT));
            assert!(verdict.is_allowed());
            let closed = table.decide(direction, PolicySetId::CLOSED, &key);
            assert_eq!(closed, Verdict::Deny(RuleId::DEFAULT));
        }
    }
}
