//! Is this packet's checksum right, and how does it change with one field?
//!
//! Owns the Internet checksum: full (RFC 1071), incremental (RFC 1624), and where each
//! transport puts it. UDP's "no checksum" and SCTP's CRC are handled where they differ.

mod words;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    Fragment, Headers, IpProtocol, Transport,
    bytes::{put, put_u16},
    icmp, sctp, tcp, udp,
};
use words::{copy_words, sum_words};

/// A running one's complement sum over bytes in any number of pieces.
///
/// Sums native-endian words (RFC 1071 §2 B): only the result is put in network order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    words: u64,
    odd: bool,
}

impl Sum {
    /// An empty sum.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            words: 0,
            odd: false,
        }
    }

    /// Adds bytes as if appended to all bytes added before.
    #[inline]
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        self.add_piece(sum_words(bytes), bytes.len());
    }

    /// [`Sum::add_bytes`] that also copies the bytes to `to`, in one pass over them. False, and
    /// nothing done, when `to` is not as long.
    #[inline]
    #[must_use]
    pub fn add_copied(&mut self, bytes: &[u8], to: &mut [u8]) -> bool {
        let fits = bytes.len() == to.len();
        if fits {
            self.add_piece(copy_words(bytes, to), bytes.len());
        }
        fits
    }

    #[inline]
    fn add_piece(&mut self, piece: u64, len: usize) {
        if self.odd {
            // RFC 1071 §2 B: a piece at an odd position counts with its bytes swapped.
            self.words += u64::from(fold_words(piece).swap_bytes());
        } else {
            self.words += u64::from(fold_words(piece));
        }
        self.odd ^= len % 2 == 1;
    }

    /// Adds a 16-bit field given in host byte order.
    #[inline]
    pub fn add_u16(&mut self, value: u16) {
        self.add_bytes(&value.to_be_bytes());
    }

    /// Adds a 32-bit field given in host byte order.
    #[inline]
    pub fn add_u32(&mut self, value: u32) {
        self.add_bytes(&value.to_be_bytes());
    }

    /// Adds IPv4's pseudo-header (RFC 9293 §3.1); `len` is transport header and payload.
    #[inline]
    pub fn add_pseudo_ipv4(
        &mut self,
        src: Ipv4Addr,
        dst: Ipv4Addr,
        protocol: IpProtocol,
        len: u16,
    ) {
        self.add_bytes(&src.octets());
        self.add_bytes(&dst.octets());
        self.add_u16(u16::from(protocol.0));
        self.add_u16(len);
    }

    /// Adds IPv6's pseudo-header (RFC 8200 §8.1); `len` is transport header and payload.
    #[inline]
    pub fn add_pseudo_ipv6(
        &mut self,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        protocol: IpProtocol,
        len: u32,
    ) {
        self.add_bytes(&src.octets());
        self.add_bytes(&dst.octets());
        self.add_u32(len);
        self.add_u32(u32::from(protocol.0));
    }

    /// The checksum field's value, in host byte order: the complement of the sum.
    ///
    /// Over bytes that contain a right checksum it is 0.
    #[inline]
    #[must_use]
    pub const fn finish(&self) -> u16 {
        !self.folded()
    }

    /// The sum itself, its carries folded, in host byte order: what a partial checksum field
    /// holds of the pseudo-header.
    #[inline]
    #[must_use]
    pub const fn folded(&self) -> u16 {
        u16::from_be(fold_words(self.words))
    }
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "three folds of carries leave 16 bits"
)]
const fn fold_words(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    fold(sum as u32)
}

/// Folds the carries of a 32-bit one's complement sum into 16 bits (RFC 1071 §4.1).
#[inline]
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "two folds of carries leave 16 bits"
)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + sum) as u16
}

/// The checksum after one 16-bit field changed, all in host byte order (RFC 1624 eqn. 3).
///
/// Equation 3 sums complements, so it never gives the 0xffff that RFC 1141's subtraction
/// gives where the right answer is 0x0000 (RFC 1624 §5).
#[inline]
#[must_use]
pub const fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    !fold((!checksum as u32) + (!old as u32) + (new as u32))
}

/// [`update_u16`] for a 32-bit field at an even offset.
#[inline]
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "each half of the field is 16 bits"
)]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let high = update_u16(checksum, (old >> 16) as u16, (new >> 16) as u16);
    update_u16(high, old as u16, new as u16)
}

/// The checksum of an IPv4 header (options included). With the field zeroed it is the
/// field's value; with the field in place it is 0 when the field is right.
#[inline]
#[must_use]
pub fn ipv4_header(header: &[u8]) -> u16 {
    // A header without options is five words: known here, the loop unrolls.
    let sum = match <&[u8; 20]>::try_from(header) {
        Ok(header) => header
            .as_chunks::<4>()
            .0
            .iter()
            .map(|word| u64::from(u32::from_ne_bytes(*word)))
            .sum(),
        Err(_) => sum_words(header),
    };
    !u16::from_be(fold_words(sum))
}

