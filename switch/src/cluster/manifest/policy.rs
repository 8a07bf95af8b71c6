//! What does a NetworkPolicy say?
//!
//! Every field is read or refused: a word that is not understood would make the policy another
//! than the one written. The checks are those of the API server (pkg/apis/networking/validation),
//! and stricter where a slip would allow more than meant: an empty list item, an IPv4-mapped
//! range. A field with nothing behind it is as if it were not there, as Kubernetes reads it, and
//! is told.

use std::net::IpAddr;

use weft_policy::Cidr;
use weft_policy::cidr::masked;
use weft_policy::model::{
    Isolation, ObjectName, Peer, Peers, Policy, PortMatch, PortRange, Ports, Protocol, Rule, Scope,
    Selector,
};

use super::labels::{required, says_nothing, selector};
use super::reader::{Reader, Spot};
use super::tree::Value;

const SPEC: &[&str] = &["podSelector", "ingress", "egress", "policyTypes"];
const PORT: &[&str] = &["port", "endPort", "protocol"];
const PEER: &[&str] = &["podSelector", "namespaceSelector", "ipBlock"];
const BLOCK: &[&str] = &["cidr", "except"];

/// Reads the policy `name`, whose `spec` may be absent. If this adds errors, what is returned
/// instead isolates whatever the policy might isolate and allows nothing.
pub(super) fn policy(reader: &mut Reader, name: ObjectName, spec: Option<&Spot<'_>>) -> Policy {
    let before = reader.errors.len();
    let mut policy = Policy {
        name,
        pods: Selector::everything(),
        ingress: Isolation::Only(Vec::new()),
        egress: Isolation::None,
    };
    let Some(spec) = spec else {
        return policy;
    };
    if !reader.is_map(spec) {
        policy.egress = Isolation::Only(Vec::new());
        return policy;
    }
    let pods = pods(reader, spec);
    let pods_are_good = reader.errors.len() == before;
    let at_types = reader.errors.len();
    reader.only(spec, SPEC);
    let types = types(reader, spec);
    let types_are_good = reader.errors.len() == at_types;
    let ingress = rules(reader, spec, "ingress", "from");
    let egress = rules(reader, spec, "egress", "to");
    let (ingress_counts, egress_counts) = match types {
        Some(types) => types,
        // The default: the other direction only if it has rules.
        None => (true, spec.field("egress").is_some_and(|e| !is_empty(&e))),
    };
    if reader.errors.len() == before {
        told_of_unused(reader, spec, (ingress_counts, egress_counts));
        policy.pods = pods;
        policy.ingress = isolation(ingress_counts, ingress);
        policy.egress = isolation(egress_counts, egress);
    } else {
        if pods_are_good {
            policy.pods = pods;
        }
        policy.ingress = isolation(ingress_counts || !types_are_good, Vec::new());
        policy.egress = isolation(egress_counts || !types_are_good, Vec::new());
    }
    policy
}

fn isolation(counts: bool, rules: Vec<Rule>) -> Isolation {
    if counts {
        Isolation::Only(rules)
    } else {
        Isolation::None
    }
}

const fn is_empty(spot: &Spot<'_>) -> bool {
    matches!(&spot.tree.value, Value::List(items) if items.is_empty())
}

/// The API server takes an absent selector for an empty one.
fn pods(reader: &mut Reader, spec: &Spot<'_>) -> Selector {
    if let Some(spot) = spec.field("podSelector") {
        return selector(reader, &spot);
    }
    let at = spec
        .written("podSelector")
        .map_or_else(|| spec.line(), |s| s.line());
    let field = "spec.podSelector";
    let what = "is absent, so the policy selects every pod of its namespace; write podSelector: \
                {} to say so";
    reader.notice_at(at, field, what);
    Selector::everything()
}

/// Whether ingress and egress are among `policyTypes`; none where those are not given.
fn types(reader: &mut Reader, spec: &Spot<'_>) -> Option<(bool, bool)> {
    says_nothing(
        reader,
        spec,
        "policyTypes",
        "Ingress, and Egress if there are egress rules",
    );
    let field = spec.field("policyTypes")?;
    if is_empty(&field) {
        return None;
    }
    let items = reader.items(&field);
    if items.len() > 2 {
        reader.error(&field, "has more than two items; write [Ingress, Egress]");
    }
    let mut types = (false, false);
    for item in items {
        match reader.text(&item) {
            Some("Ingress") => types.0 = true,
            Some("Egress") => types.1 = true,
            Some(other) => reader.error(&item, format!("{other:?} is not Ingress or Egress")),
            None => {}
        }
    }
    Some(types)
}

