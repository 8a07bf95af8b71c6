//! Every reason to refuse a packet, each by a table of cases.

use super::{ethernet, fix_ipv4, headers, malformed, v4, v6};
use crate::{EtherType, Headers, IpProtocol, Malformed, Parsed, Transport, build::TcpSpec, parse};

const V4_PAYLOAD: usize = 34;
const V6_PAYLOAD: usize = 54;

/// A named frame and the change that breaks it.
type Case = (&'static str, Vec<u8>, fn(&mut Vec<u8>));

fn check(expected: Malformed, cases: Vec<Case>) {
    for (name, mut frame, change) in cases {
        assert_eq!(malformed(&frame), None, "{name}, unchanged");
        change(&mut frame);
        if frame.get(12..14) == Some(&[8, 0]) && expected != Malformed::BadChecksum {
            fix_ipv4(&mut frame);
        }
        assert_eq!(malformed(&frame), Some(expected), "{name}");
    }
}

fn tcp() -> Vec<u8> {
    v4().tcp(
        TcpSpec {
            options: vec![1; 4],
            ..TcpSpec::default()
        },
        b"",
    )
}

/// Shortens the frame and the IP length with it, so that the transport is what is cut.
fn cut_v4(frame: &mut Vec<u8>, payload: u8) {
    frame.truncate(V4_PAYLOAD + usize::from(payload));
    frame[17] = 20 + payload;
}

fn cut_v6(frame: &mut Vec<u8>, payload: u8) {
    frame.truncate(V6_PAYLOAD + usize::from(payload));
    frame[19] = payload;
}

#[test]
fn truncated() {
    let (udp4, udp6) = (v4().udp(1, 2, b"x"), v6().udp(1, 2, b"x"));
    let sctp = v4().payload(IpProtocol::SCTP, &[0; 12]);
    check(
        Malformed::Truncated,
        vec![
            ("no Ethernet header", udp4.clone(), |frame| {
                frame.truncate(13)
            }),
            ("no IPv4 header", udp4.clone(), |frame| frame.truncate(33)),
            (
                "IPv4 total length beyond the frame",
                udp4.clone(),
                |frame| frame[17] += 1,
            ),
            ("no UDP header", udp4, |frame| cut_v4(frame, 7)),
            ("no TCP header", tcp(), |frame| cut_v4(frame, 19)),
            ("TCP options cut", tcp(), |frame| cut_v4(frame, 23)),
            ("data offset beyond the packet", tcp(), |frame| {
                frame[46] = 0x70
            }),
            ("no SCTP header", sctp, |frame| cut_v4(frame, 11)),
            (
                "no ICMP header",
                v4().icmp_echo_request(1, 1, b""),
                |frame| cut_v4(frame, 7),
            ),
            ("no IPv6 header", udp6.clone(), |frame| frame.truncate(53)),
            (
                "IPv6 payload length beyond the frame",
                udp6.clone(),
                |frame| frame[19] += 1,
            ),
            ("no UDP header in IPv6", udp6, |frame| cut_v6(frame, 7)),
            (
                "no ICMPv6 header",
                v6().icmp_echo_request(1, 1, b""),
                |frame| cut_v6(frame, 7),
            ),
            (
                "no TCP in IPv6",
                v6().tcp(TcpSpec::default(), b""),
                |frame| cut_v6(frame, 0),
            ),
            ("ARP cut", ethernet().raw(EtherType::ARP, &ARP), |frame| {
                frame.truncate(41)
            }),
        ],
    );
    assert_eq!(malformed(&[]), Some(Malformed::Truncated));
    assert_eq!(Headers::parse_ip(&[]), Err(Malformed::Truncated));
}

const ARP: [u8; 28] = [
    0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 169, 254, 1, 1,
];

#[test]
fn bad_version() {
    check(
        Malformed::BadVersion,
        vec![
            ("IPv6 in an IPv4 frame", v4().udp(1, 2, b""), |frame| {
                frame[14] = 0x65
            }),
            ("IPv4 in an IPv6 frame", v6().udp(1, 2, b""), |frame| {
                frame[14] = 0x45
            }),
            (
                "ARP for another hardware",
                ethernet().raw(EtherType::ARP, &ARP),
                |frame| {
                    frame[15] = 6;
                },
            ),
        ],
    );
    assert_eq!(Headers::parse_ip(&[0x50; 60]), Err(Malformed::BadVersion));
}

#[test]
fn bad_length() {
    let udp = v4().udp(1, 2, b"xyz");
    check(
        Malformed::BadLength,
        vec![
            ("IHL below 5", udp.clone(), |frame| frame[14] = 0x44),
            ("total length below IHL", udp.clone(), |frame| {
                frame[17] = 19
            }),
            ("UDP length below 8", udp.clone(), |frame| frame[39] = 7),
            ("UDP length 0", udp.clone(), |frame| frame[39] = 0),
            ("UDP length below the packet", udp.clone(), |frame| {
                frame[39] -= 1
            }),
            ("UDP length beyond the packet", udp.clone(), |frame| {
                frame[39] += 1
            }),
            ("UDP length into the padding", udp, |frame| {
                frame.push(0);
                frame[39] += 1;
            }),
            ("data offset below 5", tcp(), |frame| frame[46] = 0x40),
        ],
    );
}

#[test]
fn bad_length_of_options() {
    check(
        Malformed::BadLength,
        vec![
            (
                "IPv4 option of length 0",
                v4().options(&[7, 4, 0, 0]).udp(1, 2, b""),
                |frame| {
                    frame[35] = 0;
                },
            ),
            (
                "IPv4 option beyond the header",
                v4().options(&[7, 4, 0, 0]).udp(1, 2, b""),
                |frame| {
                    frame[35] = 5;
                },
            ),
            (
                "jumbogram",
                v6().extension(IpProtocol::HOP_BY_HOP, &[]).udp(1, 2, b""),
                |frame| {
                    frame[19] = 0;
                },
            ),
        ],
    );
}

#[test]
fn bad_length_of_fragments() {
    check(
        Malformed::BadLength,
        vec![
            (
                "fragment of 8n+1 bytes",
                v4().fragment(1, 8, true).payload(IpProtocol::UDP, &[0; 8]),
                |frame| {
                    frame.push(0);
                    frame[17] += 1;
                },
            ),
            (
                "IPv6 fragment of 8n+1 bytes",
                v6().fragment(1, 8, true).payload(IpProtocol::UDP, &[0; 8]),
                |frame| {
                    frame.push(0);
                    frame[19] += 1;
                },
            ),
            (
                "fragment beyond 65,535 bytes",
                v4().fragment(1, 8, false).payload(IpProtocol::UDP, &[0; 8]),
                |frame| {
                    frame[20..22].copy_from_slice(&[0x1f, 0xff]);
                },
            ),
            (
                "ARP with other address lengths",
                ethernet().raw(EtherType::ARP, &ARP),
                |frame| {
                    frame[18] = 8;
                },
            ),
        ],
    );
}

#[test]
fn bad_checksum() {
    for bit in 0..160 {
        let mut frame = v4().udp(1, 2, b"x");
        frame[14 + bit / 8] ^= 1 << (bit % 8);
        assert!(malformed(&frame).is_some(), "bit {bit}");
    }
    check(
        Malformed::BadChecksum,
        vec![
            ("TTL", v4().udp(1, 2, b""), |frame| frame[22] ^= 1),
            ("source", v4().udp(1, 2, b""), |frame| frame[29] ^= 1),
            ("option", v4().options(&[1; 4]).udp(1, 2, b""), |frame| {
                frame[34] = 0
            }),
        ],
    );
}

/// The transport's checksum is not the parser's business: a TAP's frame may have it partial.
#[test]
fn a_wrong_transport_checksum_is_accepted() {
    let mut frame = v4().udp(1, 2, b"x");
    frame[40] ^= 0xff;
    assert_eq!(headers(&frame).transport, Transport::Udp);
}

#[test]
fn every_cut_of_a_frame_is_refused() {
    for frame in [
        v4().options(&[1; 8]).udp(1, 2, b"x"),
        v6().fragment(1, 0, false).udp(1, 2, b"x"),
    ] {
        for len in 0..frame.len() {
            assert!(
                malformed(&frame[..len]).is_some(),
                "{len} of {}",
                frame.len()
            );
        }
    }
}

/// VLAN tags, 802.3 length frames and the rest are named and not looked into.
#[test]
fn every_other_ether_type_is_left_alone() {
    for ether_type in (0..=u16::MAX).map(EtherType) {
        if ![EtherType::IPV4, EtherType::IPV6, EtherType::ARP].contains(&ether_type) {
            let frame = ethernet().raw(ether_type, &[]);
            assert_eq!(parse(&frame), Ok(Parsed::Other(ether_type)));
        }
    }
}
