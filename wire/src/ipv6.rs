//! What does the IPv6 header say? RFC 8200 §3, with the length checked against the buffer.
//!
//! Owns the fixed header; the chain behind it is [`crate::extension`]'s. Jumbograms
//! (RFC 2675) are refused.

use core::net::Ipv6Addr;

use crate::{
    IpProtocol, Malformed,
    bytes::{ipv6_at, put, put_u16, put_u32, u16_at, u32_at},
};

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;

mod field {
    pub(super) const VERSION_CLASS_LABEL: usize = 0;
    pub(super) const PAYLOAD_LEN: usize = 4;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const HOP_LIMIT: usize = 7;
    pub(super) const SOURCE: usize = 8;
    pub(super) const DESTINATION: usize = 24;
}

const VERSION: u32 = 6 << 28;
const CLASS_MASK: u32 = 0x0ff0_0000;

/// A view of an IPv6 packet; bytes behind its payload length are not part of it.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6Packet<T> {
    buffer: T,
    total_len: usize,
}

impl<T: AsRef<[u8]>> Ipv6Packet<T> {
    /// Checks version and payload length; not the extension headers.
    ///
    /// # Errors
    /// `Truncated` when the buffer ends before the header or the payload length,
    /// `BadVersion` when the version is not 6, `BadLength` for a jumbogram (payload length
    /// 0 in front of hop-by-hop options, RFC 2675).
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let bytes = buffer.as_ref();
        let fixed: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Malformed::Truncated)?;
        if fixed[field::VERSION_CLASS_LABEL] >> 4 != 6 {
            return Err(Malformed::BadVersion);
        }
        let payload_len = usize::from(u16_at(fixed, field::PAYLOAD_LEN));
        if payload_len == 0 && IpProtocol(fixed[field::NEXT_HEADER]) == IpProtocol::HOP_BY_HOP {
            return Err(Malformed::BadLength);
        }
        let total_len = HEADER_LEN + payload_len;
        if total_len > bytes.len() {
            return Err(Malformed::Truncated);
        }
        Ok(Self { buffer, total_len })
    }

    /// Accepts a packet quoted by an ICMP error: it may be cut behind its fixed header,
    /// and its payload length is not believed beyond the bytes that are there.
    pub(crate) fn new_quoted(buffer: T) -> Option<Self> {
        let bytes = buffer.as_ref();
        let fixed: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        let payload_len = usize::from(u16_at(fixed, field::PAYLOAD_LEN));
        let total_len = (HEADER_LEN + payload_len).min(bytes.len());
        (fixed[field::VERSION_CLASS_LABEL] >> 4 == 6).then_some(Self { buffer, total_len })
    }

    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.buffer.as_ref().get(at).copied().unwrap_or_default()
    }

    /// Bytes of the packet, fixed header included.
    #[inline]
    pub fn total_len(&self) -> usize {
        self.total_len
    }

    /// DSCP and ECN (RFC 2474, RFC 3168).
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        let [class, ..] = (self.first_word() << 4).to_be_bytes();
        class
    }

    #[inline]
    fn first_word(&self) -> u32 {
        u32_at(self.buffer.as_ref(), field::VERSION_CLASS_LABEL)
    }

    /// The 20-bit flow label (RFC 6437).
    #[inline]
    pub fn flow_label(&self) -> u32 {
        self.first_word() & 0x000f_ffff
    }

    /// The first header of the chain.
    #[inline]
    pub fn next_header(&self) -> IpProtocol {
        IpProtocol(self.byte(field::NEXT_HEADER))
    }

    /// Hops the packet may still make.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        self.byte(field::HOP_LIMIT)
    }

    /// The sender.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        ipv6_at(self.buffer.as_ref(), field::SOURCE)
    }

    /// The receiver, or the next waypoint of a routing header.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        ipv6_at(self.buffer.as_ref(), field::DESTINATION)
    }

    /// Everything between the fixed header and the payload length.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.buffer
            .as_ref()
            .get(HEADER_LEN..self.total_len)
            .unwrap_or_default()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Ipv6Packet<T> {
    /// Replaces DSCP and ECN.
    pub fn set_traffic_class(&mut self, traffic_class: u8) {
        let word = (self.first_word() & !CLASS_MASK) | (u32::from(traffic_class) << 20);
        put_u32(self.buffer.as_mut(), field::VERSION_CLASS_LABEL, word);
    }

    /// Replaces the hop limit.
    pub fn set_hop_limit(&mut self, hop_limit: u8) {
        put(self.buffer.as_mut(), field::HOP_LIMIT, &[hop_limit]);
    }

    /// Replaces the payload length field. The view keeps the length it checked, so that
    /// its accessors stay inside the buffer.
    pub fn set_payload_len(&mut self, payload_len: u16) {
        put_u16(self.buffer.as_mut(), field::PAYLOAD_LEN, payload_len);
    }
}

/// Takes one hop from a packet's hop limit; 0 stays 0. Returns the new hop limit, or
/// `None` when `packet` is shorter than a header.
#[inline]
pub fn decrement_hop_limit(packet: &mut [u8]) -> Option<u8> {
    let header: &mut [u8; HEADER_LEN] = packet.first_chunk_mut()?;
    header[field::HOP_LIMIT] = header[field::HOP_LIMIT].saturating_sub(1);
    Some(header[field::HOP_LIMIT])
}

