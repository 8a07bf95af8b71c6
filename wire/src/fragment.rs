//! Which part of its packet is this? Offset and more-fragments flag, judged once.
//!
//! Owns the rules both IP versions share (RFC 791 §3.2, RFC 8200 §4.5, RFC 6946). Never
//! reassembles.

use crate::Malformed;

/// Which part of its packet these bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it; IPv6 atomic fragments too (RFC 6946).
    Whole,
    /// The first part, with the whole transport header.
    First {
        /// The identification all parts share.
        id: u32,
        /// Bytes of the whole payload in this part: all behind the IPv4 header, or behind
        /// IPv6's fragment header, extension headers that follow it included.
        len: u16,
    },
    /// A part without transport header.
    Later {
        /// The identification all parts share.
        id: u32,
        /// The place of these bytes in the whole payload, in bytes.
        offset: u16,
        /// Whether another part follows.
        more: bool,
    },
}

impl Fragment {
    /// Tells the part by offset (bytes) and more-fragments flag, and checks that
    /// `payload_len` bytes there can belong to an IP packet.
    ///
    /// # Errors
    /// `BadLength` when more follows but the length is not a multiple of 8, or the end
    /// would be beyond 65,535 bytes (RFC 791 §3.2, RFC 8200 §4.5).
    #[inline]
    pub fn new(id: u32, offset: u16, more: bool, payload_len: usize) -> Result<Self, Malformed> {
        if offset == 0 && !more {
            return Ok(Self::Whole);
        }
        let end = usize::from(offset) + payload_len;
        let len = u16::try_from(payload_len).map_err(|_| Malformed::BadLength)?;
        if (more && !payload_len.is_multiple_of(8)) || end > usize::from(u16::MAX) {
            return Err(Malformed::BadLength);
        }
        Ok(if offset == 0 {
            Self::First { id, len }
        } else {
            Self::Later { id, offset, more }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_part_by_offset_and_flag() {
        let later = |offset, more| Fragment::Later {
            id: 9,
            offset,
            more,
        };
        let cases = [
            (0, false, 100, Ok(Fragment::Whole)),
            (0, false, 65_535, Ok(Fragment::Whole)),
            (0, true, 96, Ok(Fragment::First { id: 9, len: 96 })),
            (0, true, 97, Err(Malformed::BadLength)),
            (8, true, 8, Ok(later(8, true))),
            (8, true, 9, Err(Malformed::BadLength)),
            (8, false, 9, Ok(later(8, false))),
            (65_528, false, 7, Ok(later(65_528, false))),
            (65_528, false, 8, Err(Malformed::BadLength)),
        ];
        for (offset, more, len, expected) in cases {
            assert_eq!(
                Fragment::new(9, offset, more, len),
                expected,
                "{offset} {more} {len}"
            );
        }
    }
}
