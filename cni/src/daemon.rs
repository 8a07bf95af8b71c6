//! What do the plugin and the daemon say to each other?
//!
//! Owns the messages of the control socket that concern attachments, the framing of all of them
//! (`codec`) and a blocking connection. The daemon's other calls, which the plugin never makes,
//! are `weft_switch::api`'s and travel in the same frames.
//!
//! One message is a little-endian `u32` length (at most [`MAX_MESSAGE`]) and that many bytes of
//! JSON: `{"version":1,"call":{"attach":{…}}}`, answered by `{"version":1,"ok":{…}}` or
//! `{"version":1,"error":{"code":…,"message":…,"next":…}}`. A connection carries any number of
//! calls, one after the other. File descriptors (the pod's network namespace in `attach` and
//! `check`) travel as `SCM_RIGHTS` beside the first byte of the message.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

pub mod codec;
mod connection;

pub use connection::{ClientError, Connection};

/// The version of these messages. It changes when a message of one side would be misread by the
/// other; new optional fields do not change it.
pub const VERSION: u32 = 1;

/// The longest message either side accepts, in bytes after the length.
pub const MAX_MESSAGE: usize = 1 << 20;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/weft/weft.sock";

/// Where the daemon keeps what survives it, and finds what was deleted while it was down.
pub const DEFAULT_STATE: &str = "/var/lib/weft";

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request<C> {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// What is asked.
    pub call: C,
}

impl<C> Request<C> {
    /// A request of this version.
    #[must_use]
    pub const fn new(call: C) -> Self {
        Self {
            version: VERSION,
            call,
        }
    }
}

/// What the plugin asks of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Gives a pod its port; the network namespace comes along as the one file descriptor.
    /// Answered by [`Attached`] once every worker forwards for the port and enforces the pod's
    /// policies there.
    Attach(Attach),
    /// Takes a pod's port away; unknown ports are not an error. Answered by [`Detached`].
    Detach(Detach),
    /// Compares an attachment with what is; the network namespace comes along as the one file
    /// descriptor. Answered by [`Checked`], or refused with [`Code::Mismatch`].
    Check(Check),
    /// Releases every attachment of a network that is not among the valid ones. Answered by
    /// [`Collected`].
    Gc(Gc),
    /// Whether `attach` would be served. Answered by [`Readiness`].
    Ready,
}

/// What tells attachments apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The runtime's name for the sandbox.
    pub container_id: String,
    /// The interface inside it.
    pub ifname: String,
}

/// A pod wants an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// The runtime's name for the sandbox; with `ifname` the identity of the attachment.
    pub container_id: String,
    /// The interface to create inside the pod, such as `eth0`.
    pub ifname: String,
    /// Name of the CNI network the attachment belongs to; `gc` works on one network.
    #[serde(default)]
    pub network: String,
    /// The pod's namespace; empty for an attachment without a pod.
    #[serde(default)]
    pub namespace: String,
    /// The pod's name; empty for an attachment without a pod.
    #[serde(default)]
    pub pod: String,
    /// The pod's UID, where the runtime tells it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Path of the network namespace as the runtime gave it. Only a hint where to find the
    /// namespace again after a restart; the descriptor says which one it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub netns: String,
    /// The addresses to give, at most one of each family; a prefix length is ignored. Empty: those
    /// in the pod's manifest (`status.podIPs`), or else free ones of the node's ranges.
    #[serde(default)]
    pub ips: Vec<IpNetwork>,
    /// Whether `ips` are another IPAM plugin's: then that one decides when they are free again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub delegated: bool,
    /// The interface's MAC address; derived from the address when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The interface's MTU in bytes, no larger than the node's pod MTU, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Ports of the node that lead to the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// Limits of the pod's traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// A port of the node that leads to a port of the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Port of the node, 1 to 65535.
    pub host_port: u16,
    /// Port of the pod, 1 to 65535.
    pub container_port: u16,
    /// What is carried.
    pub protocol: PortProtocol,
    /// The one address of the node that serves the port; absent: every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
}

