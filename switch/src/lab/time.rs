//! How long did it take, and has the user lost patience?
//!
//! Owns the lab's stopwatch, its bounded waits, and Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::error::{LabError, LabResult};
use crate::runtime::Clock;

/// A started stopwatch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Clock);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Clock::start())
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::from_nanos(self.0.now().as_nanos())
    }

    /// What is left of `limit`, if anything.
    pub(crate) fn left(self, limit: Duration) -> Option<Duration> {
        limit
            .checked_sub(self.elapsed())
            .filter(|left| !left.is_zero())
    }
}

/// Whether the user asked to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for Ctrl-C, SIGTERM and SIGHUP instead of dying of them, so that a command can
    /// remove what it made.
    pub(crate) fn install() -> LabResult<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.0)).map_err(|error| {
                LabError::host(format!("cannot listen for signals: {error}"), "try again")
            })?;
        }
        Ok(interrupt)
    }

    pub(crate) fn check(&self) -> LabResult<()> {
        if self.0.load(Ordering::Relaxed) {
            Err(LabError::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Asks `ready` again and again, with growing pauses of at most 50 ms, until it answers
    /// something or the limit has passed.
    pub(crate) fn wait<T>(
        &self,
        limit: Duration,
        mut ready: impl FnMut() -> LabResult<Option<T>>,
    ) -> LabResult<Option<T>> {
        let watch = Stopwatch::start();
        let mut pause = Duration::from_millis(1);
        loop {
            self.check()?;
            if let Some(answer) = ready()? {
                return Ok(Some(answer));
            }
            let Some(left) = watch.left(limit) else {
                return Ok(None);
            };
            // A channel that stays silent: a pause that needs no sleeping thread elsewhere.
            let _ = crossbeam_channel::after(pause.min(left)).recv();
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}
