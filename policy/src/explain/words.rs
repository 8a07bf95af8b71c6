//! How does a person call what a rule speaks of?

use super::{Flow, RuleName};
use crate::model::{
    NAMESPACE_NAME, Operator, Peer, PortMatch, PortRange, Ports, Requirement, Scope, Selector,
};

/// How many peers a sentence lists.
const PEERS: usize = 3;

/// As in `TCP 80 and UDP port dns (53 on y/b)`.
pub(super) fn ports(flow: &Flow<'_>, ports: &Ports) -> String {
    match ports {
        Ports::Any => "everything".to_owned(),
        Ports::Of(items) => {
            let items: Vec<String> = items.iter().map(|item| port(flow, item)).collect();
            list(&items, "and")
        }
    }
}

fn port(flow: &Flow<'_>, item: &PortMatch) -> String {
    let protocol = item.protocol;
    match &item.port {
        PortRange::Any => format!("any {protocol} port"),
        PortRange::Numbers(first, last) if first == last => format!("{protocol} {first}"),
        PortRange::Numbers(first, last) => format!("{protocol} {first}-{last}"),
        PortRange::Named(name) => {
            let mut numbers = flow.numbers(name, protocol);
            numbers.sort_unstable();
            numbers.dedup();
            let numbers: Vec<String> = numbers.iter().map(u16::to_string).collect();
            match flow.receiver {
                None => format!("{protocol} port {name} (which only a pod can have)"),
                Some(pod) if numbers.is_empty() => {
                    format!("{protocol} port {name} (which {} does not have)", pod.name)
                }
                Some(pod) => {
                    let numbers = list(&numbers, "and");
                    format!("{protocol} port {name} ({numbers} on {})", pod.name)
                }
            }
        }
    }
}

/// The items of `from` or `to`; the one at `nearest` and a count where there are too many.
pub(super) fn peers(items: &[Peer], nearest: usize, rule: &RuleName) -> String {
    if items.len() <= PEERS {
        let items: Vec<String> = items.iter().map(|item| peer(item, rule)).collect();
        return list(&items, "or");
    }
    let nearest = items.get(nearest).map(|item| peer(item, rule));
    format!(
        "{} or {} other peers",
        nearest.unwrap_or_default(),
        items.len() - 1
    )
}

fn peer(item: &Peer, rule: &RuleName) -> String {
    match item {
        Peer::Pods { namespaces, pods } => {
            let labels = labels(pods);
            match namespaces {
                Scope::Own => format!("pods of namespace {}{labels}", rule.policy.namespace),
                Scope::Matching(selector) => match (only_name(selector), selector) {
                    (Some(name), _) => format!("pods of namespace {name}{labels}"),
                    (None, Selector { requirements }) if requirements.is_empty() => {
                        format!("pods of any namespace{labels}")
                    }
                    (None, selector) => {
                        format!("pods{labels} of namespaces{}", self::labels(selector))
                    }
                },
            }
        }
        Peer::Block { cidr, except } if except.is_empty() => cidr.to_string(),
        Peer::Block { cidr, except } => {
            let except: Vec<String> = except.iter().map(ToString::to_string).collect();
            format!("{cidr} except {}", list(&except, "and"))
        }
    }
}

/// The namespace that a selector picks by its name alone.
fn only_name(selector: &Selector) -> Option<&str> {
    match selector.requirements.as_slice() {
        [
            Requirement {
                key,
                operator: Operator::In(values),
            },
        ] if key == NAMESPACE_NAME && values.len() == 1 => values.first().map(String::as_str),
        _ => None,
    }
}

/// A selector as `kubectl get --selector` takes it, behind `with labels`; nothing for the empty one.
fn labels(selector: &Selector) -> String {
    if selector.requirements.is_empty() {
        return String::new();
    }
    let requirements: Vec<String> = selector.requirements.iter().map(requirement).collect();
    format!(" with labels {}", requirements.join(","))
}

fn requirement(Requirement { key, operator }: &Requirement) -> String {
    let set = |values: &std::collections::BTreeSet<String>| {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        values.join(",")
    };
    match operator {
        Operator::In(values) if values.len() == 1 => format!("{key}={}", set(values)),
        Operator::In(values) => format!("{key} in ({})", set(values)),
        Operator::NotIn(values) if values.len() == 1 => format!("{key}!={}", set(values)),
        Operator::NotIn(values) => format!("{key} notin ({})", set(values)),
        Operator::Exists => key.clone(),
        Operator::DoesNotExist => format!("!{key}"),
    }
}

/// As in `a, b and c`.
pub(super) fn list(items: &[String], conjunction: &str) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} {conjunction} {last}", first.join(", ")),
    }
}