impl PortMapping {
    /// Whether one packet could be meant for both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let addresses = match (self.host_ip, other.host_ip) {
            (Some(one), Some(two)) => one == two || one.is_unspecified() || two.is_unspecified(),
            _ => true,
        };
        addresses && self.protocol == other.protocol && self.host_port == other.host_port
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            PortProtocol::Tcp => "tcp",
            PortProtocol::Udp => "udp",
            PortProtocol::Sctp => "sctp",
        };
        match self.host_ip {
            Some(ip) => write!(f, "{}/{protocol}", SocketAddr::new(ip, self.host_port)),
            None => write!(f, "{}/{protocol}", self.host_port),
        }
    }
}

/// The protocols of [`PortMapping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Limits of a pod's traffic; ingress enters the pod. A rate of 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Into the pod, in bits per second.
    #[serde(default)]
    pub ingress_rate: u64,
    /// How many bits may arrive at once.
    #[serde(default)]
    pub ingress_burst: u64,
    /// Out of the pod, in bits per second.
    #[serde(default)]
    pub egress_rate: u64,
    /// How many bits may leave at once.
    #[serde(default)]
    pub egress_burst: u64,
}

/// What an attached pod got; a repeated `attach` of the same identity answers the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Number of the port in this daemon.
    pub port: u16,
    /// As asked.
    pub container_id: String,
    /// The interface inside the pod.
    pub ifname: String,
    /// Its MAC address.
    pub mac: String,
    /// Its MTU in bytes.
    pub mtu: u16,
    /// Its addresses, each as a host prefix (/32, /128).
    pub ips: Vec<IpNetwork>,
    /// The gateways: 169.254.1.1 and fe80::1, for the families the pod has. The pod has a default
    /// route through each, unless it had one of that family before.
    pub gateways: Vec<IpAddr>,
    /// The gateways through which the pod has its default routes.
    #[serde(default)]
    pub default_via: Vec<IpAddr>,
    /// How the interface is served: `fast` or `plain`.
    pub backend: String,
}

/// A pod gives its interface back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detach {
    /// As in [`Attach`].
    pub container_id: String,
    /// As in [`Attach`].
    pub ifname: String,
}

/// Answer to [`Call::Detach`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detached {
    /// Whether there was such a port.
    pub existed: bool,
}

/// Is an attachment what it was when it was made?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// As in [`Attach`].
    pub container_id: String,
    /// As in [`Attach`].
    pub ifname: String,
    /// The addresses the runtime was told.
    #[serde(default)]
    pub ips: Vec<IpNetwork>,
    /// The MAC address the runtime was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The MTU the runtime was told, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

/// Answer to [`Call::Check`]: it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Number of the port in this daemon.
    pub port: u16,
}

/// What may stay of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gc {
    /// Name of the CNI network.
    pub network: String,
    /// The attachments that are still wanted.
    pub valid: Vec<Identity>,
}

/// Answer to [`Call::Gc`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// What was released.
    pub released: Vec<Identity>,
}

/// Answer to [`Call::Ready`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether `attach` would be served.
    pub ready: bool,
    /// Whether pods that have their interfaces may be cut off too.
    pub impaired: bool,
    /// Why not ready, in a sentence; empty otherwise.
    #[serde(default)]
    pub why: String,
    /// What to do about it; may be empty.
    #[serde(default)]
    pub next: String,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// Done, with the value the call promises, or not.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Reply {
    /// An answer of this version.
    #[must_use]
    pub const fn new(outcome: Outcome) -> Self {
        Self {
            version: VERSION,
            outcome,
        }
    }
}

/// Done or refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The value the call promises.
    Ok(serde_json::Value),
    /// Why not.
    Error(Failure),
}

/// Why the daemon refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}{}{next}", if .next.is_empty() { "" } else { "; " })]
pub struct Failure {
    /// For programs.
    pub code: Code,
    /// What happened and where.
    pub message: String,
    /// What to do about it; may be empty.
    #[serde(default)]
    pub next: String,
}

impl Failure {
    /// A refusal with its next step.
    pub fn new(code: Code, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            next: next.into(),
        }
    }
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The two sides speak different versions.
    Version,
    /// The message is not one of ours, or too long.
    BadMessage,
    /// The caller may not ask.
    NotAllowed,
    /// A field of the call cannot be honoured.
    Invalid,
    /// Something else already holds what is asked for.
    Conflict,
    /// The daemon is not ready yet, or full; the same call may succeed later.
    Unavailable,
    /// An attachment is not what it was said to be.
    Mismatch,
    /// The host refused.
    Host,
}
