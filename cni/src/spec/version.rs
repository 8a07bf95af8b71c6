//! Which versions of the specification do we speak?

use std::fmt;

use serde::{Serialize, Serializer};

/// A version of the CNI specification, older ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.3.1
    V0_3_1,
    /// 0.4.0: CHECK, and `prevResult` for DEL.
    V0_4_0,
    /// 1.0.0: `ips` without `version`.
    V1_0_0,
    /// 1.1.0: GC, STATUS, and the MTU of interfaces.
    V1_1_0,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::NEWEST];
    /// The version of a reply when the runtime named none that we speak.
    pub const NEWEST: Self = Self::V1_1_0;

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version of that name, if we speak it.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.name() == name)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The answer to VERSION.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Supported {
    /// As the runtime wrote it, whatever it is.
    #[serde(rename = "cniVersion")]
    pub version: String,
    /// What we speak.
    #[serde(rename = "supportedVersions")]
    pub supported: [Version; 4],
}

impl Supported {
    /// The answer to a runtime that named `version`, or none.
    #[must_use]
    pub fn to(version: Option<String>) -> Self {
        Self {
            version: version.unwrap_or_else(|| Version::NEWEST.name().to_owned()),
            supported: Version::ALL,
        }
    }
}
