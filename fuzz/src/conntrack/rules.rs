//! A predicate in place of policy tables: who may begin what, by the numbers of one epoch.

use std::net::IpAddr;

use arbitrary::{Arbitrary, Unstructured};
use weft_policy::{Direction, RuleId, Verdict};
use weft_wire::FlowKey;

/// What one publication allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    seed: u16,
    /// Of eight flows, about so many pass.
    eighths: u8,
}

impl Rules {
    pub(super) const ALL: Self = Self {
        seed: 0,
        eighths: 8,
    };

    /// The verdict of the pod whose direction it is, on a flow as its initiator writes it.
    pub(super) fn decide(self, side: Direction, flow: &FlowKey) -> Verdict {
        let hash = self.hash(side, flow);
        let rule = RuleId(hash >> 8);
        if hash % 8 < u32::from(self.eighths) {
            Verdict::Allow(rule)
        } else {
            Verdict::Deny(rule)
        }
    }

    /// FNV-1a over what a policy can see.
    fn hash(self, side: Direction, flow: &FlowKey) -> u32 {
        let octets = |address: IpAddr| match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let [low, high] = flow.dst_port.to_be_bytes();
        let [a, b] = self.seed.to_be_bytes();
        [a, b, side as u8, flow.protocol.0, low, high]
            .into_iter()
            .chain(octets(flow.src))
            .chain(octets(flow.dst))
            .fold(0x811c_9dc5, |hash: u32, byte| {
                (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
            })
            .rotate_left(13)
    }
}

impl<'a> Arbitrary<'a> for Rules {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self {
            seed: u.arbitrary()?,
            eighths: *u.choose(&[0, 4, 6, 7, 8, 8])?,
        })
    }
}
