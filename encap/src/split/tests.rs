use proptest::prelude::*;
use weft_wire::{
    Headers, IpProtocol, Mac, Parsed, TcpFlags, VnetHeader,
    build::{self, TcpSpec},
    checksum::{self, Sum},
    parse, vnet,
};

use super::*;

/// A packet as its sender made it, before its kernel left the checksum partial.
#[derive(Clone, Debug)]
pub(crate) struct Super {
    pub(crate) v4: bool,
    pub(crate) tcp: bool,
    pub(crate) flags: u8,
    pub(crate) options: usize,
    pub(crate) payload: Vec<u8>,
    pub(crate) size: u16,
    pub(crate) id: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) seq: u32,
    pub(crate) src_port: u16,
}

impl Default for Super {
    fn default() -> Self {
        Self {
            v4: true,
            tcp: true,
            flags: 0x10,
            options: 0,
            payload: (0..25).collect(),
            size: 10,
            id: 0xffff,
            dont_fragment: true,
            seq: u32::MAX - 4,
            src_port: 40_000,
        }
    }
}

pub(crate) const VXLAN: [u8; 8] = [8, 0, 0, 0, 0, 0, 1, 0];

impl Super {
    /// The VXLAN header, the frame, and its normalised virtio-net header.
    pub(crate) fn build(&self) -> (Vec<u8>, VnetHeader) {
        let mut frame = self.whole();
        let Ok(Parsed::Ip(headers)) = parse(&frame) else {
            panic!("parses")
        };
        let mut vnet = VnetHeader {
            flags: vnet::FLAG_NEEDS_CHECKSUM,
            gso_type: match (self.tcp, self.v4) {
                (false, _) => vnet::GSO_UDP_L4,
                (true, true) => vnet::GSO_TCPV4,
                (true, false) => vnet::GSO_TCPV6,
            },
            hdr_len: u16::try_from(headers.end - self.payload.len()).unwrap(),
            gso_size: self.size,
            csum_start: u16::try_from(headers.l4).unwrap(),
            csum_offset: if self.tcp { 16 } else { 6 },
        };
        if self.tcp && self.flags & 0x80 != 0 {
            vnet.gso_type |= vnet::GSO_ECN;
        }
        let at = headers.l4 + usize::from(vnet.csum_offset);
        frame[at..at + 2].copy_from_slice(&pseudo(&headers).to_be_bytes());
        ([&VXLAN[..], &frame].concat(), vnet)
    }

