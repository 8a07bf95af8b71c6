//! What does a person see while work takes longer than a moment?
//!
//! Owns the progress line: on a terminal only, on stderr, gone when the work is done.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line that counts steps.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Starts counting to `steps`; draws nothing unless stderr is a terminal.
    pub(crate) fn start(steps: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Names the step that begins.
    pub(crate) fn step(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.bar.inc(1);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
