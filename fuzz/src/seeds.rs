//! Which inputs does the fuzzer start from? One small input of every kind that matters.
//!
//! Owns the checked-in corpus: `tests/replay.rs` compares the files with these lists.

use std::net::{Ipv4Addr, Ipv6Addr};

use weft_wire::build::{self, EthernetBuilder, TcpSpec};
use weft_wire::{Arp, ArpOperation, EtherType, IpProtocol, Mac, TcpFlags};

/// A file name and its bytes.
pub type Seed = (&'static str, Vec<u8>);

/// Pod a, whose port the frames come from.
pub const POD_A: (Mac, Ipv4Addr, Ipv6Addr) = (
    Mac::new([0x02, 0, 0, 0, 0, 0x0a]),
    Ipv4Addr::new(10, 244, 0, 2),
    Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 2),
);
/// Pod b on the same node.
pub const POD_B: (Mac, Ipv4Addr, Ipv6Addr) = (
    Mac::new([0x02, 0, 0, 0, 0, 0x0b]),
    Ipv4Addr::new(10, 244, 0, 3),
    Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 3),
);

/// The seeds of every target that has some.
#[must_use]
pub fn all() -> Vec<(&'static str, Vec<Seed>)> {
    vec![
        ("differential", frames()),
        ("headers", frames()),
        ("vxlan", payloads()),
    ]
}

fn a_to_b() -> EthernetBuilder {
    build::ethernet(POD_A.0, POD_B.0)
}

/// One frame of each kind.
#[must_use]
pub fn frames() -> Vec<Seed> {
    let mut frames = ipv4();
    frames.extend(ipv6());
    frames.extend(fragments());
    frames.push(("vlan", a_to_b().raw(EtherType::VLAN, &[0, 5, 0x08, 0x00])));
    frames.push((
        "arp-request",
        a_to_b().arp(Arp {
            operation: ArpOperation::Request,
            sender_mac: POD_A.0,
            sender_ip: POD_A.1,
            target_mac: Mac::ZERO,
            target_ip: Ipv4Addr::new(169, 254, 1, 1),
        }),
    ));
    frames
}

fn syn() -> TcpSpec {
    TcpSpec {
        src_port: 40000,
        dst_port: 80,
        flags: TcpFlags::SYN,
        options: vec![2, 4, 5, 0xb4],
        ..TcpSpec::default()
    }
}

fn sctp() -> [u8; 12] {
    [0x9c, 0x40, 0x0f, 0x0b, 0, 0, 0, 1, 0, 0, 0, 0]
}

