//! What the gateway answers, byte by byte.

use std::net::Ipv6Addr;

use weft_switch::path::{DropReason, Fate, GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6};
use weft_wire::ndp::NeighborAdvert;
use weft_wire::{Arp, ArpOperation, Mac, Parsed, build, parse};

use crate::world::*;

fn arp_request() -> Arp {
    Arp {
        operation: ArpOperation::Request,
        sender_mac: POD.mac(),
        sender_ip: POD.v4(),
        target_mac: Mac::ZERO,
        target_ip: GATEWAY_V4,
    }
}

#[test]
fn arp_for_the_gateway_is_answered() {
    for destination in [Mac::BROADCAST, GATEWAY_MAC] {
        let mut request = build::ethernet(POD.mac(), destination).arp(arp_request());
        request.resize(60, 0);
        let outcome = World::new().pod_sends(POD, &request);
        assert_eq!(outcome.fate, Fate::Hairpin);
        assert_eq!(outcome.to_pod[0].port, POD.id());
        let answer = Arp {
            operation: ArpOperation::Reply,
            sender_mac: GATEWAY_MAC,
            sender_ip: GATEWAY_V4,
            target_mac: POD.mac(),
            target_ip: POD.v4(),
        };
        let expected = build::ethernet(GATEWAY_MAC, POD.mac()).arp(answer);
        assert_eq!(outcome.only_write(), expected);
    }
}

#[test]
fn the_host_port_has_the_same_gateway() {
    let request = Arp {
        sender_mac: HOST.mac(),
        sender_ip: HOST.v4(),
        ..arp_request()
    };
    let frame = build::ethernet(HOST.mac(), Mac::BROADCAST).arp(request);
    assert_eq!(World::new().pod_sends(HOST, &frame).fate, Fate::Hairpin);
}

#[test]
fn a_solicitation_for_the_gateway_is_answered() {
    let group: Ipv6Addr = "ff02::1:ff00:1".parse().unwrap();
    let group_mac = Mac::new([0x33, 0x33, 0xff, 0, 0, 1]);
    let source_option = [&[1, 1][..], &POD.mac().octets()].concat();
    for (asker, dst, dst_mac, option) in [
        (POD.link_local(), group, group_mac, &source_option[..]),
        (POD.v6(), group, group_mac, &source_option[..]),
        (POD.v6(), GATEWAY_V6, GATEWAY_MAC, &[]),
    ] {
        let body = [&GATEWAY_V6.octets()[..], option].concat();
        let question = build::ethernet(POD.mac(), dst_mac)
            .ipv6(asker, dst)
            .ttl(255)
            .icmpv6(135, 0, [0; 4], &body);
        let outcome = World::new().pod_sends(POD, &question);
        assert_eq!(outcome.fate, Fate::Hairpin);
        let answer = outcome.only_write();
        let Parsed::Ip(packet) = parse(answer).unwrap() else {
            panic!("not IP")
        };
        assert_eq!(
            (packet.flow.src, packet.flow.dst),
            (GATEWAY_V6.into(), asker.into())
        );
        let expected = NeighborAdvert {
            target: GATEWAY_V6,
            target_lladdr: Some(GATEWAY_MAC),
            router: true,
            solicited: true,
            override_cached: true,
        };
        assert_eq!(NeighborAdvert::parse(answer, &packet), Some(expected));
    }
}

#[test]
fn a_ping_to_the_gateway_is_answered() {
    for payload in [&b""[..], b"odd", &[0xa5; 1400]] {
        let v4 = POD
            .says()
            .ipv4(POD.v4(), GATEWAY_V4)
            .ttl(7)
            .icmp_echo_request(9, 3, payload);
        let v6 = POD
            .says()
            .ipv6(POD.v6(), GATEWAY_V6)
            .ttl(7)
            .icmp_echo_request(9, 3, payload);
        let linked = POD
            .says()
            .ipv6(POD.link_local(), GATEWAY_V6)
            .icmp_echo_request(9, 3, payload);
        let back = || build::ethernet(GATEWAY_MAC, POD.mac());
        for (request, reply) in [
            (
                v4,
                back()
                    .ipv4(GATEWAY_V4, POD.v4())
                    .icmp_echo_reply(9, 3, payload),
            ),
            (
                v6,
                back()
                    .ipv6(GATEWAY_V6, POD.v6())
                    .icmp_echo_reply(9, 3, payload),
            ),
            (
                linked,
                back()
                    .ipv6(GATEWAY_V6, POD.link_local())
                    .icmp_echo_reply(9, 3, payload),
            ),
        ] {
            let mut world = World::new();
            let outcome = world.pod_sends(POD, &request);
            assert_eq!(outcome.fate, Fate::Hairpin);
            assert_eq!(outcome.only_write(), reply);
            assert_eq!(world.conntrack.len(), 0, "the gateway keeps no state");
        }
    }
}

/// A TTL of 1 is enough to reach the first hop itself.
#[test]
fn the_gateway_is_no_hop_away() {
    let request = POD
        .says()
        .ipv4(POD.v4(), GATEWAY_V4)
        .ttl(1)
        .icmp_echo_request(9, 3, b"");
    assert_eq!(World::new().pod_sends(POD, &request).fate, Fate::Hairpin);
}

/// Only a raw socket sends such a request; the answer would not fit the way back.
#[test]
fn an_echo_longer_than_the_link_allows_gets_no_answer() {
    let request = NARROW
        .says()
        .ipv4(NARROW.v4(), GATEWAY_V4)
        .icmp_echo_request(9, 3, &[0; 1300]);
    let outcome = World::new().pod_sends(NARROW, &request);
    assert_eq!(outcome.fate, Fate::Drop(DropReason::TooBig));
}
