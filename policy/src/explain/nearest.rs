//! Which rule comes closest to allowing a denied flow, and what keeps it from matching?
//!
//! First rules that know the peer but not the port, then those that know the port but not the
//! peer, then the rest; among the latter two, those that fail on the fewest conditions.

use super::words::{self, list};
use super::{Flow, Nearest, RuleName};
use crate::Direction;
use crate::model::{Labels, NAMESPACE_NAME, Peer, Peers, Pod, Ports, Rule, Scope, Selector};

/// The nearest of `rules`, none of which matches.
pub(super) fn of<'a>(
    flow: &Flow<'_>,
    rules: impl Iterator<Item = (RuleName, &'a Rule)>,
) -> Option<Nearest> {
    let (_, name, rule) = rules
        .map(|(name, rule)| (rank(flow, &name, rule), name, rule))
        .min_by_key(|(rank, ..)| *rank)?;
    Some(Nearest {
        why: why(flow, &name, rule),
        rule: name,
    })
}

/// Smaller is nearer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Only the port differs; first where at least the protocol does not.
    Port { other_protocol: bool },
    /// Only the peer differs.
    Peer { conditions: usize },
    /// Both differ.
    Neither { conditions: usize },
}

fn rank(flow: &Flow<'_>, name: &RuleName, rule: &Rule) -> Rank {
    if flow.peers_match(name, rule) {
        let other_protocol = match &rule.ports {
            Ports::Any => false,
            Ports::Of(items) => items
                .iter()
                .all(|item| flow.question.protocol != Some(item.protocol)),
        };
        return Rank::Port { other_protocol };
    }
    let conditions = miss(flow, name, rule).map_or(usize::MAX, |(_, miss)| miss.conditions);
    if flow.ports_match(rule) {
        Rank::Peer { conditions }
    } else {
        Rank::Neither { conditions }
    }
}

/// The end of the sentence that the rule's name begins.
fn why(flow: &Flow<'_>, name: &RuleName, rule: &Rule) -> String {
    let ports = words::ports(flow, &rule.ports);
    if flow.peers_match(name, rule) {
        return format!("allows this peer, but on {ports} only");
    }
    let way = match flow.direction {
        Direction::Egress => "to",
        Direction::Ingress => "from",
    };
    let (peers, because) = match (&rule.peers, miss(flow, name, rule)) {
        (Peers::Of(items), Some((nearest, miss))) => {
            (words::peers(items, nearest, name), miss.because)
        }
        _ => ("nobody".to_owned(), "its list of peers is empty".to_owned()),
    };
    match (&rule.ports, flow.question.protocol) {
        (Ports::Any, _) => format!("allows everything, but only {way} {peers}; {because}"),
        (Ports::Of(_), Some(protocol)) if flow.ports_match(rule) => {
            let port = flow.question.port;
            format!("allows {protocol} {port}, but only {way} {peers}; {because}")
        }
        _ => format!("allows {ports} only, and only {way} {peers}; {because}"),
    }
}

/// Why one item of `from` or `to` does not match.
struct Miss {
    conditions: usize,
    because: String,
}

/// The item that comes closest, by its place.
fn miss(flow: &Flow<'_>, name: &RuleName, rule: &Rule) -> Option<(usize, Miss)> {
    let Peers::Of(items) = &rule.peers else {
        return None;
    };
    items
        .iter()
        .map(|item| match item {
            Peer::Pods { namespaces, pods } => match &flow.peer {
                Some((pod, labels)) => pod_miss(name, namespaces, pods, pod, labels),
                None => Miss {
                    conditions: usize::MAX,
                    because: format!("{} is not a pod's address", flow.address),
                },
            },
            Peer::Block { cidr, except } => {
                let address = flow.address;
                let (conditions, because) =
                    if let Some(hole) = except.iter().find(|hole| hole.contains(address)) {
                        (1, format!("{address} is in the exception {hole}"))
                    } else if cidr.base().is_ipv4() == address.is_ipv4() {
                        (2, format!("{address} is outside of {cidr}"))
                    } else {
                        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                        (3, format!("{address} is an {family} address"))
                    };
                Miss {
                    conditions,
                    because,
                }
            }
        })
        .enumerate()
        .min_by_key(|(_, miss)| miss.conditions)
}

fn pod_miss(
    rule: &RuleName,
    namespaces: &Scope,
    selector: &Selector,
    pod: &Pod,
    labels: &Labels,
) -> Miss {
    let namespace = &pod.name.namespace;
    let mut because = Vec::new();
    let mut conditions = 0;
    match namespaces {
        Scope::Own if *namespace == rule.policy.namespace => {}
        Scope::Own => {
            conditions += 1;
            because.push(format!("{} is in namespace {namespace}", pod.name));
        }
        Scope::Matching(selector) => {
            let failing = failing(selector, labels);
            conditions += failing.len();
            let (by_name, by_label): (Vec<&str>, Vec<&str>) =
                failing.iter().partition(|key| **key == NAMESPACE_NAME);
            if !by_name.is_empty() {
                because.push(format!("{} is in namespace {namespace}", pod.name));
            }
            if !by_label.is_empty() {
                let owner = format!("namespace {namespace}");
                because.push(has(&owner, &by_label, labels));
            }
        }
    }
    let failing = failing(selector, &pod.labels);
    conditions += failing.len();
    if !failing.is_empty() {
        because.push(has(&pod.name.to_string(), &failing, &pod.labels));
    }
    Miss {
        conditions,
        because: list(&because, "and"),
    }
}

/// The keys on which the selector fails.
fn failing<'a>(selector: &'a Selector, labels: &Labels) -> Vec<&'a str> {
    selector
        .requirements
        .iter()
        .filter(|requirement| !requirement.holds(labels))
        .map(|requirement| requirement.key.as_str())
        .collect()
}

/// As in `x/b has app=db and no label tier`.
fn has(owner: &str, keys: &[&str], labels: &Labels) -> String {
    let mut facts: Vec<String> = Vec::new();
    for key in keys {
        let fact = match labels.get(*key) {
            Some(value) => format!("{key}={value}"),
            None => format!("no label {key}"),
        };
        if !facts.contains(&fact) {
            facts.push(fact);
        }
    }
    format!("{owner} has {}", list(&facts, "and"))
}
