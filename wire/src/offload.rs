//! May what a frame's virtio-net header says be believed, and which packets does it stand for?
//!
//! Owns the comparison of a header that came from a pod with the headers of its frame, and the
//! one *normalised* form the rest of the switch relies on:
//!
//! - [`VnetHeader::NONE`]: one packet with a complete checksum;
//! - needs a checksum: `csum_start` is the transport header's offset from the Ethernet header,
//!   `csum_offset` TCP's or UDP's field, which holds the pseudo-header's sum;
//! - and segmented: besides, a type that agrees with the packet, `gso_size` at least 1, and
//!   `hdr_len` exactly the bytes in front of the payload, which is longer than `gso_size`.
//!
//! Never changes a frame.

use core::num::NonZeroU16;

use crate::{
    Fragment, Headers, IpVersion, Transport, VnetHeader,
    ethernet::HEADER_LEN as ETHERNET,
    tcp, udp,
    vnet::{GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4},
};

/// What is segmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP datagrams over either.
    Udp,
}

/// How a super-frame stands for several packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// What is segmented.
    pub kind: GsoKind,
    /// Bytes from the Ethernet header to the first payload byte, repeated by every packet.
    pub header_len: u16,
    /// Payload bytes of every packet but the last, which may have fewer.
    pub size: NonZeroU16,
}

impl Gso {
    /// The most packets that one super-frame may stand for: 64 KiB of TCP at the smallest MSS that
    /// Linux goes down to (`tcp_min_snd_mss`, 48). A pod may write any vnet header; each packet
    /// costs the switch a header and the kernel a pass.
    pub const MOST_PACKETS: usize = 1_400;
    /// The most bytes that their headers may have together, 8 of a tunnel before each.
    pub const MOST_HEADERS: usize = 1_400 * 192;

    /// How many packets a super-frame of so many bytes, Ethernet header included, stands for.
    #[inline]
    #[must_use]
    pub const fn segments(&self, frame_len: usize) -> usize {
        let payload = frame_len.saturating_sub(self.header_len as usize);
        match payload.div_ceil(self.size.get() as usize) {
            0 => 1,
            segments => segments,
        }
    }

    /// Bytes of the longest of these packets, from its IP header on.
    #[inline]
    #[must_use]
    pub const fn packet_len(&self) -> usize {
        (self.header_len as usize + self.size.get() as usize).saturating_sub(ETHERNET)
    }

    /// Bytes of all these packets together, each with its headers, Ethernet included.
    #[inline]
    #[must_use]
    pub const fn wire_len(&self, frame_len: usize) -> usize {
        frame_len + (self.segments(frame_len) - 1) * self.header_len as usize
    }
}

/// Why a header is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadOffload {
    /// It asks for a segmentation that its packet cannot have.
    Segmentation,
    /// It asks for a checksum elsewhere than in the packet's transport header.
    Checksum,
}

impl VnetHeader {
    /// The normalised form of this header for a frame with these headers, which count from its
    /// Ethernet header.
    ///
    /// # Errors
    /// [`BadOffload::Segmentation`] when the segmentation's type is unknown or another than the
    /// packet's, its size is 0, its checksum is not left to us, the packet is a fragment, or it
    /// stands for more than [`Gso::MOST_PACKETS`] or [`Gso::MOST_HEADERS`];
    /// [`BadOffload::Checksum`] for one packet whose checksum is elsewhere, as it is for a tunnel
    /// that ends in the pod: [`VnetHeader::complete_checksum`] finishes that one, after which the
    /// frame must be parsed anew.
    #[inline]
    pub fn normalised(&self, frame: &[u8], headers: &Headers) -> Result<Self, BadOffload> {
        if self.gso_type == GSO_NONE && !self.needs_checksum() {
            return Ok(Self::NONE);
        }
        self.examine(frame, headers)
    }

