//! How does a user's command run inside a pod or node?
//!
//! Owns `lab exec` and `lab node`: the command inherits the terminal, and its exit status is ours.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode};

use weft_sys::netns::Netns;

use super::error::{LabError, LabResult};

/// What a shell says when a program was not found, and when it could not be started.
const NOT_FOUND: u8 = 127;
const NOT_STARTED: u8 = 126;

/// Runs `command` in a namespace and waits for it.
pub(crate) fn command(netns: &str, command: &[String]) -> LabResult<ExitCode> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(LabError::usage(
            "there is no command to run",
            "put it after --",
        ));
    };
    let mut child = Command::new(program);
    child.args(arguments);
    let netns = Netns::open(netns)?;
    netns.enter_on_exec(&mut child)?;
    match child.status() {
        Ok(status) => Ok(code(status)),
        Err(error) => {
            eprintln!("error: cannot run {program}: {error}");
            let missing = error.kind() == io::ErrorKind::NotFound;
            Ok(ExitCode::from(if missing {
                NOT_FOUND
            } else {
                NOT_STARTED
            }))
        }
    }
}

/// A command that a signal ended counts as 128 and the signal's number, as in a shell.
fn code(status: std::process::ExitStatus) -> ExitCode {
    let number = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(number.and_then(|n| u8::try_from(n).ok()).unwrap_or(1))
}
