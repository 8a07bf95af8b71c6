//! What does the UDP header say? RFC 768.
//!
//! Owns ports and the length rule: a datagram fills its IP packet exactly, because what a
//! length hides one reader sees and another does not.

use crate::{
    Malformed,
    bytes::{put_u16, u16_at},
};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

mod field {
    pub(super) const SOURCE_PORT: usize = 0;
    pub(super) const LEN: usize = 4;
}

pub(crate) const DESTINATION_PORT: usize = 2;
pub(crate) const CHECKSUM: usize = 6;

/// A view of a UDP datagram, or of its first fragment.
#[derive(Clone, Copy, Debug)]
pub struct UdpDatagram<T>(T);

impl<T: AsRef<[u8]>> UdpDatagram<T> {
    /// Checks a whole datagram.
    ///
    /// # Errors
    /// `Truncated` below 8 bytes, `BadLength` when the length field is not the buffer's.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let len = declared_len(buffer.as_ref())?;
        if len != buffer.as_ref().len() {
            return Err(Malformed::BadLength);
        }
        Ok(Self(buffer))
    }

    /// Checks a first fragment: the length field may count bytes that are yet to come.
    ///
    /// # Errors
    /// `Truncated` below 8 bytes, `BadLength` when the length field is below the buffer's.
    #[inline]
    pub fn new_first_fragment(buffer: T) -> Result<Self, Malformed> {
        let len = declared_len(buffer.as_ref())?;
        if len < buffer.as_ref().len() {
            return Err(Malformed::BadLength);
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
        u16_at(self.0.as_ref(), DESTINATION_PORT)
    }

    /// The length field: header and payload, in bytes.
    #[inline]
    pub fn len(&self) -> u16 {
        u16_at(self.0.as_ref(), field::LEN)
    }

    /// Whether the datagram has no payload.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.payload().is_empty()
    }

    /// The checksum as written, in host byte order; 0 means none.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.0.as_ref(), CHECKSUM)
    }

    /// Everything behind the header.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.0.as_ref().get(HEADER_LEN..).unwrap_or_default()
    }
}

#[inline]
fn declared_len(bytes: &[u8]) -> Result<usize, Malformed> {
    let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Malformed::Truncated)?;
    Ok(usize::from(u16_at(header, field::LEN)))
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> UdpDatagram<T> {
    /// Replaces the checksum field.
    pub fn set_checksum(&mut self, checksum: u16) {
        put_u16(self.0.as_mut(), CHECKSUM, checksum);
    }
}

/// The bytes of a header in front of `payload_len` bytes, checksum 0. A payload that does
/// not fit saturates the length.
#[must_use]
pub fn header(source_port: u16, destination_port: u16, payload_len: u16) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    put_u16(&mut header, field::SOURCE_PORT, source_port);
    put_u16(&mut header, DESTINATION_PORT, destination_port);
    put_u16(&mut header, field::LEN, payload_len.saturating_add(8));
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 5000 > 53, length 10, payload "hi".
    const DATAGRAM: [u8; 10] = [0x13, 0x88, 0, 53, 0, 10, 0xab, 0xcd, b'h', b'i'];

    #[test]
    fn getters_read_the_literal_datagram() {
        let udp = UdpDatagram::new_checked(DATAGRAM).unwrap();
        assert_eq!((udp.source_port(), udp.destination_port()), (5000, 53));
        assert_eq!((udp.len(), udp.checksum()), (10, 0xabcd));
        assert_eq!(udp.payload(), b"hi");
        assert!(!udp.is_empty());
        assert_eq!(header(5000, 53, 2)[..6], DATAGRAM[..6]);
    }

    #[test]
    fn the_checksum_can_be_replaced() {
        let mut bytes = DATAGRAM;
        UdpDatagram::new_checked(&mut bytes)
            .unwrap()
            .set_checksum(0x1234);
        assert_eq!(UdpDatagram::new_checked(bytes).unwrap().checksum(), 0x1234);
    }

    #[test]
    fn lengths_of_whole_and_first_fragment() {
        let cases = [
            (0, Some(Malformed::BadLength), Some(Malformed::BadLength)),
            (7, Some(Malformed::BadLength), Some(Malformed::BadLength)),
            (9, Some(Malformed::BadLength), Some(Malformed::BadLength)),
            (10, None, None),
            (11, Some(Malformed::BadLength), None),
            (255, Some(Malformed::BadLength), None),
        ];
        for (len, whole, first) in cases {
            let mut bytes = DATAGRAM;
            bytes[5] = len;
            assert_eq!(UdpDatagram::new_checked(bytes).err(), whole, "whole, {len}");
            assert_eq!(
                UdpDatagram::new_first_fragment(bytes).err(),
                first,
                "first, {len}"
            );
        }
        let short = UdpDatagram::new_checked(&DATAGRAM[..7]);
        assert_eq!(short.err(), Some(Malformed::Truncated));
    }
}
