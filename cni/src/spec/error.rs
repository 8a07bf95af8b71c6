//! How does a plugin say that it failed?
//!
//! Owns the error object of the specification (section 5) and its codes. Never decides which one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Version;

/// Error codes: below 100 as the specification gives them, from 100 our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(pub u32);

impl Code {
    /// The version of the configuration is none we speak, or does not know the verb.
    pub const INCOMPATIBLE_VERSION: Self = Self(1);
    /// A variable of the environment is missing or malformed.
    pub const INVALID_ENVIRONMENT: Self = Self(4);
    /// Reading, writing or the kernel failed.
    pub const IO: Self = Self(5);
    /// What was read is not what it should be.
    pub const DECODE: Self = Self(6);
    /// The configuration cannot be honoured.
    pub const INVALID_CONFIG: Self = Self(7);
    /// `CNI_NETNS` is no network namespace to put a pod's interface into.
    pub const INVALID_NETNS: Self = Self(8);
    /// The same call may succeed later.
    pub const TRY_AGAIN: Self = Self(11);
    /// STATUS: pods cannot be attached.
    pub const NOT_AVAILABLE: Self = Self(50);
    /// STATUS: pods cannot be attached, and attached ones may be cut off.
    pub const LIMITED_CONNECTIVITY: Self = Self(51);
    /// Refused: something else holds what was asked for, or the daemon refuses us.
    pub const REFUSED: Self = Self(100);
    /// The daemon is of another version than the plugin.
    pub const OTHER_VERSION: Self = Self(101);
    /// CHECK: the attachment is not what the runtime was told.
    pub const MISMATCH: Self = Self(102);
}

/// The one JSON object that explains a failure; the process exits 1 after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{msg}; {details}")]
pub struct CniError {
    /// The version the runtime uses, as far as it is known.
    #[serde(rename = "cniVersion")]
    pub version: Version,
    /// For programs.
    pub code: Code,
    /// What failed.
    pub msg: String,
    /// Why, and what to do about it.
    pub details: String,
}

impl CniError {
    /// A failure, spoken in the newest version.
    pub fn new(code: Code, msg: impl Into<String>, details: impl fmt::Display) -> Self {
        Self {
            version: Version::NEWEST,
            code,
            msg: msg.into(),
            details: details.to_string(),
        }
    }

    /// The same error, spoken in the version the runtime uses.
    #[must_use]
    pub fn in_version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }
}
