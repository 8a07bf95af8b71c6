//! What do the policies say, in the words of the compiler?
//!
//! Owns the policies by namespace, the two parts of each (a part is one direction that it
//! isolates), the numbers of their rules, and their claims on selectors and blocks. A part whose
//! text stays the same stays the same part, with the same numbers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::places::Places;
use super::selectors::{SelectorId, Selectors};
use crate::model::{Isolation, ObjectName, Peer, Peers, Policy, PortRange, Ports, Protocol, Rule};
use crate::table::rules::{Numbers, Rules};
use crate::{Direction, RuleId, RuleName};

/// The number of a [`Part`]; never used again.
pub(super) type PartId = u64;

/// One direction of one policy.
#[derive(Debug)]
pub(super) struct Part {
    policy: Arc<Policy>,
    direction: Direction,
    /// The policy as a whole, for denials.
    pub(super) isolates: RuleId,
    rules: Vec<RuleClaims>,
    /// The ports that its rules name.
    pub(super) names: BTreeSet<(String, Protocol)>,
}

/// What one rule of a part holds.
#[derive(Debug)]
struct RuleClaims {
    id: RuleId,
    selectors: Vec<SelectorId>,
}

/// One rule, as the compiler reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) id: RuleId,
    pub(super) rule: &'a Rule,
    pub(super) selectors: &'a [SelectorId],
}

impl Part {
    pub(super) fn name(&self) -> &ObjectName {
        &self.policy.name
    }

    /// Its rules in their order.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let rules = side(&self.policy, self.direction).rules();
        rules.iter().zip(&self.rules).map(|(rule, claims)| Line {
            id: claims.id,
            rule,
            selectors: &claims.selectors,
        })
    }

    fn blocks(&self) -> impl Iterator<Item = crate::Cidr> {
        let rules = side(&self.policy, self.direction).rules();
        let peers = rules.iter().flat_map(|rule| match &rule.peers {
            Peers::Any => &[][..],
            Peers::Of(peers) => peers,
        });
        peers.flat_map(|peer| match peer {
            Peer::Pods { .. } => Vec::new(),
            Peer::Block { cidr, except } => {
                let mut blocks = vec![*cidr];
                blocks.extend(except);
                blocks
            }
        })
    }
}

#[derive(Debug)]
struct Held {
    policy: Arc<Policy>,
    egress: Option<PartId>,
    ingress: Option<PartId>,
}

impl Held {
    const fn part(&self, direction: Direction) -> Option<PartId> {
        match direction {
            Direction::Egress => self.egress,
            Direction::Ingress => self.ingress,
        }
    }
}

/// All policies.
#[derive(Debug, Default)]
pub(super) struct Policies {
    /// By namespace and name.
    held: HashMap<String, BTreeMap<String, Held>, FixedState>,
    parts: HashMap<PartId, Part, FixedState>,
    last: PartId,
    numbers: Numbers,
}

impl Policies {
    /// A policy came or changed.
    pub(super) fn set(
        &mut self,
        policy: &Arc<Policy>,
        selectors: &mut Selectors,
        places: &mut Places,
    ) {
        let before = self.take_out(&policy.name);
        let mut parts = [None, None];
        let directions = [Direction::Egress, Direction::Ingress];
        for (part, direction) in parts.iter_mut().zip(directions) {
            let old = before.as_ref().and_then(|held| held.part(direction));
            let same = before
                .as_ref()
                .is_some_and(|held| side(&held.policy, direction) == side(policy, direction));
            *part = match same {
                true => old,
                false => self.add_part(policy, direction, selectors, places),
            };
            // After the new part has made its claims, so that what both share survives.
            if let Some(old) = old.filter(|_| !same) {
                self.remove_part(old, selectors, places);
            }
        }
        let [egress, ingress] = parts;
        let there = self.held.entry(policy.name.namespace.clone()).or_default();
        let held = Held {
            policy: Arc::clone(policy),
            egress,
            ingress,
        };
        there.insert(policy.name.name.clone(), held);
    }

