//! Why does `weft cni` not go on?
//!
//! Every sentence says what, where and the next step; the exit code is the command line's.

use std::io;
use std::path::{Path, PathBuf};

use super::super::{HOST, NO, USAGE};
use crate::api::ClientError;

/// A reason to stop.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    /// A file or directory cannot be used.
    #[error("cannot {doing} {}: {source}{}", .path.display(), next_for(.source))]
    File {
        /// Such as "read".
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others than root could replace what lies there, and runtimes run it as root.
    #[error("{} {why}; {next}", .path.display())]
    Untrusted {
        /// The directory or link.
        path: PathBuf,
        /// Who may write to it.
        why: String,
        /// The command to try.
        next: String,
    },
    /// Somebody else's file has our file's name.
    #[error("{} {why}; {next}", .path.display())]
    Taken {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        why: &'static str,
        /// What to do.
        next: &'static str,
    },
    /// `--wait` ended before the daemon was ready.
    #[error("the configuration list is not written, because after {seconds} s {why}")]
    NotReady {
        /// How long it waited.
        seconds: u32,
        /// What the daemon said, and its next step.
        why: String,
    },
    /// Pods could not be taken down any more.
    #[error("nothing is removed, because {0}")]
    Attached(String),
}

impl SetupError {
    /// For `map_err`: what was done to which path.
    pub(super) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            doing,
            path,
            source,
        }
    }

    /// The exit code.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::File { source, .. } if needs_root(source) => HOST,
            Self::File { .. } | Self::Untrusted { .. } | Self::Taken { .. } => USAGE,
            Self::NotReady { .. } | Self::Attached(_) => NO,
        }
    }
}

fn needs_root(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::ReadOnlyFilesystem,
    ];
    kinds.contains(&error.kind())
}

fn next_for(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; try again as root",
        io::ErrorKind::ReadOnlyFilesystem => {
            "; name a writable directory that the runtime looks into, with --conf-dir or --bin-dir"
        }
        io::ErrorKind::StorageFull => "; make room and try again",
        _ => "",
    }
}

/// Whether nobody listens at the socket, as opposed to somebody who does not answer us.
pub(super) fn is_silent(error: &ClientError) -> bool {
    let nobody = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
    matches!(error, ClientError::Connect { source, .. } if nobody.contains(&source.kind()))
}
