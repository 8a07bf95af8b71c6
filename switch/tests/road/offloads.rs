//! Frames whose checksum or segmentation their sender left to us.
//!
//! [`World`] hands over what leaves as its receiver sees it: cut into packets and checksums
//! finished, each of them checked. What the device was told is in `Outcome::vnets`.

use std::num::NonZeroU64;
use std::sync::Arc;

use weft_encap::Ecn;
use weft_policy::{Direction, Epoch, Span, Table};
use weft_switch::path::{DropReason as R, Fate, Limits, Meter, PortEntry};
use weft_wire::build::TcpSpec;
use weft_wire::vnet::{FLAG_DATA_VALID, GSO_ECN, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4};
use weft_wire::{Fragment, Parsed, TcpFlags, VnetHeader, build, parse};

use crate::cluster::{denied, only, under};
use crate::oracle;
use crate::world::*;

/// Payload of a super-frame that stands for four packets.
const PAYLOAD: usize = 4_000;
const SIZE: u16 = 1_200;
const PACKETS: u64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
}

/// A frame with the pseudo-header's sum in place of the checksum, as a kernel leaves it, and the
/// vnet header that says so.
fn partial(mut frame: Vec<u8>) -> (Vec<u8>, VnetHeader) {
    let Ok(Parsed::Ip(headers)) = parse(&frame) else {
        panic!("not IP");
    };
    let (protocol, field) = match headers.transport {
        weft_wire::Transport::Tcp(_) => (6, 16),
        _ => (17, 6),
    };
    let addresses = match headers.l4 - headers.l3 {
        20 => &frame[26..34],
        _ => &frame[22..54],
    };
    let length = u32::try_from(headers.payload_len()).unwrap();
    let pseudo = oracle::sum(addresses, protocol + length);
    let at = headers.l4 + field;
    frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
    let vnet = VnetHeader {
        flags: 1,
        csum_start: u16::try_from(headers.l4).unwrap(),
        csum_offset: u16::try_from(field).unwrap(),
        ..VnetHeader::NONE
    };
    (frame, vnet)
}

fn whole(ethernet: build::EthernetBuilder, ends: [Station; 2], said: (Kind, bool)) -> Vec<u8> {
    let payload: Vec<u8> = (0..PAYLOAD)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    let tcp = TcpSpec {
        src_port: 1000,
        dst_port: 80,
        seq: 0xffff_fc00,
        flags: TcpFlags::SYN,
        options: vec![1; 12],
        ..TcpSpec::default()
    };
    let [from, to] = ends;
    match said {
        (Kind::Tcp, false) => ethernet.ipv4(from.v4(), to.v4()).tcp(tcp, &payload),
        (Kind::Tcp, true) => ethernet.ipv6(from.v6(), to.v6()).tcp(tcp, &payload),
        (Kind::Udp, false) => ethernet.ipv4(from.v4(), to.v4()).udp(1000, 80, &payload),
        (Kind::Udp, true) => ethernet.ipv6(from.v6(), to.v6()).udp(1000, 80, &payload),
    }
}

/// A super-frame as a TAP gives it, its `hdr_len` a guess.
fn super_frame(
    ethernet: build::EthernetBuilder,
    ends: [Station; 2],
    said: (Kind, bool),
) -> (Vec<u8>, VnetHeader) {
    let (frame, vnet) = partial(whole(ethernet, ends, said));
    let gso_type = match said {
        (Kind::Tcp, false) => GSO_TCPV4,
        (Kind::Tcp, true) => GSO_TCPV6,
        (Kind::Udp, _) => GSO_UDP_L4,
    };
    let vnet = VnetHeader {
        gso_type,
        gso_size: SIZE,
        hdr_len: 7,
        ..vnet
    };
    (frame, vnet)
}

const ALL: [(Kind, bool); 4] = [
    (Kind::Tcp, false),
    (Kind::Tcp, true),
    (Kind::Udp, false),
    (Kind::Udp, true),
];

/// The payloads of these packets, one behind the other.
fn payloads<'a>(packets: impl Iterator<Item = &'a [u8]>, kind: Kind) -> Vec<u8> {
    let payload = |packet: &[u8]| {
        let Ok(Parsed::Ip(headers)) = parse(packet) else {
            panic!("not IP");
        };
        let header = match kind {
            Kind::Udp => 8,
            Kind::Tcp => usize::from(packet[headers.l4 + 12] >> 4) * 4,
        };
        packet[headers.l4 + header..headers.end].to_vec()
    };
    packets.flat_map(payload).collect()
}

fn sent_payload() -> Vec<u8> {
    (0..PAYLOAD)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect()
}

