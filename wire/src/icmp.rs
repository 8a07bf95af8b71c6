//! What does an ICMP message say? RFC 792 and RFC 4443, which share their first 8 bytes.
//!
//! Owns type, code, the echo identifier and which types are errors. Never answers.

use crate::{
    Malformed, Transport,
    bytes::{put_u16, u16_at, u32_at},
};

/// Bytes in front of a message's data.
pub const HEADER_LEN: usize = 8;

/// ICMP echo reply (RFC 792).
pub const ECHO_REPLY: u8 = 0;
/// ICMP destination unreachable (RFC 792).
pub const DESTINATION_UNREACHABLE: u8 = 3;
/// ICMP source quench, obsolete (RFC 6633).
pub const SOURCE_QUENCH: u8 = 4;
/// ICMP redirect (RFC 792).
pub const REDIRECT: u8 = 5;
/// ICMP echo request (RFC 792).
pub const ECHO_REQUEST: u8 = 8;
/// ICMP time exceeded (RFC 792).
pub const TIME_EXCEEDED: u8 = 11;
/// ICMP parameter problem (RFC 792).
pub const PARAMETER_PROBLEM: u8 = 12;

/// Code of [`DESTINATION_UNREACHABLE`]: the packet is too big and says don't fragment
/// (RFC 1191).
pub const CODE_FRAGMENTATION_NEEDED: u8 = 4;

/// ICMPv6 destination unreachable (RFC 4443 §3.1).
pub const V6_DESTINATION_UNREACHABLE: u8 = 1;
/// ICMPv6 packet too big (RFC 4443 §3.2).
pub const V6_PACKET_TOO_BIG: u8 = 2;
/// ICMPv6 time exceeded (RFC 4443 §3.3).
pub const V6_TIME_EXCEEDED: u8 = 3;
/// ICMPv6 parameter problem (RFC 4443 §3.4).
pub const V6_PARAMETER_PROBLEM: u8 = 4;
/// ICMPv6 echo request (RFC 4443 §4.1).
pub const V6_ECHO_REQUEST: u8 = 128;
/// ICMPv6 echo reply (RFC 4443 §4.2).
pub const V6_ECHO_REPLY: u8 = 129;
/// Router solicitation (RFC 4861 §4.1).
pub const V6_ROUTER_SOLICIT: u8 = 133;
/// Router advertisement (RFC 4861 §4.2).
pub const V6_ROUTER_ADVERT: u8 = 134;
/// Neighbour solicitation (RFC 4861 §4.3).
pub const V6_NEIGHBOR_SOLICIT: u8 = 135;
/// Neighbour advertisement (RFC 4861 §4.4).
pub const V6_NEIGHBOR_ADVERT: u8 = 136;
/// Redirect (RFC 4861 §4.5).
pub const V6_REDIRECT: u8 = 137;

mod field {
    pub(super) const KIND: usize = 0;
    pub(super) const CODE: usize = 1;
    pub(super) const SEQUENCE: usize = 6;
}

pub(crate) const CHECKSUM: usize = 2;
pub(crate) const IDENTIFIER: usize = 4;

/// Whether a message reports an error about another packet, which it quotes.
///
/// ICMP: unreachable, source quench, redirect, time exceeded, parameter problem
/// (RFC 1122 §3.2.2). ICMPv6: all types below 128 (RFC 4443 §2.1).
#[inline]
#[must_use]
pub const fn is_error(transport: Transport) -> bool {
    match transport {
        Transport::Icmp { kind, .. } => matches!(
            kind,
            DESTINATION_UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM
        ),
        Transport::Icmpv6 { kind, .. } => kind < 128,
        Transport::Tcp(_)
        | Transport::Udp
        | Transport::Sctp
        | Transport::Other
        | Transport::Opaque => false,
    }
}

/// A view of an ICMP or ICMPv6 message.
#[derive(Clone, Copy, Debug)]
pub struct IcmpMessage<T>(T);

