//! What holds for every packet, not only for the ones we thought of.

use proptest::{collection::vec, prelude::*};

use super::{
    generate::{Load, finish, known_load, mutated, packet},
    headers, v4, v6,
};
use crate::{
    Fragment, Headers, IpProtocol, NeighborAdvert, NeighborSolicit, Parsed, Transport, VnetHeader,
    checksum::{self, Sum},
    embedded, parse,
};

/// Calls everything that takes a parsed frame.
fn exercise(frame: &[u8]) {
    if let Ok(Parsed::Ip(headers)) = parse(frame) {
        assert!(headers.l3 <= headers.l4 && headers.l4 <= headers.end);
        assert!(headers.end <= frame.len());
        assert_eq!(headers.ip_len(), headers.end - headers.l3);
        assert_eq!(headers.payload_len(), headers.end - headers.l4);
        let _ = (headers.entropy(1), headers.ecn(), headers.flow.to_string());
        let _ = embedded(frame, &headers);
        let _ = NeighborSolicit::parse(frame, &headers);
        let _ = NeighborAdvert::parse(frame, &headers);
        let _ = checksum::verify_transport(frame, &headers);
        let mut filled = frame.to_vec();
        checksum::fill_transport(&mut filled, &headers);
        assert!(checksum::verify_transport(&filled, &headers));
    }
    if let Some(packet) = frame.get(14..) {
        let _ = Headers::parse_ip(packet);
    }
}

/// RFC 1071 §4.1, word by word.
fn plain_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

