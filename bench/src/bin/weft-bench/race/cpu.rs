//! How much of the machine's processors was used?

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Clock ticks a second in `/proc/stat`, the same on every architecture of ours (proc(5)).
const TICKS: u64 = 100;

/// A reading of `/proc/stat`: time that some processor was neither idle nor waiting for a disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu(u64);

impl Cpu {
    pub(super) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        used(&text)
            .map(Self)
            .context("/proc/stat has no line of all processors")
    }

    /// The time used since, on all processors together.
    pub(super) fn used(self) -> Result<Duration> {
        let ticks = Self::now()?.0.saturating_sub(self.0);
        Ok(Duration::from_millis(ticks * (1000 / TICKS)))
    }
}

/// User, nice, system, interrupts and soft interrupts.
fn used(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields[..] else {
        return None;
    };
    Some(user + nice + system + irq + softirq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_waiting_are_not_used() {
        let text = "cpu  1 2 4 1000 2000 8 16 32 0 0\ncpu0 1 1 1 1 1 1 1\n";
        assert_eq!(used(text), Some(31));
        assert_eq!(used("cpu  1 2\n"), None);
        assert_eq!(used("cpu0 1 2 3 4 5 6 7\n"), None);
    }
}
