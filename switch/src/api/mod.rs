//! What may be said to a running daemon, and what it answers.
//!
//! Owns the messages of the control socket, their framing (`codec`) and the blocking client. Knows
//! nothing of the dataplane: `weft-cni`, the lab and the command line import only this.
//!
//! One message is a little-endian `u32` length (at most [`MAX_MESSAGE`]) and that many bytes of
//! JSON: `{"version":1,"call":{"attach":{…}}}`, answered by `{"version":1,"ok":{…}}` or
//! `{"version":1,"error":{"code":…,"message":…,"next":…}}`. A connection carries any number of
//! calls, one after the other. File descriptors (the pod's network namespace in `attach`) travel
//! as `SCM_RIGHTS` beside the first byte of the message.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::policy_view::{Family, Transport};

pub mod client;
pub mod codec;
mod report;

pub use client::{Client, ClientError};
pub use report::{
    Denial, DenialExample, Drop, DropExample, Drops, FlowReport, PeerReport, PolicyReport,
    PortReport, Problem, PublicationReport, RouteReport, Status, Synced, TraceReport, TraceStep,
    WorkerReport,
};

/// The version of these messages. It changes when a message of one side would be misread by the
/// other; new optional fields do not change it.
pub const VERSION: u32 = 1;

/// The longest message either side accepts, in bytes after the length.
pub const MAX_MESSAGE: usize = 1 << 20;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/weft/weft.sock";

/// The control socket of one node of a lab.
#[must_use]
pub fn lab_socket(lab: &str, node: &str) -> PathBuf {
    PathBuf::from(format!("/run/weft/lab/{lab}/{node}/weft.sock"))
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// What is asked.
    pub call: Call,
}

impl Request {
    /// A request of this version.
    #[must_use]
    pub const fn new(call: Call) -> Self {
        Self {
            version: VERSION,
            call,
        }
    }
}

/// What may be asked of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Gives a pod its port; the network namespace comes along as the one file descriptor.
    /// Answered by [`Attached`] once every worker forwards for the port.
    Attach(Attach),
    /// Takes a pod's port away; unknown ports are not an error. Answered by [`Detached`].
    Detach(Detach),
    /// One screen of health. Answered by [`Status`].
    Status,
    /// Every port. Answered by a list of [`PortReport`].
    Ports,
    /// Every other node. Answered by a list of [`PeerReport`].
    Peers,
    /// The forwarding table. Answered by a list of [`RouteReport`].
    Routes,
    /// What each worker did. Answered by a list of [`WorkerReport`].
    Workers,
    /// Drops by reason. Answered by [`Drops`].
    Drops {
        /// Counts from zero again after this answer.
        #[serde(default)]
        reset: bool,
    },
    /// Connections being tracked. Answered by a list of [`FlowReport`].
    Flows {
        /// Only flows of this pod, as `namespace/name`.
        #[serde(default)]
        pod: Option<String>,
    },
    /// The policies in force. Answered by a list of [`PolicyReport`].
    Policies,
    /// What would become of a packet; nothing is sent. Answered by [`TraceReport`].
    Trace(TraceQuery),
    /// Reads the desired state anew, now. Answered by [`Synced`] once every worker uses the tables
    /// that result from all that could be read when the call came.
    Sync,
}

/// The first packet of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceQuery {
    /// Who sends: `namespace/pod`, an IP address, `node:self` or `node:NAME`.
    pub from: String,
    /// Who is to receive it, likewise.
    pub to: String,
    /// Its protocol.
    #[serde(default)]
    pub protocol: Transport,
    /// Its destination port, where the protocol has ports.
    #[serde(default)]
    pub port: u16,
    /// The family of its addresses; IPv4 if absent, unless an end has IPv6 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
}

/// A pod wants an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// The runtime's name for the sandbox; with `ifname` the identity of the attachment.
    pub container_id: String,
    /// The interface to create inside the pod, such as `eth0`.
    pub ifname: String,
    /// The pod's namespace; empty for an attachment without a pod.
    #[serde(default)]
    pub namespace: String,
    /// The pod's name; empty for an attachment without a pod.
    #[serde(default)]
    pub pod: String,
    /// The addresses to give, at most one of each family; a prefix length is ignored. Empty: those
    /// in the pod's manifest (`status.podIPs`).
    #[serde(default)]
    pub ips: Vec<IpNetwork>,
    /// The interface's MAC address; derived from the address when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The interface's MTU in bytes, no larger than the node's pod MTU, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
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
    /// The gateways: 169.254.1.1 and fe80::1, for the families the pod has.
    pub gateways: Vec<IpAddr>,
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
    /// The host refused.
    Host,
}
