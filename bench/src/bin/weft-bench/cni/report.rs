//! In which form is an answer printed, and on which machine was it found?

use std::fs;
use std::io::{self, Write as _};

use anyhow::Result;
use serde::Serialize;

use super::Form;

/// Where a run took place.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    cores: usize,
    kernel: String,
    /// Average number of runnable threads in the last minute, before the run: more than a little
    /// means that others took part.
    load: f64,
}

impl Machine {
    pub(super) fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let load = read("/proc/loadavg");
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: load
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
        }
    }

    pub(super) fn text(&self) -> String {
        let Self {
            cores,
            kernel,
            load,
        } = self;
        format!("{cores} cores, Linux {kernel}, load {load} before the run\n")
    }
}

pub(super) fn print<T: Serialize>(form: Form, answer: &T, text: fn(&T) -> String) -> Result<()> {
    let text = match form {
        Form::Table => text(answer),
        Form::Json => serde_json::to_string(answer)? + "\n",
    };
    // A reader who has seen enough is no error.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}
