//! Asks every rule, one after the other: what the table must answer, and by whom.

use std::net::IpAddr;

use weft_wire::{FlowKey, IpProtocol};

use crate::model::{
    Isolation, ObjectName, Peer, Peers, Pod, PortMatch, PortRange, Ports, Protocol, Rule, Scope,
};
use crate::{Cluster, Direction, RuleName};

/// Whether a flow may pass, and which rule or policy decides; none if none does.
pub(super) fn judge(
    cluster: &Cluster,
    local: &ObjectName,
    direction: Direction,
    key: &FlowKey,
) -> (bool, Option<RuleName>) {
    if key.src == key.dst {
        return (true, None);
    }
    let policies = cluster.policies.values();
    let there = policies.filter(|policy| policy.name.namespace == local.namespace);
    let isolating = there.filter_map(|policy| {
        let side = match direction {
            Direction::Egress => &policy.egress,
            Direction::Ingress => &policy.ingress,
        };
        match side {
            Isolation::None => None,
            Isolation::Only(rules) => Some((policy, rules)),
        }
    });
    let Some(pod) = cluster.pods.get(local) else {
        return (isolating.count() == 0, None);
    };
    let mut verdict = (true, None);
    for (policy, rules) in isolating.filter(|(policy, _)| policy.pods.matches(&pod.labels)) {
        let mut name = RuleName {
            policy: policy.name.clone(),
            direction,
            index: None,
        };
        for (index, rule) in rules.iter().enumerate() {
            if allows(cluster, pod, direction, key, rule) {
                name.index = Some(index);
                return (true, Some(name));
            }
        }
        if verdict.0 {
            verdict = (false, Some(name));
        }
    }
    verdict
}

fn allows(cluster: &Cluster, pod: &Pod, direction: Direction, key: &FlowKey, rule: &Rule) -> bool {
    let (peer, destination) = match direction {
        Direction::Egress => (key.dst, cluster.pod_at(key.dst).map(|pod| &**pod)),
        Direction::Ingress => (key.src, Some(pod)),
    };
    let peers = match &rule.peers {
        Peers::Any => true,
        Peers::Of(peers) => peers.iter().any(|item| is(cluster, pod, item, peer)),
    };
    let ports = match &rule.ports {
        Ports::Any => true,
        Ports::Of(ports) => ports.iter().any(|port| covers(port, destination, key)),
    };
    peers && ports
}

fn is(cluster: &Cluster, pod: &Pod, item: &Peer, peer: IpAddr) -> bool {
    match item {
        Peer::Pods { namespaces, pods } => cluster.pod_at(peer).is_some_and(|peer| {
            let home = &peer.name.namespace;
            pods.matches(&peer.labels)
                && match namespaces {
                    Scope::Own => *home == pod.name.namespace,
                    Scope::Matching(selector) => selector.matches(&cluster.namespace_labels(home)),
                }
        }),
        Peer::Block { cidr, except } => {
            cidr.contains(peer) && !except.iter().any(|hole| hole.contains(peer))
        }
    }
}

fn covers(item: &PortMatch, destination: Option<&Pod>, key: &FlowKey) -> bool {
    let protocol = match item.protocol {
        Protocol::Tcp => IpProtocol::TCP,
        Protocol::Udp => IpProtocol::UDP,
        Protocol::Sctp => IpProtocol::SCTP,
    };
    let port = key.dst_port;
    protocol == key.protocol
        && match &item.port {
            PortRange::Any => true,
            PortRange::Numbers(first, last) => *first <= port && port <= *last,
            PortRange::Named(name) => destination.is_some_and(|pod| {
                pod.ports.iter().any(|known| {
                    known.name == *name && known.protocol == item.protocol && known.port == port
                })
            }),
        }
}
