//! Which flow an ICMP error is about, however little of it was quoted.

use super::{V4_A, V4_B, V6_A, V6_B, ethernet, headers, v4, v6};
use crate::{
    FlowKey, IpProtocol,
    build::{IpBuilder, TcpSpec, V4, V6},
    embedded,
};

/// An error about a packet of A's comes back to A.
fn back4() -> IpBuilder<V4> {
    ethernet().ipv4(V4_B, V4_A)
}

fn back6() -> IpBuilder<V6> {
    ethernet().ipv6(V6_B, V6_A)
}

fn about(frame: &[u8]) -> Option<FlowKey> {
    embedded(frame, &headers(frame)).map(|embedded| embedded.flow)
}

fn unreachable4(quote: &[u8]) -> Option<FlowKey> {
    about(&back4().icmp(3, 1, [0; 4], quote))
}

fn unreachable6(quote: &[u8]) -> Option<FlowKey> {
    about(&back6().icmpv6(1, 3, [0; 4], quote))
}

#[test]
fn the_sequence_number_is_tcps_only() {
    let spec = TcpSpec {
        seq: 0x8123_4567,
        ..TcpSpec::default()
    };
    let cases = [
        (v4().tcp(spec.clone(), b""), 0x8123_4567),
        (v4().udp(5000, 53, b"hello"), 0),
        (v4().icmp_echo_request(9, 1, b"hello"), 0),
    ];
    for (original, seq) in cases {
        let error = back4().icmp(3, 1, [0; 4], &original[14..14 + 28]);
        let quoted = embedded(&error, &headers(&error)).unwrap();
        assert_eq!(quoted.tcp_seq, seq, "{}", quoted.flow);
    }
    let original = v6().tcp(spec, b"");
    let error = back6().icmpv6(2, 0, [0, 0, 5, 0], &original[14..14 + 48]);
    let quoted = embedded(&error, &headers(&error)).unwrap();
    assert_eq!(quoted.tcp_seq, 0x8123_4567);
}

#[test]
fn eight_bytes_of_transport_are_enough_and_seven_are_not() {
    let spec = TcpSpec {
        src_port: 40000,
        dst_port: 80,
        ..TcpSpec::default()
    };
    let originals = [
        (v4().udp(5000, 53, b"hello"), 34),
        (v4().tcp(spec.clone(), b"hello"), 34),
        (v4().options(&[1; 8]).udp(5000, 53, b"hello"), 42),
        (v4().icmp_echo_request(9, 1, b"hello"), 34),
        (v4().payload(IpProtocol::SCTP, &[1; 40]), 34),
    ];
    for (original, l4) in originals {
        let flow = headers(&original).flow;
        for end in l4 + 8..=original.len() {
            assert_eq!(
                unreachable4(&original[14..end]),
                Some(flow),
                "{flow}, {end}"
            );
        }
        for end in 14..l4 + 8 {
            assert_eq!(unreachable4(&original[14..end]), None, "{flow}, {end}");
        }
    }
    let originals = [
        (v6().udp(5000, 53, b"hello"), 54),
        (v6().tcp(spec, b"hello"), 54),
        (
            v6().extension(IpProtocol::DEST_OPTIONS, &[])
                .udp(5000, 53, b"hello"),
            62,
        ),
        (v6().icmp_echo_request(9, 1, b"hello"), 54),
    ];
    for (original, l4) in originals {
        let flow = headers(&original).flow;
        for end in l4 + 8..=original.len() {
            assert_eq!(
                unreachable6(&original[14..end]),
                Some(flow),
                "{flow}, {end}"
            );
        }
        for end in 14..l4 + 8 {
            assert_eq!(unreachable6(&original[14..end]), None, "{flow}, {end}");
        }
    }
}

#[test]
fn a_quoted_first_fragment_shows_its_flow_and_a_later_one_none() {
    let segment = [&[0x13, 0x88, 0, 53, 0, 100, 0, 0][..], &[0; 40]].concat();
    let first = v4().fragment(1, 0, true).payload(IpProtocol::UDP, &segment);
    let first6 = v6().fragment(1, 0, true).payload(IpProtocol::UDP, &segment);
    assert_eq!(unreachable4(&first[14..47]), Some(headers(&first).flow));
    assert_eq!(unreachable6(&first6[14..75]), Some(headers(&first6).flow));
    let later = v4()
        .fragment(1, 48, true)
        .payload(IpProtocol::UDP, &segment);
    let later6 = v6()
        .fragment(1, 48, true)
        .payload(IpProtocol::UDP, &segment);
    assert_eq!(unreachable4(&later[14..]), None);
    assert_eq!(unreachable6(&later6[14..]), None);
}

#[test]
fn a_quote_is_not_judged_by_its_checksum_or_lengths() {
    let mut original = v4().udp(5000, 53, b"hello");
    let flow = headers(&original).flow;
    original[22] = 1;
    original[16] = 0xff;
    assert_eq!(unreachable4(&original[14..]), Some(flow));
    original[14] = 0x44;
    assert_eq!(unreachable4(&original[14..]), None, "IHL below 5");
    original[14] = 0x65;
    assert_eq!(unreachable4(&original[14..]), None, "another version");
}

#[test]
fn only_errors_quote() {
    let original = v4().udp(5000, 53, b"hello");
    let six = v6().udp(5000, 53, b"hello");
    for kind in 0..=255 {
        let quoted = about(&back4().icmp(kind, 0, [0; 4], &original[14..]));
        assert_eq!(
            quoted.is_some(),
            [3, 4, 5, 11, 12].contains(&kind),
            "icmp {kind}"
        );
        let quoted = about(&back6().icmpv6(kind, 0, [0; 4], &six[14..]));
        assert_eq!(quoted.is_some(), kind < 128, "icmpv6 {kind}");
    }
    assert_eq!(about(&original), None);
    // An IPv6 packet inside an ICMP error, and the reverse, is nobody's.
    assert_eq!(unreachable4(&six[14..]), None);
    assert_eq!(unreachable6(&original[14..]), None);
}

#[test]
fn a_fragmented_error_is_not_believed() {
    let original = v4().udp(5000, 53, &[0; 16]);
    let message = [&[3, 1, 0, 0, 0, 0, 0, 0][..], &original[14..58]].concat();
    let first = back4()
        .fragment(1, 0, true)
        .payload(IpProtocol::ICMP, &message[..48]);
    assert_eq!(about(&first), None);
}