/// Replaces a packet's two ECN bits (RFC 3168 §5). Does nothing to a packet shorter than
/// a header.
#[inline]
pub fn set_ecn(packet: &mut [u8], ecn: u8) {
    if let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() {
        let word = u32_at(header, field::VERSION_CLASS_LABEL);
        let word = (word & !(0b11 << 20)) | (u32::from(ecn & 0b11) << 20);
        put_u32(header, field::VERSION_CLASS_LABEL, word);
    }
}

/// The fields of a fixed header, to write a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Repr {
    /// The sender.
    pub src: Ipv6Addr,
    /// The receiver.
    pub dst: Ipv6Addr,
    /// The first header of the chain.
    pub next_header: IpProtocol,
    /// Bytes behind the fixed header.
    pub payload_len: u16,
    /// Hops the packet may make.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
}

impl Ipv6Repr {
    /// The header's bytes, flow label 0.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        let word = VERSION | (u32::from(self.traffic_class) << 20);
        put_u32(&mut header, field::VERSION_CLASS_LABEL, word);
        put_u16(&mut header, field::PAYLOAD_LEN, self.payload_len);
        header[field::NEXT_HEADER] = self.next_header.0;
        header[field::HOP_LIMIT] = self.hop_limit;
        put(&mut header, field::SOURCE, &self.src.octets());
        put(&mut header, field::DESTINATION, &self.dst.octets());
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// fd00::1 > fd00::2, no next header, hop limit 64, class 0xb9, label 0x12345.
    const PACKET: [u8; 43] = [
        0x6b, 0x91, 0x23, 0x45, 0, 2, 59, 64, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0xaa, 0xbb, 0xee,
    ];

    #[test]
    fn getters_read_the_literal_packet() {
        let ip = Ipv6Packet::new_checked(PACKET).unwrap();
        assert_eq!((ip.traffic_class(), ip.flow_label()), (0xb9, 0x12345));
        assert_eq!((ip.total_len(), ip.hop_limit()), (42, 64));
        assert_eq!(ip.next_header(), IpProtocol::NO_NEXT);
        assert_eq!(ip.source(), "fd00::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(ip.destination(), "fd00::2".parse::<Ipv6Addr>().unwrap());
        assert_eq!(ip.payload(), [0xaa, 0xbb]);
    }

    #[test]
    fn setters_write_what_getters_read() {
        let mut bytes = PACKET;
        let mut ip = Ipv6Packet::new_checked(&mut bytes).unwrap();
        ip.set_traffic_class(0x46);
        ip.set_hop_limit(1);
        ip.set_payload_len(3);
        assert_eq!((ip.traffic_class(), ip.flow_label()), (0x46, 0x12345));
        assert_eq!(
            ip.payload().len(),
            2,
            "the view keeps the length it checked"
        );
        assert_eq!(decrement_hop_limit(&mut bytes), Some(0));
        assert_eq!(decrement_hop_limit(&mut bytes), Some(0));
        for ecn in 0..4 {
            set_ecn(&mut bytes, ecn | 0xf0);
            let ip = Ipv6Packet::new_checked(bytes).unwrap();
            assert_eq!((ip.traffic_class(), ip.flow_label()), (0x44 | ecn, 0x12345));
            assert_eq!(ip.total_len(), 43);
        }
        assert_eq!(decrement_hop_limit(&mut bytes[..39]), None);
        set_ecn(&mut bytes[..39], 1);
    }

    #[test]
    fn lengths_and_versions_that_are_refused() {
        let refused = |change: &dyn Fn(&mut [u8; 43])| {
            let mut bytes = PACKET;
            change(&mut bytes);
            Ipv6Packet::new_checked(bytes).err()
        };
        assert_eq!(
            refused(&|bytes| bytes[0] = 0x4b),
            Some(Malformed::BadVersion)
        );
        assert_eq!(refused(&|bytes| bytes[5] = 4), Some(Malformed::Truncated));
        let jumbogram = |bytes: &mut [u8; 43]| bytes[5..7].fill(0);
        assert_eq!(refused(&jumbogram), Some(Malformed::BadLength));
        assert_eq!(
            refused(&|bytes| bytes[5] = 0),
            None,
            "no payload, no next header"
        );
        let short = Ipv6Packet::new_checked(&PACKET[..39]);
        assert_eq!(short.err(), Some(Malformed::Truncated));
    }

    #[test]
    fn a_written_header_is_read_back() {
        let repr = Ipv6Repr {
            src: "fd00::1".parse().unwrap(),
            dst: "fd00::2".parse().unwrap(),
            next_header: IpProtocol::NO_NEXT,
            payload_len: 2,
            hop_limit: 64,
            traffic_class: 0xb9,
        };
        let mut expected = PACKET;
        expected[1..4].copy_from_slice(&[0x90, 0, 0]);
        assert_eq!(repr.to_bytes(), expected[..40]);
    }
}
