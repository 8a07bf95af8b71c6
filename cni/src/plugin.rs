//! What does weft do when a container runtime asks it for a pod's network?
//!
//! A runtime starts this program once per verb, with the verb in `CNI_COMMAND`, the network
//! configuration on stdin, and reads one JSON object from stdout (CNI specification 1.1.0). This
//! module is that program: it opens the pod's namespace, has addresses given by a delegated plugin
//! if the configuration names one, and asks the daemon for the rest. Every verb ends within its
//! limit. The program keeps no state, but for a note of what it could not tell the daemon.

mod add;
mod ask;
mod check;
mod del;
mod gc;
mod status;

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::call::{Operation, Question};
use crate::environment::Environment;
use crate::spec::{CniError, Code, Success, Version};
use crate::stdio;

/// The name of the program, and of `type` in a network configuration.
pub const NAME: &str = "weft-cni";

/// How long each verb may take; what asks again does so after that, with [`Code::TRY_AGAIN`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// ADD, until it fails.
    pub add: Duration,
    /// DEL, until the daemon counts as gone.
    pub del: Duration,
    /// CHECK.
    pub check: Duration,
    /// GC.
    pub gc: Duration,
    /// STATUS, which runtimes ask every few seconds.
    pub status: Duration,
    /// What ADD may take beyond its limit to take back what it did, for each party.
    pub undo: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            add: Duration::from_secs(20),
            del: Duration::from_secs(10),
            check: Duration::from_secs(10),
            gc: Duration::from_secs(30),
            status: Duration::from_secs(2),
            undo: Duration::from_secs(3),
        }
    }
}

/// What a verb that succeeded writes to stdout.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Nothing.
    Done,
    /// One object.
    Json(Value),
}

impl Answer {
    /// Any answer as JSON.
    pub(crate) fn json(value: &impl serde::Serialize) -> Result<Self, CniError> {
        let json = serde_json::to_value(value);
        json.map(Self::Json)
            .map_err(|error| CniError::new(Code::IO, "cannot write the answer", error))
    }

    /// A result in the form of `version`.
    pub(crate) fn result(result: &Success, version: Version) -> Result<Self, CniError> {
        let json = result.in_version(version);
        json.map(Self::Json)
            .map_err(|error| CniError::new(Code::IO, "cannot write the result", error))
    }
}

/// Serves the one call this process was started for.
#[must_use]
pub fn main() -> ExitCode {
    stdio::serve(about, |environment, stdin| {
        answer(environment, stdin, &Limits::default())
    })
}

fn about() -> String {
    format!(
        "weft-cni {}: the CNI plugin of weft, a userspace dataplane for Kubernetes pods.\n\
         A container runtime starts it with CNI_COMMAND set and a network configuration on stdin.\n\
         CNI versions: {}. The daemon on this node does the work: `weft status` shows it,\n\
         `weft cni install` tells the runtime about it. To see pods talk now: weft lab demo",
        env!("CARGO_PKG_VERSION"),
        Version::ALL.map(Version::name).join(", "),
    )
}

/// The answer to a call.
///
/// # Errors
/// The error object to write to stdout.
pub fn answer(
    environment: &Environment,
    stdin: &[u8],
    limits: &Limits,
) -> Result<Answer, CniError> {
    let call = match Question::read(environment, stdin)? {
        Question::Version(supported) => return Answer::json(&supported),
        Question::Call(call) => call,
    };
    let done = |()| Answer::Done;
    let outcome = match &call.operation {
        Operation::Add(sandbox) => {
            let added = add::add(&call, sandbox, limits);
            added.and_then(|result| Answer::result(&result, call.version))
        }
        Operation::Del(identity, _) => del::del(&call, identity, limits.del).map(done),
        Operation::Check(sandbox) => check::check(&call, sandbox, limits.check).map(done),
        Operation::Gc => gc::gc(&call, limits.gc).map(done),
        Operation::Status => status::status(&call, limits.status).map(done),
    };
    outcome.map_err(|error| error.in_version(call.version))
}
