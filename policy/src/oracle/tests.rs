//! The oracle itself, on cases whose answers stand in the documentation.

use std::sync::Arc;

use super::*;
use crate::Change;
use crate::model::{Labels, NamedPort, ObjectName};

fn labels(text: &str) -> Labels {
    text.split_whitespace()
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn with(text: &str) -> Selector {
    let requirements = labels(text)
        .into_iter()
        .map(|(key, value)| Requirement {
            key,
            operator: Operator::In([value].into()),
        })
        .collect();
    Selector { requirements }
}

fn pod(name: &str, text: &str, address: &str) -> Change {
    let (namespace, name) = name.split_once('/').unwrap();
    Change::Pod(Arc::new(Pod {
        name: ObjectName::new(namespace, name),
        labels: labels(text),
        addresses: vec![address.parse().unwrap()],
        ports: vec![NamedPort {
            name: "web".to_owned(),
            protocol: Protocol::Tcp,
            port: 8080,
        }],
    }))
}

/// Pods x/a, x/b, y/a with policies of namespace x.
fn cluster(policies: Vec<(Selector, Isolation, Isolation)>) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.apply(Change::Namespace("x".to_owned(), labels("team=x")));
    cluster.apply(Change::Namespace("y".to_owned(), labels("team=y")));
    cluster.apply(pod("x/a", "app=a", "10.0.0.1"));
    cluster.apply(pod("x/b", "app=b", "10.0.0.2"));
    cluster.apply(pod("y/a", "app=a", "10.0.0.3"));
    for (index, (pods, ingress, egress)) in policies.into_iter().enumerate() {
        cluster.apply(Change::Policy(Arc::new(Policy {
            name: ObjectName::new("x", format!("p{index}")),
            pods,
            ingress,
            egress,
        })));
    }
    cluster
}

fn rules(peers: Peers, ports: Ports) -> Isolation {
    Isolation::Only(vec![Rule { peers, ports }])
}

/// Whether TCP from one last byte to another passes.
fn tcp(cluster: &Cluster, from: u8, to: u8, port: u16) -> bool {
    let address = |last| IpAddr::from([10, 0, 0, last]);
    let question = Question {
        from: address(from),
        to: address(to),
        protocol: Some(Protocol::Tcp),
        port,
    };
    Literal.passes(cluster, &question)
}

#[test]
fn nothing_selects_nothing_is_isolated() {
    let cluster = cluster(vec![(
        with("app=z"),
        Isolation::Only(vec![]),
        Isolation::None,
    )]);
    for (from, to) in [(1, 2), (2, 1), (3, 1), (1, 9), (9, 1)] {
        assert!(tcp(&cluster, from, to, 80), "{from} {to}");
    }
}

#[test]
fn an_isolated_pod_is_closed_in_that_direction_only() {
    let cluster = cluster(vec![(
        with("app=a"),
        Isolation::Only(vec![]),
        Isolation::None,
    )]);
    assert!(!tcp(&cluster, 2, 1, 80));
    assert!(!tcp(&cluster, 9, 1, 80));
    assert!(tcp(&cluster, 1, 2, 80));
    assert!(tcp(&cluster, 1, 1, 80));
    assert!(
        tcp(&cluster, 2, 3, 80),
        "y/a is not of the policy's namespace"
    );
}

#[test]
fn both_selectors_of_one_item_must_match() {
    let peer = Peer::Pods {
        namespaces: Scope::Matching(with("team=y")),
        pods: with("app=a"),
    };
    let cluster = cluster(vec![(
        with("app=b"),
        rules(Peers::Of(vec![peer]), Ports::Any),
        Isolation::None,
    )]);
    assert!(tcp(&cluster, 3, 2, 80));
    assert!(!tcp(&cluster, 1, 2, 80));
    assert!(!tcp(&cluster, 9, 2, 80));
}

#[test]
fn a_block_covers_pods_and_its_exception_only_itself() {
    let block = |cidr: &str, except: &[&str]| Peer::Block {
        cidr: cidr.parse().unwrap(),
        except: except.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let cluster = cluster(vec![(
        Selector::everything(),
        rules(
            Peers::Of(vec![
                block("10.0.0.0/29", &["10.0.0.2/31"]),
                block("10.0.0.3/32", &[]),
            ]),
            Ports::Any,
        ),
        Isolation::None,
    )]);
    for (from, passes) in [(0, true), (2, false), (3, true), (7, true), (8, false)] {
        assert_eq!(tcp(&cluster, from, 1, 80), passes, "{from}");
    }
}

#[test]
fn a_named_port_is_the_destinations() {
    let ports = Ports::Of(vec![PortMatch {
        protocol: Protocol::Tcp,
        port: PortRange::Named("web".to_owned()),
    }]);
    let cluster = cluster(vec![(
        with("app=b"),
        Isolation::None,
        rules(Peers::Any, ports),
    )]);
    assert!(tcp(&cluster, 2, 1, 8080));
    assert!(!tcp(&cluster, 2, 1, 80));
    assert!(!tcp(&cluster, 2, 9, 8080));
}

#[test]
fn families_are_apart() {
    let v6 = |cidr: &str| cidr.parse::<Cidr>().unwrap();
    let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
    assert!(!Literal.block_has(v6("0.0.0.0/0"), mapped));
    assert!(Literal.block_has(v6("::/0"), mapped));
    assert!(!Literal.block_has(v6("::/0"), [10, 0, 0, 1].into()));
    assert!(Literal.block_has(v6("fd00:8000::/17"), "fd00:8001::1".parse().unwrap()));
    assert!(!Literal.block_has(v6("fd00:8000::/17"), "fd00:7fff::1".parse().unwrap()));
}
