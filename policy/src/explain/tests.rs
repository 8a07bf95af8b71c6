//! What people read, word for word.

use std::sync::Arc;

use super::*;
use crate::Change;
use crate::model::{
    Isolation, NAMESPACE_NAME, NamedPort, Operator, PortMatch, Requirement, Selector,
};

fn labels(text: &str) -> Labels {
    text.split_whitespace()
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn need(key: &str, operator: Operator) -> Requirement {
    Requirement {
        key: key.to_owned(),
        operator,
    }
}

fn with(text: &str) -> Selector {
    let requirements = labels(text)
        .into_iter()
        .map(|(key, value)| need(&key, Operator::In([value].into())))
        .collect();
    Selector { requirements }
}

fn name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectName::new(namespace, name)
}

fn pod(text: &str, pairs: &str, address: &str) -> Change {
    Change::Pod(Arc::new(Pod {
        name: name(text),
        labels: labels(pairs),
        addresses: vec![address.parse().unwrap()],
        ports: vec![NamedPort {
            name: "web".to_owned(),
            protocol: Protocol::Tcp,
            port: 8080,
        }],
    }))
}

/// Pods x/a (app=a), x/b (app=db tier=back) and y/a (app=a); y's namespace has team=y.
fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    for change in [
        Change::Namespace("x".to_owned(), Labels::new()),
        Change::Namespace("y".to_owned(), labels("team=y")),
        pod("x/a", "app=a", "10.0.0.1"),
        pod("x/b", "app=db tier=back", "10.0.0.2"),
        pod("y/a", "app=a", "10.0.0.3"),
    ] {
        cluster.apply(change);
    }
    cluster
}

/// A policy on every pod of its namespace.
fn add(cluster: &mut Cluster, text: &str, direction: Direction, rules: Vec<Rule>) {
    let (ingress, egress) = match direction {
        Direction::Egress => (Isolation::None, Isolation::Only(rules)),
        Direction::Ingress => (Isolation::Only(rules), Isolation::None),
    };
    cluster.apply(Change::Policy(Arc::new(Policy {
        name: name(text),
        pods: Selector::everything(),
        ingress,
        egress,
    })));
}

fn rule(peers: Vec<Peer>, ports: &[&str]) -> Rule {
    Rule {
        peers: if peers.is_empty() {
            Peers::Any
        } else {
            Peers::Of(peers)
        },
        ports: if ports.is_empty() {
            Ports::Any
        } else {
            Ports::Of(ports.iter().map(|text| port(text)).collect())
        },
    }
}

/// `TCP *`, `TCP 80`, `TCP 80-90` or `TCP web`.
fn port(text: &str) -> PortMatch {
    let (protocol, port) = text.split_once(' ').unwrap();
    let number = |text: &str| text.parse::<u16>().ok();
    let port = match (port, port.split_once('-')) {
        ("*", _) => PortRange::Any,
        (_, Some((first, last))) => {
            PortRange::Numbers(number(first).unwrap(), number(last).unwrap())
        }
        (text, None) => number(text).map_or_else(
            || PortRange::Named(text.to_owned()),
            |port| PortRange::Numbers(port, port),
        ),
    };
    let protocol = match protocol {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => Protocol::Sctp,
    };
    PortMatch { protocol, port }
}

fn own(pairs: &str) -> Peer {
    Peer::Pods {
        namespaces: Scope::Own,
        pods: with(pairs),
    }
}

fn pods(namespaces: Selector, pods: Selector) -> Peer {
    Peer::Pods {
        namespaces: Scope::Matching(namespaces),
        pods,
    }
}

