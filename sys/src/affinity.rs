//! Which cores may a thread run on?
//!
//! Owns sched_setaffinity(2) for the calling thread. It never moves another thread and never
//! decides which worker belongs where.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::{Context, Result, SysError};

/// The cores the calling thread may run on, in order. Its length is how many workers can run at
/// once.
///
/// # Errors
/// If sched_getaffinity(2) fails, as on a machine with more than 1024 cores.
pub fn allowed_cores() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).context(|| "ask for the allowed cores".to_owned())?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect())
}

/// Keeps the calling thread on one core.
///
/// # Errors
/// EINVAL if the process may not use that core.
pub fn pin_current_thread(core: usize) -> Result<()> {
    let what = || format!("pin a thread to core {core}");
    if core >= CpuSet::MAX_CPU {
        return Err(SysError::invalid(
            what(),
            format!("cores are below {}", CpuSet::MAX_CPU),
        ));
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_core() {
        let core = *allowed_cores().unwrap().last().unwrap();
        std::thread::spawn(move || {
            pin_current_thread(core).unwrap();
            assert_eq!(allowed_cores().unwrap(), [core]);
        })
        .join()
        .unwrap();
        assert!(pin_current_thread(usize::MAX).is_err());
    }
}