fn ipv4() -> Vec<Seed> {
    let ip = || a_to_b().ipv4(POD_A.1, POD_B.1);
    // A quoted header and eight bytes of what it carried.
    let quote = &ip().udp(40000, 53, b"")[14..];
    vec![
        ("ipv4-udp", ip().udp(40000, 53, b"weft")),
        ("ipv4-tcp-syn", ip().tcp(syn(), b"")),
        ("ipv4-sctp", ip().payload(IpProtocol::SCTP, &sctp())),
        ("ipv4-echo", ip().icmp_echo_request(7, 1, b"ping")),
        ("ipv4-unreachable", ip().icmp(3, 1, [0; 4], quote)),
        ("ipv4-redirect", ip().icmp(5, 1, [10, 244, 0, 9], quote)),
        (
            "ipv4-source-route",
            ip().options(&[131, 7, 4, 10, 0, 0, 1]).udp(1, 2, b""),
        ),
        (
            "ipv4-record-route",
            ip().options(&[1, 7, 7, 4, 0, 0, 0, 0]).udp(1, 2, b""),
        ),
        (
            "ipv4-authentication",
            ip().payload(IpProtocol::AH, &[17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
        ),
        (
            "ipv4-igmp",
            ip().payload(IpProtocol(2), &[0x11, 0, 0xee, 0xff, 0, 0, 0, 0]),
        ),
        ("ipv4-ttl-1", ip().ttl(1).udp(40000, 53, b"")),
    ]
}

fn ipv6() -> Vec<Seed> {
    let ip = || a_to_b().ipv6(POD_A.2, POD_B.2);
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    let nd = || {
        a_to_b()
            .ipv6(link_local, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))
            .ttl(255)
    };
    let about = |target: Ipv6Addr, option: [u8; 8]| [&target.octets()[..], &option].concat();
    let quote = &ip().udp(40000, 53, b"")[14..];
    vec![
        ("ipv6-udp", ip().udp(40000, 53, b"weft")),
        ("ipv6-tcp-syn", ip().tcp(syn(), b"")),
        ("ipv6-sctp", ip().payload(IpProtocol::SCTP, &sctp())),
        ("ipv6-echo", ip().icmp_echo_request(7, 1, b"ping")),
        ("ipv6-too-big", ip().icmpv6(2, 0, [0, 0, 5, 0], quote)),
        (
            "ipv6-solicit",
            nd().icmpv6(
                135,
                0,
                [0; 4],
                &about(link_local, [1, 1, 2, 0, 0, 0, 0, 10]),
            ),
        ),
        (
            "ipv6-advert",
            nd().icmpv6(
                136,
                0,
                [0x60, 0, 0, 0],
                &about(link_local, [2, 1, 2, 0, 0, 0, 0, 10]),
            ),
        ),
        (
            "ipv6-router-advert",
            nd().icmpv6(134, 0, [64, 0, 0, 30], &[0; 8]),
        ),
        ("ipv6-chain", chain()),
        (
            "ipv6-hidden-router-advert",
            nd().extension(IpProtocol::HOP_BY_HOP, &[1, 4, 0, 0, 0, 0])
                .extension(IpProtocol::DEST_OPTIONS, &[1, 4, 0, 0, 0, 0])
                .icmpv6(134, 0, [64, 0, 0, 30], &[0; 8]),
        ),
    ]
}

/// Every kind of extension header once.
fn chain() -> Vec<u8> {
    a_to_b()
        .ipv6(POD_A.2, POD_B.2)
        .extension(IpProtocol::HOP_BY_HOP, &[1, 4, 0, 0, 0, 0])
        .extension(IpProtocol::ROUTING, &[2, 0, 0, 0, 0, 0])
        .extension(IpProtocol::AH, &[0; 14])
        .extension(IpProtocol::DEST_OPTIONS, &[1, 4, 0, 0, 0, 0])
        .fragment(9, 0, false)
        .udp(40000, 53, b"weft")
}

fn fragments() -> Vec<Seed> {
    let v4 = || a_to_b().ipv4(POD_A.1, POD_B.1);
    let v6 = || a_to_b().ipv6(POD_A.2, POD_B.2);
    let mut first = v6().fragment(9, 0, true).udp(40000, 53, &[0; 16]);
    // The datagram is longer than its first fragment.
    first[14 + 40 + 8 + 5] = 64;
    vec![
        (
            "ipv4-later-fragment",
            v4().fragment(9, 16, false)
                .payload(IpProtocol::UDP, &[0; 5]),
        ),
        (
            "ipv4-first-fragment",
            v4().fragment(9, 0, true).udp(40000, 53, &[0; 16]),
        ),
        (
            "ipv6-later-fragment",
            v6().fragment(9, 16, true).payload(IpProtocol::UDP, &[0; 8]),
        ),
        ("ipv6-first-fragment", first),
    ]
}

/// UDP payloads of the tunnel.
fn payloads() -> Vec<Seed> {
    let with = |header: [u8; 8], frame: Vec<u8>| [&header[..], &frame].concat();
    let inner = || a_to_b().ipv4(POD_A.1, POD_B.1).udp(40000, 53, b"weft");
    vec![
        ("vni-1", with([8, 0, 0, 0, 0, 0, 1, 0], inner())),
        ("vni-0", with([8, 0, 0, 0, 0, 0, 0, 0], inner())),
        ("no-vni", with([0, 0, 0, 0, 0, 0, 1, 0], inner())),
        ("group-policy", with([0x88, 0, 0, 5, 0, 0, 1, 0], inner())),
        ("cut", vec![8, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0]),
    ]
}