fn block(cidr: &str, except: &[&str]) -> Peer {
    Peer::Block {
        cidr: cidr.parse().unwrap(),
        except: except.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn tcp(from: &str, to: &str, port: u16) -> Question {
    Question {
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        protocol: Some(Protocol::Tcp),
        port,
    }
}

const XA: &str = "10.0.0.1";
const XB: &str = "10.0.0.2";
const YA: &str = "10.0.0.3";
const OUTSIDE: &str = "192.0.2.1";

/// The sentence on the nearest rule of one policy `y/p` for ingress.
fn ingress(rules: Vec<Rule>, question: &Question) -> String {
    let mut cluster = cluster();
    add(&mut cluster, "y/p", Direction::Ingress, rules);
    let side = explain(&cluster, question).ingress;
    assert!(!side.allowed);
    assert_eq!(side.by, []);
    side.nearest.unwrap().to_string()
}

/// The same for a policy `x/p` and egress.
fn egress(rules: Vec<Rule>, question: &Question) -> String {
    let mut cluster = cluster();
    add(&mut cluster, "x/p", Direction::Egress, rules);
    let side = explain(&cluster, question).egress;
    assert!(!side.allowed);
    side.nearest.unwrap().to_string()
}

#[test]
fn an_unselected_pod_allows_without_a_reason() {
    let allowed = Side {
        allowed: true,
        ..Side::default()
    };
    let explanation = explain(&cluster(), &tcp(XA, YA, 80));
    assert_eq!(explanation.egress, allowed);
    assert_eq!(explanation.ingress, allowed);
    assert!(explanation.is_allowed());
}

#[test]
fn ends_that_are_no_pods_allow() {
    let mut cluster = cluster();
    add(&mut cluster, "y/p", Direction::Ingress, vec![]);
    add(&mut cluster, "y/q", Direction::Egress, vec![]);
    let out = explain(&cluster, &tcp(YA, OUTSIDE, 80));
    assert!(!out.egress.allowed && out.ingress.allowed);
    assert_eq!(
        out.ingress,
        Side {
            allowed: true,
            ..Side::default()
        }
    );
    assert_eq!(out.egress.isolated_by, [name("y/q")]);
    let into = explain(&cluster, &tcp(OUTSIDE, YA, 80));
    assert!(into.egress.allowed && !into.ingress.allowed);
    assert_eq!(into.ingress.isolated_by, [name("y/p")]);
}

#[test]
fn a_pod_reaches_itself_even_isolated() {
    let mut cluster = cluster();
    add(&mut cluster, "y/p", Direction::Ingress, vec![]);
    let explanation = explain(&cluster, &tcp(YA, YA, 80));
    assert!(explanation.is_allowed());
    assert_eq!(explanation.ingress.isolated_by, [name("y/p")]);
    assert_eq!(explanation.ingress.by, []);
    assert_eq!(explanation.ingress.nearest, None);
}

#[test]
fn every_rule_that_allows_is_named() {
    let mut cluster = cluster();
    let web = || rule(vec![], &["TCP 80"]);
    let other = || rule(vec![], &["TCP 81"]);
    add(
        &mut cluster,
        "y/q",
        Direction::Ingress,
        vec![other(), web()],
    );
    add(&mut cluster, "y/p", Direction::Ingress, vec![web(), web()]);
    add(&mut cluster, "y/r", Direction::Ingress, vec![]);
    let side = explain(&cluster, &tcp(XA, YA, 80)).ingress;
    assert!(side.allowed);
    assert_eq!(side.isolated_by, ["y/p", "y/q", "y/r"].map(name));
    let by: Vec<String> = side.by.iter().map(ToString::to_string).collect();
    assert_eq!(by, ["y/p#ingress[0]", "y/p#ingress[1]", "y/q#ingress[1]"]);
    assert_eq!(side.nearest, None);
}

#[test]
fn without_any_rule_none_is_near() {
    let mut cluster = cluster();
    add(&mut cluster, "y/p", Direction::Ingress, vec![]);
    let side = explain(&cluster, &tcp(XA, YA, 80)).ingress;
    assert!(!side.allowed);
    assert_eq!(side.nearest, None);
}

#[test]
fn the_port_differs() {
    let any = |ports: &[&str]| vec![rule(vec![], ports)];
    let question = tcp(XA, YA, 81);
    for (ports, words) in [
        (vec!["TCP 80"], "TCP 80"),
        (vec!["TCP 80", "UDP *"], "TCP 80 and any UDP port"),
        (
            vec!["TCP 82-90", "UDP 53", "SCTP 81"],
            "TCP 82-90, UDP 53 and SCTP 81",
        ),
        (vec!["TCP web"], "TCP port web (8080 on y/a)"),
        (vec!["UDP web"], "UDP port web (which y/a does not have)"),
    ] {
        assert_eq!(
            ingress(any(&ports), &question),
            format!("y/p#ingress[0] allows this peer, but on {words} only")
        );
    }
    assert_eq!(
        egress(any(&["TCP web"]), &tcp(XA, OUTSIDE, 8080)),
        "x/p#egress[0] allows this peer, but on TCP port web (which only a pod can have) only"
    );
}

#[test]
fn icmp_has_no_port() {
    let icmp = Question {
        protocol: None,
        ..tcp(XA, YA, 80)
    };
    assert_eq!(
        ingress(vec![rule(vec![], &["TCP 80"])], &icmp),
        "y/p#ingress[0] allows this peer, but on TCP 80 only"
    );
    assert_eq!(
        ingress(vec![rule(vec![own("")], &["TCP 80"])], &icmp),
        "y/p#ingress[0] allows TCP 80 only, and only from pods of namespace y; \
         x/a is in namespace x"
    );
    let mut cluster = cluster();
    add(
        &mut cluster,
        "y/p",
        Direction::Ingress,
        vec![rule(vec![], &[])],
    );
    assert!(explain(&cluster, &icmp).is_allowed());
}

#[test]
fn the_peers_labels_differ() {
    let named = |text: &str| with(&format!("{NAMESPACE_NAME}={text}"));
    let tier = |operator| Selector {
        requirements: vec![need("tier", operator)],
    };
    let values = || ["front".to_owned(), "back".to_owned()].into();
    for (peer, words) in [
        (
            pods(named("x"), with("app=web")),
            "pods of namespace x with labels app=web; x/b has app=db",
        ),
        (
            pods(named("z"), with("app=db")),
            "pods of namespace z with labels app=db; x/b is in namespace x",
        ),
        (
            pods(Selector::everything(), with("app=web tier=front")),
            "pods of any namespace with labels app=web,tier=front; \
             x/b has app=db and tier=back",
        ),
        (
            pods(with("team=y"), with("app=web zone=1")),
            "pods with labels app=web,zone=1 of namespaces with labels team=y; \
             namespace x has no label team and x/b has app=db and no label zone",
        ),
        (
            own("app=db"),
            "pods of namespace y with labels app=db; x/b is in namespace x",
        ),
        (
            pods(named("x"), tier(Operator::NotIn(values()))),
            "pods of namespace x with labels tier notin (back,front); x/b has tier=back",
        ),
        (
            pods(named("x"), tier(Operator::DoesNotExist)),
            "pods of namespace x with labels !tier; x/b has tier=back",
        ),
        (
            pods(
                named("x"),
                Selector {
                    requirements: vec![need("zone", Operator::Exists)],
                },
            ),
            "pods of namespace x with labels zone; x/b has no label zone",
        ),
    ] {
        assert_eq!(
            ingress(vec![rule(vec![peer], &["TCP 80"])], &tcp(XB, YA, 80)),
            format!("y/p#ingress[0] allows TCP 80, but only from {words}")
        );
    }
}

#[test]
fn the_address_differs() {
    for (peer, words) in [
        (
            block("192.0.2.0/24", &["192.0.2.0/28", "192.0.2.64/28"]),
            "192.0.2.0/24 except 192.0.2.0/28 and 192.0.2.64/28; \
             192.0.2.1 is in the exception 192.0.2.0/28",
        ),
        (
            block("192.0.3.0/24", &[]),
            "192.0.3.0/24; 192.0.2.1 is outside of 192.0.3.0/24",
        ),
        (block("::/0", &[]), "::/0; 192.0.2.1 is an IPv4 address"),
        (
            own(""),
            "pods of namespace x; 192.0.2.1 is not a pod's address",
        ),
    ] {
        assert_eq!(
            egress(vec![rule(vec![peer], &[])], &tcp(XA, OUTSIDE, 80)),
            format!("x/p#egress[0] allows everything, but only to {words}")
        );
    }
}

#[test]
fn many_peers_are_counted() {
    let three = vec![own("app=z"), block("192.0.3.0/24", &[]), own("tier=z")];
    assert_eq!(
        ingress(vec![rule(three, &[])], &tcp(OUTSIDE, YA, 80)),
        "y/p#ingress[0] allows everything, but only from pods of namespace y with labels app=z, \
         192.0.3.0/24 or pods of namespace y with labels tier=z; \
         192.0.2.1 is outside of 192.0.3.0/24"
    );
    let four = vec![
        own("app=1"),
        own("app=2"),
        block("192.0.3.0/24", &[]),
        own("app=4"),
    ];
    assert_eq!(
        ingress(vec![rule(four, &[])], &tcp(OUTSIDE, YA, 80)),
        "y/p#ingress[0] allows everything, but only from 192.0.3.0/24 or 3 other peers; \
         192.0.2.1 is outside of 192.0.3.0/24"
    );
}

#[test]
fn the_nearest_of_several_rules() {
    let nearest = |rules| {
        let sentence = ingress(rules, &tcp(XB, YA, 80));
        sentence.split_once(' ').unwrap().0.to_owned()
    };
    let neither = || rule(vec![own("app=db")], &["TCP 81"]);
    let far = || rule(vec![own("app=web tier=front")], &["TCP 80"]);
    let near = || rule(vec![own("app=db")], &["TCP 80"]);
    let udp = || rule(vec![], &["UDP 80"]);
    let port = || rule(vec![], &["TCP 81"]);
    assert_eq!(nearest(vec![neither(), far()]), "y/p#ingress[1]");
    assert_eq!(nearest(vec![far(), near(), near()]), "y/p#ingress[1]");
    assert_eq!(nearest(vec![near(), udp()]), "y/p#ingress[1]");
    assert_eq!(nearest(vec![near(), udp(), port()]), "y/p#ingress[2]");
    assert_eq!(nearest(vec![port(), port()]), "y/p#ingress[0]");
}
