//! How does the lab say what went wrong, where, and what to try next?
//!
//! Owns the lab's one error type and its exit codes. Never prints; the command line does.

use std::fmt;
use std::path::{Path, PathBuf};

/// Result of a lab operation.
pub(crate) type LabResult<T> = Result<T, LabError>;

/// One thing wrong in a file the user wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file, as the user named it.
    pub(crate) path: PathBuf,
    /// 1-based line, where known.
    pub(crate) line: Option<u64>,
    /// The field, for example `nodes[1].name`; empty for the file as a whole.
    pub(crate) field: String,
    pub(crate) message: String,
    /// What to try next.
    pub(crate) next: String,
}

impl Problem {
    /// A problem with no line or field; add them with [`Self::at`] and [`Self::field`].
    pub(crate) fn new(path: &Path, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line: None,
            field: String::new(),
            message: message.into(),
            next: next.into(),
        }
    }

    pub(crate) fn at(mut self, line: u64) -> Self {
        self.line = (line > 0).then_some(line);
        self
    }

    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)?;
        if !self.next.is_empty() {
            write!(f, "\n  next: {}", self.next)?;
        }
        Ok(())
    }
}

/// Why a lab command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum LabError {
    /// Files that do not make a lab: every problem found, not only the first. Exit code 2.
    Input(Vec<Problem>),
    /// Wrong usage: no such lab, pod or node, or a conflict with a lab that is up. Exit code 2.
    Usage { message: String, next: String },
    /// This host lacks something: privilege, a device, a kernel feature. Exit code 3.
    Host { message: String, next: String },
    /// Something that should have worked did not. Exit code 1.
    Failed { message: String, next: String },
    /// The user pressed Ctrl-C or the command was asked to end. Exit code 130.
    Interrupted,
}

impl LabError {
    pub(crate) fn usage(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            next: next.into(),
        }
    }

    pub(crate) fn host(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Host {
            message: message.into(),
            next: next.into(),
        }
    }

    pub(crate) fn failed(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            next: next.into(),
        }
    }

    /// A file or folder of the lab's own that could not be read or written.
    pub(crate) fn file(what: &str, path: &Path, error: &std::io::Error) -> Self {
        let what = format!("cannot {what} {}: {error}", path.display());
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            return Self::host(what, "run it as root, for example with sudo");
        }
        Self::failed(what, "check the disk and the permissions of that path")
    }

    /// The exit code of the command line's common habits.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed { .. } => 1,
            Self::Input(_) | Self::Usage { .. } => 2,
            Self::Host { .. } => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<Problem> for LabError {
    fn from(problem: Problem) -> Self {
        Self::Input(vec![problem])
    }
}

impl From<weft_sys::SysError> for LabError {
    fn from(error: weft_sys::SysError) -> Self {
        let what = format!("cannot {}: {}", error.what, error.source);
        if error.is_permission() {
            return Self::host(what, "run it as root, for example with sudo");
        }
        Self::failed(what, error.hint.unwrap_or_default())
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(problems) => {
                for (index, problem) in problems.iter().enumerate() {
                    if index > 0 {
                        writeln!(f)?;
                    }
                    write!(f, "{problem}")?;
                }
                Ok(())
            }
            Self::Usage { message, next }
            | Self::Host { message, next }
            | Self::Failed { message, next } => {
                write!(f, "{message}")?;
                if next.is_empty() {
                    Ok(())
                } else {
                    write!(f, "\n  next: {next}")
                }
            }
            Self::Interrupted => write!(f, "interrupted; what this command made was removed"),
        }
    }
}

impl std::error::Error for LabError {}
