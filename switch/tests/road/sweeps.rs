//! Every value of a field, every bit of a header, every length of a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use weft_encap::Ecn;
use weft_switch::path::{DropReason as R, Fate, GATEWAY_MAC};
use weft_wire::{EtherType, IpProtocol, Mac, Parsed, build, parse};

use crate::world::*;

fn flipped(mac: Mac, bit: usize) -> Mac {
    let mut octets = mac.octets();
    octets[bit / 8] ^= 1 << (bit % 8);
    Mac::new(octets)
}

fn flipped4(address: Ipv4Addr, bit: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() ^ 1 << bit)
}

fn flipped6(address: Ipv6Addr, bit: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() ^ 1 << bit)
}

fn delivered(fate: Fate) -> bool {
    matches!(fate, Fate::ToPod(_) | Fate::ToPeer(_))
}

#[test]
fn of_all_ethertypes_three_are_read() {
    let mut world = World::new();
    let packet = POD.says().ipv4(POD.v4(), REMOTE.v4()).udp(1, 2, &[0; 40])[14..].to_vec();
    for number in 0..=u16::MAX {
        let ether_type = EtherType(number);
        let fate = world
            .pod_sends(POD, &POD.says().raw(ether_type, &packet))
            .fate;
        match ether_type {
            EtherType::IPV4 => assert!(delivered(fate)),
            EtherType::ARP | EtherType::IPV6 => assert_eq!(fate, Fate::Drop(R::BadVersion)),
            _ => assert_eq!(fate, Fate::Drop(R::UnexpectedEthertype), "{ether_type}"),
        }
    }
}

#[test]
fn of_all_inner_ethertypes_two_are_read() {
    let mut world = World::new();
    let packet = inner().ipv4(REMOTE.v4(), POD.v4()).udp(1, 2, &[0; 40])[14..].to_vec();
    for number in 0..=u16::MAX {
        let ether_type = EtherType(number);
        let fate = world.peer_sends(&inner().raw(ether_type, &packet)).fate;
        match ether_type {
            EtherType::IPV4 => assert!(delivered(fate)),
            EtherType::ARP | EtherType::IPV6 => assert_eq!(fate, Fate::Drop(R::BadVersion)),
            _ => assert_eq!(fate, Fate::Drop(R::UnexpectedEthertype), "{ether_type}"),
        }
    }
}

#[test]
fn a_source_wrong_by_one_bit_is_spoofed() {
    let mut world = World::new();
    for bit in 0..48 {
        let frame = build::ethernet(flipped(POD.mac(), bit), GATEWAY_MAC)
            .ipv4(POD.v4(), REMOTE.v4())
            .udp(1, 2, b"");
        assert_eq!(world.pod_sends(POD, &frame).fate, Fate::Drop(R::SpoofedMac));
    }
    for bit in 0..32 {
        let frame = POD
            .says()
            .ipv4(flipped4(POD.v4(), bit), REMOTE.v4())
            .udp(1, 2, b"");
        let fate = world.pod_sends(POD, &frame).fate;
        assert!(
            matches!(fate, Fate::Drop(R::SpoofedIpv4 | R::Martian)),
            "{bit}: {fate:?}"
        );
    }
    for bit in 0..128 {
        let frame = POD
            .says()
            .ipv6(flipped6(POD.v6(), bit), REMOTE.v6())
            .udp(1, 2, b"");
        let fate = world.pod_sends(POD, &frame).fate;
        assert!(
            matches!(fate, Fate::Drop(R::SpoofedIpv6 | R::Martian)),
            "{bit}: {fate:?}"
        );
    }
}

#[test]
fn every_icmp_type_between_pods() {
    let mut world = World::new();
    for kind in 0..=u8::MAX {
        let v4 = POD
            .says()
            .ipv4(POD.v4(), OTHER.v4())
            .icmp(kind, 0, [0; 4], &[0; 12]);
        let expected = match kind {
            5 => Some(R::Redirect),
            9 => Some(R::RouterAdvertisement),
            10 => Some(R::RouterSolicitation),
            _ => None,
        };
        let expected = expected.map_or(Fate::ToPod(OTHER.id()), Fate::Drop);
        assert_eq!(world.pod_sends(POD, &v4).fate, expected, "ICMP type {kind}");
        let v6 = POD
            .says()
            .ipv6(POD.v6(), OTHER.v6())
            .ttl(255)
            .icmpv6(kind, 0, [0; 4], &[0; 16]);
        let expected = match kind {
            130..=132 | 143 => Some(R::Multicast),
            133 => Some(R::RouterSolicitation),
            134 => Some(R::RouterAdvertisement),
            135 => Some(R::NeighborSolicitation),
            136 => Some(R::NeighborAdvertisement),
            137 => Some(R::Redirect),
            _ => None,
        };
        let expected = expected.map_or(Fate::ToPod(OTHER.id()), Fate::Drop);
        assert_eq!(
            world.pod_sends(POD, &v6).fate,
            expected,
            "ICMPv6 type {kind}"
        );
    }
}

