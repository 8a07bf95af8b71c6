//! How does a user's command run inside a pod or node?
//!
//! Owns `lab exec` and `lab node`: this process becomes the command, inside the namespace.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use weft_sys::netns::Netns;

use super::error::{LabError, LabResult};

/// What a shell says when a program was not found, and when it could not be started.
const NOT_FOUND: u8 = 127;
const NOT_STARTED: u8 = 126;

/// Becomes `command` in a namespace; returns only if it cannot.
pub(crate) fn command(netns: &str, command: &[String]) -> LabResult<ExitCode> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(LabError::usage(
            "there is no command to run",
            "put it after --",
        ));
    };
    let mut process = Command::new(program);
    process.args(arguments);
    Netns::open(netns)?.enter_on_exec(&mut process)?;
    // From here on this process is the command: signals, terminal and exit status are its own.
    let error = process.exec();
    eprintln!("error: cannot run {program}: {error}");
    let missing = error.kind() == io::ErrorKind::NotFound;
    Ok(ExitCode::from(if missing {
        NOT_FOUND
    } else {
        NOT_STARTED
    }))
}
