//! What does a NetworkPolicy say, once its words have been checked?
//!
//! Owns the vocabulary that the reader of manifests, the compiler and the oracle share, and no
//! more: nothing here decides. What Kubernetes leaves to defaults is explicit: absent and empty
//! are different values of different meaning. See `networking.k8s.io/v1` NetworkPolicy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::Cidr;

/// Labels of a pod or a namespace.
pub type Labels = BTreeMap<String, String>;

/// The label that holds a namespace's own name.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// The name of an object that lives in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
}

impl ObjectName {
    /// The object `name` of `namespace`.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Transport protocols that a policy can name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// What Kubernetes takes where none is given.
    #[default]
    Tcp,
    /// User datagrams.
    Udp,
    /// Streams of messages.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// Which labels? All requirements must hold; without any, everything matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector {
    /// `matchLabels` (as [`Operator::In`] one value) and `matchExpressions`.
    pub requirements: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What must hold for its value.
    pub operator: Operator,
}

/// The operators of `matchExpressions`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// The label is there, with one of these values.
    In(BTreeSet<String>),
    /// The label is missing, or has none of these values.
    NotIn(BTreeSet<String>),
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
}

impl Selector {
    /// The empty selector.
    #[must_use]
    pub const fn everything() -> Self {
        Self {
            requirements: Vec::new(),
        }
    }

    /// Whether it selects an object with these labels.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|r| r.holds(labels))
    }
}

impl Requirement {
    /// Whether the labels satisfy it.
    #[must_use]
    pub fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// A NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Its namespace, which is also that of the pods it selects, and its name.
    pub name: ObjectName,
    /// `spec.podSelector`
    pub pods: Selector,
    /// What may enter the selected pods.
    pub ingress: Isolation,
    /// What may leave them.
    pub egress: Isolation,
}

/// What a policy does to its pods in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Nothing: the direction is not among `policyTypes`.
    None,
    /// Only what one of these rules (or a rule of another policy) allows may pass. Without any
    /// rule: nothing.
    Only(Vec<Rule>),
}

impl Isolation {
    /// The rules; none also where the direction is not isolated.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        match self {
            Self::None => &[],
            Self::Only(rules) => rules,
        }
    }

    /// Whether the direction is isolated.
    #[must_use]
    pub const fn isolates(&self) -> bool {
        matches!(self, Self::Only(_))
    }
}

/// One item of `ingress` or `egress`: allows what matches both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// `from` or `to`
    pub peers: Peers,
    /// `ports`
    pub ports: Ports,
}

/// The other ends a rule speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peers {
    /// `from`/`to` absent or empty: every address there is.
    Any,
    /// One of these.
    Of(Vec<Peer>),
}

/// One item of `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Pods (never host-network pods, never addresses outside).
    Pods {
        /// Where they live.
        namespaces: Scope,
        /// `podSelector`; everything where only `namespaceSelector` is given.
        pods: Selector,
    },
    /// Addresses, those of pods too.
    Block {
        /// `cidr`
        cidr: Cidr,
        /// `except`, each inside `cidr`.
        except: Vec<Cidr>,
    },
}

/// The namespaces of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// No `namespaceSelector`: the policy's own.
    Own,
    /// Those with such labels.
    Matching(Selector),
}

/// The ports a rule speaks of; always the destination's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ports {
    /// `ports` absent or empty: every port of every protocol, and protocols without ports.
    Any,
    /// One of these.
    Of(Vec<PortMatch>),
}

/// One item of `ports`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortMatch {
    /// `protocol`
    pub protocol: Protocol,
    /// `port` and `endPort`
    pub port: PortRange,
}

/// Port numbers of one protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortRange {
    /// `port` absent: all.
    Any,
    /// From the first to the last, both included; equal where no `endPort` is given.
    Numbers(u16, u16),
    /// Whatever number the destination pod gives this name for this protocol; no port at all
    /// where it gives none, or where the destination is not a pod.
    Named(String),
}

/// A pod as policies see it. Host-network pods are not among them: their addresses are the
/// node's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: ObjectName,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses; none for a finished pod, whose addresses may be another's by now.
    pub addresses: Vec<IpAddr>,
    /// The ports its containers name.
    pub ports: Vec<NamedPort>,
}

/// A port with a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamedPort {
    /// `name`
    pub name: String,
    /// `protocol`
    pub protocol: Protocol,
    /// `containerPort`
    pub port: u16,
}