    /// The frame with a complete checksum.
    pub(crate) fn whole(&self) -> Vec<u8> {
        let ethernet = build::ethernet(Mac::new([2, 0, 0, 0, 0, 1]), Mac::new([2, 0, 0, 0, 0, 2]));
        let spec = TcpSpec {
            src_port: self.src_port,
            dst_port: 80,
            seq: self.seq,
            ack: 77,
            flags: TcpFlags(self.flags),
            window: 512,
            options: vec![1; self.options],
        };
        let mut frame = if self.v4 {
            let ip = ethernet.ipv4([10, 0, 0, 2].into(), [10, 0, 1, 2].into());
            if self.tcp {
                ip.tcp(spec, &self.payload)
            } else {
                ip.udp(self.src_port, 53, &self.payload)
            }
        } else {
            let ip = ethernet.ipv6("fd00::2".parse().unwrap(), "fd00::1:2".parse().unwrap());
            if self.tcp {
                ip.tcp(spec, &self.payload)
            } else {
                ip.udp(self.src_port, 53, &self.payload)
            }
        };
        if self.v4 {
            frame[18..20].copy_from_slice(&self.id.to_be_bytes());
            frame[20] = if self.dont_fragment { 0x40 } else { 0 };
            frame[24..26].fill(0);
            let checksum = checksum::ipv4_header(&frame[14..34]);
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        frame
    }

    /// Its packets, by the naive way: build each from its own fields.
    fn packets(&self) -> Vec<Vec<u8>> {
        let count = self.payload.len().div_ceil(usize::from(self.size));
        let pieces = self.payload.chunks(usize::from(self.size)).enumerate();
        pieces
            .map(|(n, piece)| {
                let mut flags = self.flags;
                if n > 0 {
                    flags &= !0x80;
                }
                if n + 1 < count {
                    flags &= !0x09;
                }
                let at = u32::try_from(n * usize::from(self.size)).unwrap();
                let packet = Self {
                    flags,
                    payload: piece.to_vec(),
                    seq: self.seq.wrapping_add(at),
                    id: self.id.wrapping_add(u16::try_from(n).unwrap()),
                    ..self.clone()
                };
                [&VXLAN[..], &packet.whole()].concat()
            })
            .collect()
    }
}

/// What the kernel leaves in a partial checksum field.
fn pseudo(headers: &Headers) -> u16 {
    let mut sum = Sum::new();
    let (flow, len) = (headers.flow, headers.payload_len());
    match (flow.src, flow.dst) {
        (core::net::IpAddr::V4(src), core::net::IpAddr::V4(dst)) => {
            sum.add_pseudo_ipv4(src, dst, flow.protocol, u16::try_from(len).unwrap());
        }
        (core::net::IpAddr::V6(src), core::net::IpAddr::V6(dst)) => {
            sum.add_pseudo_ipv6(src, dst, flow.protocol, u32::try_from(len).unwrap());
        }
        _ => panic!("one family"),
    }
    sum.folded()
}

/// All packets of a cut, each in one piece.
pub(crate) fn split(bytes: &[u8], front: usize, vnet: &VnetHeader) -> Vec<Vec<u8>> {
    let cut = Cut::of(bytes, front, vnet).expect("a super-frame");
    let mut packets = vec![0xee; cut.total_len() + 1];
    cut.write(bytes, &mut packets).expect("room");
    assert_eq!(packets.pop(), Some(0xee), "nothing behind the last");
    assert!(cut.packet(cut.count()).is_empty());
    (0..cut.count())
        .map(|n| packets[cut.packet(n)].to_vec())
        .collect()
}

pub(crate) fn supers() -> impl Strategy<Value = Super> {
    let shape = (any::<bool>(), any::<bool>(), 0..=10_usize);
    let flags = prop_oneof![
        Just(0x10_u8),
        Just(0x18),
        Just(0x11),
        Just(0x90),
        Just(0xd9)
    ];
    let ids = (any::<u16>(), any::<bool>(), any::<u32>(), any::<u16>());
    let payload = (
        1..1500_u16,
        2..=64_usize,
        any::<prop::sample::Index>(),
        any::<u8>(),
    );
    (shape, flags, ids, payload).prop_map(|(shape, flags, ids, payload)| {
        let (size, count, last, first_byte) = payload;
        let each = usize::from(size);
        let count = count.min(65_000 / each).max(2);
        let len = each * (count - 1) + 1 + last.index(each);
        let bytes = (0..len).map(|n| u8::try_from(n * 7 % 256).unwrap() ^ first_byte);
        Super {
            v4: shape.0,
            tcp: shape.1,
            flags,
            options: shape.2 * 4,
            payload: bytes.collect(),
            size,
            id: ids.0,
            dont_fragment: ids.1,
            seq: ids.2,
            src_port: ids.3,
        }
    })
}

#[test]
fn three_segments_of_tcp_differ_where_they_must() {
    let (bytes, vnet) = Super {
        flags: 0x99,
        ..Super::default()
    }
    .build();
    let cut = Cut::of(&bytes, 8, &vnet).unwrap();
    assert_eq!(
        (cut.count(), cut.header_len(), cut.segment_len()),
        (3, 62, 72)
    );
    assert_eq!(
        [0, 1, 2, 3].map(|n| cut.packet(n)),
        [0..72, 72..144, 144..211, 211..211]
    );
    let packets = split(&bytes, 8, &vnet);
    let lens: Vec<_> = packets.iter().map(|p| u16_at(p, 22 + 2)).collect();
    assert_eq!(lens, [50, 50, 45]);
    let ids: Vec<_> = packets.iter().map(|p| u16_at(p, 22 + 4)).collect();
    assert_eq!(ids, [0xffff, 0, 1], "the identification wraps");
    let seqs: Vec<_> = packets.iter().map(|p| u32_at(p, 42 + 4)).collect();
    assert_eq!(seqs, [u32::MAX - 4, 5, 15], "and so does the sequence");
    let flags: Vec<_> = packets.iter().map(|p| p[42 + 13]).collect();
    assert_eq!(flags, [0x90, 0x10, 0x19], "CWR first, FIN and PSH last");
    assert!(packets.iter().all(|p| p[..8] == VXLAN));
}

#[test]
fn a_udp_checksum_of_zero_is_written_as_ffff() {
    for v4 in [true, false] {
        let mut datagram = Super {
            v4,
            tcp: false,
            payload: vec![0; 4],
            size: 2,
            ..Super::default()
        };
        // The last word makes the second datagram's sum all ones.
        let second = &datagram.packets()[1];
        let at = second.len() - 2 - 8 + 6;
        let checksum = u16_at(second, at);
        datagram.payload[2..].copy_from_slice(&checksum.to_be_bytes());
        let (bytes, vnet) = datagram.build();
        let packets = split(&bytes, 8, &vnet);
        assert_eq!(u16_at(&packets[1], at), 0xffff);
        assert_eq!(packets, datagram.packets());
    }
}

#[test]
fn a_super_frame_of_one_packet_or_none_is_one() {
    for len in [0, 1, 10] {
        let one = Super {
            payload: vec![9; len],
            flags: 0x98,
            ..Super::default()
        };
        let (bytes, vnet) = one.build();
        let packets = split(&bytes, 8, &vnet);
        assert_eq!(packets, [[&VXLAN[..], &one.whole()].concat()]);
    }
}

#[test]
fn padding_behind_the_ip_packet_is_no_payload() {
    let (mut bytes, vnet) = Super::default().build();
    let packets = split(&bytes, 8, &vnet);
    bytes.extend([0xaa; 30]);
    assert_eq!(split(&bytes, 8, &vnet), packets);
}

#[test]
fn what_does_not_describe_the_frame_is_no_plan() {
    let (bytes, vnet) = Super::default().build();
    assert!(Cut::of(&bytes, 8, &vnet).is_some());
    let wrong: [fn(&mut VnetHeader); 12] = [
        |vnet| vnet.flags = 0,
        |vnet| vnet.gso_type = vnet::GSO_NONE,
        |vnet| vnet.gso_type = vnet::GSO_TCPV6,
        |vnet| vnet.gso_type = vnet::GSO_UDP_L4,
        |vnet| vnet.gso_type = 3,
        |vnet| vnet.gso_size = 0,
        |vnet| vnet.csum_offset = 6,
        |vnet| vnet.csum_start += 2,
        |vnet| vnet.csum_start = u16::MAX,
        |vnet| vnet.hdr_len -= 4,
        |vnet| vnet.hdr_len = u16::MAX,
        |vnet| vnet.hdr_len = 0,
    ];
    for (n, wrong) in wrong.into_iter().enumerate() {
        let mut vnet = vnet;
        wrong(&mut vnet);
        assert_eq!(Cut::of(&bytes, 8, &vnet), None, "{n}");
    }
    for len in 0..bytes.len() {
        assert_eq!(Cut::of(&bytes[..len], 8, &vnet), None, "{len}");
    }
    for front in [0, 7, 9, 200, usize::MAX] {
        assert_eq!(Cut::of(&bytes, front, &vnet), None, "{front}");
    }
    assert!(Cut::of(&bytes[8..], 0, &vnet).is_some());
}

#[test]
fn packets_are_written_whole_or_not_at_all() {
    let (bytes, vnet) = Super::default().build();
    let cut = Cut::of(&bytes, 8, &vnet).unwrap();
    let mut out = [0xee; 211];
    assert_eq!(cut.write(&bytes, &mut out[..210]), None);
    assert_eq!(cut.write(&bytes[..bytes.len() - 1], &mut out), None);
    assert_eq!(out, [0xee; 211]);
    assert_eq!(cut.write(&bytes, &mut out), Some(()));
}

proptest! {
    #[test]
    fn each_packet_is_the_one_its_sender_would_have_made(whole in supers()) {
        let (bytes, vnet) = whole.build();
        let packets = split(&bytes, 8, &vnet);
        prop_assert_eq!(&packets, &whole.packets());
        for packet in packets {
            let Ok(Parsed::Ip(headers)) = parse(&packet[8..]) else {
                panic!("parses")
            };
            prop_assert!(checksum::verify_transport(&packet[8..], &headers));
            prop_assert!(matches!(headers.flow.protocol, IpProtocol::TCP | IpProtocol::UDP));
        }
    }

    #[test]
    fn hostile_bytes_do_no_harm(
        whole in supers(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        fields in any::<(u8, u16, u16, u16)>(),
        front in 0..64_usize,
    ) {
        let (mut bytes, mut vnet) = whole.build();
        let at = at.index(bytes.len().min(100));
        bytes[at] = byte;
        for (bit, field) in [(1, &mut vnet.hdr_len), (2, &mut vnet.csum_start), (4, &mut vnet.gso_size)] {
            if fields.0 & bit != 0 {
                *field = [fields.1, fields.2, fields.3][usize::from(bit) / 2];
            }
        }
        let front = if fields.0 & 8 != 0 { front } else { 8 };
        if let Some(cut) = Cut::of(&bytes, front, &vnet) {
            let mut out = vec![0; cut.total_len()];
            prop_assert!(cut.write(&bytes, &mut out).is_some());
            let headers = cut.count() * cut.header_len();
            prop_assert!(cut.total_len() - headers + cut.header_len() <= bytes.len());
            prop_assert_eq!(cut.packet(cut.count() - 1).end, cut.total_len());
        }
    }
}
