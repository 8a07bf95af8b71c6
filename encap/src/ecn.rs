//! What congestion marks become when a packet enters and leaves the tunnel.
//!
//! Owns the two tables of RFC 6040 (normal mode), which RFC 9601 extends to
//! shim tunnels such as VXLAN. Never touches bytes: callers read the marks from
//! and write them to the headers.

/// Explicit congestion notification: the low two bits of the IPv4 TOS or IPv6
/// traffic class byte (RFC 3168 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// The ends do not take part; congestion is shown by dropping.
    #[default]
    NotEct = 0b00,
    /// Capable, codepoint ECT(1).
    Ect1 = 0b01,
    /// Capable, codepoint ECT(0).
    Ect0 = 0b10,
    /// Congestion experienced.
    Ce = 0b11,
}

impl Ecn {
    /// The mark in the low two bits of a TOS or traffic class byte.
    #[must_use]
    pub const fn from_bits(byte: u8) -> Self {
        match byte & 0b11 {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits, `0..=3`.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// The outer mark of a packet whose inner mark is `inner` (RFC 6040 §4.1,
    /// normal mode: copied).
    #[must_use]
    pub const fn encapsulate(inner: Self) -> Self {
        inner
    }

    /// The inner mark after decapsulation (RFC 6040 §4.2, figure 4).
    ///
    /// `None`: the packet must be dropped, because congestion was met on the way
    /// and its ends can learn of it in no other way.
    #[must_use]
    pub const fn decapsulate(inner: Self, outer: Self) -> Option<Self> {
        match (inner, outer) {
            (Self::NotEct, Self::Ce) => None,
            (Self::NotEct, _) => Some(Self::NotEct),
            (Self::Ce, _) | (_, Self::Ce) => Some(Self::Ce),
            (Self::Ect1, _) | (Self::Ect0, Self::Ect1) => Some(Self::Ect1),
            (Self::Ect0, _) => Some(Self::Ect0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ecn::{self, Ce, Ect0, Ect1, NotEct};

    #[test]
    fn all_sixteen_cells_of_figure_4() {
        let columns = [NotEct, Ect0, Ect1, Ce];
        let figure_4 = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, row) in figure_4 {
            for (outer, expected) in columns.into_iter().zip(row) {
                assert_eq!(
                    Ecn::decapsulate(inner, outer),
                    expected,
                    "inner {inner:?}, outer {outer:?}"
                );
            }
        }
    }

    #[test]
    fn encapsulation_copies_in_normal_mode() {
        for mark in [NotEct, Ect0, Ect1, Ce] {
            assert_eq!(Ecn::encapsulate(mark), mark);
        }
    }

    #[test]
    fn codepoints_are_those_of_rfc_3168() {
        for (mark, bits) in [(NotEct, 0b00), (Ect1, 0b01), (Ect0, 0b10), (Ce, 0b11)] {
            assert_eq!(mark.bits(), bits);
        }
        for byte in 0..=u8::MAX {
            assert_eq!(Ecn::from_bits(byte).bits(), byte & 0b11);
        }
    }
}
