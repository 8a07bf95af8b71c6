//! Which verb does the runtime ask for, and in which version of the protocol?
//!
//! Owns the rules of CNI specification 1.1.0, section 2: the environment variables each verb
//! needs and the version that introduced it. Unknown keys of the configuration are none of our
//! business (a runtime may add some). Never talks to anything.

use std::env;

use serde::Deserialize;

use crate::reply::{CniError, Code, NEWEST, SUPPORTED};

/// What a runtime may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Verb {
    const ALL: [Self; 6] = [
        Self::Add,
        Self::Del,
        Self::Check,
        Self::Gc,
        Self::Status,
        Self::Version,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The variables that must be set and not empty, besides `CNI_COMMAND`. DEL comes without
    /// `CNI_NETNS` when the namespace is already gone.
    fn required(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Self::Gc => &["CNI_PATH"],
            Self::Status | Self::Version => &[],
        }
    }

    /// Position in [`SUPPORTED`] of the first version that knows the verb.
    fn since(self) -> usize {
        match self {
            Self::Add | Self::Del | Self::Version => 0,
            Self::Check => 1,
            Self::Gc | Self::Status => 3,
        }
    }
}

/// A variable of the environment; empty ones and those that are not UTF-8 count as unset.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The keys of the configuration that concern every verb.
#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(rename = "cniVersion")]
    version: Option<String>,
    name: Option<String>,
}

/// One call, checked as far as it does not depend on any state.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) verb: Verb,
    /// As the runtime wrote it; one of [`SUPPORTED`] unless the verb is VERSION.
    pub(crate) version: String,
}

impl Request {
    pub(crate) fn read(config: &[u8]) -> Result<Self, CniError> {
        let verb = read_verb()?;
        check_variables(verb)?;
        let config = decode(verb, config)?;
        if verb == Verb::Version {
            // VERSION is how a runtime finds a common version, so any question is answered.
            return Ok(Self {
                verb,
                version: config.version.unwrap_or_else(|| NEWEST.into()),
            });
        }
        let version = check_version(verb, config.version)?;
        if config.name.is_none_or(|name| name.is_empty()) {
            let error = CniError::new(Code::InvalidConfig, "the configuration has no name", "name");
            return Err(error.in_version(&version));
        }
        Ok(Self { verb, version })
    }
}

fn read_verb() -> Result<Verb, CniError> {
    let known = || format!("one of {}", Verb::ALL.map(Verb::name).join(", "));
    let Some(name) = variable("CNI_COMMAND") else {
        return Err(CniError::new(
            Code::InvalidEnvironment,
            "CNI_COMMAND is not set",
            known(),
        ));
    };
    Verb::ALL
        .into_iter()
        .find(|verb| verb.name() == name)
        .ok_or_else(|| {
            CniError::new(
                Code::InvalidEnvironment,
                format!("unknown CNI_COMMAND: {name}"),
                known(),
            )
        })
}

fn check_variables(verb: Verb) -> Result<(), CniError> {
    let unset = |name: &&str| variable(name).is_none();
    let missing: Vec<_> = verb.required().iter().copied().filter(unset).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let msg = format!("{} needs variables that are not set", verb.name());
    Err(CniError::new(
        Code::InvalidEnvironment,
        msg,
        missing.join(", "),
    ))
}

fn decode(verb: Verb, config: &[u8]) -> Result<Config, CniError> {
    if verb == Verb::Version && config.trim_ascii().is_empty() {
        return Ok(Config::default());
    }
    serde_json::from_slice(config)
        .map_err(|e| CniError::new(Code::Decode, "cannot decode the configuration on stdin", e))
}

/// An absent version means 0.1.0, from before the field existed.
fn check_version(verb: Verb, version: Option<String>) -> Result<String, CniError> {
    let version = version.unwrap_or_else(|| "0.1.0".into());
    let Some(position) = SUPPORTED.iter().position(|known| *known == version) else {
        let msg = format!("unsupported cniVersion {version}");
        let details = format!("supported: {}", SUPPORTED.join(", "));
        return Err(CniError::new(Code::IncompatibleVersion, msg, details));
    };
    if position < verb.since() {
        let msg = format!("cniVersion {version} does not know {}", verb.name());
        let details = format!("since {}", SUPPORTED.get(verb.since()).unwrap_or(&NEWEST));
        return Err(CniError::new(Code::IncompatibleVersion, msg, details).in_version(&version));
    }
    Ok(version)
}
