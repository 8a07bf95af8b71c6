//! Which ports does a kind of peer get, and by which rule?
//!
//! Owns the ranges of one outcome: per protocol sorted and disjoint, so that one binary search
//! answers. Protocols without ports are one yes or no.

use std::sync::Arc;

use weft_wire::IpProtocol;

use crate::RuleId;
use crate::model::Protocol;

/// Port numbers that one rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) rule: RuleId,
}

/// What is allowed, of all protocols and ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct PortMap {
    /// Those of TCP, then UDP, then SCTP.
    spans: Arc<[Span]>,
    /// Where the spans of UDP and SCTP begin.
    starts: [usize; 2],
    /// Every protocol without ports, and those nobody knows.
    other: Option<RuleId>,
}

impl PortMap {
    /// Spans per protocol, each sorted and disjoint.
    pub(crate) fn new([tcp, udp, sctp]: [&[Span]; 3], other: Option<RuleId>) -> Self {
        Self {
            spans: [tcp, udp, sctp].concat().into(),
            starts: [tcp.len(), tcp.len() + udp.len()],
            other,
        }
    }

    /// The rule that allows this port; none if none does.
    #[inline]
    pub(crate) fn find(&self, protocol: IpProtocol, port: u16) -> Option<RuleId> {
        let spans = match protocol {
            IpProtocol::TCP => self.of(Protocol::Tcp),
            IpProtocol::UDP => self.of(Protocol::Udp),
            IpProtocol::SCTP => self.of(Protocol::Sctp),
            _ => return self.other,
        };
        let place = spans.partition_point(|span| span.last < port);
        let span = spans.get(place)?;
        (span.first <= port).then_some(span.rule)
    }

    #[inline]
    fn of(&self, protocol: Protocol) -> &[Span] {
        let [udp, sctp] = self.starts;
        let range = match protocol {
            Protocol::Tcp => 0..udp,
            Protocol::Udp => udp..sctp,
            Protocol::Sctp => sctp..self.spans.len(),
        };
        self.spans.get(range).unwrap_or_default()
    }

    /// How many ranges it tells apart.
    pub(crate) fn len(&self) -> usize {
        self.spans.len() + usize::from(self.other.is_some())
    }

    /// Memory behind it.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self) + size_of_val(&*self.spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn span(first: u16, last: u16, rule: u32) -> Span {
        Span {
            first,
            last,
            rule: RuleId(rule),
        }
    }

    #[test]
    fn each_protocol_has_its_own_ports() {
        let map = PortMap::new(
            [
                &[span(80, 80, 1), span(443, 450, 2)],
                &[span(0, 53, 3)],
                &[span(65_535, 65_535, 4)],
            ],
            None,
        );
        for (protocol, port, rule) in [
            (IpProtocol::TCP, 79, None),
            (IpProtocol::TCP, 80, Some(1)),
            (IpProtocol::TCP, 81, None),
            (IpProtocol::TCP, 442, None),
            (IpProtocol::TCP, 443, Some(2)),
            (IpProtocol::TCP, 450, Some(2)),
            (IpProtocol::TCP, 451, None),
            (IpProtocol::TCP, u16::MAX, None),
            (IpProtocol::UDP, 0, Some(3)),
            (IpProtocol::UDP, 53, Some(3)),
            (IpProtocol::UDP, 80, None),
            (IpProtocol::SCTP, 80, None),
            (IpProtocol::SCTP, u16::MAX, Some(4)),
            (IpProtocol::ICMP, 80, None),
        ] {
            assert_eq!(
                map.find(protocol, port),
                rule.map(RuleId),
                "{protocol} {port}"
            );
        }
        assert_eq!(map.len(), 4);
        let ping = PortMap::new([&[], &[], &[]], Some(RuleId(7)));
        assert_eq!(ping.find(IpProtocol::ICMPV6, 0), Some(RuleId(7)));
        assert_eq!(ping.find(IpProtocol(99), 0), Some(RuleId(7)));
        assert_eq!(ping.find(IpProtocol::TCP, 0), None);
    }
}
