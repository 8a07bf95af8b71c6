//! The Kubernetes objects weft reads, as far as it reads them.
//!
//! Values are checked (an address is an address), each with the line it stands on; whether they
//! agree with each other is `state`'s question. Fields weft does not use are ignored, because
//! manifests of a real cluster carry many.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
pub use weft_policy::model::Protocol;
use weft_policy::model::{NamedPort, ObjectName, Pod, Policy};
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
    /// `networking.k8s.io/v1` NetworkPolicy.
    NetworkPolicy(Arc<Policy>),
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

impl PodObject {
    /// The pod as policies see it, with the addresses nobody else has; host-network pods are
    /// not pods to policies.
    #[must_use]
    pub fn policy_pod(&self, addresses: Vec<IpAddr>) -> Option<Pod> {
        let named = |port: &ContainerPort| {
            let name = port.name.clone()?;
            let (protocol, port) = (port.protocol, port.port);
            Some(NamedPort {
                name,
                protocol,
                port,
            })
        };
        (!self.host_network).then(|| Pod {
            name: ObjectName::new(&self.namespace, &self.name),
            labels: self.labels.clone(),
            addresses,
            ports: self.ports.iter().filter_map(named).collect(),
        })
    }
}

impl Object {
    /// Kind, namespace (empty where the kind has none) and name: what makes it this object.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        let (kind, namespace, name) = match self {
            Self::Node(node) => ("Node", "", &node.name),
            Self::Namespace(namespace) => ("Namespace", "", &namespace.name),
            Self::Pod(pod) => ("Pod", pod.namespace.as_str(), &pod.name),
            Self::NetworkPolicy(policy) => (
                "NetworkPolicy",
                policy.name.namespace.as_str(),
                &policy.name.name,
            ),
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
