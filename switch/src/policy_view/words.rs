//! The words in which `weft policy` is asked and answers.

use std::fmt;
use std::net::IpAddr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use weft_policy::model::Protocol;
use weft_wire::IpProtocol;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Four bytes.
    Ipv4,
    /// Sixteen bytes.
    Ipv6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::Ipv4
        } else {
            Self::Ipv6
        }
    }

    /// Whether the address is of this family.
    #[must_use]
    pub const fn has(self, address: IpAddr) -> bool {
        matches!(
            (self, address),
            (Self::Ipv4, IpAddr::V4(_)) | (Self::Ipv6, IpAddr::V6(_))
        )
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// What a flow is carried by.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, PartialOrd, Ord,
)]
#[value(rename_all = "UPPERCASE")]
#[serde(rename_all = "UPPERCASE")]
pub enum Transport {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
    /// Associations.
    Sctp,
    /// Echo requests; ports do not apply.
    Icmp,
}

impl Transport {
    /// The name policies know it by, if they can name it.
    #[must_use]
    pub const fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Tcp => Some(Protocol::Tcp),
            Self::Udp => Some(Protocol::Udp),
            Self::Sctp => Some(Protocol::Sctp),
            Self::Icmp => None,
        }
    }

    /// Its number in IP headers.
    #[must_use]
    pub const fn number(self, family: Family) -> IpProtocol {
        match (self, family) {
            (Self::Tcp, _) => IpProtocol::TCP,
            (Self::Udp, _) => IpProtocol::UDP,
            (Self::Sctp, _) => IpProtocol::SCTP,
            (Self::Icmp, Family::Ipv4) => IpProtocol::ICMP,
            (Self::Icmp, Family::Ipv6) => IpProtocol::ICMPV6,
        }
    }

    /// The port, where ports apply.
    #[must_use]
    pub const fn port(self, port: u16) -> u16 {
        match self {
            Self::Icmp => 0,
            _ => port,
        }
    }
}

impl Transport {
    /// As in `TCP 80`; ICMP has no port.
    #[must_use]
    pub fn with_port(self, port: u16) -> String {
        match self {
            Self::Icmp => self.to_string(),
            _ => format!("{self} {port}"),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Icmp => "ICMP",
        })
    }
}

/// May it pass?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

impl Verdict {
    /// The word for an answer.
    #[must_use]
    pub const fn of(allowed: bool) -> Self {
        if allowed { Self::Allow } else { Self::Deny }
    }

    /// Whether it may.
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::Allow)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}
