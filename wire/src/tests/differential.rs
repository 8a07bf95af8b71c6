//! Does etherparse, written by others, see the same packet?
//!
//! Where both accept, addresses, protocol, ports, offsets and TCP fields must agree. Where
//! only we accept, one of [`DIFFERENCES`] must explain it. Where only etherparse accepts we
//! are the stricter: it does not judge IPv4 checksums and options, chains beyond 8 headers,
//! several fragment headers, tiny fragments, fragment lengths, or UDP lengths below the
//! packet's; and it looks behind VLAN tags.

use core::net::IpAddr;

use etherparse::{IpPayloadSlice, NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::generate::{mutated, packet};
use crate::{Fragment, Headers, IpProtocol, IpVersion, Parsed, Transport, icmp, ipv6, parse};

/// A sentence, and the packets it explains.
type Difference = (&'static str, fn(&Headers) -> bool);

/// Why we accept what etherparse refuses, or read it another way.
const DIFFERENCES: [Difference; 6] = [
    (
        "it walks on behind a later fragment's header; we see payload there",
        |headers| matches!(headers.fragment, Fragment::Later { .. }),
    ),
    (
        "it looks behind an IPv4 authentication header; to us that is a protocol",
        |headers| headers.flow.src.is_ipv4() && headers.flow.protocol == IpProtocol::AH,
    ),
    (
        "it demands 20 bytes of ICMP timestamps; we only need the first 8",
        |headers| {
            matches!(
                headers.transport,
                Transport::Icmp {
                    kind: 13 | 14,
                    code: 0
                }
            )
        },
    ),
    ("it parses IGMP; we do not", |headers| {
        headers.flow.protocol == IpProtocol(2)
    }),
    (
        "it demands 8 bytes of ICMPv6 in IPv4 and of ICMP in IPv6; to us that is any protocol",
        |headers| {
            let icmp = [IpProtocol::ICMP, IpProtocol::ICMPV6].contains(&headers.flow.protocol);
            icmp && headers.transport == Transport::Other && headers.payload_len() < 8
        },
    ),
    (
        "it takes an IPv6 payload length of 0 as \"to the end of the frame\"",
        |headers| headers.version == IpVersion::V6 && headers.ip_len() == ipv6::HEADER_LEN,
    ),
];

fn explained(headers: &Headers) -> bool {
    DIFFERENCES.iter().any(|(_, explains)| explains(headers))
}

fn compare(frame: &[u8]) -> Result<(), TestCaseError> {
    let Ok(Parsed::Ip(ours)) = parse(frame) else {
        return Ok(());
    };
    if explained(&ours) {
        return Ok(());
    }
    let theirs = SlicedPacket::from_ethernet(frame);
    prop_assert!(
        theirs.is_ok(),
        "only we accept: {:?} {:?}",
        ours,
        theirs.err()
    );
    let theirs = theirs.unwrap();
    let (src, dst, payload): (IpAddr, IpAddr, &IpPayloadSlice<'_>) = match theirs.net.as_ref() {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header();
            prop_assert_eq!(header.ttl(), ours.hop_limit);
            prop_assert_eq!(header.dont_fragment(), ours.dont_fragment);
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                ip.payload(),
            )
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header();
            prop_assert_eq!(header.hop_limit(), ours.hop_limit);
            prop_assert_eq!(header.traffic_class(), ours.traffic_class);
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                ip.payload(),
            )
        }
        other => return Err(TestCaseError::fail(format!("no IP: {other:?}"))),
    };
    prop_assert_eq!((src, dst), (ours.flow.src, ours.flow.dst));
    prop_assert_eq!(payload.ip_number.0, ours.flow.protocol.0);
    prop_assert_eq!(payload.fragmented, ours.fragment != Fragment::Whole);
    let at = payload.payload.as_ptr().addr() - frame.as_ptr().addr();
    prop_assert_eq!((at, at + payload.payload.len()), (ours.l4, ours.end));
    if ours.fragment == Fragment::Whole {
        compare_transport(theirs.transport.as_ref(), &ours)?;
    }
    Ok(())
}

/// etherparse leaves the transport of every fragment unread; ours are compared when whole.
fn compare_transport(
    theirs: Option<&TransportSlice<'_>>,
    ours: &Headers,
) -> Result<(), TestCaseError> {
    let ports = (ours.flow.src_port, ours.flow.dst_port);
    match (theirs, ours.transport) {
        (Some(TransportSlice::Udp(udp)), Transport::Udp) => {
            prop_assert_eq!((udp.source_port(), udp.destination_port()), ports);
        }
        (Some(TransportSlice::Tcp(tcp)), Transport::Tcp(info)) => {
            prop_assert_eq!((tcp.source_port(), tcp.destination_port()), ports);
            prop_assert_eq!(tcp.sequence_number(), info.seq);
            prop_assert_eq!(tcp.acknowledgment_number(), info.ack);
            prop_assert_eq!(tcp.window_size(), info.window);
            prop_assert_eq!(
                tcp.payload().len(),
                usize::try_from(info.payload_len).unwrap()
            );
            prop_assert_eq!(tcp.slice()[13], info.flags.0);
        }
        (Some(TransportSlice::Icmpv4(theirs)), Transport::Icmp { kind, code }) => {
            prop_assert_eq!((theirs.type_u8(), theirs.code_u8()), (kind, code));
        }
        (Some(TransportSlice::Icmpv6(theirs)), Transport::Icmpv6 { kind, code }) => {
            prop_assert_eq!((theirs.type_u8(), theirs.code_u8()), (kind, code));
            if kind == icmp::V6_ECHO_REPLY {
                prop_assert_eq!(
                    ports,
                    (
                        0,
                        u16::from_be_bytes([theirs.slice()[4], theirs.slice()[5]])
                    )
                );
            }
        }
        // etherparse has no SCTP, and reads ICMP in IPv6 and ICMPv6 in IPv4, which no
        // receiver does (RFC 4443 §1).
        (None, Transport::Sctp | Transport::Other) => {}
        (Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_)), Transport::Other) => {}
        (theirs, ours) => {
            return Err(TestCaseError::fail(format!("{theirs:?} against {ours:?}")));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn built_packets_are_read_alike(frame in packet()) {
        compare(&frame)?;
    }

    #[test]
    fn damaged_packets_are_read_alike(frame in mutated()) {
        compare(&frame)?;
    }
}
