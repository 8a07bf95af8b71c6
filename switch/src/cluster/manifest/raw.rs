//! The fields weft reads, as they are written.
//!
//! One structure holds the fields of every kind, so that a `List` can mix kinds and every value
//! keeps its line.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

/// The kind alone, for documents that do not fit.
#[derive(Deserialize)]
pub(super) struct RawKind {
    pub(super) kind: Option<String>,
}

pub(super) type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawObject {
    pub(super) api_version: Option<Text>,
    pub(super) kind: Option<Text>,
    pub(super) metadata: Option<Metadata>,
    pub(super) spec: Option<Spec>,
    pub(super) status: Option<RawStatus>,
    pub(super) items: Option<Vec<Spanned<Self>>>,
}

#[derive(Default, Deserialize)]
pub(super) struct Metadata {
    pub(super) name: Option<Text>,
    pub(super) namespace: Option<Text>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) annotations: Option<BTreeMap<String, Text>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(rename = "podCIDR")]
    pub(super) pod_cidr: Option<Text>,
    #[serde(rename = "podCIDRs")]
    pub(super) pod_cidrs: Option<Vec<Text>>,
    pub(super) node_name: Option<String>,
    pub(super) host_network: Option<bool>,
    pub(super) containers: Option<Vec<Container>>,
}

#[derive(Deserialize)]
pub(super) struct Container {
    pub(super) ports: Option<Vec<Port>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Port {
    pub(super) name: Option<String>,
    pub(super) container_port: u16,
    pub(super) protocol: Option<RawProtocol>,
}

#[derive(Default, Deserialize)]
pub(super) struct RawStatus {
    pub(super) phase: Option<String>,
    pub(super) addresses: Option<Vec<NodeAddress>>,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Option<Text>,
    #[serde(rename = "podIPs")]
    pub(super) pod_ips: Option<Vec<PodIp>>,
}

#[derive(Deserialize)]
pub(super) struct NodeAddress {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) address: Text,
}

#[derive(Deserialize)]
pub(super) struct PodIp {
    pub(super) ip: Option<Text>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum RawProtocol {
    Tcp,
    Udp,
    Sctp,
}

impl From<RawProtocol> for weft_policy::model::Protocol {
    fn from(raw: RawProtocol) -> Self {
        match raw {
            RawProtocol::Tcp => Self::Tcp,
            RawProtocol::Udp => Self::Udp,
            RawProtocol::Sctp => Self::Sctp,
        }
    }
}
