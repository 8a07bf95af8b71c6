//! What does the TAP say about a frame's checksum and segmentation? The virtio-net header.
//!
//! Owns `struct virtio_net_hdr` (virtio 1.2 §5.1.6, linux/virtio_net.h) in the host's byte
//! order, as a TAP has it by default. Every field is hostile: a pod can open the other end.

use crate::{
    Malformed,
    bytes::{array_at, put, put_u16},
    checksum::Sum,
};

/// Bytes of the header without the buffer count.
pub const LEN: usize = 10;
/// Bytes of the header with the buffer count (`virtio_net_hdr_mrg_rxbuf`).
pub const LEN_MRG: usize = 12;

/// Flag: `csum_start` and `csum_offset` name a checksum that is still partial.
pub const FLAG_NEEDS_CHECKSUM: u8 = 1;
/// Flag: the checksum was already verified.
pub const FLAG_DATA_VALID: u8 = 2;

/// Segmentation type: none.
pub const GSO_NONE: u8 = 0;
/// Segmentation type: TCP over IPv4.
pub const GSO_TCPV4: u8 = 1;
/// Segmentation type: TCP over IPv6.
pub const GSO_TCPV6: u8 = 4;
/// Segmentation type: UDP datagrams.
pub const GSO_UDP_L4: u8 = 5;
/// Set besides a TCP type: the first segment alone carries CWR (RFC 3168 §6.1.2).
pub const GSO_ECN: u8 = 0x80;

mod field {
    pub(super) const FLAGS: usize = 0;
    pub(super) const GSO_TYPE: usize = 1;
    pub(super) const HDR_LEN: usize = 2;
    pub(super) const GSO_SIZE: usize = 4;
    pub(super) const CSUM_START: usize = 6;
    pub(super) const CSUM_OFFSET: usize = 8;
}

/// The virtio-net header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// [`FLAG_NEEDS_CHECKSUM`], [`FLAG_DATA_VALID`].
    pub flags: u8,
    /// One of the `GSO_` types.
    pub gso_type: u8,
    /// Bytes of headers in front of the first segment's payload; a hint.
    pub hdr_len: u16,
    /// Payload bytes per segment.
    pub gso_size: u16,
    /// Where the checksummed bytes begin, from the frame's first byte.
    pub csum_start: u16,
    /// Where the checksum goes, from `csum_start`.
    pub csum_offset: u16,
}

impl VnetHeader {
    /// [`LEN`].
    pub const LEN: usize = LEN;
    /// [`LEN_MRG`].
    pub const LEN_MRG: usize = LEN_MRG;
    /// Nothing to say: complete checksum, one segment.
    pub const NONE: Self = Self {
        flags: 0,
        gso_type: 0,
        hdr_len: 0,
        gso_size: 0,
        csum_start: 0,
        csum_offset: 0,
    };

