//! What does a cluster look like on paper? Manifests as people and machines write them: in block
//! style or as JSON, with defaults written out or left out.

use std::fmt::Write;
use std::net::IpAddr;

use arbitrary::Unstructured;
use weft_policy::model::{
    Isolation, Labels, Operator, Peer, Peers, Pod, Policy, PortMatch, PortRange, Ports, Protocol,
    Requirement, Rule, Scope, Selector,
};

use super::things::{below, chance};

/// A YAML value.
#[derive(Clone, Debug)]
enum Value {
    Text(String),
    Number(u16),
    List(Vec<Self>),
    Map(Vec<(&'static str, Self)>),
    /// A map whose keys are not ours.
    Labels(Labels),
}

use Value::{List, Map, Number, Text};

fn text(text: impl ToString) -> Value {
    Text(text.to_string())
}

/// A namespace.
pub(super) fn namespace(u: &mut Unstructured<'_>, name: &str, labels: &Labels) -> String {
    let mut metadata = vec![("name", text(name))];
    add_labels(u, &mut metadata, labels);
    write(u, &object("v1", "Namespace", metadata, Vec::new()))
}

/// A pod; one without addresses has finished, and may still show those it had.
pub(super) fn pod(u: &mut Unstructured<'_>, pod: &Pod, had: &[IpAddr]) -> String {
    let mut metadata = vec![
        ("namespace", text(&pod.name.namespace)),
        ("name", text(&pod.name.name)),
    ];
    add_labels(u, &mut metadata, &pod.labels);
    let ports: Vec<Value> = pod
        .ports
        .iter()
        .map(|named| {
            let mut port = vec![
                ("name", text(&named.name)),
                ("containerPort", Number(named.port)),
            ];
            add_protocol(u, &mut port, named.protocol);
            Map(port)
        })
        .collect();
    let (first, second) = ports.split_at(usize::from(below(u, 5)).min(ports.len()));
    let containers = [first, second]
        .map(|ports| Map(vec![("name", text("c")), ("ports", List(ports.to_vec()))]));
    let spec = Map(vec![("containers", List(containers.to_vec()))]);
    let addresses = if pod.addresses.is_empty() {
        had
    } else {
        &pod.addresses
    };
    let phase = match (pod.addresses.is_empty(), chance(u, 8)) {
        (true, true) => "Succeeded",
        (true, false) => "Failed",
        (false, true) => "Running",
        (false, false) => "Pending",
    };
    let ips = addresses.iter().map(|ip| Map(vec![("ip", text(ip))]));
    let status = Map(vec![
        ("phase", text(phase)),
        ("podIPs", List(ips.collect())),
    ]);
    let rest = vec![("spec", spec), ("status", status)];
    write(u, &object("v1", "Pod", metadata, rest))
}

/// A policy.
pub(super) fn policy(u: &mut Unstructured<'_>, policy: &Policy) -> String {
    let metadata = vec![
        ("namespace", text(&policy.name.namespace)),
        ("name", text(&policy.name.name)),
    ];
    let mut spec = Vec::new();
    if !policy.pods.requirements.is_empty() || chance(u, 12) {
        spec.push(("podSelector", selector(u, &policy.pods)));
    }
    // Every policy is about ingress, and about egress if it has egress rules.
    let is_default =
        policy.ingress.isolates() && policy.egress.isolates() != policy.egress.rules().is_empty();
    let types = !is_default || chance(u, 8);
    if types {
        let types = [("Ingress", &policy.ingress), ("Egress", &policy.egress)];
        let types = types.into_iter().filter(|(_, side)| side.isolates());
        spec.push((
            "policyTypes",
            List(types.map(|(name, _)| text(name)).collect()),
        ));
    }
    for (name, side, peers) in [
        ("ingress", &policy.ingress, "from"),
        ("egress", &policy.egress, "to"),
    ] {
        match side {
            // Without effect, as its type is left out.
            Isolation::None if types && chance(u, 4) => {
                spec.push((name, List(vec![Map(Vec::new())])));
            }
            Isolation::None => {}
            Isolation::Only(rules) if rules.is_empty() && chance(u, 8) => {}
            Isolation::Only(rules) => {
                let rules = rules.iter().map(|one| rule(u, one, peers)).collect();
                spec.push((name, List(rules)));
            }
        }
    }
    let rest = vec![("spec", Map(spec))];
    write(
        u,
        &object("networking.k8s.io/v1", "NetworkPolicy", metadata, rest),
    )
}

fn object(
    version: &str,
    kind: &str,
    metadata: Vec<(&'static str, Value)>,
    rest: Vec<(&'static str, Value)>,
) -> Value {
    let mut object = vec![
        ("apiVersion", text(version)),
        ("kind", text(kind)),
        ("metadata", Map(metadata)),
    ];
    object.extend(rest);
    Map(object)
}

fn add_labels(u: &mut Unstructured<'_>, to: &mut Vec<(&'static str, Value)>, labels: &Labels) {
    if !labels.is_empty() || chance(u, 8) {
        to.push(("labels", Value::Labels(labels.clone())));
    }
}

fn add_protocol(u: &mut Unstructured<'_>, to: &mut Vec<(&'static str, Value)>, protocol: Protocol) {
    if protocol != Protocol::Tcp || chance(u, 8) {
        to.push(("protocol", text(protocol)));
    }
}

fn rule(u: &mut Unstructured<'_>, rule: &Rule, name: &'static str) -> Value {
    let mut map = Vec::new();
    match &rule.peers {
        Peers::Any if chance(u, 8) => map.push((name, List(Vec::new()))),
        Peers::Any => {}
        Peers::Of(peers) => {
            let peers = peers.iter().map(|one| peer(u, one)).collect();
            map.push((name, List(peers)));
        }
    }
    match &rule.ports {
        Ports::Any if chance(u, 8) => map.push(("ports", List(Vec::new()))),
        Ports::Any => {}
        Ports::Of(ports) => {
            let ports = ports.iter().map(|one| port(u, one)).collect();
            map.push(("ports", List(ports)));
        }
    }
    Map(map)
}

fn peer(u: &mut Unstructured<'_>, peer: &Peer) -> Value {
    let mut map = Vec::new();
    match peer {
        Peer::Pods { namespaces, pods } => {
            if let Scope::Matching(namespaces) = namespaces {
                map.push(("namespaceSelector", selector(u, namespaces)));
            }
            let is_implied = !map.is_empty() && pods.requirements.is_empty();
            if !is_implied || chance(u, 8) {
                map.push(("podSelector", selector(u, pods)));
            }
        }
        Peer::Block { cidr, except } => {
            let mut block = vec![("cidr", text(cidr))];
            if !except.is_empty() || chance(u, 8) {
                block.push(("except", List(except.iter().map(text).collect())));
            }
            map.push(("ipBlock", Map(block)));
        }
    }
    Map(map)
}

fn port(u: &mut Unstructured<'_>, item: &PortMatch) -> Value {
    let mut map = Vec::new();
    add_protocol(u, &mut map, item.protocol);
    match &item.port {
        PortRange::Any => {}
        PortRange::Named(name) => map.push(("port", text(name))),
        PortRange::Numbers(first, last) => {
            map.push(("port", Number(*first)));
            if first != last || chance(u, 8) {
                map.push(("endPort", Number(*last)));
            }
        }
    }
    Map(map)
}

/// One value asked for may stand among the labels, once for each key.
fn selector(u: &mut Unstructured<'_>, selector: &Selector) -> Value {
    let mut labels = Labels::new();
    let mut expressions = Vec::new();
    for requirement in &selector.requirements {
        match (&requirement.operator, labels.contains_key(&requirement.key)) {
            (Operator::In(values), false) if values.len() == 1 && chance(u, 8) => {
                let value = values.first().cloned().unwrap_or_default();
                labels.insert(requirement.key.clone(), value);
            }
            _ => expressions.push(expression(requirement)),
        }
    }
    let mut map = Vec::new();
    if !labels.is_empty() {
        map.push(("matchLabels", Value::Labels(labels)));
    }
    if !expressions.is_empty() {
        map.push(("matchExpressions", List(expressions)));
    }
    Map(map)
}

fn expression(requirement: &Requirement) -> Value {
    let (operator, values) = match &requirement.operator {
        Operator::In(values) => ("In", Some(values)),
        Operator::NotIn(values) => ("NotIn", Some(values)),
        Operator::Exists => ("Exists", None),
        Operator::DoesNotExist => ("DoesNotExist", None),
    };
    let mut map = vec![
        ("key", text(&requirement.key)),
        ("operator", text(operator)),
    ];
    if let Some(values) = values {
        map.push(("values", List(values.iter().map(text).collect())));
    }
    Map(map)
}

fn write(u: &mut Unstructured<'_>, value: &Value) -> String {
    let mut out = String::new();
    if chance(u, 8) {
        flow(&mut out, value);
    } else {
        block(&mut out, value, 0);
    }
    out.push('\n');
    out
}

/// As JSON.
fn flow(out: &mut String, value: &Value) {
    let keyed = |out: &mut String, key: &str, first: bool| {
        let comma = if first { "" } else { "," };
        let _ = write!(out, "{comma}{key:?}:");
    };
    match value {
        Text(text) => drop(write!(out, "{text:?}")),
        Number(number) => drop(write!(out, "{number}")),
        List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                flow(out, item);
            }
            out.push(']');
        }
        Map(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                keyed(out, key, index == 0);
                flow(out, value);
            }
            out.push('}');
        }
        Value::Labels(labels) => {
            out.push('{');
            for (index, (key, value)) in labels.iter().enumerate() {
                keyed(out, key, index == 0);
                let _ = write!(out, "{value:?}");
            }
            out.push('}');
        }
    }
}

/// As `kubectl get -o yaml`, the cursor behind `key:` or `-`.
fn block(out: &mut String, value: &Value, depth: usize) {
    match value {
        Map(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let _ = write!(out, "\n{:depth$}{key}: ", "");
                block(out, value, depth + 2);
            }
        }
        List(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(out, "\n{:depth$}- ", "");
                block(out, item, depth + 2);
            }
        }
        Value::Labels(labels) if !labels.is_empty() => {
            for (key, value) in labels {
                let _ = write!(out, "\n{:depth$}{key}: {value:?}", "");
            }
        }
        Text(text) if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => out.push_str(text),
        empty_or_scalar => flow(out, empty_or_scalar),
    }
}
