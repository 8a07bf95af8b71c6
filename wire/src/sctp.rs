//! What does the SCTP common header say? RFC 9260 §3.1.
//!
//! Owns ports, the verification tag and the CRC32c (RFC 9260 appendix A). Never looks
//! into chunks.

use crate::{
    Malformed,
    bytes::{array_at, u16_at, u32_at},
};

/// Bytes of the common header.
pub const HEADER_LEN: usize = 12;

mod field {
    pub(super) const SOURCE_PORT: usize = 0;
    pub(super) const DESTINATION_PORT: usize = 2;
    pub(super) const VERIFICATION_TAG: usize = 4;
}

pub(crate) const CHECKSUM: usize = 8;

/// A view of an SCTP packet.
#[derive(Clone, Copy, Debug)]
pub struct SctpPacket<T>(T);

impl<T: AsRef<[u8]>> SctpPacket<T> {
    /// Checks that the common header is there.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] below 12 bytes.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        if buffer.as_ref().len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        Ok(Self(buffer))
    }

    /// The sender's port.
    #[inline]
    pub fn source_port(&self) -> u16 {
        u16_at(self.0.as_ref(), field::SOURCE_PORT)
    }

    /// The receiver's port.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        u16_at(self.0.as_ref(), field::DESTINATION_PORT)
    }

    /// The tag that ties the packet to its association.
    #[inline]
    pub fn verification_tag(&self) -> u32 {
        u32_at(self.0.as_ref(), field::VERIFICATION_TAG)
    }

    /// The CRC32c as written; its bytes go low byte first (RFC 9260 appendix A).
    #[inline]
    pub fn checksum(&self) -> u32 {
        u32::from_le_bytes(array_at(self.0.as_ref(), CHECKSUM))
    }

    /// The chunks.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.0.as_ref().get(HEADER_LEN..).unwrap_or_default()
    }
}

/// Whether the CRC32c of a packet is right; false below 12 bytes.
#[must_use]
pub fn verify(packet: &[u8]) -> bool {
    SctpPacket::new_checked(packet).is_ok_and(|sctp| sctp.checksum() == crc32c(packet))
}

/// The CRC32c of a packet with its checksum field counted as zero.
#[must_use]
pub fn crc32c(packet: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for (at, &byte) in packet.iter().enumerate() {
        let byte = if (CHECKSUM..HEADER_LEN).contains(&at) {
            0
        } else {
            byte
        };
        let [low, ..] = (crc ^ u32::from(byte)).to_le_bytes();
        crc = (crc >> 8) ^ TABLE.get(usize::from(low)).copied().unwrap_or_default();
    }
    !crc
}

/// The Castagnoli polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

static TABLE: [u32; 256] = table();

#[expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "a constant evaluation over 0..256"
)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn getters_read_the_literal_header() {
        let bytes = [
            0x0b, 0x80, 0x0b, 0x81, 0, 0, 0, 9, 0x78, 0x56, 0x34, 0x12, 1,
        ];
        let sctp = SctpPacket::new_checked(bytes).unwrap();
        assert_eq!((sctp.source_port(), sctp.destination_port()), (2944, 2945));
        assert_eq!((sctp.verification_tag(), sctp.checksum()), (9, 0x1234_5678));
        assert_eq!(sctp.payload(), [1]);
        assert_eq!(
            SctpPacket::new_checked(&bytes[..11]).err(),
            Some(Malformed::Truncated)
        );
    }

    /// RFC 3720 B.4: the CRC32c of 32 zero bytes.
    #[test]
    fn crc_of_32_zeroes() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let mut packet = [7; 40];
        let crc = crc32c(&packet);
        packet[CHECKSUM..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
        assert!(verify(&packet));
        packet[20] ^= 1;
        assert!(!verify(&packet));
        assert!(!verify(&packet[..8]));
    }
}