    /// Reads the header in front of a frame; a buffer count behind it is the caller's to
    /// skip.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] below 10 bytes.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let header: &[u8; LEN] = bytes.first_chunk().ok_or(Malformed::Truncated)?;
        let word = |at| u16::from_ne_bytes(array_at(header, at));
        Ok(Self {
            flags: header[field::FLAGS],
            gso_type: header[field::GSO_TYPE],
            hdr_len: word(field::HDR_LEN),
            gso_size: word(field::GSO_SIZE),
            csum_start: word(field::CSUM_START),
            csum_offset: word(field::CSUM_OFFSET),
        })
    }

    /// Fills `out`, the header's room of exactly [`LEN`] or [`LEN_MRG`] bytes; a buffer
    /// count is written as 0, as a TAP ignores it. False, and nothing written, for any
    /// other length.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> bool {
        if !matches!(out.len(), LEN | LEN_MRG) {
            return false;
        }
        out.fill(0);
        put(out, field::FLAGS, &[self.flags, self.gso_type]);
        put(out, field::HDR_LEN, &self.hdr_len.to_ne_bytes());
        put(out, field::GSO_SIZE, &self.gso_size.to_ne_bytes());
        put(out, field::CSUM_START, &self.csum_start.to_ne_bytes());
        put(out, field::CSUM_OFFSET, &self.csum_offset.to_ne_bytes());
        true
    }

    /// Whether the checksum field holds only the pseudo-header's sum so far.
    #[inline]
    #[must_use]
    pub const fn needs_checksum(&self) -> bool {
        self.flags & FLAG_NEEDS_CHECKSUM != 0
    }

    /// Whether the frame is more than one segment.
    #[inline]
    #[must_use]
    pub const fn is_segmented(&self) -> bool {
        self.gso_type != GSO_NONE
    }

    /// Finishes a partial checksum in place; does nothing when there is none to finish.
    ///
    /// The field takes part in the sum: it holds the pseudo-header's. A result of 0 is
    /// written as 0xffff, as Linux does (`skb_checksum_help`): equal in one's complement,
    /// and UDP's 0 means no checksum. The two bytes written are wherever the header says,
    /// so call this before [`crate::parse`], never after.
    ///
    /// # Errors
    /// `Truncated` when the bytes to sum or the field to write are not inside the frame;
    /// the frame is then unchanged.
    pub fn complete_checksum(&self, frame: &mut [u8]) -> Result<(), Malformed> {
        if !self.needs_checksum() {
            return Ok(());
        }
        let summed = frame
            .get_mut(usize::from(self.csum_start)..)
            .ok_or(Malformed::Truncated)?;
        let at = usize::from(self.csum_offset);
        if at + 2 > summed.len() {
            return Err(Malformed::Truncated);
        }
        let mut sum = Sum::new();
        sum.add_bytes(summed);
        let checksum = match sum.finish() {
            0 => 0xffff,
            checksum => checksum,
        };
        put_u16(summed, at, checksum);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mac, Parsed, build, checksum, parse};

    fn partial(start: u16, offset: u16) -> VnetHeader {
        VnetHeader {
            flags: FLAG_NEEDS_CHECKSUM,
            csum_start: start,
            csum_offset: offset,
            ..VnetHeader::NONE
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_literal_header_round_trips() {
        let bytes = [1, 1, 0x36, 0, 0x80, 0x05, 0x22, 0, 0x10, 0, 0, 0];
        let header = VnetHeader::parse(&bytes).unwrap();
        let expected = VnetHeader {
            gso_type: GSO_TCPV4,
            hdr_len: 54,
            gso_size: 1408,
            ..partial(34, 16)
        };
        assert_eq!(header, expected);
        assert!(header.needs_checksum() && header.is_segmented());
        let mut out = [0xff; LEN_MRG];
        assert!(header.emit(&mut out));
        assert_eq!(out, bytes);
        assert!(header.emit(&mut out[..LEN]));
        assert!(!header.emit(&mut out[..LEN - 1]) && !header.emit(&mut out[..LEN + 1]));
        assert_eq!(VnetHeader::parse(&bytes[..9]), Err(Malformed::Truncated));
    }

    #[test]
    fn nothing_to_complete_leaves_the_frame_alone() {
        let mut frame = [7; 20];
        assert_eq!(VnetHeader::NONE.complete_checksum(&mut frame), Ok(()));
        assert_eq!(frame, [7; 20]);
    }

    #[test]
    fn a_partial_checksum_becomes_the_right_one() {
        let (a, b) = (Mac::new([2, 0, 0, 0, 0, 1]), Mac::new([2, 0, 0, 0, 0, 2]));
        let (src, dst) = ([10, 0, 0, 2].into(), [10, 0, 1, 2].into());
        for len in 0..64 {
            let mut frame = build::ethernet(a, b)
                .ipv4(src, dst)
                .udp(1, 2, &vec![0xa5; len]);
            let mut pseudo = Sum::new();
            let segment = u16::try_from(len).unwrap() + 8;
            pseudo.add_pseudo_ipv4(src, dst, crate::IpProtocol::UDP, segment);
            put_u16(&mut frame, 40, !pseudo.finish());
            let header = partial(34, 6);
            assert_eq!(header.complete_checksum(&mut frame), Ok(()));
            let Ok(Parsed::Ip(headers)) = parse(&frame) else {
                panic!("parses")
            };
            assert!(checksum::verify_transport(&frame, &headers), "{len}");
        }
    }

    #[test]
    fn a_result_of_zero_is_written_as_ffff() {
        let mut frame = [0xff, 0xff, 0, 0];
        assert_eq!(partial(0, 2).complete_checksum(&mut frame), Ok(()));
        assert_eq!(frame, [0xff; 4]);
    }

    #[test]
    fn hostile_offsets_change_nothing() {
        let cases = [
            (0, 19),
            (0, 20),
            (0, u16::MAX),
            (18, 1),
            (19, 0),
            (20, 0),
            (21, 0),
            (u16::MAX, 0),
            (u16::MAX, u16::MAX),
        ];
        for (start, offset) in cases {
            let mut frame = [7; 20];
            let result = partial(start, offset).complete_checksum(&mut frame);
            assert_eq!(result, Err(Malformed::Truncated), "{start} {offset}");
            assert_eq!(frame, [7; 20], "{start} {offset}");
        }
        assert_eq!(partial(18, 0).complete_checksum(&mut [7; 20]), Ok(()));
        assert_eq!(
            partial(0, 0).complete_checksum(&mut []),
            Err(Malformed::Truncated)
        );
    }
}