/// Rules of a direction that `policyTypes` leaves out have no effect.
fn told_of_unused(reader: &mut Reader, spec: &Spot<'_>, (ingress, egress): (bool, bool)) {
    for (name, word, counts) in [
        ("ingress", "Ingress", ingress),
        ("egress", "Egress", egress),
    ] {
        if let Some(rules) = spec.field(name)
            && !counts
            && !is_empty(&rules)
        {
            let what = format!("has no effect, because policyTypes does not list {word}");
            reader.notice(&rules, what);
        }
    }
}

fn rules(reader: &mut Reader, spec: &Spot<'_>, name: &str, peers: &str) -> Vec<Rule> {
    says_nothing(reader, spec, name, "no rule");
    let Some(field) = spec.field(name) else {
        return Vec::new();
    };
    let items = reader.items(&field);
    items.iter().map(|item| rule(reader, item, peers)).collect()
}

fn rule(reader: &mut Reader, spot: &Spot<'_>, name: &str) -> Rule {
    let mut rule = Rule {
        peers: Peers::Any,
        ports: Ports::Any,
    };
    if is_nothing(reader, spot, "write {} for a rule that allows everything") {
        return rule;
    }
    if !reader.is_map(spot) {
        return rule;
    }
    reader.only(spot, &[name, "ports"]);
    says_nothing(reader, spot, name, "every address is allowed");
    says_nothing(
        reader,
        spot,
        "ports",
        "every port of every protocol is allowed",
    );
    if let Some(peers) = spot.field(name) {
        let items = reader.items(&peers);
        if is_empty(&peers) {
            reader.notice(&peers, "is an empty list: every address is allowed");
        } else {
            let peers = items.iter().filter_map(|item| peer(reader, item));
            rule.peers = Peers::Of(peers.collect());
        }
    }
    if let Some(ports) = spot.field("ports") {
        let items = reader.items(&ports);
        if is_empty(&ports) {
            let what = "is an empty list: every port of every protocol is allowed";
            reader.notice(&ports, what);
        } else {
            let ports = items.iter().filter_map(|item| port(reader, item));
            rule.ports = Ports::Of(ports.collect());
        }
    }
    rule
}

/// A list item with nothing behind its '-' would be taken for an empty one, which allows most.
fn is_nothing(reader: &mut Reader, spot: &Spot<'_>, fix: &str) -> bool {
    let is = matches!(spot.tree.value, Value::Null);
    if is {
        reader.error(spot, format!("says nothing; {fix}, or remove the '-'"));
    }
    is
}

fn peer(reader: &mut Reader, spot: &Spot<'_>) -> Option<Peer> {
    const FORM: &str = "write podSelector, namespaceSelector or ipBlock";
    if is_nothing(reader, spot, FORM) || !reader.is_map(spot) {
        return None;
    }
    let before = reader.errors.len();
    reader.only(spot, PEER);
    says_nothing(reader, spot, "podSelector", "all pods of the namespaces");
    says_nothing(
        reader,
        spot,
        "namespaceSelector",
        "the policy's own namespace",
    );
    says_nothing(reader, spot, "ipBlock", "no range");
    let pods = spot.field("podSelector");
    let namespaces = spot.field("namespaceSelector");
    let range = spot.field("ipBlock");
    match (&pods, &namespaces, &range) {
        (None, None, None) => {
            if reader.errors.len() == before {
                reader.error(spot, format!("selects nothing; {FORM}"));
            }
            None
        }
        (None, None, Some(range)) => block(reader, range),
        (_, _, Some(range)) => {
            let what = "cannot stand beside a selector; make it an item of its own";
            reader.error(range, what);
            None
        }
        _ => Some(Peer::Pods {
            namespaces: namespaces.map_or(Scope::Own, |s| Scope::Matching(selector(reader, &s))),
            pods: pods.map_or_else(Selector::everything, |s| selector(reader, &s)),
        }),
    }
}

fn block(reader: &mut Reader, spot: &Spot<'_>) -> Option<Peer> {
    if !reader.is_map(spot) {
        return None;
    }
    reader.only(spot, BLOCK);
    says_nothing(reader, spot, "except", "nothing is left out of the range");
    let range = required(reader, spot, "cidr");
    let range = range.and_then(|range| cidr(reader, &range));
    let mut holes = Vec::new();
    if let Some(except) = spot.field("except") {
        for item in reader.items(&except) {
            let Some(hole) = cidr(reader, &item) else {
                continue;
            };
            match range {
                Some(range) if !is_within(hole, range) => {
                    let what = format!("{hole} does not lie within {range}, smaller than it");
                    reader.error(&item, what);
                }
                _ => holes.push(hole),
            }
        }
    }
    Some(Peer::Block {
        cidr: range?,
        except: holes,
    })
}

