//! Short words for the tests: a cluster of three pods in `x`, one in `y`, and questions.

use std::net::IpAddr;
use std::sync::Arc;

use weft_wire::{FlowKey, IpProtocol};

use crate::model::{
    Isolation, Labels, NamedPort, ObjectName, Operator, Peer, Peers, Pod, Policy, PortMatch,
    PortRange, Ports, Protocol, Requirement, Rule, Scope, Selector,
};
use crate::{Change, Direction, Engine, Verdict};

pub(super) fn labels(text: &str) -> Labels {
    let pairs = text
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

/// As `app=web`, `app!=web`, `app` or `!app`; several between blanks.
pub(super) fn selector(text: &str) -> Selector {
    let requirement = |word: &str| {
        let one = |value: &str| [value.to_owned()].into();
        let (key, operator) = if let Some((key, value)) = word.split_once("!=") {
            (key, Operator::NotIn(one(value)))
        } else if let Some((key, value)) = word.split_once('=') {
            (key, Operator::In(one(value)))
        } else if let Some(key) = word.strip_prefix('!') {
            (key, Operator::DoesNotExist)
        } else {
            (word, Operator::Exists)
        };
        Requirement {
            key: key.into(),
            operator,
        }
    };
    Selector {
        requirements: text.split_whitespace().map(requirement).collect(),
    }
}

/// A pod with `web` on TCP 8080 unless `ports` says otherwise.
pub(super) fn pod(name: &str, labelled: &str, addresses: &[&str]) -> Pod {
    let (namespace, name) = name.split_once('/').unwrap();
    Pod {
        name: ObjectName::new(namespace, name),
        labels: labels(labelled),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ports: vec![named("web", Protocol::Tcp, 8080)],
    }
}

pub(super) fn named(name: &str, protocol: Protocol, port: u16) -> NamedPort {
    NamedPort {
        name: name.into(),
        protocol,
        port,
    }
}

/// A policy of `x` for the pods `to`.
pub(super) fn policy(name: &str, to: &str, ingress: Isolation, egress: Isolation) -> Policy {
    Policy {
        name: ObjectName::new("x", name),
        pods: selector(to),
        ingress,
        egress,
    }
}

pub(super) fn rule(peers: Peers, ports: Ports) -> Rule {
    Rule { peers, ports }
}

/// One rule for all ports of some peers.
pub(super) fn from(peers: impl Into<Vec<Peer>>) -> Isolation {
    Isolation::Only(vec![rule(Peers::Of(peers.into()), Ports::Any)])
}

/// One rule for everybody's ports.
pub(super) fn ports(ports: impl Into<Vec<PortMatch>>) -> Isolation {
    Isolation::Only(vec![rule(Peers::Any, Ports::Of(ports.into()))])
}

pub(super) fn port(protocol: Protocol, port: PortRange) -> PortMatch {
    PortMatch { protocol, port }
}

pub(super) fn own(pods: &str) -> Peer {
    Peer::Pods {
        namespaces: Scope::Own,
        pods: selector(pods),
    }
}

pub(super) fn elsewhere(namespaces: &str, pods: &str) -> Peer {
    Peer::Pods {
        namespaces: Scope::Matching(selector(namespaces)),
        pods: selector(pods),
    }
}

pub(super) fn block(cidr: &str, except: &[&str]) -> Peer {
    let except = except.iter().map(|text| text.parse().unwrap());
    Peer::Block {
        cidr: cidr.parse().unwrap(),
        except: except.collect(),
    }
}

pub(super) const WEB: &str = "10.0.0.1";
pub(super) const DB: &str = "10.0.0.2";
pub(super) const OTHER: &str = "10.0.0.3";
pub(super) const FAR: &str = "10.0.1.1";
pub(super) const OUT: &str = "8.8.8.8";

/// The engine of one node, on which `x/web` lives.
pub(super) struct Node(pub(super) Engine);

impl Node {
    /// With these policies.
    pub(super) fn new(policies: impl IntoIterator<Item = Policy>) -> Self {
        let mut node = Self(Engine::new(3));
        node.0.enforce(&web());
        node.say(Change::Namespace("y".into(), labels("team=y")));
        for pod in [
            pod("x/web", "app=web", &[WEB, "fd00::1"]),
            pod("x/db", "app=db tier=1", &[DB, "fd00::2"]),
            pod("x/other", "tier=2", &[OTHER]),
            pod("y/far", "app=web", &[FAR, "fd00:0:0:1::1"]),
        ] {
            node.say(Change::Pod(Arc::new(pod)));
        }
        for policy in policies {
            node.say(Change::Policy(Arc::new(policy)));
        }
        node
    }

    pub(super) fn say(&mut self, change: Change) {
        self.0.apply(change);
    }

    pub(super) fn verdict(
        &mut self,
        direction: Direction,
        peer: &str,
        to: (IpProtocol, u16),
    ) -> (Verdict, String) {
        let peer: IpAddr = peer.parse().unwrap();
        let own: IpAddr = if peer.is_ipv4() { WEB } else { "fd00::1" }
            .parse()
            .unwrap();
        let (src, dst) = match direction {
            Direction::Egress => (own, peer),
            Direction::Ingress => (peer, own),
        };
        let (protocol, dst_port) = to;
        let key = FlowKey {
            src,
            dst,
            protocol,
            src_port: 9,
            dst_port,
        };
        let table = self.0.table();
        let verdict = table.decide(direction, self.0.set_of(&web()), &key);
        let (Verdict::Allow(rule) | Verdict::Deny(rule)) = verdict;
        (
            verdict,
            table
                .rule(rule)
                .map(ToString::to_string)
                .unwrap_or_default(),
        )
    }

    /// Whether TCP from a peer may enter `x/web`.
    pub(super) fn enters(&mut self, peer: &str, port: u16) -> bool {
        self.verdict(Direction::Ingress, peer, (IpProtocol::TCP, port))
            .0
            .is_allowed()
    }

    /// Whether TCP to a peer may leave `x/web`.
    pub(super) fn leaves(&mut self, peer: &str, port: u16) -> bool {
        self.verdict(Direction::Egress, peer, (IpProtocol::TCP, port))
            .0
            .is_allowed()
    }

    /// Who of all may enter, on TCP 80.
    pub(super) fn guests(&mut self) -> Vec<&'static str> {
        let all = [DB, OTHER, FAR, OUT];
        all.into_iter()
            .filter(|peer| self.enters(peer, 80))
            .collect()
    }
}

pub(super) fn web() -> ObjectName {
    ObjectName::new("x", "web")
}
