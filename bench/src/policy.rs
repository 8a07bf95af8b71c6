//! A cluster under policy, as large as wanted: namespaces, pods that are all different, policies
//! that speak of them by label, by name of port and by block.
//!
//! Names and numbers follow from the counts alone, so that every run compiles the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weft_policy::model::{
    Isolation, Labels, NamedPort, ObjectName, Operator, Peer, Peers, Pod, Policy, PortMatch,
    PortRange, Ports, Protocol, Requirement, Rule, Scope, Selector,
};
use weft_policy::{Change, Cidr, Engine};
use weft_wire::{FlowKey, IpProtocol};

/// How many of everything.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Namespaces.
    pub namespaces: u16,
    /// Pods in each, every one with labels of its own.
    pub pods: u16,
    /// Policies in each.
    pub policies: u16,
    /// Pods of this node.
    pub local: u16,
}

impl Scale {
    /// 10,000 pods, 1,000 policies, 110 pods of this node.
    pub const FULL: Self = Self {
        namespaces: 100,
        pods: 100,
        policies: 10,
        local: 110,
    };
    /// As a test has the time for.
    pub const SMALL: Self = Self {
        namespaces: 10,
        pods: 20,
        policies: 5,
        local: 20,
    };

    /// Everything there is, as changes to an empty cluster.
    #[must_use]
    pub fn changes(self) -> Vec<Change> {
        let mut changes = Vec::new();
        for namespace in 0..self.namespaces {
            changes.push(Change::Namespace(home(namespace), group(namespace)));
            for number in 0..self.pods {
                changes.push(Change::Pod(Arc::new(pod(namespace, number))));
            }
            for number in 0..self.policies {
                changes.push(Change::Policy(Arc::new(policy(namespace, number))));
            }
        }
        changes
    }

    /// The pods of this node, spread over all namespaces.
    #[must_use]
    pub fn locals(self) -> Vec<ObjectName> {
        (0..self.local)
            .map(|place| pod(place % self.namespaces, place / self.namespaces).name)
            .collect()
    }

    /// An engine that knows it all and has compiled nothing yet.
    #[must_use]
    pub fn engine(self) -> Engine {
        let mut engine = Engine::new(0x5eed);
        for change in self.changes() {
            engine.apply(change);
        }
        for name in self.locals() {
            engine.enforce(&name);
        }
        engine
    }
}

fn home(namespace: u16) -> String {
    format!("team-{namespace}")
}

const GROUPS: u16 = 8;
const APPS: u16 = 10;

fn group(namespace: u16) -> Labels {
    [("group".to_owned(), (namespace % GROUPS).to_string())].into()
}

/// One pod; no other has its labels.
#[must_use]
pub fn pod(namespace: u16, number: u16) -> Pod {
    let labels = [
        ("app", (number % APPS).to_string()),
        ("version", (number / APPS).to_string()),
        (
            "pod-template-hash",
            format!("{:08x}", u32::from(number) * 2_654_435),
        ),
    ];
    Pod {
        name: ObjectName::new(home(namespace), format!("pod-{number}")),
        labels: labels
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        addresses: addresses(namespace, number).into(),
        ports: vec![NamedPort {
            name: "web".to_owned(),
            protocol: Protocol::Tcp,
            port: 8000 + number % 4,
        }],
    }
}

/// Where a pod is.
#[must_use]
pub fn addresses(namespace: u16, number: u16) -> [IpAddr; 2] {
    let [high, low] = namespace.to_be_bytes();
    let [_, last] = number.to_be_bytes();
    [
        Ipv4Addr::new(10, 100 + high, low, last).into(),
        Ipv6Addr::new(0xfd00, 0x10, namespace, 0, 0, 0, 0, number).into(),
    ]
}

fn label(key: &str, value: u16) -> Selector {
    Selector {
        requirements: vec![Requirement {
            key: key.to_owned(),
            operator: Operator::In([value.to_string()].into()),
        }],
    }
}

fn tcp(port: PortRange) -> PortMatch {
    PortMatch {
        protocol: Protocol::Tcp,
        port,
    }
}

fn cidr(base: impl Into<IpAddr>, length: u8) -> Cidr {
    Cidr::new(base.into(), length).expect("the host bits are zero")
}

/// One policy: both directions, of two of the ten apps; peers in an eighth of all namespaces, in
/// the own one, and outside.
#[must_use]
pub fn policy(namespace: u16, number: u16) -> Policy {
    let apps = [number % APPS, (number + 3) % APPS];
    let elsewhere = |app: u16| Peer::Pods {
        namespaces: Scope::Matching(label("group", (namespace + number) % GROUPS)),
        pods: label("app", app % APPS),
    };
    let own = Peer::Pods {
        namespaces: Scope::Own,
        pods: label("app", (number + 1) % APPS),
    };
    let [_, low] = namespace.to_be_bytes();
    let [_, third] = number.to_be_bytes();
    let outside = Peer::Block {
        cidr: cidr(Ipv4Addr::new(100, 64 + third, low, 0), 24),
        except: vec![cidr(Ipv4Addr::new(100, 64 + third, low, 128), 26)],
    };
    let rule = |peers, ports| Rule {
        peers: Peers::Of(peers),
        ports: Ports::Of(ports),
    };
    let port = 9000 + number * 10;
    Policy {
        name: ObjectName::new(home(namespace), format!("policy-{number}")),
        pods: Selector {
            requirements: vec![Requirement {
                key: "app".to_owned(),
                operator: Operator::In(apps.map(|app| app.to_string()).into()),
            }],
        },
        ingress: Isolation::Only(vec![
            rule(
                vec![elsewhere(number), elsewhere(number + 4), own.clone()],
                vec![
                    tcp(PortRange::Numbers(port, port + 5)),
                    tcp(PortRange::Named("web".to_owned())),
                ],
            ),
            rule(
                vec![outside.clone()],
                vec![tcp(PortRange::Numbers(443, 443))],
            ),
        ]),
        egress: Isolation::Only(vec![
            rule(
                vec![elsewhere(number + 1), elsewhere(number + 5), own],
                vec![
                    tcp(PortRange::Numbers(port, port + 5)),
                    tcp(PortRange::Named("web".to_owned())),
                ],
            ),
            rule(vec![outside], vec![tcp(PortRange::Any)]),
        ]),
    }
}

/// The first packet of a TCP connection.
#[must_use]
pub const fn connect(src: IpAddr, dst: IpAddr, dst_port: u16) -> FlowKey {
    FlowKey {
        src,
        dst,
        protocol: IpProtocol::TCP,
        src_port: 40_000,
        dst_port,
    }
}
