//! How much of a verb's time is left?
//!
//! The one place of the plugin that reads a clock: the monotonic one, so that a step of the wall
//! clock neither hangs nor hurries a verb.

use std::time::{Duration, Instant};

/// The end of the time something may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// `limit` from now.
    pub(crate) fn after(limit: Duration) -> Self {
        Self(now() + limit)
    }

    /// What is left; none once it has passed.
    pub(crate) fn left(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(now());
        (!left.is_zero()).then_some(left)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the only clock of a program that runs for milliseconds"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_never_exceeds_the_limit_and_ends() {
        let hour = Duration::from_secs(3600);
        assert!(Deadline::after(hour).left().unwrap() <= hour);
        assert!(Deadline::after(Duration::ZERO).left().is_none());
    }
}
