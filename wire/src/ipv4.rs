//! What does the IPv4 header say? RFC 791, with the lengths checked against the buffer.
//!
//! Owns the header's fields, its checksum and the source-route options. Never looks at the
//! transport header.

use core::net::Ipv4Addr;

use crate::{
    IpProtocol, Malformed,
    bytes::{ipv4_at, put, put_u16, u16_at},
    checksum,
};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

/// Loose source and record route, option type 131 (RFC 791 §3.1).
const LOOSE_SOURCE_ROUTE: u8 = 131;
/// Strict source and record route, option type 137 (RFC 791 §3.1).
const STRICT_SOURCE_ROUTE: u8 = 137;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

mod field {
    pub(super) const VERSION_IHL: usize = 0;
    pub(super) const TRAFFIC_CLASS: usize = 1;
    pub(super) const TOTAL_LEN: usize = 2;
    pub(super) const IDENTIFICATION: usize = 4;
    pub(super) const FLAGS_OFFSET: usize = 6;
    pub(super) const TTL: usize = 8;
    pub(super) const PROTOCOL: usize = 9;
    pub(super) const CHECKSUM: usize = 10;
    pub(super) const SOURCE: usize = 12;
    pub(super) const DESTINATION: usize = 16;
}

/// A view of an IPv4 packet; bytes behind its total length are not part of it.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Packet<T> {
    buffer: T,
    header_len: usize,
    total_len: usize,
}