/// Whether a hole leaves something of the range, and nothing of it lies outside.
fn is_within(hole: Cidr, range: Cidr) -> bool {
    let same_family = hole.base().is_ipv4() == range.base().is_ipv4();
    same_family && hole.length() > range.length() && range.contains(hole.base())
}

/// Host bits are cut off, as the API server does, and told.
fn cidr(reader: &mut Reader, spot: &Spot<'_>) -> Option<Cidr> {
    let text = reader.text(spot)?;
    let Some((address, length)) = parts(text) else {
        let what = format!("{text:?} is not a range, such as 10.0.0.0/8 or fd00::/8");
        reader.error(spot, what);
        return None;
    };
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        let what = format!("{text} is an IPv4-mapped range; write it as IPv4, such as {v4}/32");
        reader.error(spot, what);
        return None;
    }
    let base = masked(address, length);
    let Ok(cidr) = Cidr::new(base, length) else {
        let what = format!("{text} has a prefix longer than the address");
        reader.error(spot, what);
        return None;
    };
    if base != address {
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let what = format!(
            "{text} has host bits set and is read as {cidr}; write that, or {address}/{whole} for \
             the one address"
        );
        reader.notice(spot, what);
    }
    Some(cidr)
}

/// Address and prefix length, in their one spelling.
fn parts(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let plain = length.bytes().all(|b| b.is_ascii_digit());
    let plain = plain && (length == "0" || !length.starts_with('0'));
    let length = length.parse().ok().filter(|_| plain)?;
    Some((address.parse().ok()?, length))
}

fn port(reader: &mut Reader, spot: &Spot<'_>) -> Option<PortMatch> {
    let all = "write {protocol: TCP} for all ports of a protocol";
    if is_nothing(reader, spot, all) || !reader.is_map(spot) {
        return None;
    }
    reader.only(spot, PORT);
    says_nothing(reader, spot, "port", "all ports of the protocol");
    says_nothing(reader, spot, "endPort", "the port alone");
    says_nothing(reader, spot, "protocol", "TCP");
    let before = reader.errors.len();
    let protocol = spot.field("protocol");
    let protocol = protocol.map_or(Some(Protocol::Tcp), |spot| protocol_of(reader, &spot));
    let port = match spot.field("port") {
        None => None,
        Some(field) => number_or_name(reader, &field),
    };
    if reader.errors.len() > before {
        return None;
    }
    let end = spot.field("endPort");
    let range = match (port, end) {
        (port, None) => port.unwrap_or(PortRange::Any),
        (None, Some(end)) => {
            reader.error(
                &end,
                "needs a port to begin at; write port: 8000, for example",
            );
            return None;
        }
        (Some(PortRange::Numbers(first, _)), Some(end)) => {
            let last = reader.port(&end)?;
            if last < first {
                reader.error(&end, format!("{last} is below port, which is {first}"));
                return None;
            }
            PortRange::Numbers(first, last)
        }
        (Some(_), Some(end)) => {
            reader.error(&end, "needs a port that is a number, not a name");
            return None;
        }
    };
    Some(PortMatch {
        protocol: protocol?,
        port: range,
    })
}

/// A protocol, by the words Kubernetes has for it.
pub(super) fn protocol_of(reader: &mut Reader, spot: &Spot<'_>) -> Option<Protocol> {
    match reader.text(spot)? {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        other => {
            let upper = other.to_ascii_uppercase();
            let meant = match upper.as_str() {
                "TCP" | "UDP" | "SCTP" => format!("; write {upper}"),
                _ => "; write TCP, UDP or SCTP".into(),
            };
            reader.error(spot, format!("{other:?} is not a protocol{meant}"));
            None
        }
    }
}

fn number_or_name(reader: &mut Reader, spot: &Spot<'_>) -> Option<PortRange> {
    let Value::Text(name) = &spot.tree.value else {
        let port = reader.port(spot)?;
        return Some(PortRange::Numbers(port, port));
    };
    if name.parse::<u64>().is_ok() {
        let what = format!("{name:?} in quotes is the name of a port; write the number {name}");
        reader.error(spot, what);
    } else if is_port_name(name) {
        return Some(PortRange::Named(name.clone()));
    } else {
        let what = format!(
            "{name:?} is not a port's name: at most 15 lower-case letters, digits and single \
             '-', at least one letter"
        );
        reader.error(spot, what);
    }
    None
}

/// RFC 6335, section 5.1, in lower case.
fn is_port_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    name.len() <= 15
        && name.bytes().all(inner)
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.contains("--")
        && !name.starts_with('-')
        && !name.ends_with('-')
}
