//! Which inputs does the fuzzer start from? One small input of every kind that matters.
//!
//! Owns the checked-in corpus: `tests/replay.rs` compares the files with these lists.

use std::net::{Ipv4Addr, Ipv6Addr};

use weft_switch::path::{GATEWAY_MAC, GATEWAY_V6};
use weft_wire::build::{self, EthernetBuilder, TcpSpec};
use weft_wire::{Arp, ArpOperation, EtherType, IpProtocol, Mac, TcpFlags, VnetHeader, vnet};

use crate::node::{PEERS, PORTS, Station, VXLAN, VXLAN_PORT, vtep_mac};

/// Pod a, whose port the frames come from, and pod b on the same node.
const A: Station = PORTS[1];
const B: Station = PORTS[2];

/// A file name and its bytes.
pub type Seed = (&'static str, Vec<u8>);

/// The seeds of every target.
#[must_use]
pub fn all() -> Vec<(&'static str, Vec<Seed>)> {
    vec![
        ("conntrack", scenarios()),
        ("differential", frames()),
        ("doors", scenarios()),
        ("headers", frames()),
        ("journal", journals()),
        ("manifests", manifests()),
        ("merge", transfers()),
        ("pod_door", behind(0x01, frames())),
        ("policy", clusters()),
        ("split", supers()),
        ("tunnel_door", behind(0x00, payloads())),
        ("vxlan", payloads()),
    ]
}

/// The seeds behind the byte that chooses a port or a peer.
fn behind(choice: u8, seeds: Vec<Seed>) -> Vec<Seed> {
    let prefixed = |(name, bytes): Seed| (name, [&[choice][..], &bytes].concat());
    seeds.into_iter().map(prefixed).collect()
}

/// Any choices: a scenario is what the harness makes of them.
fn scenarios() -> Vec<Seed> {
    let choices = |seed: u64| {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        };
        (0..600).map(|_| next()).collect()
    };
    vec![
        ("choices-1", choices(1)),
        ("choices-2", choices(2)),
        ("choices-3", choices(3)),
    ]
}

/// Transfers that are whole, that end early, and some damaged on the way.
fn transfers() -> Vec<Seed> {
    let usual = |flow: u8| [0x20 | flow, 0, 0];
    let whole: Vec<u8> = (0..4).flat_map(|flow| usual(flow).repeat(70)).collect();
    let mixed: Vec<u8> = (0..80).flat_map(|n| usual(n % 4)).collect();
    let special: Vec<u8> = (0..6)
        .flat_map(|kind| [usual(0), usual(1), [kind << 2, 3, 0], [kind << 2 | 1, 3, 0]])
        .flatten()
        .collect();
    let damaged: Vec<u8> = (22..70)
        .flat_map(|at| [usual(at % 4), [0xe0 | (at % 4), at, 0x20], usual(at % 4)])
        .flatten()
        .collect();
    vec![
        ("whole", whole),
        ("interleaved", mixed),
        ("special", special),
        ("damaged", damaged),
    ]
}

/// A super-frame of each kind, bare and in the tunnel, and one that its header misdescribes.
fn supers() -> Vec<Seed> {
    let tcp = TcpSpec {
        flags: TcpFlags(0x99),
        ..syn()
    };
    let (v4, v6) = (
        || a_to_b().ipv4(A.v4(), B.v4()),
        || a_to_b().ipv6(A.v6(), B.v6()),
    );
    let with = |front: &[u8], (kind, size): (u8, u16), header: u16, offset: u16, frame: Vec<u8>| {
        let vnet = VnetHeader {
            flags: vnet::FLAG_NEEDS_CHECKSUM,
            gso_type: kind,
            hdr_len: header,
            gso_size: size,
            csum_start: header - if offset == 16 { 24 } else { 8 },
            csum_offset: offset,
        };
        let mut out = [0; VnetHeader::LEN];
        assert!(vnet.emit(&mut out), "the room of a header");
        let choice = [u8::try_from(front.len()).unwrap_or(0), 1];
        [&choice[..], &out, front, &frame].concat()
    };
    let (tcp4, tcp6) = ((vnet::GSO_TCPV4 | 0x80, 7), (vnet::GSO_TCPV6, 7));
    let udp = (vnet::GSO_UDP_L4, 5);
    vec![
        (
            "tcp4",
            with(&[], tcp4, 58, 16, v4().tcp(tcp.clone(), &[5; 40])),
        ),
        (
            "tcp6",
            with(&[], tcp6, 78, 16, v6().tcp(tcp.clone(), &[5; 40])),
        ),
        ("udp4", with(&VXLAN, udp, 42, 6, v4().udp(1, 2, &[6; 23]))),
        ("udp6", with(&VXLAN, udp, 62, 6, v6().udp(1, 2, &[6; 23]))),
        (
            "one-packet",
            with(&VXLAN, tcp6, 78, 16, v6().tcp(tcp, &[5; 3])),
        ),
        (
            "other-kind",
            with(&[], tcp6, 42, 6, v4().udp(1, 2, &[6; 23])),
        ),
    ]
}

