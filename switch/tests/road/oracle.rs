//! A second opinion on frames that leave: etherparse for structure, and checksums by the
//! plain loop of RFC 1071.

use etherparse::{NetSlice, SlicedPacket};
use weft_wire::Mac;

pub(crate) fn macs(frame: &[u8]) -> [Mac; 2] {
    [0, 6].map(|at| Mac::new(frame[at..at + 6].try_into().unwrap()))
}

/// The frame is well-formed to its last byte, and its checksums are right.
pub(crate) fn check(frame: &[u8]) {
    let sliced =
        SlicedPacket::from_ethernet(frame).unwrap_or_else(|error| panic!("{error}: {frame:02x?}"));
    match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header().slice();
            assert_eq!(sum(header, 0), 0xffff, "IPv4 header checksum");
            assert_eq!(
                usize::from(ip.header().total_len()),
                frame.len() - 14,
                "no padding"
            );
            let payload = &frame[14 + header.len()..];
            let pseudo = sum(&header[12..20], u32::from(header[9]) + length(payload));
            if !ip.payload().fragmented {
                check_transport(header[9], payload, pseudo);
            }
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header().slice();
            assert_eq!(
                usize::from(ip.header().payload_length()),
                frame.len() - 54,
                "no padding"
            );
            let payload = ip.payload().payload;
            let protocol = ip.payload().ip_number.0;
            let pseudo = sum(&header[8..40], u32::from(protocol) + length(payload));
            if !ip.payload().fragmented {
                check_transport(protocol, payload, pseudo);
            }
        }
        Some(NetSlice::Arp(_)) => assert_eq!(frame.len(), 42),
        None => panic!("not IP: {frame:02x?}"),
    }
}

fn check_transport(protocol: u8, payload: &[u8], pseudo: u16) {
    match protocol {
        1 => assert_eq!(sum(payload, 0), 0xffff, "ICMP checksum"),
        6 | 58 => assert_eq!(
            sum(payload, pseudo.into()),
            0xffff,
            "checksum of {protocol}"
        ),
        17 if payload[6..8] != [0, 0] => {
            assert_eq!(sum(payload, pseudo.into()), 0xffff, "UDP checksum")
        }
        _ => {}
    }
}

fn length(payload: &[u8]) -> u32 {
    u32::try_from(payload.len()).unwrap()
}

pub(crate) fn sum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}
