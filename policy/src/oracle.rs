//! May this flow pass, by the letter of the specification?
//!
//! A naive evaluator that shares nothing with the compiler but the words of [`crate::model`]:
//! the judge of tests and fuzzing, never of packets. [`Reading`] has one method for each sentence
//! it follows, so that a test can misread one sentence and see whether anybody notices.
//!
//! Quotations are from the API's own field documentation (`networking.k8s.io/v1`,
//! `meta/v1` LabelSelector) and, where marked *concepts*, from kubernetes.io, "Network Policies".
//! Sentences marked *weft* are our choice where Kubernetes leaves one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::explain::Question;
use crate::model::{
    Isolation, NAMESPACE_NAME, Operator, Peer, Peers, Pod, Policy, PortMatch, PortRange, Ports,
    Protocol, Requirement, Rule, Scope, Selector,
};
use crate::{Cidr, Cluster, Direction};

/// Whether the pod at this end of the flow lets it pass in this direction.
#[must_use]
pub fn allows(cluster: &Cluster, direction: Direction, question: &Question) -> bool {
    Literal.allows(cluster, direction, question)
}

/// The specification as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Literal;

impl Reading for Literal {}

/// One flow as one policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Everything there is.
    pub cluster: &'a Cluster,
    /// The policy.
    pub policy: &'a Policy,
    /// Which of its lists is read.
    pub direction: Direction,
    /// The flow.
    pub question: &'a Question,
    /// The pod the policy selects.
    pub pod: &'a Pod,
}

impl View<'_> {
    /// The end of the flow that rules speak of: the sender under `ingress.from`, the receiver
    /// under `egress.to`.
    #[must_use]
    pub const fn peer(&self) -> IpAddr {
        match self.direction {
            Direction::Egress => self.question.to,
            Direction::Ingress => self.question.from,
        }
    }
}

/// A label's value by its key.
pub type Lookup<'a> = dyn Fn(&str) -> Option<&'a str> + 'a;

/// The sentences of the specification. Each method is one, read literally unless overridden.
pub trait Reading: std::fmt::Debug + Sync {
    /// Both ends: "both the egress policy on the source pod and the ingress policy on the
    /// destination pod need to allow the connection" (concepts).
    fn passes(&self, cluster: &Cluster, question: &Question) -> bool {
        self.allows(cluster, Direction::Egress, question)
            && self.allows(cluster, Direction::Ingress, question)
    }

    /// `ingress`, `egress`: "Traffic is allowed to a pod if there are no NetworkPolicies selecting
    /// the pod […] OR if the traffic matches at least one ingress rule across all of the
    /// NetworkPolicy objects whose podSelector matches the pod."
    fn allows(&self, cluster: &Cluster, direction: Direction, question: &Question) -> bool {
        if self.is_itself(question) {
            return true;
        }
        let here = match direction {
            Direction::Egress => question.from,
            Direction::Ingress => question.to,
        };
        // "how a pod is allowed to communicate" (concepts): what is no pod is not judged.
        let Some(pod) = self.pod_at(cluster, here) else {
            return true;
        };
        let views: Vec<View<'_>> = cluster
            .policies
            .values()
            .filter(|policy| self.selects(policy, pod) && self.isolates(policy, direction))
            .map(|policy| View {
                cluster,
                policy,
                direction,
                question,
                pod,
            })
            .collect();
        self.combined(&views)
    }

    /// "A pod cannot block access to itself" (concepts).
    fn is_itself(&self, question: &Question) -> bool {
        question.from == question.to
    }

