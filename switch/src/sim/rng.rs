//! Which luck does a simulation have? Splitmix64, one stream per link.
//!
//! Small, seedable and the same on every machine (Steele, Lea, Flood: "Fast splittable
//! pseudorandom number generators", OOPSLA 2014). Not for secrets.

use weft_policy::Span;

/// A stream of pseudorandom numbers.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    /// Stream `stream` of a seed; streams are independent of each other.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Self(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        rng.next();
        rng
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }

    /// True in `of_ten_thousand` of 10,000 cases.
    pub(super) fn chance(&mut self, of_ten_thousand: u16) -> bool {
        self.below(10_000) < of_ten_thousand.into()
    }

    /// A time of at most `longest`.
    pub(super) const fn span(&mut self, longest: Span) -> Span {
        Span::from_nanos(self.below(longest.as_nanos().saturating_add(1)))
    }
}
