//! What only a router, a DHCP server or a neighbour may say.
//!
//! The same messages are tried by pods and through the tunnel.

use std::net::{Ipv4Addr, Ipv6Addr};

use weft_wire::build::{IpBuilder, V6};
use weft_wire::{EtherType, IpProtocol, Mac, build};

use super::{Forged, MARK, Party, forged, tagged};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = Mac::new([0x33, 0x33, 0, 0, 0, 1]);
const ROUTER_SOLICIT: u8 = 133;
const ROUTER_ADVERT: u8 = 134;
const NEIGHBOR_SOLICIT: u8 = 135;
const NEIGHBOR_ADVERT: u8 = 136;
const REDIRECT: u8 = 137;
/// Pads an options header by six bytes (PadN).
const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];

/// Rogue messages from `me` to the MAC `to`, about `victim`.
pub(crate) fn messages(me: Party, to: Mac, victim: Party) -> Vec<Forged> {
    let mut all = advertisements(me, to, victim);
    all.extend(redirects(me, to, victim));
    all.extend(dhcp(me, to, victim));
    all.extend(neighbours(me, to, victim));
    all
}

/// Router advertisements, plain and behind what hides them from a simple filter (RFC 7113).
fn advertisements(me: Party, to: Mac, victim: Party) -> Vec<Forged> {
    let (rest, body) = advertisement();
    let mut all = Vec::new();
    for (source, mac, destination) in [
        (me.v6, to, victim.v6),
        (me.v6, to, ALL_NODES),
        (me.link_local(), ALL_NODES_MAC, ALL_NODES),
    ] {
        let packet = build::ethernet(me.mac, mac)
            .ipv6(source, destination)
            .ttl(255);
        for (how, packet) in disguises(&packet) {
            let frame = packet.icmpv6(ROUTER_ADVERT, 0, rest, &body);
            let what = format!("router advertisement to {destination}, {how}");
            all.push(forged("router_advertisement", what, frame));
        }
        let plain = packet.icmpv6(ROUTER_ADVERT, 0, rest, &body);
        for tag in [EtherType::VLAN, EtherType::QINQ] {
            let what = format!("router advertisement with tag {tag:?}");
            let frame = tagged(&plain, tag.0);
            all.push(forged("unexpected_ethertype", what, frame));
        }
    }
    // The chain must end in the first fragment (RFC 7112): here the message is in the second.
    let cut = build::ethernet(me.mac, to)
        .ipv6(me.v6, victim.v6)
        .fragment(10, 0, true)
        .payload(IpProtocol::DEST_OPTIONS, &[58, 0, 1, 4, 0, 0, 0, 0]);
    let what = "a chain that ends in a later fragment";
    all.push(forged("tiny_fragment", what, cut));
    let v4 = build::ethernet(me.mac, to).ipv4(me.v4, victim.v4).icmp(
        9,
        0,
        [1, 2, 7, 8],
        &[10, 66, 6, 6, 0, 0, 0, 9],
    );
    all.push(forged(
        "router_advertisement",
        "ICMP router advertisement",
        v4,
    ));
    all
}

/// Ways to put headers before a message.
fn disguises(packet: &IpBuilder<V6>) -> [(&'static str, IpBuilder<V6>); 8] {
    let plain = || packet.clone();
    let hop_by_hop = || plain().extension(IpProtocol::HOP_BY_HOP, &PADDING);
    let options = |packet: IpBuilder<V6>| packet.extension(IpProtocol::DEST_OPTIONS, &PADDING);
    [
        ("plain", plain()),
        ("behind hop-by-hop options", hop_by_hop()),
        ("behind destination options", options(plain())),
        ("behind both options headers", options(hop_by_hop())),
        (
            "behind three destination options headers",
            options(options(options(plain()))),
        ),
        ("in a first fragment", plain().fragment(7, 0, true)),
        (
            "in a first fragment behind destination options",
            options(plain()).fragment(8, 0, true),
        ),
        ("in an atomic fragment", plain().fragment(9, 0, false)),
    ]
}

/// Hop limit 64, lifetime 1800 s, and an autonomous prefix (RFC 4861 §4.2, §4.6.2).
fn advertisement() -> ([u8; 4], Vec<u8>) {
    let mut body = vec![0; 8];
    body.extend([3, 4, 64, 0xc0, 0, 1, 81, 128, 0, 0, 56, 64, 0, 0, 0, 0]);
    body.extend(Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0).octets());
    ([64, 0, 7, 8], body)
}

