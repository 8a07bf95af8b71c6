//! What does a lab look like right now, for people and programs?
//!
//! Owns the exact JSON of `lab status -o json` and its table. Pure: what is ready is told to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::Serialize;

use super::endpoint::PodRef;
use super::file::{Family, NodeKind};
use super::plan::Plan;
use crate::text::Table;

/// What was found to be up.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    /// Process of each daemon that runs, by node.
    pub(crate) pids: BTreeMap<String, u32>,
    pub(crate) nodes: BTreeSet<String>,
    pub(crate) pods: BTreeSet<PodRef>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Status {
    name: String,
    nodes: Vec<NodeStatus>,
    pods: Vec<PodStatus>,
    /// Nothing was looked at: this is what would be.
    #[serde(skip)]
    planned: bool,
}

#[derive(Debug, Serialize)]
struct NodeStatus {
    name: String,
    kind: NodeKind,
    netns: String,
    addresses: Vec<IpAddr>,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<IpNetwork>,
    /// Kernel nodes have neither socket nor process.
    socket: Option<PathBuf>,
    pid: Option<u32>,
    ready: bool,
}

#[derive(Debug, Serialize)]
struct PodStatus {
    namespace: String,
    name: String,
    node: String,
    netns: String,
    addresses: Vec<IpAddr>,
    ready: bool,
}

impl Status {
    pub(crate) fn new(plan: &Plan, ready: &Ready) -> Self {
        let other = match plan.underlay.family {
            Family::Ipv4 => Family::Ipv6,
            Family::Ipv6 => Family::Ipv4,
        };
        let nodes = plan.nodes.iter().map(|node| NodeStatus {
            name: node.name.clone(),
            kind: node.kind,
            netns: node.member.netns.clone(),
            addresses: vec![
                node.member.address(plan.underlay.family),
                node.member.address(other),
            ],
            pod_cidrs: node.pod_cidrs.clone(),
            socket: (node.kind == NodeKind::Weft)
                .then(|| crate::api::lab_socket(plan.name.as_str(), &node.name)),
            pid: ready.pids.get(&node.name).copied(),
            ready: ready.nodes.contains(&node.name),
        });
        let pods = plan.pods.iter().map(|pod| PodStatus {
            namespace: pod.name.namespace.clone(),
            name: pod.name.name.clone(),
            node: pod.node.clone(),
            netns: pod.netns.clone(),
            addresses: pod.addresses.clone(),
            ready: ready.pods.contains(&pod.name),
        });
        Self {
            name: plan.name.to_string(),
            nodes: nodes.collect(),
            pods: pods.collect(),
            planned: false,
        }
    }

    /// The status of a lab that may not exist.
    pub(crate) fn planned(plan: &Plan) -> Self {
        Self {
            planned: true,
            ..Self::new(plan, &Ready::default())
        }
    }

    /// Whether every node and pod is ready.
    pub(crate) fn all_ready(&self) -> bool {
        self.nodes.iter().all(|n| n.ready) && self.pods.iter().all(|p| p.ready)
    }

    /// Two tables under the lab's name.
    pub(crate) fn text(&self) -> String {
        let ready = |ready: bool| match (self.planned, ready) {
            (true, _) => "planned".to_owned(),
            (false, true) => "yes".to_owned(),
            (false, false) => "NO".to_owned(),
        };
        let mut nodes = Table::new([
            "NODE",
            "KIND",
            "READY",
            "ADDRESSES",
            "POD CIDRS",
            "PID",
            "NETNS",
        ]);
        for node in &self.nodes {
            nodes.row([
                node.name.clone(),
                if node.kind == NodeKind::Weft {
                    "weft"
                } else {
                    "kernel"
                }
                .to_owned(),
                ready(node.ready),
                list(&node.addresses),
                list(&node.pod_cidrs),
                node.pid
                    .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                node.netns.clone(),
            ]);
        }
        let mut pods = Table::new(["POD", "NODE", "READY", "ADDRESSES", "NETNS"]);
        for pod in &self.pods {
            pods.row([
                format!("{}/{}", pod.namespace, pod.name),
                pod.node.clone(),
                ready(pod.ready),
                list(&pod.addresses),
                pod.netns.clone(),
            ]);
        }
        let pods = if self.pods.is_empty() {
            "no pods\n".to_owned()
        } else {
            pods.to_string()
        };
        format!("lab {}\n\n{nodes}\n{pods}", self.name)
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}