impl<T: AsRef<[u8]>> Ipv4Packet<T> {
    /// Checks version, header length and total length; not the checksum
    /// ([`Ipv4Packet::verify_checksum`]) and not the options.
    ///
    /// # Errors
    /// `Truncated` when the buffer ends before the header or the total length,
    /// `BadVersion` when the version is not 4, `BadLength` when IHL is below 5 or the total
    /// length below the header length.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let bytes = buffer.as_ref();
        let fixed: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Malformed::Truncated)?;
        if fixed[field::VERSION_IHL] >> 4 != 4 {
            return Err(Malformed::BadVersion);
        }
        let header_len = usize::from(fixed[field::VERSION_IHL] & 0x0f) * 4;
        let total_len = usize::from(u16_at(fixed, field::TOTAL_LEN));
        if header_len < HEADER_LEN || total_len < header_len {
            return Err(Malformed::BadLength);
        }
        if total_len > bytes.len() {
            return Err(Malformed::Truncated);
        }
        Ok(Self {
            buffer,
            header_len,
            total_len,
        })
    }

    /// Accepts a packet quoted by an ICMP error: it may be cut behind its header, and its
    /// total length is not believed beyond the bytes that are there.
    pub(crate) fn new_quoted(buffer: T) -> Option<Self> {
        let bytes = buffer.as_ref();
        let fixed: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        let header_len = usize::from(fixed[field::VERSION_IHL] & 0x0f) * 4;
        let total_len = usize::from(u16_at(fixed, field::TOTAL_LEN)).min(bytes.len());
        let fits = header_len >= HEADER_LEN && header_len <= total_len;
        let ipv4 = fixed[field::VERSION_IHL] >> 4 == 4;
        (ipv4 && fits).then_some(Self {
            buffer,
            header_len,
            total_len,
        })
    }

    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.buffer.as_ref().get(at).copied().unwrap_or_default()
    }

    /// Bytes of the header with options, 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// Bytes of the packet, header included.
    #[inline]
    pub fn total_len(&self) -> usize {
        self.total_len
    }

    /// DSCP and ECN, the former type of service (RFC 2474, RFC 3168).
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        self.byte(field::TRAFFIC_CLASS)
    }

    /// The identification that ties fragments together.
    #[inline]
    pub fn identification(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::IDENTIFICATION)
    }

    #[inline]
    fn flags_offset(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::FLAGS_OFFSET)
    }

    /// Whether routers must not fragment the packet.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.flags_offset() & DONT_FRAGMENT != 0
    }

    /// Whether another fragment follows this one.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.flags_offset() & MORE_FRAGMENTS != 0
    }

    /// The place of the payload in the whole packet's payload, in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        (self.flags_offset() & OFFSET_MASK) << 3
    }

    /// Hops the packet may still make.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.byte(field::TTL)
    }

    /// What the payload is.
    #[inline]
    pub fn protocol(&self) -> IpProtocol {
        IpProtocol(self.byte(field::PROTOCOL))
    }

    /// The header checksum as written, in host byte order.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// The sender.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        ipv4_at(self.buffer.as_ref(), field::SOURCE)
    }

    /// The receiver.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        ipv4_at(self.buffer.as_ref(), field::DESTINATION)
    }

    /// Whether the header checksum is right.
    #[inline]
    pub fn verify_checksum(&self) -> bool {
        checksum::ipv4_header(self.header()) == 0
    }

    #[inline]
    fn header(&self) -> &[u8] {
        self.buffer
            .as_ref()
            .get(..self.header_len)
            .unwrap_or_default()
    }

    /// The options, padding included.
    #[inline]
    pub fn options(&self) -> &[u8] {
        self.header().get(HEADER_LEN..).unwrap_or_default()
    }

    /// Everything between the header and the total length.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.buffer
            .as_ref()
            .get(self.header_len..self.total_len)
            .unwrap_or_default()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Ipv4Packet<T> {
    /// Replaces a 16-bit word of the header and updates the checksum (RFC 1624).
    fn replace_word(&mut self, at: usize, new: u16) {
        let bytes = self.buffer.as_mut();
        let (old, sum) = (u16_at(bytes, at), u16_at(bytes, field::CHECKSUM));
        put_u16(bytes, at, new);
        put_u16(bytes, field::CHECKSUM, checksum::update_u16(sum, old, new));
    }

    /// Replaces DSCP and ECN; the checksum follows.
    pub fn set_traffic_class(&mut self, traffic_class: u8) {
        let first = self.byte(field::VERSION_IHL);
        self.replace_word(
            field::VERSION_IHL,
            u16::from_be_bytes([first, traffic_class]),
        );
    }

    /// Replaces the TTL; the checksum follows.
    pub fn set_ttl(&mut self, ttl: u8) {
        let protocol = self.byte(field::PROTOCOL);
        self.replace_word(field::TTL, u16::from_be_bytes([ttl, protocol]));
    }

    /// Replaces the total length field; the checksum follows. The view keeps the length it
    /// checked, so that its accessors stay inside the buffer.
    pub fn set_total_len(&mut self, total_len: u16) {
        self.replace_word(field::TOTAL_LEN, total_len);
    }

    /// Replaces the identification; the checksum follows.
    pub fn set_identification(&mut self, identification: u16) {
        self.replace_word(field::IDENTIFICATION, identification);
    }

    /// Replaces the fragment offset (bytes, rounded down to 8) and the more-fragments flag,
    /// keeping don't-fragment; the checksum follows.
    pub fn set_fragment(&mut self, offset: u16, more: bool) {
        let kept = self.flags_offset() & DONT_FRAGMENT;
        let more = if more { MORE_FRAGMENTS } else { 0 };
        self.replace_word(field::FLAGS_OFFSET, kept | more | (offset >> 3));
    }
}

/// Takes one hop from a packet's TTL and updates the checksum; a TTL of 0 stays 0.
/// Returns the new TTL, or `None` when `packet` is shorter than a header.
#[inline]
pub fn decrement_ttl(packet: &mut [u8]) -> Option<u8> {
    let header: &mut [u8; HEADER_LEN] = packet.first_chunk_mut()?;
    let Some(ttl) = header[field::TTL].checked_sub(1) else {
        return Some(0);
    };
    header[field::TTL] = ttl;
    let sum = u16_at(header, field::CHECKSUM);
    // The word that begins with the TTL shrinks by this, whatever else it holds.
    put_u16(
        header,
        field::CHECKSUM,
        checksum::update_u16(sum, 0x0100, 0),
    );
    Some(ttl)
}

