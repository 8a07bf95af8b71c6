//! What does a person see during a race?
//!
//! Owns the progress line: on a terminal only, on stderr, gone when this is.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line that counts pairs of runs.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Starts counting to `steps`; draws nothing unless stderr is a terminal.
    pub(super) fn start(steps: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} {msg}, {eta} left") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Names the step that begins.
    pub(super) fn step(&self, what: &str) {
        self.0.set_message(what.to_owned());
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
