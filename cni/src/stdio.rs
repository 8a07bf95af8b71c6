//! How does a plugin get its input, and where does its answer go?
//!
//! Owns stdin with its limit, stdout with its one JSON object, and the exit code. Never decides
//! what the answer is.

use std::env;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use crate::environment::Environment;
use crate::plugin::Answer;
use crate::spec::{CniError, Code};

/// More than any runtime sends; a pod's annotations are the largest part and end at 256 KiB.
const STDIN_LIMIT: u64 = 1 << 20;

/// Answers the one call this process was started for; `about` is for people who start it by hand.
pub(crate) fn serve(
    about: impl FnOnce() -> String,
    answer: impl FnOnce(&Environment, &[u8]) -> Result<Answer, CniError>,
) -> ExitCode {
    let stdin = io::stdin();
    let environment = Environment::of_process();
    let by_hand = env::args_os().len() > 1 || stdin.is_terminal();
    if by_hand && environment.get("CNI_COMMAND").is_none() {
        eprintln!("{}", about());
        return ExitCode::SUCCESS;
    }
    match read_config(stdin).and_then(|config| answer(&environment, &config)) {
        Ok(Answer::Done) => ExitCode::SUCCESS,
        Ok(Answer::Json(value)) => print(&value, ExitCode::SUCCESS),
        Err(error) => print(&error, ExitCode::FAILURE),
    }
}

/// The configuration on stdin; none when a person runs one verb from a terminal.
fn read_config(stdin: io::Stdin) -> Result<Vec<u8>, CniError> {
    let mut config = Vec::new();
    if stdin.is_terminal() {
        return Ok(config);
    }
    let read = stdin
        .lock()
        .take(STDIN_LIMIT + 1)
        .read_to_end(&mut config)
        .map_err(|e| CniError::new(Code::IO, "cannot read the configuration from stdin", e))?;
    if read as u64 > STDIN_LIMIT {
        let limit = format!("the limit is {STDIN_LIMIT} bytes");
        return Err(CniError::new(
            Code::DECODE,
            "the configuration is too long",
            limit,
        ));
    }
    Ok(config)
}

fn print(reply: &impl serde::Serialize, code: ExitCode) -> ExitCode {
    // One write, so that a reader of a pipe never sees half of it.
    let written = serde_json::to_vec(reply)
        .map_err(io::Error::from)
        .and_then(|mut line| {
            line.push(b'\n');
            let mut stdout = io::stdout().lock();
            stdout.write_all(&line).and_then(|()| stdout.flush())
        });
    match written {
        Ok(()) => code,
        Err(error) => {
            eprintln!("weft-cni: cannot write the reply to stdout: {error}");
            ExitCode::FAILURE
        }
    }
}