/// Only the I flag counts; reserved bits are ignored (RFC 7348 §5).
#[test]
fn every_byte_of_the_vxlan_flags() {
    let mut world = World::new();
    let frame = inner().ipv4(REMOTE.v4(), POD.v4()).udp(1, 2, b"x");
    for flags in 0..=u8::MAX {
        let mut datagram = tunnelled(VNI, &frame);
        datagram[0] = flags;
        let fate = world.send(PEER_DOOR, &datagram).fate;
        let expected = if flags & 8 != 0 {
            Fate::ToPod(POD.id())
        } else {
            Fate::Drop(R::NoVni)
        };
        assert_eq!(fate, expected, "{flags:#x}");
    }
    for reserved in [1, 2, 3, 7] {
        let mut datagram = tunnelled(VNI, &frame);
        datagram[reserved] = 0xff;
        assert_eq!(
            world.send(PEER_DOOR, &datagram).fate,
            Fate::ToPod(POD.id()),
            "byte {reserved}"
        );
    }
}

#[test]
fn a_tunnel_packet_wrong_by_one_bit_is_dropped() {
    let mut world = World::new();
    let frame = inner().ipv4(REMOTE.v4(), POD.v4()).udp(1, 2, b"x");
    for bit in 0..24 {
        let fate = world
            .send(PEER_DOOR, &tunnelled(VNI ^ 1 << bit, &frame))
            .fate;
        assert_eq!(fate, Fate::Drop(R::UnknownVni), "VNI bit {bit}");
    }
    for bit in 0..32 {
        let source = flipped4(PEERS[0].0, bit);
        let fate = world
            .send(
                Door::Underlay(source.into(), Ecn::NotEct),
                &tunnelled(VNI, &frame),
            )
            .fate;
        let other_peer = source == PEERS[1].0;
        let expected = if other_peer {
            R::ForeignInnerSource
        } else {
            R::UnknownPeer
        };
        assert_eq!(fate, Fate::Drop(expected), "outer source bit {bit}");
    }
    for bit in 0..48 {
        let frame = build::ethernet(PEERS[0].1, flipped(OUR_VTEP_MAC, bit))
            .ipv4(REMOTE.v4(), POD.v4())
            .udp(1, 2, b"x");
        assert_eq!(
            world.peer_sends(&frame).fate,
            Fate::Drop(R::ForeignInnerMac),
            "inner MAC bit {bit}"
        );
    }
}

/// Host bits name another pod of the same peer, or of this node; all others are refused.
#[test]
fn an_inner_address_wrong_by_one_bit_is_dropped() {
    let mut world = World::new();
    for bit in 0..32 {
        let source = inner()
            .ipv4(flipped4(REMOTE.v4(), bit), POD.v4())
            .udp(1, 2, b"x");
        let fate = world.peer_sends(&source).fate;
        assert_eq!(delivered(fate), bit < 8, "source bit {bit}: {fate:?}");
        let destination = inner()
            .ipv4(REMOTE.v4(), flipped4(POD.v4(), bit))
            .udp(1, 2, b"x");
        let fate = world.peer_sends(&destination).fate;
        assert_eq!(
            fate == Fate::Drop(R::NoSuchPod),
            (2..8).contains(&bit),
            "destination bit {bit}: {fate:?}"
        );
        assert_eq!(delivered(fate), bit < 2, "destination bit {bit}: {fate:?}");
    }
    for bit in 0..128 {
        let source = inner()
            .ipv6(flipped6(REMOTE.v6(), bit), POD.v6())
            .udp(1, 2, b"x");
        let fate = world.peer_sends(&source).fate;
        assert_eq!(delivered(fate), bit < 64, "source bit {bit}: {fate:?}");
        let destination = inner()
            .ipv6(REMOTE.v6(), flipped6(POD.v6(), bit))
            .udp(1, 2, b"x");
        let fate = world.peer_sends(&destination).fate;
        assert_eq!(delivered(fate), bit < 2, "destination bit {bit}: {fate:?}");
    }
}

#[test]
fn a_tunnel_packet_cut_anywhere_is_dropped() {
    let mut world = World::new();
    for frame in [
        inner().ipv4(REMOTE.v4(), POD.v4()).udp(1, 2, b"payload"),
        inner()
            .ipv6(REMOTE.v6(), POD.v6())
            .extension(IpProtocol::DEST_OPTIONS, &[1, 4])
            .udp(1, 2, b"payload"),
    ] {
        let datagram = tunnelled(VNI, &frame);
        for len in 0..datagram.len() {
            let fate = world.send(PEER_DOOR, &datagram[..len]).fate;
            let expected = if len < 22 {
                R::TruncatedTunnel
            } else {
                R::Truncated
            };
            assert_eq!(fate, Fate::Drop(expected), "{len}");
        }
        assert!(delivered(world.send(PEER_DOOR, &datagram).fate));
    }
}