/// Whether the transport checksum of a parsed frame is right.
///
/// True where there is nothing to check: fragments, other protocols, UDP over IPv4 with
/// checksum 0 (RFC 768). UDP over IPv6 with checksum 0 is wrong (RFC 8200 §8.1).
/// SCTP is checked by its CRC32c (RFC 9260 §6.8).
#[must_use]
pub fn verify_transport(frame: &[u8], headers: &Headers) -> bool {
    let Some(segment) = whole_segment(frame, headers) else {
        return true;
    };
    match headers.transport {
        Transport::Sctp => sctp::verify(segment),
        Transport::Udp if segment.get(udp::CHECKSUM..udp::HEADER_LEN) == Some(&[0, 0]) => {
            headers.flow.src.is_ipv4()
        }
        Transport::Tcp(_) | Transport::Udp | Transport::Icmp { .. } | Transport::Icmpv6 { .. } => {
            transport_sum(segment, headers) == 0
        }
        Transport::Other | Transport::Opaque => true,
    }
}

/// Writes the transport checksum of a parsed frame; does nothing to fragments and to
/// protocols whose checksum we do not know. UDP's 0 is written as 0xffff (RFC 768).
pub fn fill_transport(frame: &mut [u8], headers: &Headers) {
    let (at, width) = match headers.transport {
        Transport::Tcp(_) => (tcp::CHECKSUM, 2),
        Transport::Udp => (udp::CHECKSUM, 2),
        Transport::Icmp { .. } | Transport::Icmpv6 { .. } => (icmp::CHECKSUM, 2),
        Transport::Sctp => (sctp::CHECKSUM, 4),
        Transport::Other | Transport::Opaque => return,
    };
    if !matches!(headers.fragment, Fragment::Whole) {
        return;
    }
    let Some(segment) = frame.get_mut(headers.l4..headers.end) else {
        return;
    };
    if segment.len() < at + width {
        return;
    }
    if matches!(headers.transport, Transport::Sctp) {
        let crc = sctp::crc32c(segment);
        put(segment, at, &crc.to_le_bytes());
        return;
    }
    put_u16(segment, at, 0);
    let checksum = match (transport_sum(segment, headers), headers.transport) {
        (0, Transport::Udp) => 0xffff,
        (checksum, _) => checksum,
    };
    put_u16(segment, at, checksum);
}

fn whole_segment<'a>(frame: &'a [u8], headers: &Headers) -> Option<&'a [u8]> {
    match headers.fragment {
        Fragment::Whole => frame.get(headers.l4..headers.end),
        Fragment::First { .. } | Fragment::Later { .. } => None,
    }
}

/// The checksum over pseudo-header (where the protocol has one) and segment.
#[expect(
    clippy::cast_possible_truncation,
    reason = "an IP packet is shorter than 2^17 bytes"
)]
fn transport_sum(segment: &[u8], headers: &Headers) -> u16 {
    let mut sum = Sum::new();
    let protocol = headers.flow.protocol;
    match (headers.flow.src, headers.flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) if protocol != IpProtocol::ICMP => {
            sum.add_pseudo_ipv4(src, dst, protocol, segment.len() as u16);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            sum.add_pseudo_ipv6(src, dst, protocol, segment.len() as u32);
        }
        _ => {}
    }
    sum.add_bytes(segment);
    sum.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of RFC 1071's time, checksum 0xb861: 192.168.0.1 > 192.168.0.199, UDP.
    const HEADER: [u8; 20] = [
        0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 192, 168, 0, 1, 192, 168, 0, 199,
    ];

    #[test]
    fn the_literal_header() {
        assert_eq!(ipv4_header(&HEADER), 0);
        let mut zeroed = HEADER;
        zeroed[10..12].fill(0);
        assert_eq!(ipv4_header(&zeroed), 0xb861);
    }

    /// RFC 1071 §3: the sum of these bytes is 0xddf2.
    #[test]
    fn the_example_of_rfc_1071() {
        let mut sum = Sum::new();
        sum.add_bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.finish(), !0xddf2);
    }

    /// RFC 1624 §4: 0x5555 becomes 0x3285 in a header with checksum 0xdd2f. The right
    /// answer is 0x0000, where RFC 1141 gives 0xffff.
    #[test]
    fn the_example_of_rfc_1624() {
        assert_eq!(update_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
        assert_eq!(update_u32(0xdd2f, 0x5555_0000, 0x3285_0000), 0x0000);
        assert_eq!(update_u32(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn folding_keeps_every_carry() {
        let cases = [
            (0, 0),
            (0xffff, 0xffff),
            (0x1_0000, 1),
            (0x1_ffff, 1),
            (u32::MAX, 0xffff),
        ];
        for (sum, expected) in cases {
            assert_eq!(fold(sum), expected, "{sum:#x}");
        }
        assert_eq!(fold_words(u64::MAX), 0xffff);
        assert_eq!(fold_words(0x0001_0001_0001_0001), 4);
    }

    #[test]
    fn an_update_that_changes_nothing_changes_nothing() {
        for checksum in 0..0xffff {
            assert_eq!(update_u16(checksum, 0x1234, 0x1234), checksum);
        }
        // Both spellings of zero verify; only 0x0000 is ever written for it.
        assert_eq!(update_u16(0xffff, 0x1234, 0x1234), 0);
    }
}
