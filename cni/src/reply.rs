//! What goes to stdout: the answer to VERSION, or an error in the form runtimes parse.
//!
//! Owns the shape and the codes of CNI specification 1.1.0, section 5. Never decides anything.

use std::fmt;

use serde::{Serialize, Serializer};

/// Versions we speak, oldest first.
pub(crate) const SUPPORTED: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", NEWEST];
/// The version of a reply when the runtime named none that we speak.
pub(crate) const NEWEST: &str = "1.1.0";

/// Error codes: below 100 as the specification gives them, from 100 our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    IncompatibleVersion = 1,
    InvalidEnvironment = 4,
    Io = 5,
    Decode = 6,
    InvalidConfig = 7,
    NotAvailable = 50,
    NotImplemented = 100,
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(*self as u32)
    }
}

/// The one JSON object that explains a failure; the process exits 1 after it.
#[derive(Debug, Serialize)]
pub(crate) struct CniError {
    #[serde(rename = "cniVersion")]
    version: String,
    code: Code,
    msg: String,
    details: String,
}

impl CniError {
    pub(crate) fn new(code: Code, msg: impl Into<String>, details: impl fmt::Display) -> Self {
        Self {
            version: NEWEST.into(),
            code,
            msg: msg.into(),
            details: details.to_string(),
        }
    }

    /// The same error, spoken in the version the runtime uses.
    pub(crate) fn in_version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }
}

/// The answer to VERSION.
#[derive(Debug, Serialize)]
pub(crate) struct VersionReply {
    #[serde(rename = "cniVersion")]
    version: String,
    #[serde(rename = "supportedVersions")]
    supported: &'static [&'static str],
}

impl VersionReply {
    pub(crate) fn new(version: String) -> Self {
        Self {
            version,
            supported: &SUPPORTED,
        }
    }
}