#[test]
fn a_super_frame_reaches_a_peer_as_packets_and_is_judged_once() {
    for said in ALL {
        let mut world = World::new();
        let (frame, vnet) = super_frame(POD.says(), [POD, REMOTE], said);
        let outcome = world.send_with(Door::Pod(POD), &frame, vnet);
        assert!(matches!(outcome.fate, Fate::ToPeer(_)), "{said:?}");
        assert_eq!(outcome.to_peer.len(), 4);
        let packets = outcome.to_peer.iter().map(|send| &send.frame[..]);
        assert_eq!(payloads(packets, said.0), sent_payload());
        let [vnet] = outcome.vnets[..] else {
            panic!("{:?}", outcome.vnets);
        };
        assert_eq!(vnet.gso().unwrap().segments(frame.len()), 4);
        assert_eq!(outcome.packets, PACKETS);
        let port = world.path.counters().port(POD.id());
        let counted = (port.egress_frames, port.egress_bytes);
        assert_eq!(counted, (PACKETS, frame.len() as u64));
        assert_eq!(world.conntrack.len(), 1);
        world
            .conntrack
            .for_each(|flow| assert_eq!(flow.packets[0], PACKETS));
    }
}

#[test]
fn between_two_pods_of_a_node_nothing_is_cut_or_summed() {
    for said in ALL {
        let mut world = World::new();
        let (frame, vnet) = super_frame(POD.says(), [POD, OTHER], said);
        let outcome = world.send_with(Door::Pod(POD), &frame, vnet);
        assert_eq!(outcome.fate, Fate::ToPod(OTHER.id()), "{said:?}");
        let told = VnetHeader {
            hdr_len: outcome.vnets[0].hdr_len,
            ..vnet
        };
        assert_eq!(outcome.vnets, [told]);
        let packets = outcome.to_pod.iter().map(|write| &write.frame[..]);
        assert_eq!(payloads(packets, said.0), sent_payload());
        assert_eq!(
            world.path.counters().port(OTHER.id()).ingress_frames,
            PACKETS
        );
        let (small, vnet) = partial(POD.says().ipv4(POD.v4(), OTHER.v4()).udp(1, 2, b"odd"));
        let outcome = world.send_with(Door::Pod(POD), &small, vnet);
        assert_eq!(outcome.vnets, [vnet], "one packet's checksum stays partial");
        oracle::check(outcome.only_write());
    }
}

#[test]
fn a_merged_frame_from_a_peer_reaches_its_pod_as_it_is() {
    for said in ALL {
        let mut world = World::new();
        let (frame, vnet) = super_frame(inner(), [REMOTE, POD], said);
        let headers = match said {
            (Kind::Tcp, false) => 14 + 20 + 32,
            (Kind::Tcp, true) => 14 + 40 + 32,
            (Kind::Udp, false) => 14 + 20 + 8,
            (Kind::Udp, true) => 14 + 40 + 8,
        };
        let vnet = VnetHeader {
            hdr_len: headers,
            ..vnet
        };
        let door = Door::Underlay(PEERS[0].0.into(), Ecn::Ect0);
        let outcome = world.send_with(door, &tunnelled(VNI, &frame), vnet);
        assert_eq!(outcome.fate, Fate::ToPod(POD.id()), "{said:?}");
        assert_eq!(outcome.vnets, [vnet]);
        assert_eq!((outcome.to_pod.len(), outcome.packets), (4, PACKETS));
        let packets = outcome.to_pod.iter().map(|write| &write.frame[..]);
        assert_eq!(payloads(packets, said.0), sent_payload());
    }
}

#[test]
fn a_checksum_is_finished_for_the_wire_and_for_fragments_only() {
    let mut world = World::new();
    let (frame, vnet) = partial(POD.says().ipv4(POD.v4(), REMOTE.v4()).udp(1, 2, b"odd"));
    let outcome = world.send_with(Door::Pod(POD), &frame, vnet);
    assert_eq!(outcome.vnets, [VnetHeader::NONE]);
    oracle::check(outcome.only_send());
    // Too long for the receiver's port, and it may be cut.
    let long = POD.says().ipv4(POD.v4(), NARROW.v4()).dont_fragment(false);
    let (frame, vnet) = partial(long.udp(1, 2, &[7; 1400]));
    let outcome = world.send_with(Door::Pod(POD), &frame, vnet);
    assert_eq!(outcome.vnets, [VnetHeader::NONE; 2]);
    let pieces: Vec<&[u8]> = outcome.to_pod.iter().map(|w| &w.frame[34..]).collect();
    let mut datagram = pieces.concat();
    let pseudo = oracle::sum(
        &[&POD.v4().octets()[..], &NARROW.v4().octets()].concat(),
        17 + 1408,
    );
    assert_eq!(oracle::sum(&datagram, pseudo.into()), 0xffff);
    datagram.truncate(8);
    assert_ne!(datagram[6..], [0, 0]);
}

