//! Whom does a word on the command line mean?

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use weft_policy::model::ObjectName;

/// One end of a flow, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `NAMESPACE/NAME`
    Pod(ObjectName),
    /// `node:NAME`
    Node(String),
    /// An IP address; if a pod has it, that pod.
    Address(IpAddr),
}

/// A word that names nobody, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {next}")]
pub struct Unknown {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub next: String,
}

impl Unknown {
    pub(super) fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            next: next.into(),
        }
    }
}

impl FromStr for Endpoint {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if let Some(node) = text.strip_prefix("node:").filter(|node| !node.is_empty()) {
            return Ok(Self::Node(node.to_owned()));
        }
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self::Pod(ObjectName::new(namespace, name)))
            }
            _ => Err(Unknown::new(
                format!("{text:?} is neither a pod nor an address"),
                "write NAMESPACE/POD, an IP address, or node:NAME",
            )),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(name) => name.fmt(f),
            Self::Node(name) => write!(f, "node:{name}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}
