//! When does a worker sleep?
//!
//! A worker that has just worked looks again for a while before it lets the kernel put it to
//! sleep: a wake-up takes longer than most gaps of a busy node. Only while recent gaps were
//! shorter than that while, so that an idle node uses no CPU and a slow trickle wakes it as
//! before. Pure: it is told the time.

use weft_policy::{Moment, Span};

/// A gap counts as an eighth of what is expected of the next.
const WEIGHT: u64 = 8;

/// How long one worker's gaps are.
#[derive(Debug)]
pub(super) struct Rest {
    limit: Span,
    /// The gap to expect, in nanoseconds.
    expected: u64,
    /// When the last work was done.
    since: Moment,
}

impl Rest {
    /// Looks for at most `limit` after each work; zero: never.
    pub(super) const fn new(limit: Span, now: Moment) -> Self {
        Self {
            limit,
            expected: Self::longest(limit),
            since: now,
        }
    }

    /// What a long gap counts as: a few short ones make up for it.
    const fn longest(limit: Span) -> u64 {
        limit.as_nanos().saturating_mul(2)
    }

    /// There is work after a gap that ends now.
    pub(super) fn woke(&mut self, now: Moment) {
        let gap = now
            .since(self.since)
            .as_nanos()
            .min(Self::longest(self.limit));
        self.expected = (self.expected * (WEIGHT - 1) + gap) / WEIGHT;
    }

    /// The work is done.
    pub(super) const fn worked(&mut self, now: Moment) {
        self.since = now;
    }

    /// Whether to look again now instead of sleeping.
    pub(super) fn looks(&self, now: Moment) -> bool {
        let limit = self.limit.as_nanos();
        self.expected < limit && now.since(self.since).as_nanos() < limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Span = Span::from_nanos(50_000);

    /// Works `count` times with gaps of so many nanoseconds; when it stops.
    fn work(rest: &mut Rest, mut now: Moment, count: usize, gap: u64) -> Moment {
        for _ in 0..count {
            now = now + Span::from_nanos(gap);
            rest.woke(now);
            rest.worked(now);
        }
        now
    }

    #[test]
    fn it_looks_while_gaps_are_short_and_only_so_long() {
        let mut rest = Rest::new(LIMIT, Moment::ZERO);
        assert!(!rest.looks(Moment::ZERO), "nothing is known of gaps yet");
        let now = work(&mut rest, Moment::ZERO, 10, 10_000);
        assert!(rest.looks(now) && rest.looks(now + Span::from_nanos(49_999)));
        assert!(!rest.looks(now + LIMIT));
        let now = work(&mut rest, now, 1, 1_000_000_000);
        assert!(rest.looks(now), "one long gap is forgiven");
        let now = work(&mut rest, now, 8, 1_000_000);
        assert!(!rest.looks(now), "a trickle is not waited for");
        let now = work(&mut rest, now, 10, 5_000);
        assert!(rest.looks(now), "traffic is back");
    }

    #[test]
    fn without_a_limit_it_never_looks() {
        let mut rest = Rest::new(Span::from_nanos(0), Moment::ZERO);
        let now = work(&mut rest, Moment::ZERO, 100, 0);
        assert!(!rest.looks(now));
    }
}