    #[inline(never)]
    fn examine(&self, frame: &[u8], headers: &Headers) -> Result<Self, BadOffload> {
        let wrong = if self.is_segmented() {
            BadOffload::Segmentation
        } else {
            BadOffload::Checksum
        };
        let (csum_offset, transport_len) = match headers.transport {
            Transport::Tcp(_) => {
                let words = frame.get(headers.l4 + tcp::DATA_OFFSET).map(|b| b >> 4);
                (tcp::CHECKSUM, usize::from(words.ok_or(wrong)?) * 4)
            }
            Transport::Udp => (udp::CHECKSUM, udp::HEADER_LEN),
            _ => return Err(wrong),
        };
        let header_len = headers.l4 + transport_len;
        let here = usize::from(self.csum_start) == headers.l4
            && usize::from(self.csum_offset) == csum_offset;
        if !here || !self.needs_checksum() || headers.fragment != Fragment::Whole {
            return Err(wrong);
        }
        let partial = Self {
            flags: crate::vnet::FLAG_NEEDS_CHECKSUM,
            csum_start: self.csum_start,
            csum_offset: self.csum_offset,
            ..Self::NONE
        };
        if !self.is_segmented() {
            return Ok(partial);
        }
        if self.gso_size == 0 || !self.fits(headers) {
            return Err(wrong);
        }
        let payload = headers.end.checked_sub(header_len).ok_or(wrong)?;
        if payload <= usize::from(self.gso_size) {
            return Ok(partial);
        }
        let packets = payload.div_ceil(self.gso_size.into());
        if packets > Gso::MOST_PACKETS || packets * (header_len + 8) > Gso::MOST_HEADERS {
            return Err(wrong);
        }
        Ok(Self {
            gso_type: self.gso_type,
            gso_size: self.gso_size,
            hdr_len: u16::try_from(header_len).map_err(|_| wrong)?,
            ..partial
        })
    }

    /// Whether the type of segmentation is the packet's.
    const fn fits(&self, headers: &Headers) -> bool {
        match (headers.transport, headers.version) {
            (Transport::Tcp(_), IpVersion::V4) => self.gso_type & !GSO_ECN == GSO_TCPV4,
            (Transport::Tcp(_), IpVersion::V6) => self.gso_type & !GSO_ECN == GSO_TCPV6,
            (Transport::Udp, _) => self.gso_type == GSO_UDP_L4,
            _ => false,
        }
    }