fn sum_of(bytes: &[u8]) -> u16 {
    let mut sum = Sum::new();
    sum.add_bytes(bytes);
    sum.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn arbitrary_bytes_never_panic(mut frame in vec(any::<u8>(), 0..200), kind in 0..4u8) {
        if let Some(ether_type) = frame.get_mut(12..14) {
            match kind {
                0 => ether_type.copy_from_slice(&[0x08, 0x00]),
                1 => ether_type.copy_from_slice(&[0x86, 0xdd]),
                2 => ether_type.copy_from_slice(&[0x08, 0x06]),
                _ => {}
            }
        }
        exercise(&frame);
    }

    #[test]
    fn damaged_packets_never_panic(frame in mutated()) {
        exercise(&frame);
    }

    #[test]
    fn what_was_built_is_parsed(load in known_load(), payload in vec(any::<u8>(), 0..1400)) {
        for (frame, l4) in [
            (finish(v4(), &load, &payload), 34),
            (finish(v6(), &load, &payload), 54),
        ] {
            let parsed = headers(&frame);
            prop_assert_eq!((parsed.l3, parsed.l4, parsed.end), (14, l4, frame.len()));
            prop_assert_eq!(parsed.fragment, Fragment::Whole);
            prop_assert!(checksum::verify_transport(&frame, &parsed));
            let ports = (parsed.flow.src_port, parsed.flow.dst_port);
            match &load {
                Load::Udp(src, dst) => {
                    prop_assert_eq!((parsed.transport, ports), (Transport::Udp, (*src, *dst)));
                }
                Load::Tcp(spec) => {
                    let Transport::Tcp(info) = parsed.transport else { panic!("not TCP") };
                    prop_assert_eq!(ports, (spec.src_port, spec.dst_port));
                    prop_assert_eq!((info.seq, info.ack), (spec.seq, spec.ack));
                    prop_assert_eq!((info.flags, info.window), (spec.flags, spec.window));
                    prop_assert_eq!(usize::try_from(info.payload_len).unwrap(), payload.len());
                }
                Load::EchoRequest(id) => prop_assert_eq!(ports, (*id, 0)),
                Load::EchoReply(id) => prop_assert_eq!(ports, (0, *id)),
                Load::Raw(_) => {}
            }
        }
    }

    #[test]
    fn padding_changes_nothing(frame in packet(), padding in vec(any::<u8>(), 0..20)) {
        let padded = [frame.as_slice(), &padding].concat();
        prop_assert_eq!(parse(&frame), parse(&padded));
    }

    #[test]
    fn both_directions_hash_alike(frame in packet(), seed: u64) {
        if let Ok(Parsed::Ip(headers)) = parse(&frame) {
            let (there, back) = (headers.flow, headers.flow.reversed());
            prop_assert_eq!(there.symmetric_hash(seed), back.symmetric_hash(seed));
            prop_assert_eq!(back.reversed(), there);
        }
    }

    #[test]
    fn all_fragments_go_one_way(
        payload in vec(any::<u8>(), 64..200),
        cut in 1..7usize,
        seed: u64,
        options in any::<bool>(),
    ) {
        let (first, rest) = payload.split_at(cut * 8);
        let offset = u16::try_from(8 + first.len()).unwrap();
        let whole = v4().udp(1, 2, &payload);
        let segment = &whole[34..34 + usize::from(offset)];
        let fragments = [
            v4().fragment(7, 0, true).payload(IpProtocol::UDP, segment),
            v4().fragment(7, offset, false).payload(IpProtocol::UDP, rest),
        ];
        let [a, b] = fragments.map(|frame| headers(&frame).entropy(seed));
        prop_assert_eq!(a, b);

        // The fragmentable part may begin with destination options (RFC 8200 §4.5), which
        // only the first fragment shows.
        let head = v6().fragment(7, 0, true);
        let (head, next) = if options {
            (head.extension(IpProtocol::DEST_OPTIONS, &[1, 4, 0, 0, 0, 0]), IpProtocol::DEST_OPTIONS)
        } else {
            (head, IpProtocol::UDP)
        };
        let fragments = [
            head.payload(IpProtocol::UDP, segment),
            v6().fragment(7, offset + 8, false).payload(next, rest),
        ];
        let [a, b] = fragments.map(|frame| headers(&frame).entropy(seed));
        prop_assert_eq!(a, b);
    }

    #[test]
    fn the_fast_checksum_is_the_plain_one(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(sum_of(&bytes), plain_checksum(&bytes));
        prop_assert_eq!(checksum::ipv4_header(&bytes), plain_checksum(&bytes));
    }

    #[test]
    fn pieces_sum_to_the_whole(bytes in vec(any::<u8>(), 0..300), cuts in any::<(u8, u8)>()) {
        let (low, high) = (cuts.0.min(cuts.1).into(), cuts.0.max(cuts.1).into());
        let high = bytes.len().min(high);
        let low = high.min(low);
        let mut sum = Sum::new();
        for piece in [&bytes[..low], &bytes[low..high], &bytes[high..]] {
            sum.add_bytes(piece);
        }
        prop_assert_eq!(sum.finish(), plain_checksum(&bytes));
    }

    #[test]
    fn incremental_is_full(
        bytes in vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 8..60),
        new in prop_oneof![Just(0u32), Just(u32::MAX), Just(0xffff), any::<u32>()],
    ) {
        let mut bytes = bytes;
        bytes[0] = 0x45;
        let before = plain_checksum(&bytes);
        let [_, _, c, d, e, f, ..] = bytes[..] else { unreachable!() };
        let (old, short) = (u32::from_be_bytes([c, d, e, f]), u16::from_be_bytes([c, d]));
        let [high, ..] = [u16::try_from(new >> 16).unwrap()];
        bytes[2..4].copy_from_slice(&high.to_be_bytes());
        prop_assert_eq!(checksum::update_u16(before, short, high), plain_checksum(&bytes));
        bytes[2..6].copy_from_slice(&new.to_be_bytes());
        prop_assert_eq!(checksum::update_u32(before, old, new), plain_checksum(&bytes));
    }

    #[test]
    fn hostile_virtio_headers_never_panic(
        mut frame in vec(any::<u8>(), 0..100),
        csum_start in prop_oneof![0..120u16, any::<u16>()],
        csum_offset in prop_oneof![0..120u16, any::<u16>()],
        flags: u8,
    ) {
        let vnet = VnetHeader { flags, csum_start, csum_offset, ..VnetHeader::NONE };
        let before = frame.clone();
        let (start, at) = (usize::from(csum_start), usize::from(csum_start) + usize::from(csum_offset));
        let result = vnet.complete_checksum(&mut frame);
        if vnet.needs_checksum() && result.is_ok() {
            frame[at..at + 2].copy_from_slice(&before[at..at + 2]);
            prop_assert!(start < frame.len());
        }
        prop_assert_eq!(frame, before, "nothing but the checksum changes");
    }
}
