//! What does weft tell a container runtime that asks it for a pod's network?
//!
//! A runtime starts this program once per verb, with the verb in `CNI_COMMAND`, the network
//! configuration on stdin, and reads one JSON object from stdout (CNI specification 1.1.0).
//! This release answers VERSION and refuses every other verb with a CNI error: pods get their
//! network from the lab, over the daemon's control socket. It never touches a namespace, an
//! interface or a file.
#![forbid(unsafe_code)]

mod reply;
mod request;

use std::env;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use reply::{CniError, Code, VersionReply};
use request::{Request, Verb};

/// More than any runtime sends; a pod's annotations are the largest part and end at 256 KiB.
const STDIN_LIMIT: u64 = 1 << 20;

fn main() -> ExitCode {
    let stdin = io::stdin();
    let by_hand = env::args_os().len() > 1 || stdin.is_terminal();
    if by_hand && env::var_os("CNI_COMMAND").is_none() {
        eprintln!("{}", about());
        return ExitCode::SUCCESS;
    }
    let outcome = read_config(stdin).and_then(|config| answer(&config));
    match outcome {
        Ok(reply) => print(&reply, ExitCode::SUCCESS),
        Err(error) => print(&error, ExitCode::FAILURE),
    }
}

fn about() -> String {
    format!(
        "weft-cni {}: the CNI plugin of weft, a userspace dataplane for Kubernetes pods.\n\
         A container runtime starts it with CNI_COMMAND set and a network configuration on stdin.\n\
         CNI versions: {}. This release answers VERSION only; attaching pods through the plugin\n\
         comes with a later release. To see pods talk now: weft lab demo",
        env!("CARGO_PKG_VERSION"),
        reply::SUPPORTED.join(", "),
    )
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
        .map_err(|e| CniError::new(Code::Io, "cannot read the configuration from stdin", e))?;
    if read as u64 > STDIN_LIMIT {
        let limit = format!("the limit is {STDIN_LIMIT} bytes");
        return Err(CniError::new(
            Code::Decode,
            "the configuration is too long",
            limit,
        ));
    }
    Ok(config)
}

fn answer(config: &[u8]) -> Result<VersionReply, CniError> {
    let request = Request::read(config)?;
    match request.verb {
        Verb::Version => Ok(VersionReply::new(request.version)),
        // The specification gives STATUS a code of its own for "ADD would not be served".
        Verb::Status => Err(refusal(&request, Code::NotAvailable)),
        Verb::Add | Verb::Del | Verb::Check | Verb::Gc => {
            Err(refusal(&request, Code::NotImplemented))
        }
    }
}

fn refusal(request: &Request, code: Code) -> CniError {
    let msg = format!(
        "this release of weft-cni does not serve {}",
        request.verb.name()
    );
    let details = "attachments through the plugin come with a later release; \
                   `weft lab` attaches pods over the daemon's control socket";
    CniError::new(code, msg, details).in_version(&request.version)
}

fn print(reply: &impl serde::Serialize, code: ExitCode) -> ExitCode {
    let mut stdout = io::stdout().lock();
    let written = serde_json::to_writer(&mut stdout, reply)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(stdout));
    match written {
        Ok(()) => code,
        Err(error) => {
            eprintln!("weft-cni: cannot write the reply to stdout: {error}");
            ExitCode::FAILURE
        }
    }
}
