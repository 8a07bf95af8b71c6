//! On which machine was something measured?

use std::fs;

use serde::Serialize;

/// Where a run took place.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    kernel: String,
    /// Average number of runnable threads in the last minute, before the run: more than a little
    /// means that others took part.
    load: f64,
}

impl Machine {
    pub(crate) fn here() -> Self {
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

    pub(crate) fn text(&self) -> String {
        let Self {
            cores,
            kernel,
            load,
        } = self;
        format!("{cores} cores, Linux {kernel}, load {load} before the run\n")
    }
}
