use proptest::prelude::*;
use weft_wire::vnet::GSO_ECN;
use weft_wire::{VnetHeader, checksum};

use super::*;
use crate::layout::{put_u16, u16_at};
use crate::split::tests::{Super, VXLAN, split, supers};

/// Room for more than one IP packet: it is not what ends a group.
const LARGE: usize = 70_000;

fn outer() -> Outer {
    Outer {
        source: [192, 0, 2, 1].into(),
        ecn: Ecn::NotEct,
    }
}

fn pool() -> Pool {
    Pool::new(600, 2048).with_large(8, LARGE)
}

/// What comes out when these packets come in one turn.
fn merged(packets: &[Vec<u8>]) -> Vec<(Vec<u8>, VnetHeader)> {
    let (mut merger, mut pool) = (Merger::new(7), pool());
    for packet in packets {
        assert_eq!(merger.offer(outer(), packet, &mut pool), Ok(()));
    }
    merger.finish();
    let ready = merger.ready();
    ready
        .map(|(_, frame)| (frame.as_slice().to_vec(), frame.vnet))
        .collect()
}

fn alone(packets: &[Vec<u8>]) -> Vec<(Vec<u8>, VnetHeader)> {
    let packets = packets.iter().cloned();
    packets.map(|packet| (packet, VnetHeader::NONE)).collect()
}

/// Four packets of ten bytes.
fn four(whole: Super) -> Vec<Vec<u8>> {
    let (bytes, vnet) = Super {
        payload: (0..40).collect(),
        ..whole
    }
    .build();
    split(&bytes, 8, &vnet)
}

