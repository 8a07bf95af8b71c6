//! The Kubernetes objects weft reads, as far as it reads them.
//!
//! Values are checked (an address is an address), each with the line it stands on; whether they
//! agree with each other is `state`'s question. Fields weft does not use are ignored, because
//! manifests of a real cluster carry many.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_wire::Mac;

/// A value and the line of its file, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The line.
    pub line: usize,
    /// The value.
    pub value: T,
}

/// One object of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// `v1` Node.
    Node(NodeObject),
    /// `v1` Namespace.
    Namespace(NamespaceObject),
    /// `v1` Pod.
    Pod(PodObject),
    /// `networking.k8s.io/v1` NetworkPolicy. Only its name is read so far: it decides nothing.
    NetworkPolicy(PolicyObject),
}

/// A cluster node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeObject {
    /// `metadata.name`
    pub name: String,
    /// `spec.podCIDRs`, or `spec.podCIDR` where only that is given.
    pub pod_cidrs: Vec<Located<IpNetwork>>,
    /// `status.addresses` of type InternalIP.
    pub internal_ips: Vec<Located<IpAddr>>,
    /// `VtepMAC` of the annotation `flannel.alpha.coreos.com/backend-data`.
    pub vtep_mac: Option<Located<Mac>>,
}

/// A namespace and its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceObject {
    /// `metadata.name`
    pub name: String,
    /// `metadata.labels`, and `kubernetes.io/metadata.name`, which Kubernetes adds to each.
    pub labels: BTreeMap<String, String>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodObject {
    /// `metadata.namespace`, `default` where absent.
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
    /// `metadata.labels`
    pub labels: BTreeMap<String, String>,
    /// `spec.nodeName`
    pub node_name: Option<String>,
    /// `spec.hostNetwork`: such a pod has no port.
    pub host_network: bool,
    /// Whether `status.phase` says it is over (Succeeded, Failed); its addresses are free then.
    pub finished: bool,
    /// `status.podIPs`, or `status.podIP` where only that is given.
    pub ips: Vec<Located<IpAddr>>,
    /// `spec.containers[].ports[]`
    pub ports: Vec<ContainerPort>,
}

/// A port a container says it listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// `name`
    pub name: Option<String>,
    /// `containerPort`
    pub port: u16,
    /// `protocol`
    pub protocol: Protocol,
}

/// Transport of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum Protocol {
    /// The default of Kubernetes.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// User datagrams.
    #[serde(rename = "UDP")]
    Udp,
    /// Streams of messages.
    #[serde(rename = "SCTP")]
    Sctp,
}

/// A NetworkPolicy, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyObject {
    /// `metadata.namespace`, `default` where absent.
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
}

impl Object {
    /// Kind, namespace (empty where the kind has none) and name: what makes it this object.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        let (kind, namespace, name) = match self {
            Self::Node(node) => ("Node", "", &node.name),
            Self::Namespace(namespace) => ("Namespace", "", &namespace.name),
            Self::Pod(pod) => ("Pod", pod.namespace.as_str(), &pod.name),
            Self::NetworkPolicy(policy) => {
                ("NetworkPolicy", policy.namespace.as_str(), &policy.name)
            }
        };
        ObjectKey {
            kind,
            namespace: namespace.to_owned(),
            name: name.clone(),
        }
    }
}

/// The identity of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// `Node`, `Pod`, …
    pub kind: &'static str,
    /// Empty where the kind has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        write!(f, "{} {}{slash}{}", self.kind, self.namespace, self.name)
    }
}