fn redirects(me: Party, to: Mac, victim: Party) -> Vec<Forged> {
    // Quotes a packet that the victim did send, as a believable redirect does.
    let quoted = build::ethernet(victim.mac, me.mac)
        .ipv4(victim.v4, Ipv4Addr::new(10, 66, 6, 6))
        .udp(1000, 2000, MARK);
    let v4 = build::ethernet(me.mac, to).ipv4(me.v4, victim.v4).icmp(
        5,
        1,
        me.v4.octets(),
        &quoted[14..14 + 28],
    );
    let target = [me.link_local().octets(), victim.v6.octets()].concat();
    let v6 = build::ethernet(me.mac, to)
        .ipv6(me.v6, victim.v6)
        .ttl(255)
        .icmpv6(REDIRECT, 0, [0; 4], &target);
    let hidden = build::ethernet(me.mac, to)
        .ipv6(me.v6, victim.v6)
        .ttl(255)
        .extension(IpProtocol::DEST_OPTIONS, &PADDING)
        .icmpv6(REDIRECT, 0, [0; 4], &target);
    vec![
        forged("redirect", "ICMP redirect", v4),
        forged("redirect", "ICMPv6 redirect", v6),
        forged(
            "redirect",
            "ICMPv6 redirect behind destination options",
            hidden,
        ),
    ]
}

fn dhcp(me: Party, to: Mac, victim: Party) -> Vec<Forged> {
    let mut all = Vec::new();
    for destination in [victim.v4, Ipv4Addr::BROADCAST] {
        let offer =
            build::ethernet(me.mac, to)
                .ipv4(me.v4, destination)
                .udp(67, 68, &offer(victim.mac));
        all.push(forged(
            "dhcp_server_reply",
            format!("DHCP offer to {destination}"),
            offer,
        ));
    }
    for destination in [victim.v6, ALL_NODES] {
        let reply = build::ethernet(me.mac, to)
            .ipv6(me.v6, destination)
            .udp(547, 546, MARK);
        all.push(forged(
            "dhcp_server_reply",
            format!("DHCPv6 reply to {destination}"),
            reply,
        ));
    }
    all
}

/// BOOTREPLY with the magic cookie and message type "offer" (RFC 2131 §2, RFC 2132 §9.6).
fn offer(client: Mac) -> Vec<u8> {
    let mut message = vec![0; 236];
    message[..4].copy_from_slice(&[2, 1, 6, 0]);
    message[28..34].copy_from_slice(&client.octets());
    message.extend([99, 130, 83, 99, 53, 1, 2, 255]);
    message
}

fn neighbours(me: Party, to: Mac, victim: Party) -> Vec<Forged> {
    let claim = |target: Ipv6Addr| {
        let option = [&[2, 1][..], &me.mac.octets()].concat();
        [&target.octets()[..], &option].concat()
    };
    let mut all = Vec::new();
    for (what, target) in [("the victim's", victim.v6), ("its own", me.v6)] {
        let frame = build::ethernet(me.mac, to)
            .ipv6(me.v6, victim.v6)
            .ttl(255)
            .icmpv6(NEIGHBOR_ADVERT, 0, [0x20, 0, 0, 0], &claim(target));
        let what = format!("neighbour advertisement for {what} address");
        all.push(forged("neighbor_advertisement", what, frame));
    }
    let fragment = build::ethernet(me.mac, to)
        .ipv6(me.v6, victim.v6)
        .ttl(255)
        .fragment(11, 0, true)
        .icmpv6(NEIGHBOR_ADVERT, 0, [0x20, 0, 0, 0], &claim(victim.v6));
    let what = "neighbour advertisement in a fragment (RFC 6980)";
    all.push(forged("fragmented_neighbor", what, fragment));
    let to_victim = || build::ethernet(me.mac, to).ipv6(me.v6, victim.v6).ttl(255);
    let question = to_victim().icmpv6(NEIGHBOR_SOLICIT, 0, [0; 4], &claim(victim.v6));
    let what = "neighbour solicitation for the victim";
    all.push(forged("neighbor_solicitation", what, question));
    let router = to_victim().icmpv6(ROUTER_SOLICIT, 0, [0; 4], &[]);
    all.push(forged("router_solicitation", "router solicitation", router));
    all
}

/// Solicitations of a pod for the gateway that RFC 4861 §7.1.1 tells to discard.
pub(crate) fn bad_solicitations(me: Party, to: Mac, gateway: Ipv6Addr) -> Vec<Forged> {
    let target = gateway.octets();
    let with = |option: &[u8]| [&target[..], option].concat();
    let good = with(&[&[1, 1][..], &me.mac.octets()].concat());
    [
        ("hop limit 254", 254, 0, good.clone()),
        ("code 1", 255, 1, good),
        (
            "an option of length 0",
            255,
            0,
            with(&[1, 0, 0, 0, 0, 0, 0, 0]),
        ),
        (
            "an option beyond the end",
            255,
            0,
            with(&[1, 2, 0, 0, 0, 0, 0, 0]),
        ),
        ("half a target", 255, 0, target[..8].to_vec()),
    ]
    .map(|(what, ttl, code, body)| {
        let frame = build::ethernet(me.mac, to)
            .ipv6(me.v6, gateway)
            .ttl(ttl)
            .icmpv6(NEIGHBOR_SOLICIT, code, [0; 4], &body);
        forged("bad_neighbor", format!("solicitation with {what}"), frame)
    })
    .into()
}
