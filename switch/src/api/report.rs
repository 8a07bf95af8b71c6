//! What the daemon tells about itself: the answers people and `-o json` see.
//!
//! Field names are stable: they never change meaning; new ones may be added.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::policy_view::{SideReasons, Verdict};

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
    /// NetworkPolicy objects in force.
    pub policies: usize,
    /// Port ranges that they compiled to, over all (policies of a pod, direction, class of peer).
    #[serde(default)]
    pub policy_entries: usize,
    /// Whether those policies decide anything.
    pub policies_enforced: bool,
    /// Whether every pod is closed because the policies are not known well enough; `problems`
    /// tells why.
    #[serde(default)]
    pub closed: bool,
    /// How long it took until every worker used new tables.
    #[serde(default)]
    pub publications: PublicationReport,
    /// Connections being tracked.
    pub flows: usize,
    /// What each worker did.
    pub workers: Vec<WorkerReport>,
    /// Reasons that dropped anything, most frequent first.
    pub drops: Vec<Drop>,
    /// What is wrong, worst first.
    pub problems: Vec<Problem>,
}

/// How often tables were published and how long that took, from a change's arrival until every
/// worker used them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicationReport {
    /// Since the daemon started.
    pub count: u64,
    /// The last one.
    pub last_seconds: f64,
    /// The longest one.
    pub max_seconds: f64,
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
    /// Frames read from pods and the host; a super-frame, which stands for many packets, is one.
    pub frames_from_ports: u64,
    /// Datagrams read from the underlay.
    pub datagrams: u64,
    /// Frames written to pods and the host.
    pub frames_to_ports: u64,
    /// Datagrams sent on the underlay.
    pub datagrams_sent: u64,
    /// Super-frames among those read from pods and the host.
    #[serde(default)]
    pub super_frames_from_ports: u64,
    /// Super-frames among those written to pods and the host.
    #[serde(default)]
    pub super_frames_to_ports: u64,
    /// Super-frames that were cut into datagrams.
    #[serde(default)]
    pub super_frames_sent: u64,
    /// Super-frames made of received datagrams.
    #[serde(default)]
    pub super_frames_merged: u64,
    /// Buffers that the received datagrams came in: the kernel joins several in one.
    #[serde(default)]
    pub receives: u64,
    /// Messages that the datagrams left in: the kernel cuts one into several.
    #[serde(default)]
    pub sends: u64,
    /// Offloads that the kernel refused: `udp-segment`, `udp-gro`, `tap-tso`, `tap-uso`.
    #[serde(default)]
    pub offloads_off: Vec<String>,
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
    /// What the policies of each pod refused since then, most first; at most a thousand.
    #[serde(default)]
    pub denials: Vec<Denial>,
}

/// What policies refused to let out of a pod, or into it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Denial {
    /// The pod, `namespace/name`.
    pub pod: String,
    /// The pod's view: `egress` or `ingress`.
    pub direction: String,
    /// Frames.
    pub packets: u64,
    /// The policies that isolate the pod in this direction now.
    pub policies: Vec<String>,
    /// The latest one.
    pub example: DenialExample,
}

/// The latest frame that the policies of a pod refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DenialExample {
    /// The pod that sent it, if a pod did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The pod it was for, if a pod has that address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Its flow, as its initiator writes it.
    pub flow: String,
    /// The policy that refused it: of several the first by name; none if it is gone, or if the
    /// pod was closed for want of knowledge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The rule that comes closest to allowing it, and what keeps it from matching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// Seconds ago.
    pub age_seconds: f64,
}

/// One NetworkPolicy as this node enforces it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReport {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How many attached pods it selects.
    pub selected: usize,
    /// Those pods, or the first of them where there are very many.
    pub pods: Vec<String>,
    /// `ingress`, `egress` or both.
    pub isolates: Vec<String>,
    /// How many rules it has.
    pub rules: usize,
    /// Frames refused to or from those pods in those directions, whichever of their policies
    /// refused them.
    pub denied_packets: u64,
}

/// What would become of a described packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceReport {
    /// Whether it would arrive, as far as this node can tell.
    pub verdict: Verdict,
    /// What would become of it on this node.
    pub fate: String,
    /// Its flow.
    pub flow: String,
    /// The steps it would take on this node; only the last can have failed.
    pub steps: Vec<TraceStep>,
    /// What the sender's policies say.
    pub egress: SideReasons,
    /// What the receiver's policies say.
    pub ingress: SideReasons,
    /// A tracked connection between the two with this destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<FlowReport>,
    /// What else has to be known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One step of the road, as `docs/road-of-a-packet.md` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// Its road, number and name.
    pub step: String,
    /// Whether the packet went on from here.
    pub ok: bool,
    /// What was found.
    pub detail: String,
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
    /// `allow` or `deny`: what the tables of now say of its next frame.
    pub verdict: String,
    /// The policies whose rules allow it here, or that deny it; none where nothing isolates.
    #[serde(default)]
    pub policies: Vec<String>,
    /// The rule of the sender's end, `namespace/name#egress[index]`, if one decided here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress_rule: Option<String>,
    /// The rule of the receiver's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_rule: Option<String>,
}
