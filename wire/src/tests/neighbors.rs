//! Neighbour discovery: what RFC 4861 §7.1 accepts, one broken rule at a time.

use core::net::{IpAddr, Ipv6Addr};

use super::{MAC_A, V6_A, V6_B, ethernet, headers};
use crate::{
    IpProtocol, Mac, NeighborAdvert, NeighborSolicit,
    build::{IpBuilder, V6},
    checksum,
    ndp::solicited_node,
};

const TARGET: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const LLADDR: [u8; 8] = [1, 1, 2, 0, 0, 0, 0, 1];

fn group() -> Ipv6Addr {
    match solicited_node(TARGET) {
        IpAddr::V6(group) => group,
        IpAddr::V4(_) => unreachable!(),
    }
}

fn ip() -> IpBuilder<V6> {
    ethernet().ipv6(V6_A, group()).ttl(255)
}

fn body(target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    [&target.octets(), options].concat()
}

fn solicit(ip: IpBuilder<V6>, code: u8, body: &[u8]) -> Option<NeighborSolicit> {
    let frame = ip.icmpv6(135, code, [0; 4], body);
    NeighborSolicit::parse(&frame, &headers(&frame))
}

#[test]
fn the_group_of_a_target() {
    let target = "fe80::2aa:ff:fe28:9c5a".parse().unwrap();
    assert_eq!(solicited_node(target).to_string(), "ff02::1:ff28:9c5a");
}

#[test]
fn valid_solicitations() {
    let with = NeighborSolicit {
        target: TARGET,
        source_lladdr: Some(MAC_A),
    };
    let without = NeighborSolicit {
        target: TARGET,
        source_lladdr: None,
    };
    assert_eq!(solicit(ip(), 0, &body(TARGET, &LLADDR)), Some(with));
    assert_eq!(solicit(ip(), 0, &body(TARGET, &[])), Some(without));
    let other = [&[14, 1, 0, 0, 0, 0, 0, 0], &LLADDR[..]].concat();
    assert_eq!(
        solicit(ip(), 0, &body(TARGET, &other)),
        Some(with),
        "unknown options are passed"
    );
    let detection = ethernet().ipv6(Ipv6Addr::UNSPECIFIED, group()).ttl(255);
    assert_eq!(solicit(detection, 0, &body(TARGET, &[])), Some(without));
    let hop = ip().extension(IpProtocol::HOP_BY_HOP, &[]);
    assert_eq!(solicit(hop, 0, &body(TARGET, &[])), Some(without));
}

#[test]
fn solicitations_that_break_one_rule() {
    let valid = body(TARGET, &LLADDR);
    let unspecified = |dst| ethernet().ipv6(Ipv6Addr::UNSPECIFIED, dst).ttl(255);
    let cases = [
        ("hop limit", solicit(ip().ttl(254), 0, &valid)),
        ("code", solicit(ip(), 1, &valid)),
        ("short", solicit(ip(), 0, &valid[..15])),
        (
            "multicast target",
            solicit(ip(), 0, &body(group(), &LLADDR)),
        ),
        (
            "atomic fragment",
            solicit(ip().fragment(1, 0, false), 0, &valid),
        ),
        (
            "atomic fragment behind options",
            solicit(
                ip().extension(IpProtocol::DEST_OPTIONS, &[])
                    .fragment(1, 0, false),
                0,
                &valid,
            ),
        ),
        (
            "first fragment",
            solicit(ip().fragment(1, 0, true), 0, &valid),
        ),
        (
            "unspecified source with lladdr",
            solicit(unspecified(group()), 0, &valid),
        ),
        (
            "unspecified source to unicast",
            solicit(unspecified(TARGET), 0, &body(TARGET, &[])),
        ),
    ];
    for (name, parsed) in cases {
        assert_eq!(parsed, None, "{name}");
    }
}

#[test]
fn solicitations_with_broken_options_or_checksum() {
    let cases = [
        (
            "option of length 0",
            solicit(ip(), 0, &body(TARGET, &[14, 0, 0, 0, 0, 0, 0, 0])),
        ),
        ("option cut", solicit(ip(), 0, &body(TARGET, &LLADDR[..7]))),
        ("one stray byte", solicit(ip(), 0, &body(TARGET, &[1]))),
        (
            "lladdr of 14 bytes",
            solicit(
                ip(),
                0,
                &body(TARGET, &[1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ),
        ),
    ];
    for (name, parsed) in cases {
        assert_eq!(parsed, None, "{name}");
    }
    let valid = body(TARGET, &LLADDR);
    let mut frame = ip().icmpv6(135, 0, [0; 4], &valid);
    frame[56] ^= 1;
    assert_eq!(
        NeighborSolicit::parse(&frame, &headers(&frame)),
        None,
        "checksum"
    );
    let advert = ip().icmpv6(136, 0, [0; 4], &valid);
    assert_eq!(
        NeighborSolicit::parse(&advert, &headers(&advert)),
        None,
        "type"
    );
}

fn emitted(advert: &NeighborAdvert, dst: Ipv6Addr) -> Vec<u8> {
    let mut message = [0xee; NeighborAdvert::MAX_LEN];
    let len = advert.emit(V6_A, dst, &mut message).unwrap();
    assert_eq!(len, advert.message_len());
    ethernet()
        .ipv6(V6_A, dst)
        .ttl(255)
        .payload(IpProtocol::ICMPV6, &message[..len])
}

#[test]
fn adverts_round_trip() {
    for bits in 0..16u8 {
        let advert = NeighborAdvert {
            target: TARGET,
            target_lladdr: (bits & 8 != 0).then_some(Mac::new([2, 0x77, 0x65, 0x66, 0x74, 1])),
            router: bits & 1 != 0,
            solicited: bits & 2 != 0,
            override_cached: bits & 4 != 0,
        };
        let frame = emitted(&advert, V6_B);
        let parsed = headers(&frame);
        assert!(checksum::verify_transport(&frame, &parsed));
        assert_eq!(NeighborAdvert::parse(&frame, &parsed), Some(advert));
        let multicast = emitted(&advert, group());
        let accepted = NeighborAdvert::parse(&multicast, &headers(&multicast)).is_some();
        assert_eq!(
            accepted, !advert.solicited,
            "a solicited advert is never multicast"
        );
        assert_eq!(advert.emit(V6_A, V6_B, &mut [0; 23]), None);
    }
}
