//! Which overlay a packet belongs to: the 24-bit VXLAN network identifier.
//!
//! Owns the only type that can hold one. Zero is refused: RFC 7348 leaves it
//! legal, but Linux treats it as "no identifier", so a peer could not use it.

use core::fmt;
use core::num::NonZeroU32;

/// A VXLAN network identifier, `1..=0xff_ffff` (RFC 7348 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(NonZeroU32);

impl Vni {
    /// The largest identifier that fits the 24-bit field.
    pub const MAX: Self = match Self::new(0x00ff_ffff) {
        Some(max) => max,
        None => unreachable!(),
    };

    /// The identifier `value`, or `None` when it is zero or wider than 24 bits.
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        if value > 0x00ff_ffff {
            return None;
        }
        match NonZeroU32::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number, `1..=0xff_ffff`.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A number that is no VNI: zero, or wider than 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadVni(pub u32);

impl fmt::Display for BadVni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is no VXLAN network identifier (1 to 16777215)",
            self.0
        )
    }
}

impl core::error::Error for BadVni {}

impl TryFrom<u32> for Vni {
    type Error = BadVni;

    fn try_from(value: u32) -> Result<Self, BadVni> {
        Self::new(value).ok_or(BadVni(value))
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> Self {
        vni.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_one_to_twenty_four_bits() {
        for (value, legal) in [
            (0, false),
            (1, true),
            (42, true),
            (0x00ff_fffe, true),
            (0x00ff_ffff, true),
            (0x0100_0000, false),
            (u32::MAX, false),
        ] {
            assert_eq!(Vni::new(value).map(Vni::get), legal.then_some(value));
            assert_eq!(Vni::try_from(value).is_ok(), legal);
        }
        assert_eq!(Vni::MAX.get(), 0x00ff_ffff);
    }

    #[test]
    fn reads_as_a_number() {
        assert_eq!(Vni::MAX.to_string(), "16777215");
        assert_eq!(
            BadVni(0).to_string(),
            "0 is no VXLAN network identifier (1 to 16777215)"
        );
    }
}
