//! What do an echo request and its reply look like?
//!
//! Owns the lab's ping: ICMP (RFC 792) and ICMPv6 (RFC 4443) through raw sockets. The kernel fills in
//! the ICMPv6 checksum; a raw IPv4 socket reads the IP header too, an IPv6 one does not.

use std::net::IpAddr;

use weft_wire::checksum::Sum;

const V4_REQUEST: u8 = 8;
const V4_REPLY: u8 = 0;
const V6_REQUEST: u8 = 128;
const V6_REPLY: u8 = 129;
const HEADER: usize = 8;

/// An echo request with `payload` bytes after its header.
pub(crate) fn request(to: IpAddr, id: u16, sequence: u16, payload: usize) -> Vec<u8> {
    let kind = if to.is_ipv4() { V4_REQUEST } else { V6_REQUEST };
    let mut message = vec![kind, 0, 0, 0];
    message.extend_from_slice(&id.to_be_bytes());
    message.extend_from_slice(&sequence.to_be_bytes());
    message.resize(HEADER + payload, b'w');
    if to.is_ipv4() {
        let mut sum = Sum::default();
        sum.add_bytes(&message);
        if let Some(field) = message.get_mut(2..4) {
            field.copy_from_slice(&sum.finish().to_be_bytes());
        }
    }
    message
}

/// Whether these bytes, as a raw socket reads them, are the reply to that request.
pub(crate) fn is_reply(from: IpAddr, id: u16, sequence: u16, bytes: &[u8]) -> bool {
    let kind = if from.is_ipv4() { V4_REPLY } else { V6_REPLY };
    let icmp = if from.is_ipv4() {
        let words = bytes.first().map_or(0, |b| usize::from(b & 0x0f));
        bytes.get(words * 4..)
    } else {
        Some(bytes)
    };
    let [k, 0, _, _, i0, i1, s0, s1, ..] = icmp.unwrap_or_default() else {
        return false;
    };
    *k == kind && u16::from_be_bytes([*i0, *i1]) == id && u16::from_be_bytes([*s0, *s1]) == sequence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_right_checksum() {
        let message = request("10.0.0.1".parse().unwrap(), 7, 1, 3);
        let mut sum = Sum::default();
        sum.add_bytes(&message);
        assert_eq!(sum.finish(), 0);
        assert_eq!(message.len(), 11);
    }

    #[test]
    fn only_its_own_reply_counts() {
        let v4: IpAddr = "10.0.0.1".parse().unwrap();
        let mut packet = vec![0x45; 20];
        packet.extend([0, 0, 0, 0, 0, 7, 0, 1]);
        assert!(is_reply(v4, 7, 1, &packet));
        assert!(!is_reply(v4, 8, 1, &packet));
        assert!(!is_reply(v4, 7, 2, &packet));
        assert!(!is_reply(v4, 7, 1, &packet[..24]));
        let v6: IpAddr = "fd00::1".parse().unwrap();
        assert!(is_reply(v6, 7, 1, &[129, 0, 9, 9, 0, 7, 0, 1, 1]));
        assert!(!is_reply(v6, 7, 1, &[128, 0, 9, 9, 0, 7, 0, 1, 1]));
        assert!(!is_reply(v6, 7, 1, &[]));
    }
}
