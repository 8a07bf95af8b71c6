//! One situation at least for every reason, each with an innocent neighbour elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_encap::Ecn;
use weft_switch::path::{
    Decider, DropReason as R, Example, Fate, GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6, Origin, Tables,
};
use weft_wire::build::{self, TcpSpec};
use weft_wire::ndp::solicited_node;
use weft_wire::{Arp, ArpOperation, EtherType, FlowKey, IpProtocol, Mac, VnetHeader};

use crate::world::*;

mod addresses;
mod link;
mod neighbors;
mod packets;
mod routes;
mod staged;

struct Case {
    name: &'static str,
    door: Door,
    bytes: Vec<u8>,
    reason: R,
}

/// A frame read from a pod.
fn pod(name: &'static str, bytes: Vec<u8>, reason: R) -> Case {
    Case {
        name,
        door: Door::Pod(POD),
        bytes,
        reason,
    }
}

/// A frame read from the host port.
fn host(name: &'static str, bytes: Vec<u8>, reason: R) -> Case {
    Case {
        name,
        door: Door::Pod(HOST),
        bytes,
        reason,
    }
}

/// An inner frame from the first peer.
fn peer(name: &'static str, inner: Vec<u8>, reason: R) -> Case {
    Case {
        name,
        door: PEER_DOOR,
        bytes: tunnelled(VNI, &inner),
        reason,
    }
}

