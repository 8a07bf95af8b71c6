//! What is in a frame on the road? Shared readings of the judge.

use std::net::IpAddr;

use weft_switch::path::{GATEWAY_V4, GATEWAY_V6};
use weft_wire::{Fragment, Headers, Mac, Parsed, Transport, checksum, parse};

use crate::node::VXLAN_PORT;

/// The frame's receiver and sender.
pub(super) fn stations(frame: &[u8]) -> (Mac, Mac) {
    let mac = |at: usize| {
        frame[at..at + 6]
            .try_into()
            .map(Mac::new)
            .expect("six bytes")
    };
    (mac(0), mac(6))
}

/// The headers of a frame on the road.
pub(super) fn ip(frame: &[u8]) -> Headers {
    match parse(frame) {
        Ok(Parsed::Ip(headers)) => headers,
        other => panic!("{other:?} on the road: {frame:02x?}"),
    }
}

/// Whether the address is the gateway's.
pub(super) fn is_gateway(address: IpAddr) -> bool {
    address == GATEWAY_V4 || address == GATEWAY_V6
}

/// What only a router, a DHCP server or a node may say.
pub(super) fn is_rogue(headers: &Headers) -> bool {
    let (src, dst) = (headers.flow.src_port, headers.flow.dst_port);
    match headers.transport {
        Transport::Icmp { kind, .. } => matches!(kind, 5 | 9 | 10),
        Transport::Icmpv6 { kind, .. } => matches!(kind, 133..=137),
        Transport::Udp => {
            let dhcp = if headers.flow.src.is_ipv4() {
                (67, 68)
            } else {
                (547, 546)
            };
            (src, dst) == dhcp || dst == VXLAN_PORT
        }
        _ => false,
    }
}

/// The packets of a super-frame together carry its payload, each behind headers of its own.
pub(super) fn segments(frame: &[u8], was: &Headers, packets: &[&[u8]]) {
    let behind = |bytes: &[u8], headers: &Headers| match headers.transport {
        Transport::Tcp(_) => headers.l4 + usize::from(bytes[headers.l4 + 12] >> 4) * 4,
        _ => headers.l4 + 8,
    };
    let was_right = checksum::verify_transport(frame, was);
    let mut joined = Vec::new();
    for packet in packets {
        let now = ip(packet);
        assert_eq!(now.end, packet.len(), "padding on the road");
        assert_eq!(now.fragment, Fragment::Whole);
        assert_eq!(now.flow, was.flow);
        assert!(checksum::verify_transport(packet, &now) || !was_right);
        joined.extend_from_slice(&packet[behind(packet, &now)..]);
    }
    assert_eq!(joined, frame[behind(frame, was)..was.end]);
}

/// The pieces together carry the payload of the frame, every byte once; a whole packet is as right
/// or wrong in its checksum as it was.
pub(super) fn payload(frame: &[u8], was: &Headers, pieces: &[&[u8]]) {
    let expected = &frame[was.l4..was.end];
    let base = match was.fragment {
        Fragment::Later { offset, .. } => usize::from(offset),
        _ => 0,
    };
    let mut joined = Vec::new();
    for piece in pieces {
        let now = ip_or_piece(piece);
        assert_eq!(now.0, base + joined.len(), "pieces in order, without a gap");
        joined.extend_from_slice(&piece[now.1..]);
    }
    assert_eq!(joined, expected);
    if let [only] = pieces {
        let now = ip(only);
        assert_eq!(now.fragment, was.fragment);
        let is_right = checksum::verify_transport(only, &now);
        assert_eq!(is_right, checksum::verify_transport(frame, was));
    }
}

/// The place of a packet's bytes in the whole payload, and where they begin in its frame.
fn ip_or_piece(frame: &[u8]) -> (usize, usize) {
    let headers = ip(frame);
    assert_eq!(headers.end, frame.len(), "padding on the road");
    match headers.fragment {
        Fragment::Later { offset, .. } => (offset.into(), headers.l4),
        _ => (0, headers.l4),
    }
}
