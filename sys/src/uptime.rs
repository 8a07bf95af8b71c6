//! Which boot of the machine is this, and how long ago did it begin?
//!
//! Owns the one clock that outlives a process: `CLOCK_BOOTTIME`, which goes on while the machine
//! sleeps, together with the identity of the boot it counts from (proc_sys_kernel(5)). Two readings
//! can be compared if their boot is the same. No wall clock comes into it, so nobody can set it.
//!
//! It is for records on disk alone. Whoever forwards or waits is handed the monotonic moments of
//! the daemon's own clock.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

use crate::error::{Context, Result, SysError};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A moment of a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uptime {
    /// Identity of the boot, a UUID: another one after every start of the machine.
    pub boot_id: String,
    /// Nanoseconds since that boot, time asleep included.
    pub nanos: u64,
}

impl Uptime {
    /// The present moment.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn now() -> Result<Self> {
        Ok(Self {
            boot_id: boot_id()?,
            nanos: nanos(),
        })
    }
}

/// Identity of this boot: it stays the same while the process lives.
///
/// # Errors
/// If `/proc` is not mounted.
pub fn boot_id() -> Result<String> {
    let what = || "read the identity of this boot".to_owned();
    let text = fs::read_to_string(BOOT_ID).context(what)?;
    match text.trim() {
        "" => Err(SysError::invalid(what(), format!("{BOOT_ID} is empty"))),
        id => Ok(id.to_owned()),
    }
}

/// Nanoseconds since the machine was started, time asleep included. A system call at most.
pub fn nanos() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let whole = u64::try_from(now.tv_sec).unwrap_or(0);
    let rest = u64::try_from(now.tv_nsec).unwrap_or(0);
    whole.saturating_mul(1_000_000_000).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_keeps_its_identity_and_its_time_goes_on() {
        let (before, after) = (Uptime::now().unwrap(), Uptime::now().unwrap());
        assert_eq!(before.boot_id, after.boot_id);
        assert_eq!(before.boot_id.len(), 36, "a UUID");
        assert!(0 < before.nanos && before.nanos <= after.nanos);
    }

    #[test]
    fn it_is_the_time_that_proc_shows() {
        let shown = fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = shown.split(' ').next().unwrap().parse().unwrap();
        let now = nanos() as f64 / 1e9;
        assert!((now - seconds).abs() < 60.0, "{now} and {seconds}");
    }
}
