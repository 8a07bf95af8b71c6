//! How does a verb ask the daemon, and which CNI error is a refusal?
//!
//! Owns the translation between the two vocabularies. The daemon's next step goes into `details`,
//! where an operator finds it in the pod's events.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::call::Call;
use crate::daemon::codec::CodecError;
use crate::daemon::{self, ClientError, Connection};
use crate::deadline::Deadline;
use crate::spec::{CniError, Code};

/// Asks the daemon of `call`'s configuration, within the deadline.
pub(super) fn ask<T: DeserializeOwned>(
    call: &Call<'_>,
    question: daemon::Call,
    fds: &[BorrowedFd<'_>],
    deadline: Deadline,
) -> Result<T, ClientError> {
    let socket = call.config.socket();
    let late = || ClientError::Talk {
        path: socket.to_owned(),
        source: CodecError::Io(io::Error::new(io::ErrorKind::TimedOut, "no time is left")),
    };
    let left = deadline.left().ok_or_else(late)?;
    let mut connection = Connection::open(socket, left)?;
    // What connecting took is not given again.
    connection.limit(deadline.left().ok_or_else(late)?);
    connection.call(question, fds)
}

/// What it means to a runtime that the daemon did not do `what`.
pub(super) fn failed(what: &str, error: &ClientError) -> CniError {
    CniError::new(code(error), format!("cannot {what}"), explain(error))
}

fn code(error: &ClientError) -> Code {
    match error {
        ClientError::Connect { .. } => Code::TRY_AGAIN,
        ClientError::Talk { source, .. } => match source {
            CodecError::Io(_) => Code::TRY_AGAIN,
            CodecError::Version { .. } => Code::OTHER_VERSION,
            CodecError::TooLong(_) | CodecError::Json(_) => Code::REFUSED,
        },
        ClientError::Refused(failure) => match failure.code {
            daemon::Code::Invalid => Code::INVALID_CONFIG,
            daemon::Code::Unavailable => Code::TRY_AGAIN,
            daemon::Code::Version => Code::OTHER_VERSION,
            daemon::Code::Mismatch => Code::MISMATCH,
            daemon::Code::Host => Code::IO,
            daemon::Code::Conflict | daemon::Code::NotAllowed | daemon::Code::BadMessage => {
                Code::REFUSED
            }
        },
    }
}

/// Why, and what to do, for a person who looks at a pod or a node and not at a command line.
pub(super) fn explain(error: &ClientError) -> String {
    match error {
        ClientError::Connect { path, source } => unreachable_at(path, source),
        ClientError::Talk { path, source } => match source {
            CodecError::Io(source) => format!(
                "the weft daemon at {} did not answer: {source}; see its log",
                path.display()
            ),
            CodecError::Version { .. } => format!(
                "the weft daemon at {}: {source}; install the weft-cni of the daemon's release \
                 with `weft cni install`",
                path.display()
            ),
            _ => error.to_string(),
        },
        ClientError::Refused(failure) => failure.to_string(),
    }
}

fn unreachable_at(path: &Path, source: &io::Error) -> String {
    let next = match source.kind() {
        io::ErrorKind::PermissionDenied => "the plugin must run as root",
        _ => "start it with `weft daemon`, or correct `socket` in the network configuration",
    };
    format!(
        "no weft daemon listens at {}: {source}; {next}",
        path.display()
    )
}

/// Whether the daemon never came to decide about the call, or could not be heard to.
pub(super) fn undecided(error: &ClientError) -> bool {
    match error {
        ClientError::Connect { .. } => true,
        ClientError::Talk { source, .. } => matches!(source, CodecError::Io(_)),
        ClientError::Refused(failure) => failure.code == daemon::Code::Unavailable,
    }
}
