//! How long may a test wait?
//!
//! Owns real time in the end-to-end tests. A wait is always for a condition, with a limit that is
//! generous, since it is only ever reached by a failure.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// The real time.
#[expect(
    clippy::disallowed_methods,
    reason = "real programs run under these tests, and real time bounds them"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits for `condition` to give a value.
///
/// # Panics
/// If it does not in time.
pub(crate) fn wait_until<T>(
    what: &str,
    limit: Duration,
    condition: impl FnMut() -> Option<T>,
) -> T {
    within(limit, condition).unwrap_or_else(|| panic!("{what}: not within {limit:?}"))
}

/// Waits for `condition` to give a value; `None`: it did not in time.
pub(crate) fn within<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = now() + limit;
    loop {
        let value = condition();
        if value.is_some() || now() >= end {
            return value;
        }
        thread::park_timeout(POLL);
    }
}