    /// A policy is gone.
    pub(super) fn remove(
        &mut self,
        name: &ObjectName,
        selectors: &mut Selectors,
        places: &mut Places,
    ) {
        let held = self.take_out(name);
        for part in held
            .iter()
            .flat_map(|held| [held.egress, held.ingress])
            .flatten()
        {
            self.remove_part(part, selectors, places);
        }
    }

    fn take_out(&mut self, name: &ObjectName) -> Option<Held> {
        let there = self.held.get_mut(&name.namespace)?;
        let held = there.remove(&name.name);
        if there.is_empty() {
            self.held.remove(&name.namespace);
        }
        held
    }

    fn add_part(
        &mut self,
        policy: &Arc<Policy>,
        direction: Direction,
        selectors: &mut Selectors,
        places: &mut Places,
    ) -> Option<PartId> {
        let isolation = side(policy, direction);
        if !isolation.isolates() {
            return None;
        }
        let mut name = RuleName {
            policy: policy.name.clone(),
            direction,
            index: None,
        };
        let isolates = self.numbers.take(name.clone());
        let mut rules = Vec::new();
        let mut names = BTreeSet::new();
        for (index, rule) in isolation.rules().iter().enumerate() {
            name.index = Some(index);
            rules.push(RuleClaims {
                id: self.numbers.take(name.clone()),
                selectors: claim(rule, &policy.name.namespace, selectors),
            });
            names.extend(names_of(rule));
        }
        let part = Part {
            policy: Arc::clone(policy),
            direction,
            isolates,
            rules,
            names,
        };
        for block in part.blocks() {
            places.want(block);
        }
        self.last += 1;
        self.parts.insert(self.last, part);
        Some(self.last)
    }

    fn remove_part(&mut self, id: PartId, selectors: &mut Selectors, places: &mut Places) {
        let Some(part) = self.parts.remove(&id) else {
            return;
        };
        for block in part.blocks() {
            places.unwant(block);
        }
        self.numbers.give_back(part.isolates);
        for rule in part.rules {
            self.numbers.give_back(rule.id);
            for selector in rule.selectors {
                selectors.release_selector(selector);
            }
        }
    }

    /// The names of the policies of a pod's namespace that select it.
    pub(super) fn selecting(&self, pod: &crate::model::Pod) -> BTreeSet<String> {
        let there = self.held.get(&pod.name.namespace).into_iter().flatten();
        there
            .filter(|(_, held)| held.policy.pods.matches(&pod.labels))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// What a policy isolates in a direction; none if it does not.
    pub(super) fn part_of(
        &self,
        namespace: &str,
        name: &str,
        direction: Direction,
    ) -> Option<PartId> {
        self.held.get(namespace)?.get(name)?.part(direction)
    }

    /// Whether any policy of a namespace isolates a direction.
    pub(super) fn isolate(&self, namespace: &str, direction: Direction) -> bool {
        let there = self.held.get(namespace);
        there.is_some_and(|there| there.values().any(|held| held.part(direction).is_some()))
    }

    pub(super) fn part(&self, id: PartId) -> Option<&Part> {
        self.parts.get(&id)
    }

    pub(super) const fn rules(&self) -> &Rules {
        self.numbers.rules()
    }

    /// Whether nothing is left.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.parts.is_empty()
    }
}

const fn side(policy: &Policy, direction: Direction) -> &Isolation {
    match direction {
        Direction::Egress => &policy.egress,
        Direction::Ingress => &policy.ingress,
    }
}

fn claim(rule: &Rule, home: &str, selectors: &mut Selectors) -> Vec<SelectorId> {
    let Peers::Of(peers) = &rule.peers else {
        return Vec::new();
    };
    let pods = peers.iter().filter_map(|peer| match peer {
        Peer::Pods { namespaces, pods } => Some((namespaces, pods)),
        Peer::Block { .. } => None,
    });
    pods.map(|(namespaces, pods)| selectors.selector(namespaces, pods, home))
        .collect()
}

fn names_of(rule: &Rule) -> impl Iterator<Item = (String, Protocol)> {
    let ports = match &rule.ports {
        Ports::Any => &[][..],
        Ports::Of(ports) => ports,
    };
    ports.iter().filter_map(|port| match &port.port {
        PortRange::Named(name) => Some((name.clone(), port.protocol)),
        PortRange::Any | PortRange::Numbers(..) => None,
    })
}
