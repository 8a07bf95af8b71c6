//! What the walk reads, and where it ends.

use super::{fix_ipv4, headers, malformed, v4, v6};
use crate::{
    Fragment, Headers, IpProtocol, IpVersion, Malformed, TcpFlags, Transport, build::TcpSpec,
};

/// 10.0.0.2:40000 > 10.0.1.3:80, SYN, as bytes; 40 bytes of IP and 6 of padding.
const SYN: [u8; 60] = [
    2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0xb9, 0, 40, 0, 1, 0x40, 0, 64, 6, 0x25, 0x12,
    10, 0, 0, 2, 10, 0, 1, 3, 0x9c, 0x40, 0, 80, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 2, 1, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0,
];

#[test]
fn a_literal_frame() {
    let frame = SYN;
    let parsed = headers(&frame);
    assert_eq!((parsed.l3, parsed.l4, parsed.end), (14, 34, 54));
    assert_eq!(
        (parsed.version, parsed.fragment),
        (IpVersion::V4, Fragment::Whole)
    );
    assert_eq!(parsed.flow.to_string(), "tcp 10.0.0.2:40000 > 10.0.1.3:80");
    assert_eq!(parsed.dst_mac.to_string(), "02:00:00:00:00:02");
    assert_eq!(parsed.src_mac.to_string(), "02:00:00:00:00:01");
    assert_eq!(
        (parsed.hop_limit, parsed.traffic_class, parsed.ecn()),
        (64, 0xb9, 1)
    );
    assert!(parsed.dont_fragment && !parsed.source_routed);
    let Transport::Tcp(tcp) = parsed.transport else {
        panic!("TCP")
    };
    assert_eq!(
        (tcp.seq, tcp.ack, tcp.window, tcp.payload_len),
        (7, 9, 256, 0)
    );
    assert_eq!(tcp.flags, TcpFlags::SYN);
    let alone = Headers::parse_ip(&frame[14..]).unwrap();
    assert_eq!(
        (alone.l3, alone.l4, alone.end, alone.flow),
        (0, 20, 40, parsed.flow)
    );
}

#[test]
fn headers_stay_compact() {
    assert!(size_of::<Headers>() <= 128, "{}", size_of::<Headers>());
}

#[test]
fn icmp_echo_identifier_is_on_the_asking_side() {
    let request = headers(&v4().icmp_echo_request(9, 1, b"x")).flow;
    let reply = headers(&v4().icmp_echo_reply(9, 1, b"x")).flow;
    assert_eq!((request.src_port, request.dst_port), (9, 0));
    assert_eq!((reply.src_port, reply.dst_port), (0, 9));
    let other = headers(&v4().icmp(13, 0, [0, 9, 0, 1], &[0; 12]));
    assert_eq!((other.flow.src_port, other.flow.dst_port), (0, 0));
    assert_eq!(other.transport, Transport::Icmp { kind: 13, code: 0 });
    let six = headers(&v6().icmp_echo_request(9, 1, b"x"));
    assert_eq!(six.transport, Transport::Icmpv6 { kind: 128, code: 0 });
    assert_eq!((six.flow.src_port, six.flow.dst_port), (9, 0));
    // ICMP belongs to IPv4 and ICMPv6 to IPv6; crossed they are nobody's.
    let crossed = [
        v6().payload(IpProtocol::ICMP, &[8, 0, 0, 0, 0, 9, 0, 1]),
        v4().payload(IpProtocol::ICMPV6, &[128, 0, 0, 0, 0, 9, 0, 1]),
    ];
    for frame in crossed {
        let parsed = headers(&frame);
        assert_eq!(
            (parsed.transport, parsed.flow.src_port),
            (Transport::Other, 0)
        );
    }
}

#[test]
fn source_routes() {
    let routing = |kind, left| {
        v6().extension(IpProtocol::ROUTING, &[kind, left])
            .udp(1, 2, b"")
    };
    let cases = [
        ("none", v4().udp(1, 2, b""), false),
        (
            "record route",
            v4().options(&[7, 3, 4]).udp(1, 2, b""),
            false,
        ),
        (
            "LSRR",
            v4().options(&[131, 7, 4, 1, 2, 3, 4]).udp(1, 2, b""),
            true,
        ),
        (
            "SSRR behind NOP",
            v4().options(&[1, 137, 3, 4]).udp(1, 2, b""),
            true,
        ),
        (
            "behind end of options",
            v4().options(&[0, 131, 3, 4]).udp(1, 2, b""),
            false,
        ),
        ("type 0", routing(0, 1), true),
        ("type 0, done", routing(0, 0), true),
        ("type 2, done", routing(2, 0), false),
        ("type 2, one left", routing(2, 1), true),
        ("segment routing, one left", routing(4, 1), true),
    ];
    for (name, frame, expected) in cases {
        assert_eq!(headers(&frame).source_routed, expected, "{name}");
    }
}

/// Padding behind the IP packet is never read: a header that only the padding completes
/// is cut.
#[test]
fn nothing_is_read_beyond_the_packet() {
    let mut frame = v4().udp(1, 2, b"");
    frame[17] = 27;
    fix_ipv4(&mut frame);
    assert_eq!(malformed(&frame), Some(Malformed::Truncated));
    let mut frame = v6().extension(IpProtocol::DEST_OPTIONS, &[]).udp(1, 2, b"");
    frame[19] = 7;
    assert_eq!(malformed(&frame), Some(Malformed::HeaderChain));
}

#[test]
fn every_protocol_number_and_length() {
    for protocol in (0..=255).map(IpProtocol) {
        for len in 0..=80 {
            for payload in [vec![0; len], vec![0xff; len], vec![0x50; len]] {
                let _ = crate::parse(&v4().payload(protocol, &payload));
                let _ = crate::parse(&v6().payload(protocol, &payload));
            }
        }
    }
}

#[test]
fn tcp_options_move_the_payload() {
    let spec = TcpSpec {
        options: vec![1; 12],
        ..TcpSpec::default()
    };
    let Transport::Tcp(tcp) = headers(&v6().tcp(spec, b"hello")).transport else {
        panic!("TCP")
    };
    assert_eq!(tcp.payload_len, 5);
}