/// One decapsulation: what is inside is a pod's UDP packet to our port, and refused.
#[test]
fn tunnels_in_tunnels_are_refused_at_any_depth() {
    let mut world = World::new();
    let mut frame = inner().ipv4(REMOTE.v4(), POD.v4()).udp(1, 2, b"x");
    assert!(delivered(world.peer_sends(&frame).fate));
    for depth in 1..=8 {
        frame = inner()
            .ipv4(REMOTE.v4(), POD.v4())
            .udp(5000, VXLAN_PORT, &tunnelled(VNI, &frame));
        assert_eq!(
            world.peer_sends(&frame).fate,
            Fate::Drop(R::NestedTunnel),
            "{depth}"
        );
    }
}

/// RFC 6040 §4.2, figure 4: what arrives inside, by inner (row) and outer (column) mark.
#[test]
fn all_sixteen_congestion_marks() {
    use Ecn::{Ce, Ect0, Ect1, NotEct};
    let columns = [NotEct, Ect0, Ect1, Ce];
    for (inner_mark, row) in [
        (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
        (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
        (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
        (Ce, [Some(Ce); 4]),
    ] {
        for (outer, expected) in columns.into_iter().zip(row) {
            let class = 0xb8 | inner_mark.bits();
            let v4 = inner()
                .ipv4(REMOTE.v4(), POD.v4())
                .dscp_ecn(class)
                .udp(1, 2, b"x");
            let v6 = inner()
                .ipv6(REMOTE.v6(), POD.v6())
                .dscp_ecn(class)
                .udp(1, 2, b"x");
            for frame in [v4, v6] {
                let door = Door::Underlay(PEERS[0].0.into(), outer);
                let outcome = World::new().send(door, &tunnelled(VNI, &frame));
                let Some(mark) = expected else {
                    assert_eq!(outcome.fate, Fate::Drop(R::EcnMismatch));
                    continue;
                };
                let Ok(Parsed::Ip(packet)) = parse(outcome.only_write()) else {
                    panic!("not IP")
                };
                assert_eq!(
                    packet.traffic_class,
                    0xb8 | mark.bits(),
                    "{inner_mark:?} in {outer:?}"
                );
            }
        }
    }
}

/// What left through the doors towards another: never a frame with a source that is not
/// the sender's.
fn sources_are_honest(outcome: &Outcome, sender: Station) -> Result<(), TestCaseError> {
    let frames = outcome
        .to_pod
        .iter()
        .map(|write| &write.frame)
        .chain(outcome.to_peer.iter().map(|send| &send.frame));
    for frame in frames {
        let Ok(Parsed::Ip(packet)) = parse(frame) else {
            continue;
        };
        let switch = [
            IpAddr::V4(weft_switch::path::GATEWAY_V4),
            IpAddr::V6(weft_switch::path::GATEWAY_V6),
        ];
        let own = [sender.v4().into(), sender.v6().into()];
        prop_assert!(own.contains(&packet.flow.src) || switch.contains(&packet.flow.src));
    }
    Ok(())
}

proptest! {
    /// Any bytes at either door: no panic, one fate, no lost buffer, no forged source.
    #[test]
    fn any_bytes_meet_one_fate(bytes in proptest::collection::vec(any::<u8>(), 0..200), fix_macs in any::<bool>()) {
        let mut world = World::new();
        let mut frame = bytes.clone();
        if fix_macs && frame.len() >= 12 {
            frame[..6].copy_from_slice(&GATEWAY_MAC.octets());
            frame[6..12].copy_from_slice(&POD.mac().octets());
        }
        sources_are_honest(&world.pod_sends(POD, &frame), POD)?;
        world.send(PEER_DOOR, &bytes);
        world.peer_sends(&bytes);
    }

    /// A good frame with a few bytes changed.
    #[test]
    fn damaged_frames_meet_one_fate(
        edits in proptest::collection::vec((0usize..110, any::<u8>()), 1..4),
        which in 0usize..6,
    ) {
        let mut frame = match which {
            0 => POD.says().ipv4(POD.v4(), OTHER.v4()).udp(1, 2, &[7; 60]),
            1 => POD.says().ipv6(POD.v6(), OTHER.v6()).extension(IpProtocol::HOP_BY_HOP, &[1, 4]).udp(1, 2, &[7; 40]),
            2 => POD.says().ipv4(POD.v4(), REMOTE.v4()).options(&[7, 7, 4, 0, 0, 0, 0]).icmp_echo_request(1, 2, &[7; 60]),
            3 => POD.says().ipv6(POD.link_local(), weft_switch::path::GATEWAY_V6).ttl(255).icmpv6(135, 0, [0; 4], &weft_switch::path::GATEWAY_V6.octets()),
            4 => POD.says().ipv4(POD.v4(), REMOTE.v4()).fragment(7, 0, true).udp(1, 2, &[7; 56]),
            _ => POD.says().ipv4(POD.v4(), OTHER.v4()).icmp(3, 4, [0, 0, 5, 0], &POD.says().ipv4(OTHER.v4(), POD.v4()).udp(1, 2, b"x")[14..]),
        };
        for (at, value) in edits {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        // The oracle judges checksums of the payload, which only the sender answers for.
        let fate = World::new().send_unjudged(Door::Pod(POD), &frame);
        prop_assert!(matches!(fate, Fate::ToPod(_) | Fate::ToPeer(_) | Fate::Hairpin | Fate::Drop(_)));
    }
}
