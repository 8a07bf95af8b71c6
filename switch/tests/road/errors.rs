//! What senders are told: contents, quotes, MTUs, limits, and about what silence is kept.

use std::net::{IpAddr, Ipv4Addr};

use weft_policy::Span;
use weft_switch::path::{DropReason, Fate, GATEWAY_V4, GATEWAY_V6};
use weft_wire::icmp::IcmpMessage;
use weft_wire::{Headers, IpProtocol, Parsed, Transport, parse};

use crate::world::*;

/// What an error must say.
struct Told {
    from: IpAddr,
    to: IpAddr,
    kind: u8,
    code: u8,
    rest: u32,
}

fn told(from: impl Into<IpAddr>, to: impl Into<IpAddr>, kind: u8, code: u8, rest: u32) -> Told {
    let (from, to) = (from.into(), to.into());
    Told {
        from,
        to,
        kind,
        code,
        rest,
    }
}

fn ip(frame: &[u8]) -> Headers {
    match parse(frame).unwrap() {
        Parsed::Ip(packet) => packet,
        other => panic!("{other:?}"),
    }
}

fn assert_told(name: &str, error: &[u8], about: &[u8], expected: &Told) {
    let packet = ip(error);
    assert_eq!(
        (packet.flow.src, packet.flow.dst),
        (expected.from, expected.to),
        "{name}"
    );
    assert_eq!(
        (packet.hop_limit, packet.traffic_class),
        (64, 0xc0),
        "{name}"
    );
    let (kind, code) = match packet.transport {
        Transport::Icmp { kind, code } | Transport::Icmpv6 { kind, code } => (kind, code),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!((kind, code), (expected.kind, expected.code), "{name}");
    let message = IcmpMessage::new_checked(&error[packet.l4..packet.end]).unwrap();
    assert_eq!(message.rest(), expected.rest, "{name}");
    let longest = if expected.from.is_ipv4() { 576 } else { 1280 };
    let original = ip(about);
    let full = original.ip_len() + (packet.l4 - packet.l3) + 8;
    assert_eq!(
        packet.ip_len(),
        full.min(longest),
        "{name}: as much as fits is quoted"
    );
    // The hop that refused the packet may have aged it already.
    let mut quote = message.payload().to_vec();
    let mut sent = about[14..14 + quote.len()].to_vec();
    let ttl = if expected.from.is_ipv4() {
        &[8, 10, 11][..]
    } else {
        &[7]
    };
    for at in ttl {
        (quote[*at], sent[*at]) = (0, 0);
    }
    assert_eq!(quote, sent, "{name}");
}

fn to_pods() -> Vec<(&'static str, Station, Vec<u8>, Told)> {
    let vacant4 = Ipv4Addr::new(10, 244, 1, 200);
    let vacant6 = "fd00:10:244:1::99".parse().unwrap();
    let outside = Ipv4Addr::new(198, 51, 100, 7);
    let big = [0x5a; 1500];
    let pod4 = |dst| POD.says().ipv4(POD.v4(), dst);
    let pod6 = |dst| POD.says().ipv6(POD.v6(), dst);
    vec![
        (
            "TTL",
            POD,
            pod4(REMOTE.v4()).ttl(1).udp(1, 2, b"x"),
            told(GATEWAY_V4, POD.v4(), 11, 0, 0),
        ),
        (
            "hop limit",
            POD,
            pod6(REMOTE.v6()).ttl(1).udp(1, 2, b"x"),
            told(GATEWAY_V6, POD.v6(), 3, 0, 0),
        ),
        (
            "TTL of a ping",
            POD,
            pod4(OTHER.v4()).ttl(1).icmp_echo_request(1, 1, b"x"),
            told(GATEWAY_V4, POD.v4(), 11, 0, 0),
        ),
        (
            "TTL of a first fragment",
            POD,
            pod4(OTHER.v4())
                .ttl(1)
                .fragment(7, 0, true)
                .udp(1, 2, &[0; 16]),
            told(GATEWAY_V4, POD.v4(), 11, 0, 0),
        ),
        (
            "vacant address",
            POD,
            pod4(vacant4).udp(1, 2, b"x"),
            told(GATEWAY_V4, POD.v4(), 3, 1, 0),
        ),
        (
            "vacant address, IPv6",
            POD,
            pod6(vacant6).udp(1, 2, b"x"),
            told(GATEWAY_V6, POD.v6(), 1, 3, 0),
        ),
        (
            "too big for the tunnel",
            POD,
            pod4(REMOTE.v4()).udp(1, 2, &big),
            told(GATEWAY_V4, POD.v4(), 3, 4, 1450),
        ),
        (
            "too big for the tunnel, IPv6",
            POD,
            pod6(REMOTE.v6()).udp(1, 2, &big),
            told(GATEWAY_V6, POD.v6(), 2, 0, 1450),
        ),
        (
            "too big for another tunnel",
            POD,
            pod6(FAR.v6()).udp(1, 2, &big),
            told(GATEWAY_V6, POD.v6(), 2, 0, 1400),
        ),
        (
            "too big for a pod",
            POD,
            pod4(NARROW.v4()).udp(1, 2, &big),
            told(GATEWAY_V4, POD.v4(), 3, 4, 1300),
        ),
        (
            "with options",
            POD,
            pod4(REMOTE.v4())
                .options(&[7, 7, 4, 0, 0, 0, 0])
                .ttl(1)
                .udp(1, 2, b"x"),
            told(GATEWAY_V4, POD.v4(), 11, 0, 0),
        ),
        (
            "behind extension headers",
            POD,
            pod6(REMOTE.v6())
                .extension(IpProtocol::DEST_OPTIONS, &[1, 4])
                .ttl(1)
                .udp(1, 2, b"x"),
            told(GATEWAY_V6, POD.v6(), 3, 0, 0),
        ),
        (
            "the host",
            HOST,
            HOST.says().ipv4(HOST.v4(), REMOTE.v4()).udp(1, 2, &big),
            told(GATEWAY_V4, HOST.v4(), 3, 4, 1450),
        ),
        (
            "through the host",
            HOST,
            HOST.says().ipv4(outside, POD.v4()).ttl(1).udp(1, 2, b"x"),
            told(GATEWAY_V4, outside, 11, 0, 0),
        ),
    ]
}

#[test]
fn a_local_sender_hears_from_the_gateway() {
    for (name, from, frame, expected) in to_pods() {
        let outcome = World::new().pod_sends(from, &frame);
        assert_eq!(
            outcome.delta,
            Delta {
                icmp_sent: 1,
                ..Delta::default()
            },
            "{name}"
        );
        assert_eq!(outcome.to_pod[0].port, from.id(), "{name}");
        assert_told(name, outcome.only_write(), &frame, &expected);
    }
}

#[test]
fn a_remote_sender_hears_from_this_node() {
    let remote4 = |dst| inner().ipv4(REMOTE.v4(), dst);
    let remote6 = |dst| inner().ipv6(REMOTE.v6(), dst);
    let vacant4 = Ipv4Addr::new(10, 244, 1, 200);
    let big = [0x5a; 1400];
    for (name, frame, expected) in [
        (
            "TTL",
            remote4(POD.v4()).ttl(1).udp(1, 2, b"x"),
            told(HOST.v4(), REMOTE.v4(), 11, 0, 0),
        ),
        (
            "hop limit",
            remote6(POD.v6()).ttl(1).udp(1, 2, b"x"),
            told(HOST.v6(), REMOTE.v6(), 3, 0, 0),
        ),
        (
            "vacant address",
            remote4(vacant4).udp(1, 2, b"x"),
            told(HOST.v4(), REMOTE.v4(), 3, 1, 0),
        ),
        (
            "too big for a pod",
            remote4(NARROW.v4()).udp(1, 2, &big),
            told(HOST.v4(), REMOTE.v4(), 3, 4, 1300),
        ),
        (
            "too big for a pod, IPv6",
            remote6(NARROW.v6()).udp(1, 2, &big),
            told(HOST.v6(), REMOTE.v6(), 2, 0, 1300),
        ),
    ] {
        let outcome = World::new().peer_sends(&frame);
        assert_eq!(
            outcome.delta,
            Delta {
                icmp_sent: 1,
                ..Delta::default()
            },
            "{name}"
        );
        assert_eq!(outcome.to_peer[0].vtep, IpAddr::V4(PEERS[0].0), "{name}");
        assert_told(name, outcome.only_send(), &frame, &expected);
    }
}

/// RFC 1122 §3.2.2, RFC 4443 §2.4 e: each would be told of its TTL otherwise.
#[test]
fn silence_is_kept_about() {
    let quoted = POD.says().ipv4(REMOTE.v4(), POD.v4()).udp(1, 2, b"x")[14..].to_vec();
    let quoted = [
        &quoted[..12],
        &REMOTE.v4().octets(),
        &POD.v4().octets(),
        &quoted[20..],
    ]
    .concat();
    let quoted6 = POD.says().ipv6(REMOTE.v6(), POD.v6()).udp(1, 2, b"x")[14..].to_vec();
    let pod4 = || POD.says().ipv4(POD.v4(), REMOTE.v4()).ttl(1);
    let pod6 = || POD.says().ipv6(POD.v6(), REMOTE.v6()).ttl(1);
    for (name, frame) in [
        ("an unreachable", pod4().icmp(3, 3, [0; 4], &quoted)),
        ("a source quench", pod4().icmp(4, 0, [0; 4], &quoted)),
        ("a time exceeded", pod4().icmp(11, 0, [0; 4], &quoted)),
        ("a parameter problem", pod4().icmp(12, 0, [0; 4], &quoted)),
        ("an IPv6 unreachable", pod6().icmpv6(1, 4, [0; 4], &quoted6)),
        (
            "an IPv6 packet too big",
            pod6().icmpv6(2, 0, [0, 0, 5, 0], &quoted6),
        ),
        ("an unknown IPv6 error", pod6().icmpv6(99, 0, [0; 4], b"")),
        (
            "a later fragment",
            pod4()
                .fragment(7, 64, false)
                .payload(IpProtocol::UDP, b"rest"),
        ),
        (
            "a later IPv6 fragment",
            pod6()
                .fragment(7, 64, false)
                .payload(IpProtocol::UDP, b"rest"),
        ),
    ] {
        let mut world = World::new();
        // What a later fragment follows.
        let ends4 = POD.says().ipv4(POD.v4(), REMOTE.v4());
        world.pod_sends(POD, &ends4.fragment(7, 0, true).udp(1, 2, &[0; 8]));
        let ends6 = POD.says().ipv6(POD.v6(), REMOTE.v6());
        world.pod_sends(POD, &ends6.fragment(7, 0, true).udp(1, 2, &[0; 8]));
        let outcome = world.pod_sends(POD, &frame);
        assert_eq!(outcome.fate, Fate::Drop(DropReason::TtlExpired), "{name}");
        assert_eq!(
            outcome.delta,
            Delta {
                icmp_suppressed: 1,
                ..Delta::default()
            },
            "{name}"
        );
        assert!(outcome.to_pod.is_empty(), "{name}");
    }
}

#[test]
fn errors_are_limited_per_port_and_for_the_tunnel() {
    let mut world = World::new();
    let expired = |from: Station| {
        from.says()
            .ipv4(from.v4(), REMOTE.v4())
            .ttl(1)
            .udp(1, 2, b"x")
    };
    let sent = |world: &mut World, from: Station, n: usize| -> u64 {
        (0..n)
            .map(|_| world.pod_sends(from, &expired(from)).delta.icmp_sent)
            .sum()
    };
    assert_eq!(sent(&mut world, POD, 1000), 20, "a burst");
    assert_eq!(world.path.counters().icmp_suppressed, 980);
    assert_eq!(sent(&mut world, OTHER, 5), 5, "another pod has its own");
    let through_tunnel = inner().ipv4(REMOTE.v4(), POD.v4()).ttl(1).udp(1, 2, b"x");
    let sent_back: u64 = (0..100)
        .map(|_| world.peer_sends(&through_tunnel).delta.icmp_sent)
        .sum();
    assert_eq!(sent_back, 20, "the tunnel has its own");
    assert_eq!(sent(&mut world, HOST, 5), 5, "and so has the host");
    world.pass(Span::from_millis(10));
    assert_eq!(sent(&mut world, POD, 10), 1, "one per 10 ms afterwards");
}

/// A node that has no address of the family cannot speak it to a peer.
#[test]
fn without_an_address_there_is_no_error() {
    let mut world = World::new();
    world.tables.node.ipv6 = None;
    let frame = inner().ipv6(REMOTE.v6(), POD.v6()).ttl(1).udp(1, 2, b"x");
    let outcome = world.peer_sends(&frame);
    assert_eq!(
        outcome.delta,
        Delta {
            icmp_suppressed: 1,
            ..Delta::default()
        }
    );
}

/// An error about a packet of a known connection belongs to that connection; its address
/// must be the one that sent the packet.
#[test]
fn errors_from_afar_reach_the_flow_they_are_about() {
    let mut world = World::new();
    let sent = POD.says().ipv4(POD.v4(), REMOTE.v4()).udp(4000, 53, b"who");
    let on_the_wire = world.pod_sends(POD, &sent).only_send().to_vec();
    let error = inner()
        .ipv4(REMOTE_NODE.v4(), POD.v4())
        .icmp(3, 3, [0; 4], &on_the_wire[14..]);
    let outcome = world.peer_sends(&error);
    assert_eq!(outcome.fate, Fate::ToPod(POD.id()));
    assert_eq!(outcome.to_pod[0].queue, Some(0), "where the flow lives");
}