/// Replaces a packet's two ECN bits (RFC 3168 §5) and updates the checksum. Does nothing
/// to a packet shorter than a header.
#[inline]
pub fn set_ecn(packet: &mut [u8], ecn: u8) {
    let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() else {
        return;
    };
    let old = u16_at(header, field::VERSION_IHL);
    let new = (old & !0b11) | u16::from(ecn & 0b11);
    put_u16(header, field::VERSION_IHL, new);
    let sum = u16_at(header, field::CHECKSUM);
    put_u16(header, field::CHECKSUM, checksum::update_u16(sum, old, new));
}

/// Whether the options hold a source route.
///
/// # Errors
/// `BadLength` when an option is shorter than 2 bytes or longer than the options.
#[inline]
pub fn source_routed(options: &[u8]) -> Result<bool, Malformed> {
    let mut rest = options;
    let mut found = false;
    loop {
        match *rest {
            [] | [0, ..] => return Ok(found),
            [1, ref next @ ..] => rest = next,
            [_] => return Err(Malformed::BadLength),
            [kind, len, ..] => {
                found |= matches!(kind, LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE);
                if len < 2 {
                    return Err(Malformed::BadLength);
                }
                rest = rest.get(usize::from(len)..).ok_or(Malformed::BadLength)?;
            }
        }
    }
}

/// The fields of a header without options, to write a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Repr {
    /// The sender.
    pub src: Ipv4Addr,
    /// The receiver.
    pub dst: Ipv4Addr,
    /// What the payload is.
    pub protocol: IpProtocol,
    /// Bytes behind the header.
    pub payload_len: u16,
    /// Hops the packet may make.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Ties fragments together.
    pub identification: u16,
    /// Whether routers must not fragment.
    pub dont_fragment: bool,
}

impl Ipv4Repr {
    /// The header's bytes with their checksum. A payload that does not fit 65,535 bytes
    /// saturates the total length.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[field::VERSION_IHL] = 0x45;
        header[field::TRAFFIC_CLASS] = self.traffic_class;
        put_u16(
            &mut header,
            field::TOTAL_LEN,
            self.payload_len.saturating_add(20),
        );
        put_u16(&mut header, field::IDENTIFICATION, self.identification);
        let flags = if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        put_u16(&mut header, field::FLAGS_OFFSET, flags);
        header[field::TTL] = self.ttl;
        header[field::PROTOCOL] = self.protocol.0;
        put(&mut header, field::SOURCE, &self.src.octets());
        put(&mut header, field::DESTINATION, &self.dst.octets());
        let sum = checksum::ipv4_header(&header);
        put_u16(&mut header, field::CHECKSUM, sum);
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 192.168.0.1 > 192.168.0.199, UDP, TTL 64, DF, total length 24, ECT(0).
    const PACKET: [u8; 25] = [
        0x45, 0x02, 0, 24, 0x12, 0x34, 0x40, 0, 0x40, 0x11, 0xa6, 0x86, 192, 168, 0, 1, 192, 168,
        0, 199, 1, 2, 3, 4, 0xee,
    ];

    #[test]
    fn getters_read_the_literal_packet() {
        let ip = Ipv4Packet::new_checked(PACKET).unwrap();
        assert_eq!((ip.header_len(), ip.total_len()), (20, 24));
        assert_eq!((ip.traffic_class(), ip.identification()), (2, 0x1234));
        assert!(ip.dont_fragment() && !ip.more_fragments());
        assert_eq!((ip.fragment_offset(), ip.ttl()), (0, 64));
        assert_eq!((ip.protocol(), ip.checksum()), (IpProtocol::UDP, 0xa686));
        assert_eq!(ip.source(), Ipv4Addr::new(192, 168, 0, 1));
        assert_eq!(ip.destination(), Ipv4Addr::new(192, 168, 0, 199));
        assert_eq!((ip.options(), ip.payload()), (&[][..], &[1, 2, 3, 4][..]));
        assert!(ip.verify_checksum());
    }

