//! Where do a selector and the pods it selects meet?
//!
//! Owns the keys: a selector waits under one label that it requires, a pod answers to all of its
//! labels, so that a new one of either kind meets few of the other. A key is a hash; whether a
//! selector matches is always asked of the labels.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

use crate::model::{Labels, Operator, Pod, Selector};

/// The pods of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) namespaces: Namespaces,
    pub(super) pods: Selector,
}

/// Where they live.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Namespaces {
    Named(String),
    Matching(Selector),
}

impl Wanted {
    pub(super) fn matches(&self, pod: &Pod, namespace: &Labels) -> bool {
        let there = match &self.namespaces {
            Namespaces::Named(name) => *name == pod.name.namespace,
            Namespaces::Matching(selector) => selector.matches(namespace),
        };
        there && self.pods.matches(&pod.labels)
    }
}

/// What a key is made of.
#[derive(Clone, Copy, Hash)]
enum Kind<'a> {
    Any,
    Namespace(&'a str),
    NamespaceLabel(&'a str, &'a str),
    Pod(&'a str, &'a str),
    PodOf(&'a str, &'a str, &'a str),
}

fn key(kind: Kind<'_>) -> u64 {
    FixedState::default().hash_one(kind)
}

/// Every key under which a selector of such a pod may wait.
pub(super) fn pod_keys(pod: &Pod, namespace: Option<&Labels>) -> Vec<u64> {
    let home = pod.name.namespace.as_str();
    let labels = pod.labels.iter();
    let labels =
        labels.flat_map(|(name, value)| [Kind::Pod(name, value), Kind::PodOf(home, name, value)]);
    let namespace = namespace.into_iter().flatten();
    let namespace = namespace.map(|(name, value)| Kind::NamespaceLabel(name, value));
    let mut keys: Vec<u64> = labels
        .chain(namespace)
        .chain([Kind::Any, Kind::Namespace(home)])
        .map(key)
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The key that all pods of a namespace have.
pub(super) fn namespace_key(home: &str) -> u64 {
    key(Kind::Namespace(home))
}

/// The keys one of which every pod has that `wanted` matches; the rarer sort is preferred.
/// None if it matches nothing.
pub(super) fn selector_keys(wanted: &Wanted) -> Vec<u64> {
    let pod = required(&wanted.pods);
    let mut keys: Vec<u64> = match (&wanted.namespaces, pod) {
        (Namespaces::Named(home), Some((name, values))) => values
            .map(|value| key(Kind::PodOf(home, name, value)))
            .collect(),
        (Namespaces::Named(home), None) => vec![key(Kind::Namespace(home))],
        (Namespaces::Matching(_), Some((name, values))) => {
            values.map(|value| key(Kind::Pod(name, value))).collect()
        }
        (Namespaces::Matching(namespaces), None) => match required(namespaces) {
            Some((name, values)) => values
                .map(|value| key(Kind::NamespaceLabel(name, value)))
                .collect(),
            None => vec![key(Kind::Any)],
        },
    };
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// A label that a selector requires, and its values; the shortest list of them.
fn required(selector: &Selector) -> Option<(&str, impl Iterator<Item = &String>)> {
    let requirements = selector.requirements.iter();
    let lists = requirements.filter_map(|requirement| match &requirement.operator {
        Operator::In(values) => Some((requirement.key.as_str(), values)),
        _ => None,
    });
    let (name, values) = lists.min_by_key(|(_, values)| values.len())?;
    Some((name, values.iter()))
}

/// Numbers by key.
#[derive(Debug, Default)]
pub(super) struct Index(HashMap<u64, Vec<u32>, FixedState>);

impl Index {
    pub(super) fn get(&self, key: u64) -> &[u32] {
        self.0.get(&key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn add(&mut self, key: u64, number: u32) {
        add_sorted(self.0.entry(key).or_default(), number);
    }

    pub(super) fn remove(&mut self, key: u64, number: u32) {
        if let Some(numbers) = self.0.get_mut(&key) {
            remove_sorted(numbers, number);
            if numbers.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Keeps `numbers` sorted.
pub(super) fn add_sorted(numbers: &mut Vec<u32>, number: u32) {
    if let Err(place) = numbers.binary_search(&number) {
        numbers.insert(place, number);
    }
}

/// Removes a number from sorted ones.
pub(super) fn remove_sorted(numbers: &mut Vec<u32>, number: u32) {
    if let Ok(place) = numbers.binary_search(&number) {
        numbers.remove(place);
    }
}
