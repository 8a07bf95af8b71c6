//! Which verb does the runtime ask for, on what, and in which version of the protocol?
//!
//! Owns the rules of CNI specification 1.1.0, section 2, that do not depend on any state: the
//! variables each verb needs and what they may hold, the version that introduced it, the name of
//! the network. Once read, names are safe in a path and in a log. Never talks to anything.

use serde::Deserialize;

use crate::daemon::Identity;
use crate::environment::Environment;
use crate::spec::{CniError, Code, Config, Supported, Version};

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

    pub(crate) const fn name(self) -> &'static str {
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
    const fn required(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Self::Gc => &["CNI_PATH"],
            Self::Status | Self::Version => &[],
        }
    }

    /// The first version that knows the verb.
    const fn since(self) -> Version {
        match self {
            Self::Add | Self::Del | Self::Version => Version::V0_3_1,
            Self::Check => Version::V0_4_0,
            Self::Gc | Self::Status => Version::V1_1_0,
        }
    }
}

/// Where an interface is asked for.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) identity: Identity,
    /// `CNI_NETNS` as the runtime wrote it.
    pub(crate) netns: String,
}

/// A verb with what it acts on.
#[derive(Debug)]
pub(crate) enum Operation {
    Add(Sandbox),
    /// The namespace may be gone: then its path is absent, or leads nowhere.
    Del(Identity, Option<String>),
    Check(Sandbox),
    Gc,
    Status,
}

/// One call, checked as far as it does not depend on any state.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) operation: Operation,
    pub(crate) version: Version,
    /// The network's name.
    pub(crate) network: String,
    pub(crate) config: Config,
    /// What a delegated plugin gets: the environment and stdin of this one.
    pub(crate) environment: &'a Environment,
    pub(crate) stdin: &'a [u8],
}

/// What a runtime asks.
#[derive(Debug)]
pub(crate) enum Question<'a> {
    /// Answered at once, by any version.
    Version(Supported),
    Call(Box<Call<'a>>),
}

/// The keys that are read before it is known which others there may be.
#[derive(Debug, Default, Deserialize)]
struct Header {
    #[serde(rename = "cniVersion")]
    version: Option<String>,
    name: Option<String>,
}

impl<'a> Question<'a> {
    pub(crate) fn read(environment: &'a Environment, stdin: &'a [u8]) -> Result<Self, CniError> {
        let verb = read_verb(environment)?;
        check_variables(verb, environment)?;
        let Some(operation) = operation(verb, environment)? else {
            // VERSION is how a runtime finds a common version, so any question is answered.
            let empty = stdin.trim_ascii().is_empty();
            let header = if empty {
                Header::default()
            } else {
                decode(stdin)?
            };
            return Ok(Self::Version(Supported::to(header.version)));
        };
        let header: Header = decode(stdin)?;
        let version = check_version(verb, header.version)?;
        let rest = || {
            Ok(Call {
                network: network_name(header.name)?,
                config: decode(stdin)?,
                operation,
                version,
                environment,
                stdin,
            })
        };
        let call = rest().map_err(|error: CniError| error.in_version(version))?;
        Ok(Self::Call(Box::new(call)))
    }
}

fn invalid(msg: impl Into<String>, details: impl std::fmt::Display) -> CniError {
    CniError::new(Code::INVALID_ENVIRONMENT, msg, details)
}

fn read_verb(environment: &Environment) -> Result<Verb, CniError> {
    let known = || format!("one of {}", Verb::ALL.map(Verb::name).join(", "));
    let Some(name) = environment.get("CNI_COMMAND") else {
        return Err(invalid("CNI_COMMAND is not set", known()));
    };
    let mut verbs = Verb::ALL.into_iter();
    verbs.find(|verb| verb.name() == name).ok_or_else(|| {
        let name = name.escape_debug();
        invalid(format!("unknown CNI_COMMAND: {name}"), known())
    })
}

fn check_variables(verb: Verb, environment: &Environment) -> Result<(), CniError> {
    let unset = |name: &&str| environment.get(name).is_none();
    let missing: Vec<_> = verb.required().iter().copied().filter(unset).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let msg = format!("{} needs variables that are not set", verb.name());
    Err(invalid(msg, missing.join(", ")))
}

/// What `verb` acts on; none for VERSION, which acts on nothing.
fn operation(verb: Verb, environment: &Environment) -> Result<Option<Operation>, CniError> {
    let netns = || environment.get("CNI_NETNS").map(str::to_owned);
    let sandbox = || -> Result<Sandbox, CniError> {
        Ok(Sandbox {
            identity: identity(environment)?,
            netns: netns().unwrap_or_default(),
        })
    };
    Ok(Some(match verb {
        Verb::Add => Operation::Add(sandbox()?),
        Verb::Check => Operation::Check(sandbox()?),
        Verb::Del => Operation::Del(identity(environment)?, netns()),
        Verb::Gc => Operation::Gc,
        Verb::Status => Operation::Status,
        Verb::Version => return Ok(None),
    }))
}

