//! Which variables did the runtime set?
//!
//! Owns one snapshot of the environment. Everything reads that and not the process, so that a
//! call can be answered in a test, and a delegated plugin gets exactly what this one got.

use std::env;
use std::ffi::{OsStr, OsString};

/// The variables a plugin was started with.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: Vec<(OsString, OsString)>,
}

impl Environment {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        env::vars_os().collect()
    }

    /// The value of `name`; empty ones and those that are not UTF-8 count as unset.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.raw(name)?.to_str().filter(|value| !value.is_empty())
    }

    /// The value of `name`, whatever its bytes.
    pub(crate) fn raw(&self, name: &str) -> Option<&OsStr> {
        let mut found = self.variables.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_os_str())
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables
            .iter()
            .map(|(k, v)| (k.as_os_str(), v.as_os_str()))
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let owned = variables.into_iter().map(|(k, v)| (k.into(), v.into()));
        Self {
            variables: owned.collect(),
        }
    }
}
