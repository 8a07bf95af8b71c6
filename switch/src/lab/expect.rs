//! What did the user expect of a pair, and is one line of `expect:` sound?

use serde::{Deserialize, Serialize};

use super::endpoint::{Endpoint, Protocol, Verdict};
use super::file::Family;

/// Port where `expect:` and the commands name none.
pub(crate) const DEFAULT_PORT: u16 = 80;

/// One line of `expect:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Expectation {
    pub(crate) from: Endpoint,
    pub(crate) to: Endpoint,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) verdict: Verdict,
    /// Absent: every family that both ends have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) family: Option<Family>,
    /// Bytes that UDP and ICMP carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u16>,
}

/// The line as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawExpectation {
    from: String,
    to: String,
    port: Option<u16>,
    protocol: Option<String>,
    verdict: Verdict,
    family: Option<Family>,
    size: Option<u16>,
}

impl Expectation {
    /// Checks one line; an error names the field.
    pub(crate) fn check(raw: &RawExpectation) -> Result<Self, (&'static str, String)> {
        let from: Endpoint = raw.from.parse().map_err(|e| ("from", e))?;
        if let Endpoint::Address(address) = from {
            return Err((
                "from",
                format!("{address} is an address; name a pod, node:NAME or outside"),
            ));
        }
        let protocol = raw
            .protocol
            .as_deref()
            .unwrap_or("TCP")
            .parse()
            .map_err(|e| ("protocol", e))?;
        let port = raw.port.unwrap_or(DEFAULT_PORT);
        if port == 0 {
            return Err(("port", "0 is not a port".to_owned()));
        }
        Ok(Self {
            from,
            to: raw.to.parse().map_err(|e| ("to", e))?,
            port,
            protocol,
            verdict: raw.verdict,
            family: raw.family,
            size: raw.size,
        })
    }

    /// One line for tables and JUnit, for example `default/a → default/b:80/TCP`.
    pub(crate) fn label(&self) -> String {
        let Self {
            from,
            to,
            port,
            protocol,
            ..
        } = self;
        match protocol {
            Protocol::Icmp => format!("{from} → {to} ICMP"),
            _ => format!("{from} → {to}:{port}/{protocol}"),
        }
    }
}