fn identity(environment: &Environment) -> Result<Identity, CniError> {
    let variable = |name: &str| environment.get(name).unwrap_or_default().to_owned();
    let identity = Identity {
        container_id: variable("CNI_CONTAINERID"),
        ifname: variable("CNI_IFNAME"),
    };
    check_container_id(&identity.container_id)
        .map_err(|why| invalid("CNI_CONTAINERID is no container id", why))?;
    check_ifname(&identity.ifname)
        .map_err(|why| invalid("CNI_IFNAME is no name of an interface", why))?;
    Ok(identity)
}

/// The longest container id: with an interface it must fit into a file name of 255 bytes.
pub(crate) const MAX_CONTAINER_ID: usize = 200;

/// The longest name of an interface, by IFNAMSIZ of linux/if.h.
const MAX_IFNAME: usize = 15;

/// Whether `text` is letters, digits, `_`, `.` and `-`, beginning with a letter or digit.
fn is_plain(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    text.as_bytes()
        .first()
        .is_some_and(u8::is_ascii_alphanumeric)
        && text.as_bytes().iter().all(inner)
}

/// Whether a container may be called so; the error says why not.
pub(crate) fn check_container_id(id: &str) -> Result<(), String> {
    if id.len() > MAX_CONTAINER_ID {
        let length = id.len();
        return Err(format!(
            "{length} bytes; at most {MAX_CONTAINER_ID} are accepted"
        ));
    }
    if is_plain(id) {
        return Ok(());
    }
    let words = "letters, digits, _ . and -, beginning with a letter or digit";
    Err(format!("{id:?} is not made of {words}"))
}

/// Whether an interface may be called so, by the kernel's rule and without control characters,
/// which would reach logs; the error says why not.
pub(crate) fn check_ifname(name: &str) -> Result<(), String> {
    if name.len() > MAX_IFNAME {
        return Err(format!("{name:?} is longer than {MAX_IFNAME} bytes"));
    }
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name == "." || name == ".." || name.contains(bad) {
        let words = "a / or :, whitespace or control characters";
        return Err(format!("{name:?} is empty, a dot or two, or has {words}"));
    }
    Ok(())
}

fn decode<'de, T: Deserialize<'de>>(stdin: &'de [u8]) -> Result<T, CniError> {
    let refuse = |why: &dyn std::fmt::Display| {
        CniError::new(
            Code::DECODE,
            "cannot decode the configuration on stdin",
            why,
        )
    };
    // An array would be read as the fields in their order.
    if stdin.trim_ascii_start().starts_with(b"[") {
        return Err(refuse(&"not an object"));
    }
    serde_json::from_slice(stdin).map_err(|error| refuse(&error))
}

/// An absent version means 0.1.0, from before the field existed.
fn check_version(verb: Verb, version: Option<String>) -> Result<Version, CniError> {
    let incompatible =
        |msg: String, details: String| CniError::new(Code::INCOMPATIBLE_VERSION, msg, details);
    let name = version
        .filter(|version| !version.is_empty())
        .unwrap_or_else(|| "0.1.0".into());
    let Some(version) = Version::of(&name) else {
        let details = format!("supported: {}", Version::ALL.map(Version::name).join(", "));
        let name = name.escape_debug();
        return Err(incompatible(
            format!("unsupported cniVersion {name}"),
            details,
        ));
    };
    if version < verb.since() {
        let msg = format!("cniVersion {version} does not know {}", verb.name());
        let details = format!("since {}", verb.since());
        return Err(incompatible(msg, details).in_version(version));
    }
    Ok(version)
}

fn network_name(name: Option<String>) -> Result<String, CniError> {
    let invalid =
        |msg: &str, details: String| Err(CniError::new(Code::INVALID_CONFIG, msg, details));
    match name {
        Some(name) if is_plain(&name) => Ok(name),
        Some(name) if !name.is_empty() => {
            let words = "letters, digits, _ . and -, beginning with a letter or digit";
            let details = format!("name: {name:?} is not made of {words}");
            invalid("the network has a malformed name", details)
        }
        _ => invalid("the configuration has no name", "name".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_by_the_specification() {
        for good in ["a", "7", "0a_.-", "default-web", &"x".repeat(200)] {
            assert_eq!(check_container_id(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "-a",
            "_a",
            "a/b",
            "a b",
            "a:b",
            "a\n",
            "ä",
            "../x",
            &"x".repeat(201),
        ] {
            assert!(check_container_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn interface_names_by_the_kernel() {
        for good in ["eth0", "net1", "a.b", "...", "fünf", &"x".repeat(15)] {
            assert_eq!(check_ifname(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "a\tb",
            "a\u{a0}b",
            "\u{1b}[1m",
            "a\u{7f}",
            &"x".repeat(16),
        ] {
            assert!(check_ifname(bad).is_err(), "{bad}");
        }
    }
}