/// Makes both checksums of a packet right again.
fn repair(packet: &mut [u8]) {
    let frame = &mut packet[8..];
    if frame[12] == 8 {
        frame[24..26].fill(0);
        let checksum = checksum::ipv4_header(&frame[14..34]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    }
    let Ok(weft_wire::Parsed::Ip(headers)) = weft_wire::parse(frame) else {
        panic!("parses")
    };
    checksum::fill_transport(frame, &headers);
}

/// The kinds of packet that are merged.
fn kinds() -> Vec<Super> {
    let kinds = [(true, true), (true, false), (false, true), (false, false)];
    let of = |(v4, tcp)| Super {
        v4,
        tcp,
        ..Super::default()
    };
    kinds.into_iter().map(of).collect()
}

#[test]
fn one_packet_leaves_as_it_came() {
    for kind in kinds() {
        let packets = four(kind);
        assert_eq!(merged(&packets[1..2]), alone(&packets[1..2]));
    }
}

#[test]
fn a_transfer_becomes_one_frame_again() {
    for kind in kinds() {
        let whole = Super {
            payload: (0..35).collect(),
            ..kind
        };
        let (bytes, vnet) = whole.build();
        assert_eq!(merged(&split(&bytes, 8, &vnet)), [(bytes, vnet)]);
    }
}

#[test]
fn a_shorter_packet_ends_a_group_and_a_longer_one_begins_another() {
    let datagrams = |len: usize| -> Vec<Vec<u8>> {
        let datagram = Super {
            tcp: false,
            payload: vec![7; len],
            ..Super::default()
        };
        vec![[&VXLAN[..], &datagram.whole()].concat(); 2]
    };
    for (lens, expected) in [
        ([10, 10, 10], vec![60]),
        ([10, 5, 10], vec![25, 5, 20]),
        ([10, 12, 10], vec![20, 24 + 10, 10]),
    ] {
        let packets: Vec<_> = lens.into_iter().flat_map(datagrams).collect();
        let out: Vec<_> = merged(&packets).iter().map(|(b, _)| b.len() - 50).collect();
        assert_eq!(out, expected, "{lens:?}");
    }
}

/// Where the transport header begins.
fn l4(packet: &[u8]) -> usize {
    if packet[20] == 8 { 42 } else { 62 }
}

/// A change, and whether the checksums are made right again after it.
type Change = (&'static str, bool, fn(&mut Vec<u8>, usize));

const ANY: [Change; 8] = [
    ("VNI", false, |p, _| p[6] ^= 1),
    ("VXLAN flags", false, |p, _| p[0] |= 0x80),
    ("station", false, |p, _| p[8] ^= 4),
    ("hop limit", true, |p, _| {
        let at = if p[20] == 8 { 30 } else { 29 };
        p[at] -= 1;
    }),
    ("congestion mark", true, |p, _| {
        let at = if p[20] == 8 { (23, 3) } else { (23, 0x30) };
        p[at.0] ^= at.1;
    }),
    ("payload", false, |p, _| *p.last_mut().unwrap() ^= 1),
    ("padding", false, |p, _| p.extend([0; 4])),
    ("IP length", false, |p, _| {
        let at = if p[20] == 8 { 25 } else { 27 };
        p[at] ^= 1;
    }),
];

const TCP: [Change; 9] = [
    ("sequence", true, |p, l4| p[l4 + 7] ^= 1),
    ("acknowledgment", true, |p, l4| p[l4 + 11] ^= 1),
    ("window", true, |p, l4| p[l4 + 15] ^= 1),
    ("SYN", true, |p, l4| p[l4 + 13] |= 2),
    ("RST", true, |p, l4| p[l4 + 13] |= 4),
    ("URG", true, |p, l4| p[l4 + 13] |= 0x20),
    ("ECE", true, |p, l4| p[l4 + 13] |= 0x40),
    ("no ACK", true, |p, l4| p[l4 + 13] = 0),
    ("options", true, |p, l4| p[l4 + 20] ^= 1),
];

/// Both with a sum that is right.
const UDP: [Change; 2] = [
    ("UDP length", false, |p, l4| {
        let (len, checksum) = (u16_at(p, l4 + 4), u16_at(p, l4 + 6));
        put_u16(p, l4 + 4, len - 1);
        put_u16(p, l4 + 6, checksum::update_u16(checksum, len, len - 1));
    }),
    ("no UDP checksum", false, |p, l4| {
        let (checksum, word) = (u16_at(p, l4 + 6), u16_at(p, l4 + 8));
        put_u16(p, l4 + 6, 0);
        put_u16(
            p,
            l4 + 8,
            checksum::fold(u32::from(word) + u32::from(checksum)),
        );
    }),
];

const V4: [Change; 5] = [
    ("DF", true, |p, _| p[28] ^= 0x40),
    ("reserved bit", true, |p, _| p[28] ^= 0x80),
    ("IP checksum", false, |p, _| p[32] ^= 1),
    ("identification without DF", true, |p, _| p[27] ^= 4),
    ("fragment", false, |p, _| p[28] |= 0x20),
];

#[test]
fn what_differs_stays_apart_and_in_order() {
    for kind in kinds() {
        let kind = Super {
            options: 4,
            dont_fragment: false,
            ..kind
        };
        let own: &[Change] = if kind.tcp { &TCP } else { &UDP };
        let v4: &[Change] = if kind.v4 { &V4 } else { &[] };
        for (name, right, change) in ANY.iter().chain(own).chain(v4) {
            let mut packets = four(kind.clone());
            let at = l4(&packets[2]);
            change(&mut packets[2], at);
            if *right {
                repair(&mut packets[2]);
            }
            let mut expected = merged(&packets[..2]);
            assert_eq!(expected.len(), 1, "{name}");
            expected.extend(alone(&packets[2..]));
            assert_eq!(merged(&packets), expected, "{name} {kind:?}");
        }
    }
}

#[test]
fn identifications_mean_nothing_with_df() {
    for kind in kinds().into_iter().filter(|kind| kind.v4) {
        let mut packets = four(kind);
        for packet in &mut packets[1..] {
            packet[26..28].fill(0);
            repair(packet);
        }
        assert_eq!(merged(&packets).len(), 1);
    }
}

#[test]
fn a_first_packet_with_a_wrong_checksum_is_alone() {
    for kind in kinds() {
        for at in [11, 32] {
            let mut packets = four(Super {
                id: 0,
                ..kind.clone()
            });
            let at = if kind.v4 && at == 32 {
                32
            } else {
                packets[0].len() - 1
            };
            packets[0][at] ^= 1;
            let mut expected = alone(&packets[..1]);
            expected.extend(merged(&packets[1..]));
            assert_eq!((merged(&packets), expected.len()), (expected, 2));
        }
    }
}

#[test]
fn push_and_fin_end_a_group_and_cwr_begins_one() {
    for (at, flags, groups) in [(1, 8, 2), (1, 1, 2), (3, 9, 1), (2, 0x80, 2), (0, 0x80, 1)] {
        let mut packets = four(Super::default());
        let flag = l4(&packets[at]) + 13;
        packets[at][flag] |= flags;
        repair(&mut packets[at]);
        let out = merged(&packets);
        assert_eq!(out.len(), groups, "{at} {flags:#x}");
        let cwr = out.iter().any(|(_, vnet)| vnet.gso_type & GSO_ECN != 0);
        assert_eq!(cwr, flags == 0x80);
    }
}

#[test]
fn acknowledgments_without_data_keep_their_place() {
    let packets = four(Super::default());
    let ack = Super {
        payload: Vec::new(),
        ..Super::default()
    };
    let ack = [&VXLAN[..], &ack.whole()].concat();
    let mut expected = merged(&packets[..2]);
    expected.extend(alone(std::slice::from_ref(&ack)));
    expected.extend(merged(&packets[2..]));
    let mixed = [&packets[..2], &[ack], &packets[2..]].concat();
    assert_eq!(merged(&mixed), expected);
}

#[test]
fn different_ports_peers_and_marks_never_mix() {
    let one = four(Super {
        src_port: 1,
        ..Super::default()
    });
    let two = four(Super {
        src_port: 2,
        ..Super::default()
    });
    let interleaved: Vec<_> = one
        .iter()
        .zip(&two)
        .flat_map(|(a, b)| [a.clone(), b.clone()])
        .collect();
    // Only the order within a flow is promised.
    let by_bytes = |mut frames: Vec<(Vec<u8>, VnetHeader)>| {
        frames.sort_by(|a, b| a.0.cmp(&b.0));
        frames
    };
    let apart = by_bytes([merged(&one), merged(&two)].concat());
    assert_eq!(by_bytes(merged(&interleaved)), apart);

    let others = [
        Outer {
            source: [192, 0, 2, 2].into(),
            ..outer()
        },
        Outer {
            ecn: Ecn::Ce,
            ..outer()
        },
    ];
    for other in others {
        let (mut merger, mut pool) = (Merger::new(7), pool());
        for (n, packet) in one.iter().enumerate() {
            let outer = if n == 2 { other } else { outer() };
            merger.offer(outer, packet, &mut pool).unwrap();
        }
        merger.finish();
        let out: Vec<_> = merger
            .ready()
            .map(|(outer, frame)| (outer, frame.len()))
            .collect();
        assert_eq!(out, [(outer(), 82), (other, 72), (outer(), 72)]);
    }
}

#[test]
fn a_group_ends_at_64_packets_and_at_65535_bytes() {
    let small = Super {
        tcp: false,
        payload: vec![1; 100],
        size: 1,
        ..Super::default()
    };
    let (bytes, vnet) = small.build();
    let lens: Vec<_> = merged(&split(&bytes, 8, &vnet))
        .iter()
        .map(|(b, _)| b.len() - 50)
        .collect();
    assert_eq!(lens, [64, 36]);

    // One transfer of two super-frames, each nearly as long as may be.
    let half = Super {
        payload: vec![1; 63_000],
        size: 1400,
        seq: 0,
        ..Super::default()
    };
    let next = Super {
        seq: 63_000,
        id: half.id.wrapping_add(45),
        ..half.clone()
    };
    let packets: Vec<_> = [half, next]
        .iter()
        .flat_map(|whole| {
            let (bytes, vnet) = whole.build();
            split(&bytes, 8, &vnet)
        })
        .collect();
    let lens: Vec<_> = merged(&packets).iter().map(|(b, _)| b.len() - 62).collect();
    assert_eq!(lens, [46 * 1400, 44 * 1400]);
}

#[test]
fn without_a_large_frame_nothing_is_lost() {
    let whole = Super {
        payload: vec![3; 5600],
        size: 1400,
        ..Super::default()
    };
    let (bytes, vnet) = whole.build();
    let packets = split(&bytes, 8, &vnet);
    let (mut merger, mut pool) = (Merger::new(7), Pool::new(5, 2048));
    for packet in &packets {
        assert_eq!(merger.offer(outer(), packet, &mut pool), Ok(()));
    }
    merger.finish();
    let out: Vec<_> = merger
        .ready()
        .map(|(_, f)| (f.as_slice().to_vec(), f.vnet))
        .collect();
    assert_eq!(out, alone(&packets));
}

#[test]
fn frames_that_cannot_be_had_are_refused() {
    let packets = four(Super {
        tcp: false,
        ..Super::default()
    });
    let (mut merger, mut pool) = (Merger::new(7), Pool::new(1, 2048));
    let other = four(Super {
        tcp: false,
        src_port: 9,
        ..Super::default()
    });
    assert_eq!(merger.offer(outer(), &packets[0], &mut pool), Ok(()));
    assert_eq!(merger.offer(outer(), &other[0], &mut pool), Err(NoBuffer));
    assert_eq!(merger.offer(outer(), &[0; 3000], &mut pool), Err(NoBuffer));
    assert_eq!(merger.offer(outer(), &packets[1], &mut pool), Ok(()));
    merger.finish();
    assert_eq!(merger.ready().count(), 1);

    // No more than READY wait, whatever the pool has.
    let mut pool = Pool::new(READY + 1, 64);
    for _ in 0..READY {
        assert_eq!(merger.offer(outer(), &[0; 30], &mut pool), Ok(()));
    }
    assert_eq!(merger.offer(outer(), &[0; 30], &mut pool), Err(NoBuffer));
    assert_eq!(merger.ready().count(), READY);
}

#[test]
fn a_run_is_its_packets_one_by_one() {
    for kind in kinds() {
        let (bytes, vnet) = Super {
            payload: (0..35).collect(),
            ..kind
        }
        .build();
        let run = split(&bytes, 8, &vnet);
        let (mut merger, mut pool) = (Merger::new(7), pool());
        let lost = merger.offer_run(outer(), &run.concat(), run[0].len(), &mut pool);
        assert_eq!(lost, 0);
        merger.finish();
        let out: Vec<_> = merger
            .ready()
            .map(|(_, f)| (f.as_slice().to_vec(), f.vnet))
            .collect();
        assert_eq!(out, [(bytes, vnet)]);
    }
    let (mut merger, mut pool) = (Merger::new(7), Pool::new(1, 64));
    assert_eq!(merger.offer_run(outer(), &[0; 90], 30, &mut pool), 2);
    assert_eq!(merger.offer_run(outer(), &[], 0, &mut pool), 0);
}

/// The packets a frame stands for.
fn packets_of(bytes: &[u8], vnet: &VnetHeader) -> Vec<Vec<u8>> {
    if *vnet == VnetHeader::NONE {
        return vec![bytes.to_vec()];
    }
    split(bytes, 8, vnet)
}

proptest! {
    #[test]
    fn merge_undoes_split(whole in supers()) {
        let (bytes, vnet) = whole.build();
        prop_assert_eq!(merged(&split(&bytes, 8, &vnet)), [(bytes, vnet)]);
    }

    /// Several flows in any order, some packets broken: each flow's own packets come out as
    /// they came and in their order.
    #[test]
    fn every_flow_keeps_its_packets_and_their_order(
        wholes in proptest::collection::vec(supers(), 1..5),
        order in proptest::collection::vec(0..5_usize, 0..120),
        broken in proptest::collection::vec((any::<prop::sample::Index>(), 0..80_usize, any::<u8>()), 0..6),
    ) {
        let mut flows = Vec::new();
        for (n, whole) in wholes.into_iter().enumerate() {
            let src_port = u16::try_from(n).unwrap();
            let (bytes, vnet) = Super { src_port, ..whole }.build();
            flows.push(split(&bytes, 8, &vnet).into_iter());
        }
        let mut packets: Vec<Vec<u8>> = Vec::new();
        for n in order {
            packets.extend(flows.get_mut(n).and_then(Iterator::next));
        }
        for (index, at, byte) in broken {
            if !packets.is_empty() {
                let packet = index.get(&packets).clone();
                let place = packets.iter().position(|p| *p == packet).unwrap();
                if let Some(target) = packets[place].get_mut(at) {
                    *target = byte;
                }
            }
        }
        let out: Vec<_> = merged(&packets).iter().flat_map(|(b, v)| packets_of(b, v)).collect();
        prop_assert_eq!(out.len(), packets.len());
        let sorted = |packets: &[Vec<u8>]| {
            let mut packets: Vec<_> = packets.iter().map(|p| atomic(p)).collect();
            packets.sort();
            packets
        };
        prop_assert_eq!(sorted(&out), sorted(&packets));
        for packet in &packets {
            let of = |packets: &[Vec<u8>]| -> Vec<Vec<u8>> {
                let same = packets.iter().filter(|other| flow(other) == flow(packet));
                same.map(|packet| atomic(packet)).collect()
            };
            prop_assert_eq!(of(&out), of(&packets));
        }
    }
}

/// EtherType, protocol, addresses and ports, where they lie in a plain packet.
fn flow(packet: &[u8]) -> [&[u8]; 4] {
    let protocol_and_addresses = if packet[20] == 8 {
        [31..32, 34..42]
    } else {
        [28..29, 30..62]
    };
    // A broken EtherType makes a short packet look like a longer one.
    let field = |range| packet.get(range).unwrap_or_default();
    let [protocol, addresses] = protocol_and_addresses.map(field);
    let ports = field(l4(packet)..l4(packet) + 4);
    [field(20..22), protocol, addresses, ports]
}

/// The packet without what DF makes meaningless: identification and the checksum over it.
fn atomic(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet.len() > 34 && packet[20..22] == [8, 0] && packet[28] & 0x40 != 0 {
        packet[26..28].fill(0);
        packet[32..34].fill(0);
    }
    packet
}
