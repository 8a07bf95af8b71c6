//! Who has this IPv4 address? ARP over Ethernet (RFC 826), the one form that exists here.
//!
//! Owns the 28-byte message. Never decides whom to believe.

use core::net::Ipv4Addr;

use crate::{
    Mac, Malformed,
    bytes::{array_at, ipv4_at, put, put_u16, u16_at},
};

/// Bytes of an ARP message for IPv4 over Ethernet.
pub const LEN: usize = 28;

const HARDWARE_ETHERNET: u16 = 1;
const PROTOCOL_IPV4: u16 = 0x0800;

mod field {
    pub(super) const HARDWARE_TYPE: usize = 0;
    pub(super) const PROTOCOL_TYPE: usize = 2;
    pub(super) const HARDWARE_LEN: usize = 4;
    pub(super) const PROTOCOL_LEN: usize = 5;
    pub(super) const OPERATION: usize = 6;
    pub(super) const SENDER_MAC: usize = 8;
    pub(super) const SENDER_IP: usize = 14;
    pub(super) const TARGET_MAC: usize = 18;
    pub(super) const TARGET_IP: usize = 24;
}

/// What an ARP message wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpOperation {
    /// Who has the target address?
    Request,
    /// The sender has its address.
    Reply,
    /// Anything else, by number (RFC 903 and later).
    Other(u16),
}

impl From<u16> for ArpOperation {
    #[inline]
    fn from(number: u16) -> Self {
        match number {
            1 => Self::Request,
            2 => Self::Reply,
            other => Self::Other(other),
        }
    }
}

impl From<ArpOperation> for u16 {
    #[inline]
    fn from(operation: ArpOperation) -> Self {
        match operation {
            ArpOperation::Request => 1,
            ArpOperation::Reply => 2,
            ArpOperation::Other(other) => other,
        }
    }
}

/// An ARP message for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// What the message wants.
    pub operation: ArpOperation,
    /// The station that claims `sender_ip`.
    pub sender_mac: Mac,
    /// The address claimed.
    pub sender_ip: Ipv4Addr,
    /// The station asked for; meaningless in a request.
    pub target_mac: Mac,
    /// The address asked for.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Bytes of a message, [`LEN`].
    pub const LEN: usize = LEN;

    /// Parses what follows an Ethernet header of type ARP; padding behind is ignored.
    ///
    /// # Errors
    /// `Truncated` below 28 bytes, `BadVersion` for another hardware or protocol than
    /// Ethernet and IPv4, `BadLength` when the address lengths are not 6 and 4.
    #[inline]
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let message: &[u8; LEN] = payload.first_chunk().ok_or(Malformed::Truncated)?;
        if u16_at(message, field::HARDWARE_TYPE) != HARDWARE_ETHERNET
            || u16_at(message, field::PROTOCOL_TYPE) != PROTOCOL_IPV4
        {
            return Err(Malformed::BadVersion);
        }
        if message[field::HARDWARE_LEN] != 6 || message[field::PROTOCOL_LEN] != 4 {
            return Err(Malformed::BadLength);
        }
        Ok(Self {
            operation: u16_at(message, field::OPERATION).into(),
            sender_mac: Mac::new(array_at(message, field::SENDER_MAC)),
            sender_ip: ipv4_at(message, field::SENDER_IP),
            target_mac: Mac::new(array_at(message, field::TARGET_MAC)),
            target_ip: ipv4_at(message, field::TARGET_IP),
        })
    }

    /// The message's bytes.
    #[inline]
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let mut message = [0; LEN];
        put_u16(&mut message, field::HARDWARE_TYPE, HARDWARE_ETHERNET);
        put_u16(&mut message, field::PROTOCOL_TYPE, PROTOCOL_IPV4);
        message[field::HARDWARE_LEN] = 6;
        message[field::PROTOCOL_LEN] = 4;
        put_u16(&mut message, field::OPERATION, self.operation.into());
        put(&mut message, field::SENDER_MAC, &self.sender_mac.octets());
        put(&mut message, field::SENDER_IP, &self.sender_ip.octets());
        put(&mut message, field::TARGET_MAC, &self.target_mac.octets());
        put(&mut message, field::TARGET_IP, &self.target_ip.octets());
        message
    }

    /// Writes the message at the start of `out`. False, and nothing written, when `out` is
    /// shorter than [`LEN`].
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> bool {
        let Some(room) = out.first_chunk_mut() else {
            return false;
        };
        *room = self.to_bytes();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who has 169.254.1.1? Tell 10.0.0.2.
    const REQUEST: [u8; LEN] = [
        0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 169, 254, 1, 1,
    ];

    #[test]
    fn the_literal_request_round_trips() {
        let arp = Arp {
            operation: ArpOperation::Request,
            sender_mac: Mac::new([2, 0, 0, 0, 0, 1]),
            sender_ip: Ipv4Addr::new(10, 0, 0, 2),
            target_mac: Mac::ZERO,
            target_ip: Ipv4Addr::new(169, 254, 1, 1),
        };
        assert_eq!(Arp::parse(&REQUEST), Ok(arp));
        let mut out = [0xff; LEN + 18];
        assert!(arp.emit(&mut out));
        assert_eq!(out[..LEN], REQUEST);
        assert_eq!(Arp::parse(&out), Ok(arp), "padding is ignored");
        assert!(!arp.emit(&mut [0; LEN - 1]));
    }

    #[test]
    fn operations_round_trip() {
        for number in [0, 1, 2, 3, 0xffff] {
            assert_eq!(u16::from(ArpOperation::from(number)), number);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        assert_eq!(Arp::parse(&REQUEST[..LEN - 1]), Err(Malformed::Truncated));
        let cases = [
            (0, Malformed::BadVersion),
            (1, Malformed::BadVersion),
            (2, Malformed::BadVersion),
            (3, Malformed::BadVersion),
            (4, Malformed::BadLength),
            (5, Malformed::BadLength),
        ];
        for (at, expected) in cases {
            let mut message = REQUEST;
            message[at] ^= 0x10;
            assert_eq!(Arp::parse(&message), Err(expected), "byte {at}");
        }
    }
}
