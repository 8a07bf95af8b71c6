//! Is every intended difference from etherparse a real one? One frame for each rule.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, Ipv6Addr};

use weft_fuzz::differential::Readings;
use weft_fuzz::differential::rules::RULES;
use weft_wire::build::{self, EthernetBuilder, IpBuilder, TcpSpec, V4, V6};
use weft_wire::{EtherType, IpProtocol, Mac};

fn ethernet() -> EthernetBuilder {
    build::ethernet(Mac::new([2, 0, 0, 0, 0, 1]), Mac::new([2, 0, 0, 0, 0, 2]))
}

fn v4() -> IpBuilder<V4> {
    ethernet().ipv4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2))
}

fn v6() -> IpBuilder<V6> {
    let address = |last| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last);
    ethernet().ipv6(address(1), address(2))
}

/// The frame with one byte replaced.
fn with(mut frame: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    frame[at] = byte;
    frame
}

fn nine_headers() -> Vec<u8> {
    let mut packet = v6();
    for _ in 0..9 {
        packet = packet.extension(IpProtocol::DEST_OPTIONS, &[1, 4, 0, 0, 0, 0]);
    }
    packet.udp(1, 2, b"")
}

fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let hop_by_hop = v6()
        .extension(IpProtocol::HOP_BY_HOP, &[1, 4, 0, 0, 0, 0])
        .udp(1, 2, b"");
    let sctp_first = v4().fragment(1, 0, true).payload(
        IpProtocol::UDP,
        &[0, 1, 0, 2, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    vec![
        ("ipv4-checksum", with(v4().udp(1, 2, b""), 24, 0xaa)),
        ("ipv4-options", v4().options(&[131, 9, 4, 0]).udp(1, 2, b"")),
        (
            "ipv4-authentication",
            v4().payload(IpProtocol::AH, &[17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
        ),
        (
            "fragment-length",
            v4().fragment(1, 8, true).payload(IpProtocol::UDP, &[0; 9]),
        ),
        ("first-fragment-headers", sctp_first),
        (
            "tcp-fragment-at-8",
            v6().fragment(1, 8, false).tcp(TcpSpec::default(), b""),
        ),
        ("udp-length", with(v4().udp(1, 2, b"weft"), 14 + 20 + 5, 9)),
        ("chain-limits", nine_headers()),
        ("jumbogram", with(with(hop_by_hop, 14 + 4, 0), 14 + 5, 0)),
        (
            "arp-kind",
            ethernet().raw(EtherType::ARP, &[0, 6, 8, 0, 6, 4, 0, 1].repeat(4)),
        ),
        (
            "link-extensions",
            ethernet().raw(EtherType::VLAN, &[0, 5, 8, 0]),
        ),
        (
            "behind-a-later-fragment",
            v6().fragment(1, 16, true)
                .extension(IpProtocol::DEST_OPTIONS, &[9; 6])
                .udp(1, 2, b""),
        ),
        (
            "icmp-of-the-other-family",
            v4().payload(IpProtocol::ICMPV6, &[128, 0]),
        ),
        ("igmp", v4().payload(IpProtocol(2), &[0x11])),
        ("icmp-timestamp-length", v4().icmp(13, 0, [0; 4], b"")),
    ]
}

#[test]
fn every_rule_has_a_frame_on_which_we_differ() {
    let examples = examples();
    let names: Vec<&str> = examples.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        RULES.iter().map(|rule| rule.name).collect::<Vec<_>>()
    );
    for (name, frame) in examples {
        let readings = Readings::of(&frame);
        assert!(!readings.agree(), "{name}: no difference in {readings:?}");
        assert_eq!(
            readings.rule().map(|rule| rule.name),
            Some(name),
            "{readings:?}"
        );
    }
}
