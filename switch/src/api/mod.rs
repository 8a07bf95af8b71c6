//! What may be said to a running daemon, and what it answers.
//!
//! Owns the calls of the control socket and the blocking client. Those that concern attachments,
//! and the framing of all of them, are the plugin's too: [`weft_cni::daemon`]. Knows nothing of
//! the dataplane: the lab and the command line import only this.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
pub use weft_cni::daemon::{
    Attach, Attached, Bandwidth, Check, Checked, ClientError, Code, Collected, DEFAULT_SOCKET,
    Detach, Detached, Failure, Gc, Identity, MAX_MESSAGE, Outcome, PortMapping, PortProtocol,
    Readiness, Reply, VERSION, codec,
};

use crate::policy_view::{Family, Transport};

pub mod client;
mod report;

pub use client::Client;
pub use report::{
    Denial, DenialExample, Drop, DropExample, Drops, FlowReport, PeerReport, PolicyReport,
    PortReport, Problem, PublicationReport, RouteReport, Status, Synced, TraceReport, TraceStep,
    WorkerReport,
};

/// The control socket of one node of a lab.
#[must_use]
pub fn lab_socket(lab: &str, node: &str) -> PathBuf {
    PathBuf::from(format!("/run/weft/lab/{lab}/{node}/weft.sock"))
}

/// One request.
pub type Request = weft_cni::daemon::Request<Call>;

/// What may be asked of the daemon; what the plugin asks reads as in [`weft_cni::daemon::Call`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Gives a pod its port; the network namespace comes along as the one file descriptor.
    /// Answered by [`Attached`] once every worker forwards for the port.
    Attach(Attach),
    /// Takes a pod's port away; unknown ports are not an error. Answered by [`Detached`].
    Detach(Detach),
    /// Compares an attachment with what is. Answered by [`Checked`].
    Check(Check),
    /// Releases what a runtime no longer wants. Answered by [`Collected`].
    Gc(Gc),
    /// Whether `attach` would be served. Answered by [`Readiness`].
    Ready,
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

#[cfg(test)]
mod tests {
    use super::*;
    use weft_cni::daemon;

    #[test]
    fn what_the_plugin_asks_is_understood() {
        let (container_id, ifname) = ("c".to_owned(), "eth0".to_owned());
        let calls = [
            daemon::Call::Attach(Attach {
                container_id: container_id.clone(),
                ifname: ifname.clone(),
                ..Attach::default()
            }),
            daemon::Call::Detach(Detach {
                container_id: container_id.clone(),
                ifname: ifname.clone(),
            }),
            daemon::Call::Check(Check {
                container_id,
                ifname,
                ips: Vec::new(),
                mac: None,
                mtu: None,
            }),
            daemon::Call::Gc(Gc {
                network: "weft".to_owned(),
                valid: Vec::new(),
            }),
            daemon::Call::Ready,
        ];
        for call in calls {
            let asked = serde_json::to_value(&call).unwrap();
            let understood: Call = serde_json::from_value(asked.clone()).unwrap();
            assert_eq!(serde_json::to_value(&understood).unwrap(), asked);
        }
    }
}
