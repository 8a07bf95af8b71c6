//! What does the TCP header say? RFC 9293 §3.1.
//!
//! Owns ports, sequence numbers, flags and the data offset. Never tracks a connection.

use core::{fmt, ops::BitOr};

use crate::{
    Malformed,
    bytes::{put_u16, u16_at, u32_at},
};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

mod field {
    pub(super) const DESTINATION_PORT: usize = 2;
    pub(super) const ACKNOWLEDGMENT: usize = 8;
    pub(super) const FLAGS: usize = 13;
    pub(super) const WINDOW: usize = 14;
}

pub(crate) const SOURCE_PORT: usize = 0;
pub(crate) const SEQUENCE: usize = 4;
pub(crate) const DATA_OFFSET: usize = 12;
pub(crate) const CHECKSUM: usize = 16;

/// The eight control bits of a TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment field counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all bits of `other` are set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for TcpFlags {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
        let mut separator = "";
        for (bit, name) in names.iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                write!(f, "{separator}{name}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

/// What connection tracking needs of a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// Sequence number of the first payload byte.
    pub seq: u32,
    /// Next sequence number expected, if ACK is set.
    pub ack: u32,
    /// Bytes behind the header in this packet; in a first fragment, in this fragment.
    pub payload_len: u32,
    /// The receive window, not scaled.
    pub window: u16,
    /// The control bits.
    pub flags: TcpFlags,
}

/// A view of a TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct TcpSegment<T> {
    buffer: T,
    header_len: usize,
}

impl<T: AsRef<[u8]>> TcpSegment<T> {
    /// Checks that the header with its options is there.
    ///
    /// # Errors
    /// `Truncated` when the buffer ends before the header, `BadLength` when the data
    /// offset is below 5.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let bytes = buffer.as_ref();
        let fixed: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Malformed::Truncated)?;
        let header_len = usize::from(fixed[DATA_OFFSET] >> 4) * 4;
        if header_len < HEADER_LEN {
            return Err(Malformed::BadLength);
        }
        if header_len > bytes.len() {
            return Err(Malformed::Truncated);
        }
        Ok(Self { buffer, header_len })
    }

    /// The sender's port.
    #[inline]
    pub fn source_port(&self) -> u16 {
        u16_at(self.buffer.as_ref(), SOURCE_PORT)
    }

    /// The receiver's port.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::DESTINATION_PORT)
    }

    /// Sequence number of the first payload byte.
    #[inline]
    pub fn sequence(&self) -> u32 {
        u32_at(self.buffer.as_ref(), SEQUENCE)
    }

    /// Next sequence number expected, if ACK is set.
    #[inline]
    pub fn acknowledgment(&self) -> u32 {
        u32_at(self.buffer.as_ref(), field::ACKNOWLEDGMENT)
    }

    /// Bytes of the header with options, 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// The control bits.
    #[inline]
    pub fn flags(&self) -> TcpFlags {
        TcpFlags(
            self.buffer
                .as_ref()
                .get(field::FLAGS)
                .copied()
                .unwrap_or_default(),
        )
    }

    /// The receive window, not scaled.
    #[inline]
    pub fn window(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::WINDOW)
    }

    /// The checksum as written, in host byte order.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.buffer.as_ref(), CHECKSUM)
    }

    /// The options, padding included.
    #[inline]
    pub fn options(&self) -> &[u8] {
        self.buffer
            .as_ref()
            .get(HEADER_LEN..self.header_len)
            .unwrap_or_default()
    }

    /// Everything behind the header.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.buffer
            .as_ref()
            .get(self.header_len..)
            .unwrap_or_default()
    }

    /// The fields connection tracking needs.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an IP packet is shorter than 2^17 bytes"
    )]
    pub fn info(&self) -> TcpInfo {
        TcpInfo {
            seq: self.sequence(),
            ack: self.acknowledgment(),
            payload_len: self.payload().len() as u32,
            window: self.window(),
            flags: self.flags(),
        }
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> TcpSegment<T> {
    /// Replaces the checksum field.
    pub fn set_checksum(&mut self, checksum: u16) {
        put_u16(self.buffer.as_mut(), CHECKSUM, checksum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 40000 > 80, seq 1, ack 2, SYN ACK, window 512, one option, payload "hi".
    const SEGMENT: [u8; 26] = [
        0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x60, 0x12, 2, 0, 0xab, 0xcd, 0, 0, 2, 4, 5,
        0xb4, b'h', b'i',
    ];

    #[test]
    fn getters_read_the_literal_segment() {
        let tcp = TcpSegment::new_checked(SEGMENT).unwrap();
        assert_eq!((tcp.source_port(), tcp.destination_port()), (40000, 80));
        assert_eq!((tcp.header_len(), tcp.checksum()), (24, 0xabcd));
        assert_eq!(
            (tcp.options(), tcp.payload()),
            (&[2, 4, 5, 0xb4][..], &b"hi"[..])
        );
        let info = tcp.info();
        assert_eq!(
            info,
            TcpInfo {
                seq: 1,
                ack: 2,
                payload_len: 2,
                window: 512,
                flags: TcpFlags::SYN | TcpFlags::ACK
            }
        );
        assert_eq!(info.flags.to_string(), "syn,ack");
        assert!(info.flags.contains(TcpFlags::SYN) && !info.flags.contains(TcpFlags::RST));
    }

    #[test]
    fn the_checksum_can_be_replaced() {
        let mut bytes = SEGMENT;
        TcpSegment::new_checked(&mut bytes)
            .unwrap()
            .set_checksum(0x1234);
        assert_eq!(TcpSegment::new_checked(bytes).unwrap().checksum(), 0x1234);
    }

    #[test]
    fn every_data_offset() {
        for offset in 0..16u8 {
            let mut bytes = SEGMENT;
            bytes[12] = offset << 4;
            let expected = match offset {
                0..5 => Some(Malformed::BadLength),
                5 | 6 => None,
                _ => Some(Malformed::Truncated),
            };
            assert_eq!(
                TcpSegment::new_checked(bytes).err(),
                expected,
                "offset {offset}"
            );
        }
        assert_eq!(
            TcpSegment::new_checked(&SEGMENT[..19]).err(),
            Some(Malformed::Truncated)
        );
    }
}