    /// How the frame of this normalised header is segmented, if it is.
    #[inline]
    #[must_use]
    pub const fn gso(&self) -> Option<Gso> {
        let kind = match self.gso_type & !GSO_ECN {
            GSO_TCPV4 => GsoKind::TcpV4,
            GSO_TCPV6 => GsoKind::TcpV6,
            GSO_UDP_L4 => GsoKind::Udp,
            _ => return None,
        };
        match NonZeroU16::new(self.gso_size) {
            Some(size) => Some(Gso {
                kind,
                header_len: self.hdr_len,
                size,
            }),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mac, Parsed, build, parse, vnet};

    const A: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac::new([2, 0, 0, 0, 0, 2]);

    fn frame(tcp: bool, v4: bool, payload: usize) -> Vec<u8> {
        let to = build::ethernet(A, B);
        let payload = vec![7; payload];
        let (four, six) = ([10, 0, 0, 2].into(), "fd00::2".parse().unwrap());
        match (tcp, v4) {
            (true, true) => to.ipv4(four, four).tcp(build::TcpSpec::default(), &payload),
            (true, false) => to.ipv6(six, six).tcp(build::TcpSpec::default(), &payload),
            (false, true) => to.ipv4(four, four).udp(1, 2, &payload),
            (false, false) => to.ipv6(six, six).udp(1, 2, &payload),
        }
    }

    fn headers(frame: &[u8]) -> Headers {
        match parse(frame) {
            Ok(Parsed::Ip(headers)) => headers,
            other => panic!("{other:?}"),
        }
    }

    fn asks(gso_type: u8, gso_size: u16, start: usize, offset: u16) -> VnetHeader {
        VnetHeader {
            flags: vnet::FLAG_NEEDS_CHECKSUM | vnet::FLAG_DATA_VALID,
            gso_type,
            hdr_len: 3,
            gso_size,
            csum_start: u16::try_from(start).unwrap(),
            csum_offset: offset,
        }
    }

    #[test]
    fn what_the_packet_bears_out_is_believed_and_lengths_are_our_own() {
        for (tcp, v4) in [(true, true), (true, false), (false, true), (false, false)] {
            let frame = frame(tcp, v4, 3000);
            let headers = headers(&frame);
            let (own, offset, transport) = match (tcp, v4) {
                (true, true) => (GSO_TCPV4, 16, 20),
                (true, false) => (GSO_TCPV6, 16, 20),
                (false, _) => (GSO_UDP_L4, 6, 8),
            };
            for gso_type in 0..=u8::MAX {
                let asked = asks(gso_type, 1000, headers.l4, offset);
                let normal = asked.normalised(&frame, &headers);
                let believed = gso_type == own || tcp && gso_type == own | GSO_ECN;
                match normal {
                    Ok(plain) if gso_type == 0 => assert!(plain.gso().is_none()),
                    Ok(normal) => {
                        assert!(believed, "{gso_type:#x}");
                        let gso = normal.gso().unwrap();
                        assert_eq!(usize::from(gso.header_len), headers.l4 + transport);
                        assert_eq!(normal.flags, vnet::FLAG_NEEDS_CHECKSUM);
                        assert_eq!(gso.segments(frame.len()), 3);
                        let headers_len = usize::from(gso.header_len);
                        assert_eq!(gso.wire_len(frame.len()), 3000 + 3 * headers_len);
                        assert_eq!(gso.packet_len(), 1000 + headers_len - ETHERNET);
                    }
                    Err(error) => {
                        assert!(!believed && gso_type != 0, "{gso_type:#x}");
                        assert_eq!(error, BadOffload::Segmentation);
                    }
                }
            }
        }
    }

    #[test]
    fn one_packets_worth_is_one_packet() {
        for (payload, segments) in [(0, None), (1000, None), (1001, Some(2)), (2001, Some(3))] {
            let frame = frame(true, true, payload);
            let asked = asks(GSO_TCPV4, 1000, 34, 16);
            let normal = asked.normalised(&frame, &headers(&frame)).unwrap();
            assert!(normal.needs_checksum());
            let found = normal.gso().map(|gso| gso.segments(frame.len()));
            assert_eq!(found, segments, "{payload}");
        }
    }

    #[test]
    fn what_the_packet_does_not_bear_out_is_not_believed() {
        let frame = frame(true, true, 3000);
        let headers = headers(&frame);
        let none = VnetHeader {
            flags: 0,
            ..asks(GSO_TCPV4, 1000, 34, 16)
        };
        for asked in [
            none,
            asks(GSO_TCPV4, 0, 34, 16),
            asks(GSO_TCPV4, 1000, 33, 16),
            asks(GSO_TCPV4, 1000, 34, 6),
        ] {
            let normal = asked.normalised(&frame, &headers);
            assert_eq!(normal, Err(BadOffload::Segmentation), "{asked:?}");
        }
        for asked in [asks(0, 0, 14, 10), asks(0, 0, 34, 6), asks(0, 0, 54, 16)] {
            let normal = asked.normalised(&frame, &headers);
            assert_eq!(normal, Err(BadOffload::Checksum), "{asked:?}");
        }
        let fragment = Headers {
            fragment: Fragment::First { id: 1, len: 3020 },
            ..headers
        };
        let asked = asks(GSO_TCPV4, 1000, 34, 16);
        let normal = asked.normalised(&frame, &fragment);
        assert_eq!(normal, Err(BadOffload::Segmentation));
    }

    #[test]
    fn a_super_frame_of_too_many_packets_is_not_believed() {
        let frame = frame(true, true, 60_000);
        let headers = headers(&frame);
        let most = u16::try_from(60_000_usize.div_ceil(Gso::MOST_PACKETS)).unwrap();
        for (size, believed) in [(most, true), (most - 1, false), (1, false)] {
            let normal = asks(GSO_TCPV4, size, 34, 16).normalised(&frame, &headers);
            assert_eq!(normal.is_ok(), believed, "{size}");
        }
        // As many with longer headers.
        let longer = Headers { l4: 300, ..headers };
        let mut long = frame;
        long[300 + tcp::DATA_OFFSET] = 0x50;
        let asked = asks(GSO_TCPV4, most, 300, 16);
        let normal = asked.normalised(&long, &longer);
        assert_eq!(normal, Err(BadOffload::Segmentation));
    }

    #[test]
    fn data_valid_alone_says_nothing() {
        let frame = frame(false, true, 10);
        let asked = VnetHeader {
            flags: vnet::FLAG_DATA_VALID,
            ..VnetHeader::NONE
        };
        let normal = asked.normalised(&frame, &headers(&frame));
        assert_eq!(normal, Ok(VnetHeader::NONE));
    }
}
