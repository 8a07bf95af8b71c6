//! How does a long run end early, and how does it wait?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use weft_switch::runtime::Clock;

/// Between two looks at a condition.
pub(crate) const PAUSE: Duration = Duration::from_millis(2);

/// Whether the user asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for Ctrl-C, SIGTERM and SIGHUP instead of dying of them, so that what was made is
    /// removed.
    pub(crate) fn install() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag))
                .context("cannot listen for signals")?;
        }
        Ok(Self(flag))
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted; everything is removed");
        }
        Ok(())
    }

    /// Asks `ready` again and again until it answers something; an error after `limit`.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut ready: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let clock = Clock::start();
        loop {
            if let Some(answer) = ready()? {
                return Ok(answer);
            }
            self.check()?;
            if clock.now().as_nanos() > u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX) {
                bail!("waited {limit:?} in vain: {what}");
            }
            std::thread::park_timeout(PAUSE);
        }
    }
}