    /// The pod that has the address: any of its addresses, of both families. Finished pods have
    /// none, the addresses of host-network pods are the node's (weft).
    fn pod_at<'a>(&self, cluster: &'a Cluster, address: IpAddr) -> Option<&'a Pod> {
        cluster
            .pods
            .values()
            .map(AsRef::as_ref)
            .find(|pod| pod.addresses.contains(&address))
    }

    /// `spec.podSelector`: "The array of rules is applied to any pods selected by this field. An
    /// empty selector matches all pods in the policy's namespace."
    fn selects(&self, policy: &Policy, pod: &Pod) -> bool {
        policy.name.namespace == pod.name.namespace
            && self.selector_matches(&policy.pods, &pod_label(pod))
    }

    /// `policyTypes`: "a list of rule types that the NetworkPolicy relates to", and `ingress`: "If
    /// this field is empty then this NetworkPolicy does not allow any traffic (and serves solely
    /// to ensure that the pods it selects are isolated by default)".
    fn isolates(&self, policy: &Policy, direction: Direction) -> bool {
        match self.section(policy, direction) {
            Isolation::None => false,
            Isolation::Only(_) => true,
        }
    }

    /// "isolation for egress, and isolation for ingress […] are declared independently"
    /// (concepts).
    fn section<'a>(&self, policy: &'a Policy, direction: Direction) -> &'a Isolation {
        match direction {
            Direction::Egress => &policy.egress,
            Direction::Ingress => &policy.ingress,
        }
    }

    /// "allowed if there are no NetworkPolicies selecting the pod", otherwise "the ingress rules
    /// for each are combined additively".
    fn combined(&self, isolating: &[View<'_>]) -> bool {
        isolating.is_empty() || isolating.iter().any(|view| self.policy_allows(view))
    }

    /// "OR if the traffic matches at least one ingress rule"
    fn policy_allows(&self, view: &View<'_>) -> bool {
        match self.section(view.policy, view.direction) {
            Isolation::None => false,
            Isolation::Only(rules) => rules.iter().any(|rule| self.rule_allows(view, rule)),
        }
    }

    /// "The traffic must match both ports and from."
    fn rule_allows(&self, view: &View<'_>, rule: &Rule) -> bool {
        self.peers_match(view, &rule.peers) && self.ports_match(view, &rule.ports)
    }

    /// `from`, `to`: "If this field is empty or missing, this rule matches all sources (traffic
    /// not restricted by source). If this field is present and contains at least one item, this
    /// rule allows traffic only if the traffic matches at least one item in the from list."
    fn peers_match(&self, view: &View<'_>, peers: &Peers) -> bool {
        match peers {
            Peers::Any => true,
            Peers::Of(items) => items.iter().any(|item| self.peer_matches(view, item)),
        }
    }

    /// `ipBlock`: "If this field is set then neither of the other fields can be."
    fn peer_matches(&self, view: &View<'_>, peer: &Peer) -> bool {
        match peer {
            Peer::Pods { namespaces, pods } => match self.pod_at(view.cluster, view.peer()) {
                Some(pod) => self.pods_match(view, namespaces, pods, pod),
                None => self.outsider_matches(view, namespaces, pods),
            },
            Peer::Block { cidr, except } => self.block_matches(view, *cidr, except),
        }
    }

    /// "the NetworkPolicyPeer as a whole selects the pods matching podSelector in the Namespaces
    /// selected by NamespaceSelector"
    fn pods_match(&self, view: &View<'_>, namespaces: &Scope, pods: &Selector, peer: &Pod) -> bool {
        self.scope_matches(view, namespaces, peer) && self.selector_matches(pods, &pod_label(peer))
    }

    /// `podSelector`: "a label selector which selects pods", and therefore no other address.
    fn outsider_matches(&self, _: &View<'_>, _: &Scope, _: &Selector) -> bool {
        false
    }

    /// `namespaceSelector`: "selects namespaces using cluster-scoped labels. This field follows
    /// standard label selector semantics; if present but empty, it selects all namespaces."
    /// Without one: "the pods matching podSelector in the policy's own namespace".
    fn scope_matches(&self, view: &View<'_>, scope: &Scope, peer: &Pod) -> bool {
        match scope {
            Scope::Own => peer.name.namespace == view.policy.name.namespace,
            Scope::Matching(selector) => {
                let namespace = &peer.name.namespace;
                self.selector_matches(selector, &|key: &str| {
                    self.namespace_label(view.cluster, namespace, key)
                })
            }
        }
    }

    /// "The Kubernetes control plane sets an immutable label kubernetes.io/metadata.name on all
    /// namespaces, the value of the label is the namespace name" (concepts); also on one whose
    /// object is not known (weft).
    fn namespace_label<'a>(
        &self,
        cluster: &'a Cluster,
        namespace: &'a str,
        key: &str,
    ) -> Option<&'a str> {
        if key == NAMESPACE_NAME {
            return Some(namespace);
        }
        let labels = cluster.namespaces.get(namespace)?;
        labels.get(key).map(String::as_str)
    }

    /// LabelSelector: "The result of matchLabels and matchExpressions are ANDed. An empty label
    /// selector matches all objects."
    fn selector_matches(&self, selector: &Selector, label: &Lookup<'_>) -> bool {
        selector
            .requirements
            .iter()
            .all(|requirement| self.requirement_holds(requirement, label))
    }

    /// `operator`: "represents a key's relationship to a set of values. Valid operators are In,
    /// NotIn, Exists and DoesNotExist."
    fn requirement_holds(&self, requirement: &Requirement, label: &Lookup<'_>) -> bool {
        let value = label(&requirement.key);
        match &requirement.operator {
            Operator::In(values) => self.is_in(value, values),
            Operator::NotIn(values) => self.is_not_in(value, values),
            Operator::Exists => self.exists(value),
            Operator::DoesNotExist => self.does_not_exist(value),
        }
    }

    /// Labels and Selectors: `in` "selects all resources with key equal to environment and value
    /// equal to production or qa".
    fn is_in(&self, value: Option<&str>, values: &BTreeSet<String>) -> bool {
        match value {
            Some(value) => values.iter().any(|one| one == value),
            None => false,
        }
    }

    /// `notin` selects "values other than frontend and backend, and all resources with no labels
    /// with the tier key".
    fn is_not_in(&self, value: Option<&str>, values: &BTreeSet<String>) -> bool {
        match value {
            Some(value) => values.iter().all(|one| one != value),
            None => true,
        }
    }

    /// "selects all resources including a label with key partition; no values are checked"
    fn exists(&self, value: Option<&str>) -> bool {
        value.is_some()
    }

    /// "selects all resources without a label with key partition; no values are checked"
    fn does_not_exist(&self, value: Option<&str>) -> bool {
        value.is_none()
    }

    /// `cidr`, and `except`: "a slice of CIDRs that should not be included within an IPBlock", of
    /// this one only. Which addresses are pods' does not matter (weft).
    fn block_matches(&self, view: &View<'_>, cidr: Cidr, except: &[Cidr]) -> bool {
        let address = view.peer();
        self.block_has(cidr, address) && !except.iter().any(|hole| self.block_has(*hole, address))
    }

    /// The first `length` bits are the same, and so is the family: an IPv4 address written as an
    /// IPv6 address is an IPv6 address (weft).
    fn block_has(&self, cidr: Cidr, address: IpAddr) -> bool {
        let (one, other) = match (cidr.base(), address) {
            (IpAddr::V4(base), IpAddr::V4(v4)) => (base.octets().to_vec(), v4.octets().to_vec()),
            (IpAddr::V6(base), IpAddr::V6(v6)) => (base.octets().to_vec(), v6.octets().to_vec()),
            _ => return false,
        };
        one.iter().zip(&other).enumerate().all(|(place, (a, b))| {
            let bits = usize::from(cidr.length()).saturating_sub(8 * place).min(8);
            (0..bits).all(|bit| (a ^ b) & (0x80 >> bit) == 0)
        })
    }

    /// `ports`: "If this field is empty or missing, this rule matches all ports (traffic not
    /// restricted by port). If this field is present and contains at least one item, then this
    /// rule allows traffic only if the traffic matches at least one port in the list."
    fn ports_match(&self, view: &View<'_>, ports: &Ports) -> bool {
        match ports {
            Ports::Any => true,
            Ports::Of(items) => items.iter().any(|item| self.port_matches(view, item)),
        }
    }

    /// "only traffic on the specified protocol AND port will be matched"
    fn port_matches(&self, view: &View<'_>, item: &PortMatch) -> bool {
        self.protocol_matches(view.question.protocol, item)
            && self.number_matches(view, item, view.question.port)
    }

    /// `protocol`: "the protocol (TCP, UDP, or SCTP) which traffic must match", so that no other
    /// traffic matches any item.
    fn protocol_matches(&self, protocol: Option<Protocol>, item: &PortMatch) -> bool {
        protocol == Some(item.protocol)
    }

    /// `port`: "If this field is not provided, this matches all port names and numbers."
    /// `endPort`: "the range of ports from port to endPort if set, inclusive, should be allowed".
    fn number_matches(&self, view: &View<'_>, item: &PortMatch, port: u16) -> bool {
        match &item.port {
            PortRange::Any => true,
            PortRange::Numbers(first, last) => *first <= port && port <= *last,
            PortRange::Named(name) => self.name_matches(view, name, item.protocol, port),
        }
    }

    /// `port`: "a numerical or named port on a pod". Egress: "a list of destination ports for
    /// outgoing traffic"; ingress: "made accessible on the pods selected for this rule". A name
    /// that several containers use stands for each of their numbers (weft).
    fn name_matches(&self, view: &View<'_>, name: &str, protocol: Protocol, port: u16) -> bool {
        let Some(destination) = self.pod_at(view.cluster, view.question.to) else {
            return false;
        };
        destination
            .ports
            .iter()
            .any(|named| named.name == name && named.protocol == protocol && named.port == port)
    }
}

/// The labels of a pod, one at a time.
pub fn pod_label<'a>(pod: &'a Pod) -> impl Fn(&str) -> Option<&'a str> + 'a {
    |key| pod.labels.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests;
