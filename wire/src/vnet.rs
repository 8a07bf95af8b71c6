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

    /// Writes the header at the start of `out`, and zero into what follows up to
    /// [`LEN_MRG`] (the buffer count, which a TAP ignores when it is written to). False,
    /// and nothing written, when `out` is shorter than [`LEN`].
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> bool {
        let mut header = [0; LEN_MRG];
        header[field::FLAGS] = self.flags;
        header[field::GSO_TYPE] = self.gso_type;
        put(&mut header, field::HDR_LEN, &self.hdr_len.to_ne_bytes());
        put(&mut header, field::GSO_SIZE, &self.gso_size.to_ne_bytes());
        put(
            &mut header,
            field::CSUM_START,
            &self.csum_start.to_ne_bytes(),
        );
        put(
            &mut header,
            field::CSUM_OFFSET,
            &self.csum_offset.to_ne_bytes(),
        );
        if out.len() < LEN {
            return false;
        }
        for (to, from) in out.iter_mut().zip(header) {
            *to = from;
        }
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
