//! When something happened, as far as policy cares: integers, never a clock.
//!
//! Owns [`Moment`] and [`Span`], both in nanoseconds. Whoever reads a clock turns
//! it into a `Moment` once and passes it down, so tests and simulations decide
//! what time it is. Arithmetic saturates: a jump can be wrong, never a panic.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A point in time: nanoseconds since a start only the caller knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

/// A length of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Moment {
    /// The start.
    pub const ZERO: Self = Self(0);

    /// The point `nanos` after the start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The point `secs` after the start.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(Span::from_secs(secs).0)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time gone by since `earlier`; zero when that lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `nanos` nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// `micros` microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// `secs` seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// The number of nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The number of whole seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

impl Add<Span> for Moment {
    type Output = Self;

    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self + Span::from(duration)
    }
}

impl Sub for Moment {
    type Output = Span;

    fn sub(self, earlier: Self) -> Span {
        self.since(earlier)
    }
}

impl Add for Span {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_nanos(span.0)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Duration::from(*self), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_agree() {
        assert_eq!(Span::from_secs(2), Span::from_millis(2_000));
        assert_eq!(Span::from_millis(2), Span::from_micros(2_000));
        assert_eq!(Span::from_micros(2), Span::from_nanos(2_000));
        assert_eq!(Span::from(Duration::from_secs(3)), Span::from_secs(3));
        assert_eq!(Moment::from_secs(5), Moment::ZERO + Duration::from_secs(5));
        assert_eq!(Span::from_millis(1_500).to_string(), "1.5s");
        assert_eq!(Span::from_millis(1_999).as_secs(), 1);
    }

    #[test]
    fn arithmetic_saturates() {
        let end = Moment::from_nanos(u64::MAX);
        assert_eq!(end + Span::from_secs(1), end);
        assert_eq!(Moment::ZERO - end, Span::ZERO);
        assert_eq!(end - Moment::ZERO, Span::from_nanos(u64::MAX));
        assert_eq!(Span::from_secs(u64::MAX), Span::from_nanos(u64::MAX));
        assert_eq!(Span::from(Duration::MAX), Span::from_nanos(u64::MAX));
    }
}