impl<T: AsRef<[u8]>> IcmpMessage<T> {
    /// Checks that the 8 bytes every message we act on begins with are there.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] below 8 bytes.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        if buffer.as_ref().len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        Ok(Self(buffer))
    }

    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.0.as_ref().get(at).copied().unwrap_or_default()
    }

    /// The message type.
    #[inline]
    pub fn kind(&self) -> u8 {
        self.byte(field::KIND)
    }

    /// The message code.
    #[inline]
    pub fn code(&self) -> u8 {
        self.byte(field::CODE)
    }

    /// The checksum as written, in host byte order.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.0.as_ref(), CHECKSUM)
    }

    /// The identifier of an echo.
    #[inline]
    pub fn identifier(&self) -> u16 {
        u16_at(self.0.as_ref(), IDENTIFIER)
    }

    /// The sequence number of an echo; the MTU of [`CODE_FRAGMENTATION_NEEDED`] (RFC 1191).
    #[inline]
    pub fn sequence(&self) -> u16 {
        u16_at(self.0.as_ref(), field::SEQUENCE)
    }

    /// The four bytes behind the checksum as one number; the MTU of [`V6_PACKET_TOO_BIG`].
    #[inline]
    pub fn rest(&self) -> u32 {
        u32_at(self.0.as_ref(), IDENTIFIER)
    }

    /// Everything behind the first 8 bytes.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.0.as_ref().get(HEADER_LEN..).unwrap_or_default()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> IcmpMessage<T> {
    /// Replaces the message type.
    pub fn set_kind(&mut self, kind: u8) {
        if let Some(byte) = self.0.as_mut().get_mut(field::KIND) {
            *byte = kind;
        }
    }

    /// Replaces the checksum field.
    pub fn set_checksum(&mut self, checksum: u16) {
        put_u16(self.0.as_mut(), CHECKSUM, checksum);
    }
}

/// The first 8 bytes of a message, checksum 0.
#[inline]
#[must_use]
pub const fn header(kind: u8, code: u8, rest: [u8; 4]) -> [u8; HEADER_LEN] {
    [kind, code, 0, 0, rest[0], rest[1], rest[2], rest[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Echo request, identifier 0x1234, sequence 7, one byte of data.
    const ECHO: [u8; 9] = [8, 0, 0xab, 0xcd, 0x12, 0x34, 0, 7, 0xee];

    #[test]
    fn getters_read_the_literal_message() {
        let icmp = IcmpMessage::new_checked(ECHO).unwrap();
        assert_eq!(
            (icmp.kind(), icmp.code(), icmp.checksum()),
            (ECHO_REQUEST, 0, 0xabcd)
        );
        assert_eq!((icmp.identifier(), icmp.sequence()), (0x1234, 7));
        assert_eq!((icmp.rest(), icmp.payload()), (0x1234_0007, &[0xee][..]));
        assert_eq!(header(8, 0, [0x12, 0x34, 0, 7])[4..], ECHO[4..8]);
        assert_eq!(
            IcmpMessage::new_checked(&ECHO[..7]).err(),
            Some(Malformed::Truncated)
        );
    }

    #[test]
    fn setters_write_what_getters_read() {
        let mut bytes = ECHO;
        let mut icmp = IcmpMessage::new_checked(&mut bytes).unwrap();
        icmp.set_kind(ECHO_REPLY);
        icmp.set_checksum(0x1234);
        assert_eq!((icmp.kind(), icmp.checksum()), (ECHO_REPLY, 0x1234));
    }

    #[test]
    fn which_types_are_errors() {
        for kind in 0..=255 {
            let icmp = is_error(Transport::Icmp { kind, code: 0 });
            assert_eq!(icmp, [3, 4, 5, 11, 12].contains(&kind), "icmp {kind}");
            assert_eq!(
                is_error(Transport::Icmpv6 { kind, code: 0 }),
                kind < 128,
                "icmpv6 {kind}"
            );
        }
        assert!(!is_error(Transport::Udp) && !is_error(Transport::Opaque));
    }
}
