//! Why does the daemon not start?

use std::process::ExitCode;

use weft_sys::SysError;
use weft_sys::caps::Missing;

/// A reason not to start, with the next step and the exit code `cli.md` gives it.
#[derive(Debug, thiserror::Error)]
#[error("{what}{}{next}", if .next.is_empty() { "" } else { "; " })]
pub struct StartError {
    what: String,
    next: String,
    code: u8,
}

impl StartError {
    /// The configuration does not fit this host (exit code 2).
    pub fn config(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            next: next.into(),
            code: 2,
        }
    }

    /// The host lacks something or refuses it (exit code 3).
    pub fn host(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            next: next.into(),
            code: 3,
        }
    }

    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl From<SysError> for StartError {
    fn from(error: SysError) -> Self {
        Self::host(
            format!("cannot {}: {}", error.what, error.source),
            error.hint.unwrap_or_default(),
        )
    }
}

impl From<Missing> for StartError {
    fn from(missing: Missing) -> Self {
        Self::host(missing.why, missing.next)
    }
}

/// How TAP interfaces are opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// One queue per worker with vnet headers, or the plain one where the kernel refuses that.
    #[default]
    Fast,
    /// One queue with bare frames, on every kernel.
    Plain,
}

impl Backend {
    /// As reported and as `--tap` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Plain => "plain",
        }
    }
}