/// A whole journal, one that a power cut left, one that is damaged and one of another version.
fn journals() -> Vec<Seed> {
    let whole = crate::journal::example();
    let mut torn = whole.clone();
    torn.extend(&whole[whole.len() / 2..whole.len() - 9]);
    let mut damaged = whole.clone();
    damaged[60] ^= 0x20;
    vec![
        ("whole", whole),
        ("torn", torn),
        ("damaged", damaged),
        ("other-version", b"weft attachments, version 9\n".to_vec()),
    ]
}

/// Choices for clusters that are written and read, and one manifest as text.
fn manifests() -> Vec<Seed> {
    let text = include_bytes!("policy/example.yaml").to_vec();
    let mut seeds = behind(0, clusters());
    seeds.extend(behind(b'#', vec![("example", text)]));
    seeds
}

/// Enough bytes for whole clusters.
fn clusters() -> Vec<Seed> {
    vec![
        ("random-1", crate::policy::random(1)),
        ("random-2", crate::policy::random(2)),
        ("random-3", crate::policy::random(3)),
    ]
}

fn a_to_b() -> EthernetBuilder {
    build::ethernet(A.mac(), GATEWAY_MAC)
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
            sender_mac: A.mac(),
            sender_ip: A.v4(),
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
    let ip = || a_to_b().ipv4(A.v4(), B.v4());
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
    let ip = || a_to_b().ipv6(A.v6(), B.v6());
    let link_local = A.link_local();
    let nd = || a_to_b().ipv6(link_local, GATEWAY_V6).ttl(255);
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
                &about(GATEWAY_V6, [1, 1, 0x02, 0xaa, 0, 0, 1, 1]),
            ),
        ),
        (
            "ipv6-advert",
            nd().icmpv6(
                136,
                0,
                [0x60, 0, 0, 0],
                &about(link_local, [2, 1, 0x02, 0xaa, 0, 0, 1, 1]),
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
        .ipv6(A.v6(), B.v6())
        .extension(IpProtocol::HOP_BY_HOP, &[1, 4, 0, 0, 0, 0])
        .extension(IpProtocol::ROUTING, &[2, 0, 0, 0, 0, 0])
        .extension(IpProtocol::AH, &[0; 14])
        .extension(IpProtocol::DEST_OPTIONS, &[1, 4, 0, 0, 0, 0])
        .fragment(9, 0, false)
        .udp(40000, 53, b"weft")
}

fn fragments() -> Vec<Seed> {
    let v4 = || a_to_b().ipv4(A.v4(), B.v4());
    let v6 = || a_to_b().ipv6(A.v6(), B.v6());
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

/// UDP payloads of the tunnel, from a pod of the first peer.
fn payloads() -> Vec<Seed> {
    let remote = Station {
        node: PEERS[0].0,
        ..B
    };
    let with = |header: [u8; 8], frame: Vec<u8>| [&header[..], &frame].concat();
    let inner = || build::ethernet(vtep_mac(remote.node), vtep_mac(A.node));
    let v4 = || inner().ipv4(remote.v4(), A.v4());
    let v6 = || inner().ipv6(remote.v6(), A.v6());
    let udp = || v4().udp(40000, 53, b"weft");
    vec![
        ("ipv4-udp", with(VXLAN, udp())),
        ("ipv4-tcp-syn", with(VXLAN, v4().tcp(syn(), b""))),
        (
            "ipv6-echo",
            with(VXLAN, v6().icmp_echo_request(7, 1, b"ping")),
        ),
        (
            "ipv6-chain",
            with(
                VXLAN,
                v6().extension(IpProtocol::DEST_OPTIONS, &[1, 4, 0, 0, 0, 0])
                    .tcp(syn(), b""),
            ),
        ),
        (
            "to-the-node",
            with(
                VXLAN,
                inner().ipv4(remote.v4(), PORTS[0].v4()).udp(1, 2, b""),
            ),
        ),
        (
            "transit",
            with(
                VXLAN,
                inner()
                    .ipv4(remote.v4(), Ipv4Addr::new(10, 244, 3, 2))
                    .udp(1, 2, b""),
            ),
        ),
        ("vni-0", with([8, 0, 0, 0, 0, 0, 0, 0], udp())),
        ("no-vni", with([0, 0, 0, 0, 0, 0, 1, 0], udp())),
        ("group-policy", with([0x88, 0, 0, 5, 0, 0, 1, 0], udp())),
        (
            "nested",
            with(VXLAN, v4().udp(40000, VXLAN_PORT, &with(VXLAN, udp()))),
        ),
        ("cut", with(VXLAN, vec![2, 0, 0])),
    ]
}
