//! Why can the journal not be used?

use std::io;
use std::path::{Path, PathBuf};

use super::frame::ReadError;

/// Why not, where, and what the operator can do.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The state directory is not ours alone.
    #[error("state directory {}: {why}; {next}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// The next step.
        next: String,
    },
    /// Another daemon has it.
    #[error("another weft daemon uses state directory {}; \
        stop that one, or give this one a directory of its own", .0.display())]
    Locked(PathBuf),
    /// The file does not begin as a journal does.
    #[error("{} is not a journal of weft; move it away, or choose another state directory",
        .0.display())]
    NotAJournal(PathBuf),
    /// The file begins as the journal of another version.
    #[error("{} was written by another version of weft; start that version", .0.display())]
    OtherVersion(PathBuf),
    /// What was on the disk is not there any more.
    #[error("{} is damaged at byte {offset}; {}", .path.display(), MOVE_AWAY)]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the first damaged record begins.
        offset: u64,
    },
    /// A record that is whole says what this version does not understand.
    #[error("{} has an unknown record at byte {offset}: {source}; \
        start the version of weft that wrote it", .path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The record is longer than any can be.
    #[error("a record for {} is longer than {} bytes; attach with fewer ports",
        .0.display(), super::frame::MAX_RECORD)]
    TooLong(PathBuf),
    /// The disk failed.
    #[error("cannot {what} {}: {source}; {}", .path.display(), next_for(.source))]
    Io {
        /// What was to be done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The disk failed earlier.
    #[error("{} takes no records since its disk failed; \
        see the earlier error and mend the disk", .0.display())]
    Broken(PathBuf),
}

const MOVE_AWAY: &str = "check the disk and restore the file from a copy, or move it away: \
    then every pod of this node has to be made anew";

fn next_for(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its file system",
        io::ErrorKind::ReadOnlyFilesystem => "mount its file system writable",
        io::ErrorKind::PermissionDenied => "run the daemon as the owner of its state directory",
        _ => "check the disk and its file system",
    }
}

impl ReadError {
    /// The same about a file.
    pub(super) fn in_file(self, path: &Path) -> JournalError {
        let path = path.to_owned();
        match self {
            Self::NotAJournal => JournalError::NotAJournal(path),
            Self::OtherVersion => JournalError::OtherVersion(path),
            Self::Damaged { offset } => JournalError::Damaged { path, offset },
            Self::Unknown { offset, source } => JournalError::Unknown {
                path,
                offset,
                source,
            },
        }
    }
}