fn edited(mut bytes: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

fn cut(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
    bytes.truncate(len);
    bytes
}

fn v4(dst: Ipv4Addr) -> build::IpBuilder<build::V4> {
    POD.says().ipv4(POD.v4(), dst)
}

fn v6(dst: Ipv6Addr) -> build::IpBuilder<build::V6> {
    POD.says().ipv6(POD.v6(), dst)
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn outside6() -> Ipv6Addr {
    "2001:db8::7".parse().unwrap()
}

fn group() -> build::EthernetBuilder {
    build::ethernet(POD.mac(), Mac::new([0x33, 0x33, 0, 0, 0, 1]))
}

fn solicited(target: Ipv6Addr) -> Ipv6Addr {
    match solicited_node(target) {
        IpAddr::V6(group) => group,
        IpAddr::V4(_) => unreachable!(),
    }
}

fn cases() -> Vec<Case> {
    [
        link::malformed(),
        link::link_layer(),
        neighbors::neighbor_discovery(),
        packets::hygiene(),
        addresses::addresses(),
        routes::routes(),
        routes::tunnel(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_case_meets_its_reason() {
    for case in cases() {
        let mut world = World::new();
        let outcome = world.send(case.door, &case.bytes);
        assert_eq!(outcome.fate, Fate::Drop(case.reason), "{}", case.name);
        let told = matches!(case.reason, R::NoSuchPod | R::TtlExpired | R::TooBig);
        let Delta {
            fragments,
            icmp_sent,
            icmp_suppressed,
        } = outcome.delta;
        assert_eq!(
            (fragments, icmp_sent, icmp_suppressed),
            (0, told.into(), 0),
            "{}",
            case.name
        );
        assert_eq!(
            outcome.to_pod.len() + outcome.to_peer.len(),
            usize::from(told),
            "{}",
            case.name
        );
        let example = world.path.examples().last(case.reason).expect(case.name);
        assert_eq!(example.at, world.now, "{}", case.name);
    }
}

/// Reasons that take other tables, vnet headers or a flood have tests of their own below.
const ELSEWHERE: [R; 5] = [
    R::ClosedPort,
    R::UnexpectedOffload,
    R::BadOffload,
    R::TableFull,
    R::NoBuffer,
];

#[test]
fn every_staged_reason_is_met() {
    for (reason, fate) in staged::staged() {
        assert_eq!(fate, Fate::Drop(reason));
    }
}

#[test]
fn every_reason_of_the_path_has_a_case() {
    let staged = staged::staged().into_iter().map(|(reason, _)| reason);
    let cases = cases().into_iter().map(|case| case.reason).chain(staged);
    let cases: Vec<R> = cases.chain(ELSEWHERE).collect();
    for reason in R::ALL {
        let is_ours = reason.decider() == Decider::Path;
        assert_eq!(cases.contains(reason), is_ours, "{reason}");
    }
}

#[test]
fn a_closed_port_forwards_nothing() {
    let mut world = World::with(tables(&[HOST, OTHER]), 8, 64);
    for frame in [
        v4(OTHER.v4()).udp(1, 2, b""),
        v4(REMOTE.v4()).udp(1, 2, b""),
        v4(GATEWAY_V4).icmp_echo_request(1, 1, b""),
        build::ethernet(POD.mac(), Mac::BROADCAST).raw(EtherType::ARP, &[0; 28]),
    ] {
        assert_eq!(world.pod_sends(POD, &frame).fate, Fate::Drop(R::ClosedPort));
    }
}

#[test]
fn empty_tables_forward_nothing() {
    for case in cases() {
        let mut world = World::with(Tables::empty(), 8, 64);
        let outcome = world.send(case.door, &case.bytes);
        let expected = if let Door::Pod(_) = case.door {
            R::ClosedPort
        } else {
            R::UnknownPeer
        };
        assert_eq!(outcome.fate, Fate::Drop(expected), "{}", case.name);
        assert!(
            outcome.to_pod.is_empty() && outcome.to_peer.is_empty(),
            "{}",
            case.name
        );
    }
}

#[test]
fn offloads_are_not_negotiated() {
    let frame = v4(REMOTE.v4()).tcp(TcpSpec::default(), &[0; 100]);
    let vnet = |flags, gso_type, csum_start, csum_offset| VnetHeader {
        flags,
        gso_type,
        csum_start,
        csum_offset,
        ..VnetHeader::NONE
    };
    for (vnet, reason) in [
        (vnet(0, 1, 0, 0), R::UnexpectedOffload),
        (vnet(1, 4, 34, 16), R::UnexpectedOffload),
        (vnet(1, 0x80, 34, 16), R::UnexpectedOffload),
        (vnet(1, 0, 0xffff, 16), R::BadOffload),
        (vnet(1, 0, 34, 0xffff), R::BadOffload),
        (vnet(1, 0, 153, 0), R::BadOffload),
    ] {
        let outcome = World::new().send_with(Door::Pod(POD), &frame, vnet);
        assert_eq!(outcome.fate, Fate::Drop(reason), "{vnet:?}");
    }
}

#[test]
fn a_full_connection_table_refuses_the_newcomer_only() {
    let mut world = World::with(tables(&[HOST, POD, OTHER]), 8, 16);
    let connect = |from: Station, port| {
        let spec = TcpSpec {
            src_port: port,
            dst_port: 80,
            flags: weft_wire::TcpFlags::SYN,
            ..TcpSpec::default()
        };
        from.says().ipv4(from.v4(), REMOTE.v4()).tcp(spec, b"")
    };
    for port in 1..200 {
        world.pod_sends(OTHER, &connect(OTHER, port));
    }
    let full = (1..50).map(|port| world.pod_sends(POD, &connect(POD, port)).fate);
    assert!(
        full.into_iter()
            .any(|fate| fate == Fate::Drop(R::TableFull))
    );
}

#[test]
fn an_empty_pool_cuts_nothing() {
    let frame = v4(REMOTE.v4()).dont_fragment(false).udp(1, 2, &[0; 4000]);
    for frames in 1..3 {
        let mut world = World::with(tables(&[HOST, POD]), frames, 64);
        let outcome = world.pod_sends(POD, &frame);
        assert_eq!(
            outcome.fate,
            Fate::Drop(R::NoBuffer),
            "{frames} buffers for 3 fragments"
        );
        assert!(outcome.to_peer.is_empty());
    }
}

/// What waits to be sent never grows past the pool's frames.
#[test]
fn frames_beyond_the_pool_are_dropped() {
    for frame in [v4(OTHER.v4()), v4(REMOTE.v4()), v4(GATEWAY_V4)] {
        let mut world = World::with(tables(&[HOST, POD, OTHER]), 2, 64);
        let frame = frame.icmp_echo_request(1, 1, b"");
        let fates = world.send_strangers(Door::Pod(POD), &frame, 3);
        assert!(!fates[..2].contains(&Fate::Drop(R::NoBuffer)));
        assert_eq!(fates[2], Fate::Drop(R::NoBuffer));
    }
}

/// A frame that came without room for the tunnel's headers is dropped whole.
#[test]
fn a_frame_without_headroom_is_dropped_with_its_fragments() {
    for len in [10, 4000] {
        let frame = v4(REMOTE.v4())
            .dont_fragment(false)
            .udp(1, 2, &vec![0; len]);
        let fate = World::new().send_without_headroom(Door::Pod(POD), &frame);
        assert_eq!(fate, Fate::Drop(R::NoBuffer), "{len} bytes");
    }
}

/// One example per reason and moment, so that a flood of drops costs no more than that.
#[test]
fn an_example_is_the_first_of_its_moment() {
    let mut world = World::new();
    let mut example = |from: Station, to: Station| {
        world.pod_sends(from, &from.says().ipv4(to.v4(), to.v4()).udp(1, 2, b""));
        let source = world
            .path
            .examples()
            .last(R::SpoofedIpv4)
            .unwrap()
            .flow
            .unwrap()
            .src;
        world.pass(weft_policy::Span::from_millis(u64::from(
            to.port == OTHER.port,
        )));
        source
    };
    assert_eq!(example(POD, NARROW), IpAddr::V4(NARROW.v4()));
    assert_eq!(
        example(POD, OTHER),
        IpAddr::V4(NARROW.v4()),
        "the same moment"
    );
    assert_eq!(
        example(POD, OTHER),
        IpAddr::V4(OTHER.v4()),
        "another moment"
    );
}

#[test]
fn an_example_says_who_sent_what() {
    let mut world = World::new();
    let frame = OTHER
        .says()
        .ipv4(POD.v4(), REMOTE.v4())
        .udp(4000, 53, b"who");
    world.pod_sends(OTHER, &frame);
    let flow = FlowKey {
        src: POD.v4().into(),
        dst: REMOTE.v4().into(),
        protocol: IpProtocol::UDP,
        src_port: 4000,
        dst_port: 53,
    };
    let example = Example {
        at: world.now,
        origin: Origin::Port(OTHER.id()),
        len: frame.len(),
        ethernet: Some((OTHER.mac(), GATEWAY_MAC, EtherType::IPV4)),
        flow: Some(flow),
    };
    assert_eq!(world.path.examples().last(R::SpoofedIpv4), Some(&example));
    world.send(
        Door::Underlay([192, 0, 2, 99].into(), Ecn::NotEct),
        b"noise",
    );
    let example = world.path.examples().last(R::UnknownPeer).unwrap();
    assert_eq!(example.origin, Origin::Underlay([192, 0, 2, 99].into()));
    assert_eq!(
        (example.len, example.ethernet, example.flow),
        (5, None, None)
    );
    world.path.reset_drops();
    assert_eq!(world.path.examples().last(R::UnknownPeer), None);
}