    #[test]
    fn setters_keep_the_checksum_right() {
        let mut bytes = PACKET;
        let mut ip = Ipv4Packet::new_checked(&mut bytes).unwrap();
        ip.set_traffic_class(0xb9);
        ip.set_ttl(1);
        ip.set_total_len(23);
        ip.set_identification(0xffff);
        ip.set_fragment(1480, true);
        assert!(ip.verify_checksum() && ip.dont_fragment() && ip.more_fragments());
        assert_eq!(
            (ip.traffic_class(), ip.ttl(), ip.identification()),
            (0xb9, 1, 0xffff)
        );
        assert_eq!(ip.fragment_offset(), 1480);
        assert_eq!(
            ip.payload().len(),
            4,
            "the view keeps the length it checked"
        );
        assert_eq!(Ipv4Packet::new_checked(bytes).unwrap().total_len(), 23);
    }

    #[test]
    fn every_ttl_and_ecn_keeps_the_checksum_right() {
        for ttl in 0..=255u8 {
            for ecn in 0..4 {
                let mut bytes = PACKET;
                Ipv4Packet::new_checked(&mut bytes).unwrap().set_ttl(ttl);
                assert_eq!(decrement_ttl(&mut bytes), Some(ttl.saturating_sub(1)));
                set_ecn(&mut bytes, ecn | 0xf0);
                let ip = Ipv4Packet::new_checked(bytes).unwrap();
                assert!(ip.verify_checksum(), "ttl {ttl}, ecn {ecn}");
                assert_eq!((ip.ttl(), ip.traffic_class()), (ttl.saturating_sub(1), ecn));
            }
        }
        assert_eq!(decrement_ttl(&mut [0x45; 19]), None);
        set_ecn(&mut [0x45; 19], 3);
    }

    #[test]
    fn lengths_and_versions_that_are_refused() {
        let cases = [
            ("version 6", 0, 0x65, Malformed::BadVersion),
            ("IHL 4", 0, 0x44, Malformed::BadLength),
            ("IHL beyond total length", 0, 0x47, Malformed::BadLength),
            ("total length below header", 3, 19, Malformed::BadLength),
            ("total length beyond buffer", 3, 26, Malformed::Truncated),
        ];
        for (name, at, value, expected) in cases {
            let mut bytes = PACKET;
            bytes[at] = value;
            assert_eq!(
                Ipv4Packet::new_checked(bytes).err(),
                Some(expected),
                "{name}"
            );
        }
        let short = Ipv4Packet::new_checked(&PACKET[..19]);
        assert_eq!(short.err(), Some(Malformed::Truncated));
    }

    #[test]
    fn source_routes_among_options() {
        let cases: [(&[u8], _); 11] = [
            (&[], Ok(false)),
            (&[1, 1, 1, 0], Ok(false)),
            (&[0, 131, 7, 4], Ok(false)),
            (&[131, 3, 4, 0], Ok(true)),
            (&[137, 3, 4, 0], Ok(true)),
            (&[1, 137, 3, 4], Ok(true)),
            (&[7, 4, 4, 0, 131, 3, 4, 0], Ok(true)),
            (&[131, 3, 4, 7], Err(Malformed::BadLength)),
            (&[7, 0, 0, 0], Err(Malformed::BadLength)),
            (&[7, 1, 0, 0], Err(Malformed::BadLength)),
            (&[7, 5, 0, 0], Err(Malformed::BadLength)),
        ];
        for (options, expected) in cases {
            assert_eq!(source_routed(options), expected, "{options:?}");
        }
    }

    #[test]
    fn a_written_header_is_read_back() {
        let repr = Ipv4Repr {
            src: Ipv4Addr::new(192, 168, 0, 1),
            dst: Ipv4Addr::new(192, 168, 0, 199),
            protocol: IpProtocol::UDP,
            payload_len: 4,
            ttl: 64,
            traffic_class: 2,
            identification: 0x1234,
            dont_fragment: true,
        };
        assert_eq!(repr.to_bytes(), PACKET[..20]);
    }
}
