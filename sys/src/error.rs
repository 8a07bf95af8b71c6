//! What failed, on which object, why, and what can the operator do about it?
//!
//! Owns [`SysError`], the one error type of this crate. It never decides what to do about a
//! failure; the predicates are for callers that do.

use std::error::Error;
use std::fmt;
use std::io;

/// The result of a call into the kernel.
pub type Result<T, E = SysError> = std::result::Result<T, E>;

/// A system call that failed.
///
/// `Display` shows all three parts in one line, so [`Error::source`] has nothing left to add and
/// error chains do not print the same cause twice.
#[derive(Debug)]
pub struct SysError {
    /// The operation and its object, for example `create TAP eth0`.
    pub what: String,
    /// What the kernel answered.
    pub source: io::Error,
    /// What the operator can do, where that is known.
    pub hint: Option<String>,
}

impl SysError {
    /// An error of `what`, with a hint where the error number alone suggests one.
    pub fn new(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let hint = general_hint(&source).map(str::to_owned);
        Self {
            what: what.into(),
            source,
            hint,
        }
    }

    /// The same error with `hint` in place of the general one.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error found before the kernel was asked: `why` says what is wrong with the argument.
    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        let source = io::Error::new(io::ErrorKind::InvalidInput, why.into());
        Self {
            what: what.into(),
            source,
            hint: None,
        }
    }

    /// The number the kernel gave, if it was the kernel that failed.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// Whether the process lacks a privilege (EPERM, EACCES).
    pub fn is_permission(&self) -> bool {
        matches!(self.errno(), Some(libc::EPERM | libc::EACCES))
    }

    /// Whether the object exists already (EEXIST).
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// Whether the object does not exist (ENOENT, ENODEV, ESRCH, EADDRNOTAVAIL).
    pub fn is_not_found(&self) -> bool {
        is_not_found(&self.source)
    }

    /// Whether somebody else holds the object (EBUSY, EADDRINUSE).
    pub fn is_busy(&self) -> bool {
        matches!(self.errno(), Some(libc::EBUSY | libc::EADDRINUSE))
    }
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.source)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl Error for SysError {}

/// Turns any I/O error into a [`SysError`] about an object, built only when there is one.
pub(crate) trait Context<T> {
    /// Names the operation that failed.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| SysError::new(what(), error))
    }
}

fn is_not_found(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL)
    )
}

fn general_hint(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::EPERM => Some("needs root, or CAP_NET_ADMIN and CAP_SYS_ADMIN"),
        libc::EMFILE => Some("raise the limit of open files, `ulimit -n`"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_operation_cause_and_hint() {
        let error = SysError::new("create TAP eth0", io::Error::from_raw_os_error(libc::EPERM));
        let text = error.to_string();
        assert!(text.starts_with("create TAP eth0: Operation not permitted"));
        assert!(text.ends_with("(needs root, or CAP_NET_ADMIN and CAP_SYS_ADMIN)"));
        assert!(error.source().is_none(), "the cause is already in the text");
    }

    #[test]
    fn predicates_sort_error_numbers() {
        let of = |errno| SysError::new("x", io::Error::from_raw_os_error(errno));
        assert!(of(libc::EACCES).is_permission());
        assert!(of(libc::EEXIST).is_exists());
        assert!(of(libc::ENODEV).is_not_found());
        assert!(of(libc::EADDRINUSE).is_busy());
        assert!(!of(libc::EINVAL).is_busy());
        assert!(!SysError::invalid("x", "y").is_not_found());
    }
}
