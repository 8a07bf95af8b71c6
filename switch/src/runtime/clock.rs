//! What time is it?
//!
//! The only place of the project that reads the clock the path goes by: `CLOCK_MONOTONIC`, as a [`Moment`] that
//! grows with the daemon's age. Everything else is handed a moment.

use std::time::Instant;

use weft_policy::{Moment, Span};

/// A monotonic clock; copies of it agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    beginning: Moment,
}

impl Clock {
    /// A clock that begins now, at [`Moment::ZERO`].
    #[must_use]
    pub fn start() -> Self {
        Self::start_at(Moment::ZERO)
    }

    /// A clock that begins now and shows `beginning`, so that there are moments before it.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the file that reads the clock"
    )]
    pub fn start_at(beginning: Moment) -> Self {
        Self {
            start: Instant::now(),
            beginning,
        }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.beginning + self.start.elapsed()
    }

    /// How long the clock has gone.
    #[must_use]
    pub fn age(&self) -> Span {
        self.now().since(self.beginning)
    }
}
