//! When does one of the lab's own helpers, agent or relay, serve?
//!
//! Owns starting it and waiting for its word; one that does not say it is not left running.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use weft_sys::netns::Netns;

use super::error::{LabError, LabResult};
use super::procs::{self, ProcessId};
use super::time::Interrupt;

/// The line by which a helper tells that it serves.
pub(crate) const READY: &str = "ready";
/// How long it may take until then.
const LIMIT: Duration = Duration::from_secs(20);

/// Starts a helper with its messages in `log`, and waits until it serves.
pub(crate) fn start(
    what: &str,
    command: Command,
    netns: Option<&Netns>,
    log: &Path,
    interrupt: &Interrupt,
) -> LabResult<ProcessId> {
    let _ = fs::remove_file(log);
    let id = procs::start(command, netns, log)?;
    let ready = interrupt.wait(LIMIT, || {
        if fs::read_to_string(log).is_ok_and(|text| text.lines().any(|line| line == READY)) {
            return Ok(Some(id));
        }
        if id.is_alive() {
            return Ok(None);
        }
        Err(LabError::failed(
            format!("{what} ended:\n  {}", procs::tail(log)),
            "",
        ))
    });
    let late = || {
        let message = format!("{what} did not start within {LIMIT:?}");
        LabError::failed(message, format!("read {}", log.display()))
    };
    match ready.and_then(|served| served.ok_or_else(late)) {
        Ok(id) => Ok(id),
        Err(error) => {
            id.end()?;
            Err(error)
        }
    }
}
