//! What in these policies is right and probably not meant?
//!
//! Only where pods are known: a selector that matches none of them, a port name that none of them
//! has.

use weft_policy::Cluster;
use weft_policy::model::{
    Isolation, Peer, Peers, Pod, Policy, PortMatch, PortRange, Ports, Rule, Scope,
};

/// One sentence for each oddity, in the order of the policies' names.
#[must_use]
pub fn oddities(cluster: &Cluster) -> Vec<String> {
    if cluster.pods.is_empty() {
        return Vec::new();
    }
    let policies = cluster.policies.values();
    policies
        .flat_map(|policy| of_policy(cluster, policy))
        .collect()
}

fn of_policy(cluster: &Cluster, policy: &Policy) -> Vec<String> {
    let own = |pod: &&Pod| pod.name.namespace == policy.name.namespace;
    let pods = cluster.pods.values().map(AsRef::as_ref).filter(own);
    let selected: Vec<&Pod> = pods
        .filter(|pod| policy.pods.matches(&pod.labels))
        .collect();
    if selected.is_empty() {
        return vec![format!(
            "NetworkPolicy {}: selects no pod of these manifests",
            policy.name
        )];
    }
    let mut found = Vec::new();
    for (direction, isolation) in [("ingress", &policy.ingress), ("egress", &policy.egress)] {
        let Isolation::Only(rules) = isolation else {
            continue;
        };
        for (index, rule) in rules.iter().enumerate() {
            let place = format!("NetworkPolicy {}: {direction}[{index}]", policy.name);
            let receivers = match direction {
                "ingress" => selected.clone(),
                _ => peers(cluster, policy, rule),
            };
            of_peers(cluster, policy, rule, &place, &mut found);
            of_ports(rule, &receivers, &place, &mut found);
        }
    }
    found
}

fn of_peers(cluster: &Cluster, policy: &Policy, rule: &Rule, place: &str, found: &mut Vec<String>) {
    let Peers::Of(peers) = &rule.peers else {
        return;
    };
    for (number, peer) in peers.iter().enumerate() {
        if matches!(peer, Peer::Pods { .. }) && of_peer(cluster, policy, peer).is_empty() {
            found.push(format!(
                "{place}: its peer {number} matches no pod of these manifests"
            ));
        }
    }
}

fn of_ports(rule: &Rule, receivers: &[&Pod], place: &str, found: &mut Vec<String>) {
    let Ports::Of(ports) = &rule.ports else {
        return;
    };
    for PortMatch { protocol, port } in ports {
        let PortRange::Named(name) = port else {
            continue;
        };
        let has = |pod: &&Pod| {
            let mut ports = pod.ports.iter();
            ports.any(|port| port.name == *name && port.protocol == *protocol)
        };
        if !receivers.iter().any(has) {
            found.push(format!(
                "{place}: no pod it speaks of names a {protocol} port {name:?}"
            ));
        }
    }
}

/// All pods the rule's peers can be.
fn peers<'a>(cluster: &'a Cluster, policy: &Policy, rule: &Rule) -> Vec<&'a Pod> {
    match &rule.peers {
        Peers::Any => cluster.pods.values().map(AsRef::as_ref).collect(),
        Peers::Of(peers) => {
            let pods = peers.iter().flat_map(|peer| of_peer(cluster, policy, peer));
            pods.collect()
        }
    }
}

/// The pods a peer is, by name or by address.
fn of_peer<'a>(cluster: &'a Cluster, policy: &Policy, peer: &Peer) -> Vec<&'a Pod> {
    let is = |pod: &&Pod| match peer {
        Peer::Pods { namespaces, pods } => {
            let namespace = &pod.name.namespace;
            let inside = match namespaces {
                Scope::Own => *namespace == policy.name.namespace,
                Scope::Matching(selector) => selector.matches(&cluster.namespace_labels(namespace)),
            };
            inside && pods.matches(&pod.labels)
        }
        Peer::Block { cidr, except } => pod
            .addresses
            .iter()
            .any(|ip| cidr.contains(*ip) && !except.iter().any(|hole| hole.contains(*ip))),
    };
    cluster
        .pods
        .values()
        .map(AsRef::as_ref)
        .filter(is)
        .collect()
}
