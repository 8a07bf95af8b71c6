//! What time is it?
//!
//! The only place of the project that reads a clock: `CLOCK_MONOTONIC`, as a [`Moment`] since the
//! daemon started. Everything else is handed a moment.

use std::time::Instant;

use weft_policy::Moment;

/// A monotonic clock; copies of it agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the file that reads the clock"
    )]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Time since the clock began.
    #[must_use]
    pub fn now(&self) -> Moment {
        let nanos = self.start.elapsed().as_nanos();
        Moment::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
