//! May this flow pass? One immutable answer book per publication.
//!
//! Owns the decision and nothing else: no packets, no state, no time. `decide`
//! neither allocates nor blocks, so any number of workers ask at once. The
//! direction is that of the pod whose policy set is asked: egress of the sender,
//! ingress of the receiver.

use weft_wire::FlowKey;

use crate::model::ObjectName;
use crate::{Direction, PolicySetId, RuleId, RuleName, Verdict};

/// The compiled policies of a node's pods.
#[derive(Clone, Debug)]
pub struct Table {
    _sealed: (),
}

impl Table {
    /// The table of a cluster without policies: everybody may talk.
    #[must_use]
    pub const fn allow_all() -> Self {
        Self { _sealed: () }
    }

    /// Whether a pod obeying `set` may send (egress) or receive (ingress) the
    /// first packet of the flow `key`, written from sender to receiver.
    #[must_use]
    pub const fn decide(
        &self,
        _direction: Direction,
        _set: PolicySetId,
        _key: &FlowKey,
    ) -> Verdict {
        Verdict::Allow(RuleId::DEFAULT)
    }

    /// The rule behind a verdict; none for [`RuleId::DEFAULT`] and for rules that are gone. That
    /// of a denial is the first policy, by name, that isolates the pod.
    #[must_use]
    pub const fn rule(&self, _rule: RuleId) -> Option<&RuleName> {
        None
    }

    /// The policies that isolate the pods of `set` in a direction, by name.
    #[must_use]
    pub const fn isolating(&self, _direction: Direction, _set: PolicySetId) -> &[ObjectName] {
        &[]
    }

    /// How large the table is.
    #[must_use]
    pub const fn size(&self) -> Size {
        Size {
            identities: 0,
            addresses: 0,
            sets: 0,
            entries: 0,
            bytes: 0,
        }
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
    /// Port ranges over all (set, direction, identity).
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
        }
    }
}
