//! What the daemon tells about itself: the answers people and `-o json` see.
//!
//! Field names are stable: they never change meaning; new ones may be added.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// One screen of health.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Ready and without problems.
    pub healthy: bool,
    /// Tables are published and pods can be attached.
    pub ready: bool,
    /// The node's name.
    pub node: String,
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Address of the tunnel end point.
    pub vtep: Option<IpAddr>,
    /// MAC address of the tunnel end point.
    pub vtep_mac: String,
    /// The VXLAN network identifier.
    pub vni: u32,
    /// The VXLAN UDP port.
    pub vxlan_port: u16,
    /// The node's own pod ranges.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<IpNetwork>,
    /// MTU of pod interfaces, in bytes.
    pub pod_mtu: u16,
    /// How TAP interfaces are served: `fast` or `plain`.
    pub backend: String,
    /// Where desired state comes from.
    pub source: String,
    /// Epoch of the published tables.
    pub epoch: u32,
    /// Attached pods.
    pub pods: usize,
    /// Known other nodes.
    pub peers: usize,
    /// NetworkPolicy objects read.
    pub policies: usize,
    /// Whether those policies decide anything.
    pub policies_enforced: bool,
    /// Connections being tracked.
    pub flows: usize,
    /// What each worker did.
    pub workers: Vec<WorkerReport>,
    /// Reasons that dropped anything, most frequent first.
    pub drops: Vec<Drop>,
    /// What is wrong, worst first.
    pub problems: Vec<Problem>,
}

/// Something a person should look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What happened.
    pub what: String,
    /// Which file and line, interface, pod or peer.
    #[serde(rename = "where")]
    pub place: String,
    /// What to do about it.
    pub next: String,
}

/// Answer to `Call::Sync`: what the workers go by now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Synced {
    /// Epoch of the tables every worker uses.
    pub epoch: u32,
    /// NetworkPolicy objects in force.
    pub policies: usize,
    /// Whether every pod is closed because the policies are not known well enough.
    pub closed: bool,
    /// What is wrong, with the manifests or otherwise.
    pub problems: Vec<Problem>,
}

/// One port of the switch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortReport {
    /// Number of the port.
    pub port: u16,
    /// `host` or `pod`.
    pub kind: String,
    /// `namespace/name`, empty for the host.
    pub pod: String,
    /// The runtime's name for the sandbox, empty for the host.
    pub container_id: String,
    /// The interface.
    pub ifname: String,
    /// Its MAC address.
    pub mac: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its MTU in bytes.
    pub mtu: u16,
    /// `fast` or `plain`.
    pub backend: String,
    /// Queues of the TAP interface.
    pub queues: usize,
    /// Frames read from the pod.
    pub frames_from: u64,
    /// Bytes read from the pod.
    pub bytes_from: u64,
    /// Frames written to the pod.
    pub frames_to: u64,
    /// Bytes written to the pod.
    pub bytes_to: u64,
    /// Frames of this port that were dropped.
    pub drops: u64,
}

/// Another node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerReport {
    /// The node's name.
    pub name: String,
    /// Its underlay address.
    pub vtep: Option<IpAddr>,
    /// The MAC address of its tunnel end point.
    pub mac: String,
    /// Its pod ranges.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<IpNetwork>,
    /// Largest IP packet that fits the tunnel to it, in bytes.
    pub mtu: u16,
}

/// One row of the forwarding table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteReport {
    /// Addresses it is about.
    pub destination: IpNetwork,
    /// `pod`, `host`, `peer` or `local`.
    pub kind: String,
    /// The pod, the peer or the interface.
    pub to: String,
    /// The port or the peer's tunnel end point.
    pub via: String,
}

/// What one worker did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerReport {
    /// Number of the worker.
    pub worker: usize,
    /// Share of the time since the previous report in which it was not waiting, in percent.
    pub busy_percent: f64,
    /// Turns of its loop.
    pub turns: u64,
    /// Frames read from pods and the host.
    pub frames_from_ports: u64,
    /// Datagrams read from the underlay.
    pub datagrams: u64,
    /// Frames written to pods and the host.
    pub frames_to_ports: u64,
    /// Datagrams sent on the underlay.
    pub datagrams_sent: u64,
    /// Frames dropped.
    pub drops: u64,
    /// Epoch of the tables it uses.
    pub epoch: u32,
    /// Free frames in its pool.
    pub pool_available: usize,
}

/// Drops by reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drops {
    /// Every reason that dropped anything since the last reset, most frequent first.
    pub drops: Vec<Drop>,
}

/// One reason and how often.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drop {
    /// Name of the reason, as in `docs/drop-reasons.md`.
    pub reason: String,
    /// The pod's view: `egress`, `ingress` or `both`.
    pub direction: String,
    /// Frames.
    pub packets: u64,
    /// What the reason means, in one line.
    pub meaning: String,
    /// What to do about it, in one line.
    pub advice: String,
    /// The latest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<DropExample>,
}

/// The latest frame a reason dropped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropExample {
    /// The port or peer it came from.
    pub from: String,
    /// Its flow, or its addresses on the link when it holds no IP packet.
    pub frame: String,
    /// Seconds ago.
    pub age_seconds: f64,
}

/// One tracked connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowReport {
    /// `tcp`, `udp`, …
    pub protocol: String,
    /// Who started it, `address:port`.
    pub source: String,
    /// To whom.
    pub destination: String,
    /// State of the connection.
    pub state: String,
    /// The pod that owns the entry, if it is a local one.
    pub pod: String,
    /// Frames of both directions.
    pub packets: u64,
    /// Bytes of both directions.
    pub bytes: u64,
    /// Seconds since its last frame.
    pub idle_seconds: f64,
    /// Seconds until it is forgotten unless another frame passes.
    pub expires_seconds: f64,
    /// `allow` or `deny`.
    pub verdict: String,
}