#[test]
fn a_tunnel_that_ends_in_the_pod_leaves_us_its_inner_checksum() {
    let inside = POD.says().ipv4(POD.v4(), REMOTE.v4()).udp(5, 6, b"inner");
    let (partial_inside, mut vnet) = partial(inside.clone());
    let outer = |inside: &[u8]| {
        let datagram = POD.says().ipv4(POD.v4(), REMOTE.v4());
        let mut frame = datagram.udp(1, 4000, inside);
        frame[40..42].fill(0);
        frame
    };
    vnet.csum_start += 42;
    let outcome = World::new().send_with(Door::Pod(POD), &outer(&partial_inside), vnet);
    assert_eq!(outcome.vnets, [VnetHeader::NONE]);
    assert_eq!(outcome.only_send()[42..], inside);
}

#[test]
fn what_a_pod_cannot_mean_is_dropped() {
    let (tcp, good) = super_frame(POD.says(), [POD, REMOTE], (Kind::Tcp, false));
    let (udp, datagrams) = super_frame(POD.says(), [POD, REMOTE], (Kind::Udp, true));
    let no = R::UnexpectedOffload;
    let with = |change: fn(&mut VnetHeader)| {
        let mut vnet = good;
        change(&mut vnet);
        vnet
    };
    let cases = [
        (&tcp, with(|v| v.gso_type = GSO_TCPV6), no),
        (&tcp, with(|v| v.gso_type = GSO_UDP_L4), no),
        (&tcp, with(|v| v.gso_type = 3), no),
        (&tcp, with(|v| v.gso_type = GSO_ECN), no),
        (&tcp, with(|v| v.gso_type = 0x21), no),
        (&tcp, with(|v| v.gso_size = 0), no),
        (&tcp, with(|v| v.flags = 0), no),
        (&tcp, with(|v| v.flags = FLAG_DATA_VALID), no),
        (&tcp, with(|v| v.csum_start = 35), no),
        (&tcp, with(|v| v.csum_offset = 6), no),
        (&udp, good, no),
        (
            &udp,
            VnetHeader {
                gso_type: GSO_UDP_L4 | GSO_ECN,
                ..datagrams
            },
            no,
        ),
        (
            &tcp,
            with(|v| (v.gso_type, v.csum_start) = (0, 0)),
            R::BadOffload,
        ),
        (
            &tcp,
            with(|v| (v.gso_type, v.csum_start) = (0, 14)),
            R::BadOffload,
        ),
        (
            &tcp,
            with(|v| (v.gso_type, v.csum_start) = (0, 60_000)),
            R::BadOffload,
        ),
    ];
    for (frame, vnet, reason) in cases {
        let outcome = World::new().send_with(Door::Pod(POD), frame, vnet);
        assert_eq!(outcome.fate, Fate::Drop(reason), "{vnet:?}");
        assert_eq!(outcome.packets, 1);
    }
    let fragment = POD.says().ipv4(POD.v4(), REMOTE.v4()).fragment(9, 0, true);
    let fragment = fragment.tcp(TcpSpec::default(), &[0; PAYLOAD + 4]);
    let outcome = World::new().send_with(Door::Pod(POD), &fragment, good);
    assert_eq!(outcome.fate, Fate::Drop(no));
}

#[test]
fn a_super_frame_fits_if_each_of_its_packets_does() {
    // The narrow pod takes 1,300 bytes: 1,248 of TCP with 12 bytes of options, 1,272 of UDP.
    for (said, most) in [
        ((Kind::Tcp, false), 1_248),
        ((Kind::Tcp, true), 1_228),
        ((Kind::Udp, false), 1_272),
        ((Kind::Udp, true), 1_252),
    ] {
        for size in [most, most + 1] {
            let (frame, vnet) = super_frame(POD.says(), [POD, NARROW], said);
            let vnet = VnetHeader {
                gso_size: size,
                ..vnet
            };
            let outcome = World::new().send_with(Door::Pod(POD), &frame, vnet);
            if size == most {
                assert_eq!(outcome.fate, Fate::ToPod(NARROW.id()), "{said:?}");
                continue;
            }
            assert_eq!(outcome.fate, Fate::Drop(R::TooBig), "{said:?}");
            assert_eq!((outcome.packets, outcome.delta.icmp_sent), (PACKETS, 1));
            assert_eq!(outcome.vnets, [VnetHeader::NONE], "the error is one packet");
            let error = outcome.only_write();
            let mtu = match said.1 {
                false => &error[40..42],
                true => &error[60..62],
            };
            assert_eq!(mtu, 1300_u16.to_be_bytes());
        }
    }
}

