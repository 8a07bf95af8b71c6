//! Headers as the parser gives them, and a table to try them on.

use core::net::{IpAddr, Ipv4Addr};

use weft_policy::{
    Config, Conntrack, Direction, Epoch, Lookup, Moment, RuleId, Sighting, Timeouts,
};
use weft_wire::{
    Embedded, FlowKey, Fragment, Headers, IpProtocol, IpVersion, Mac, TcpFlags, TcpInfo, Transport,
};

pub(crate) const RULE: RuleId = RuleId(7);
pub(crate) const NOW: Moment = Moment::from_secs(1_000);
/// The IP length of every test packet.
pub(crate) const LENGTH: u64 = 100;

pub(crate) fn host(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 1, 0, number).into()
}

pub(crate) fn key(protocol: IpProtocol, src: (IpAddr, u16), dst: (IpAddr, u16)) -> FlowKey {
    FlowKey {
        src: src.0,
        dst: dst.0,
        protocol,
        src_port: src.1,
        dst_port: dst.1,
    }
}

pub(crate) fn packet(flow: FlowKey, transport: Transport) -> Headers {
    let (version, ip_header) = match flow.src {
        IpAddr::V4(_) => (IpVersion::V4, 20),
        IpAddr::V6(_) => (IpVersion::V6, 40),
    };
    Headers {
        dst_mac: Mac::ZERO,
        src_mac: Mac::ZERO,
        version,
        l3: 14,
        l4: 14 + ip_header,
        end: 114,
        flow,
        transport,
        fragment: Fragment::Whole,
        hop_limit: 64,
        traffic_class: 0,
        source_routed: false,
        dont_fragment: true,
    }
}

pub(crate) fn udp(src: (IpAddr, u16), dst: (IpAddr, u16)) -> Headers {
    packet(key(IpProtocol::UDP, src, dst), Transport::Udp)
}

pub(crate) fn sctp(src: (IpAddr, u16), dst: (IpAddr, u16)) -> Headers {
    packet(key(IpProtocol::SCTP, src, dst), Transport::Sctp)
}

/// Flags, sequence number, acknowledgment, payload length.
pub(crate) type Segment = (TcpFlags, u32, u32, u32);

pub(crate) fn tcp(src: (IpAddr, u16), dst: (IpAddr, u16), segment: Segment) -> Headers {
    let (flags, seq, ack, payload_len) = segment;
    let info = TcpInfo {
        seq,
        ack,
        payload_len,
        window: 1_000,
        flags,
    };
    packet(key(IpProtocol::TCP, src, dst), Transport::Tcp(info))
}

/// What an ICMP error about the packet tells of it.
pub(crate) fn quote(packet: &Headers) -> Embedded {
    let tcp_seq = match packet.transport {
        Transport::Tcp(info) => info.seq,
        _ => 0,
    };
    Embedded {
        flow: packet.flow,
        tcp_seq,
    }
}

/// An ICMP echo request (type 8) or reply (type 0) over IPv4.
pub(crate) fn echo(kind: u8, src: IpAddr, dst: IpAddr, identifier: u16) -> Headers {
    let (from, to) = if kind == 8 {
        (identifier, 0)
    } else {
        (0, identifier)
    };
    let flow = key(IpProtocol::ICMP, (src, from), (dst, to));
    packet(flow, Transport::Icmp { kind, code: 0 })
}

pub(crate) fn at(side: Direction, now: Moment) -> Sighting {
    Sighting {
        side,
        epoch: Epoch(1),
        worker: 0,
        now,
        packets: 1,
    }
}

pub(crate) fn egress() -> Sighting {
    at(Direction::Egress, NOW)
}

pub(crate) fn ingress() -> Sighting {
    at(Direction::Ingress, NOW)
}

pub(crate) fn table() -> Conntrack {
    table_of(1024, 256)
}

/// A table of `capacity` entries and 16 owners; with a capacity of 16 all flows
/// share the same two buckets.
pub(crate) fn table_of(capacity: usize, quota_per_owner: u32) -> Conntrack {
    Conntrack::new(Config {
        capacity,
        quota_per_owner,
        owners: 16,
        seed: [0x5eed, 0xcafe],
        timeouts: Timeouts::default(),
    })
}

/// Whether the packet is known, and if so whether it is a reply.
pub(crate) fn known(found: Lookup) -> Option<bool> {
    match found {
        Lookup::Known { reply, .. } => Some(reply),
        _ => None,
    }
}

/// Entries met by a listing, which must be as many as are charged.
pub(crate) fn count(table: &Conntrack) -> usize {
    let mut count = 0;
    table.for_each(|_| count += 1);
    assert_eq!(count, table.len());
    assert_eq!(
        count,
        (0..16).map(|owner| table.len_of(owner)).sum::<usize>()
    );
    count
}