#[test]
fn tcp_that_may_be_fragmented_gets_smaller_segments() {
    let payload = sent_payload();
    let ip = POD.says().ipv4(POD.v4(), NARROW.v4()).dont_fragment(false);
    let tcp = TcpSpec {
        flags: TcpFlags::SYN,
        ..TcpSpec::default()
    };
    let (frame, vnet) = partial(ip.tcp(tcp, &payload));
    let vnet = VnetHeader {
        gso_type: GSO_TCPV4,
        gso_size: 1_400,
        ..vnet
    };
    let outcome = World::new().send_with(Door::Pod(POD), &frame, vnet);
    assert_eq!(outcome.fate, Fate::ToPod(NARROW.id()));
    assert_eq!(outcome.vnets[0].gso_size, 1_260);
    assert_eq!(outcome.delta.fragments, 0);
    let packets = outcome.to_pod.iter().map(|write| &write.frame[..]);
    assert_eq!(payloads(packets, Kind::Tcp), payload);
    for write in &outcome.to_pod {
        let Ok(Parsed::Ip(headers)) = parse(&write.frame) else {
            panic!("not IP");
        };
        assert_eq!(headers.fragment, Fragment::Whole);
    }
}

/// A datagram's size is its sender's, and a super-frame of fragments has no road (decision 0012).
#[test]
fn udp_that_may_be_fragmented_is_refused_with_the_mtu() {
    let ip = POD.says().ipv4(POD.v4(), NARROW.v4()).dont_fragment(false);
    let (frame, vnet) = partial(ip.udp(4000, 53, &sent_payload()));
    let vnet = VnetHeader {
        gso_type: GSO_UDP_L4,
        gso_size: 1_273,
        ..vnet
    };
    let outcome = World::new().send_with(Door::Pod(POD), &frame, vnet);
    assert_eq!(outcome.fate, Fate::Drop(R::TooBig));
    let packets = sent_payload().len().div_ceil(1_273);
    assert_eq!(outcome.packets, u64::try_from(packets).unwrap());
    assert_eq!(outcome.delta.icmp_sent, 1);
    assert_eq!(outcome.only_write()[40..42], 1300_u16.to_be_bytes());
    let fits = VnetHeader {
        gso_size: 1_272,
        ..vnet
    };
    let outcome = World::new().send_with(Door::Pod(POD), &frame, fits);
    assert_eq!(outcome.fate, Fate::ToPod(NARROW.id()));
}

#[test]
fn a_super_frame_counts_against_the_bandwidth_as_its_packets_do() {
    let (frame, vnet) = super_frame(POD.says(), [POD, REMOTE], (Kind::Udp, false));
    let on_the_wire = frame.len() + 3 * (14 + 20 + 8);
    let small = POD.says().ipv4(POD.v4(), REMOTE.v4()).udp(1, 2, b"");
    // A byte a microsecond; ten bytes more than the super-frame needs, of which ten are in use.
    for (in_use, passes) in [(10, true), (11, false)] {
        let burst = u64::try_from(on_the_wire + 10).unwrap() * 8;
        let limits = Limits {
            egress: Some(Meter::new(NonZeroU64::new(8_000_000).unwrap(), burst)),
            ingress: None,
        };
        let entry = PortEntry {
            limits: Some(Arc::new(limits)),
            ..POD.entry()
        };
        let tables = publish([(POD.id(), entry)], Table::allow_all(), Epoch(1));
        let mut world = World::with(tables, 8, 64);
        assert!(matches!(world.pod_sends(POD, &small).fate, Fate::ToPeer(_)));
        world.pass(Span::from_micros(small.len() as u64 - in_use));
        let fate = world.send_with(Door::Pod(POD), &frame, vnet).fate;
        let over = Fate::Drop(R::RateLimited);
        assert_eq!(fate != over, passes, "{in_use}: {fate:?}");
    }
}

#[test]
fn a_refused_super_frame_is_as_many_refused_packets() {
    let (mut world, _) = under([only(Direction::Egress, POD, vec![])]);
    let (frame, vnet) = super_frame(POD.says(), [POD, REMOTE], (Kind::Tcp, true));
    let outcome = world.send_with(Door::Pod(POD), &frame, vnet);
    assert_eq!(outcome.fate, Fate::Drop(R::DeniedEgress));
    assert_eq!(outcome.packets, PACKETS);
    assert_eq!(denied(&world, POD, Direction::Egress).0, PACKETS);
    assert_eq!(world.path.counters().port(POD.id()).egress_drops, PACKETS);
}
