//! Which ports do the names in a gate's rules mean?
//!
//! Owns the answers for one gate. A name means a port of the destination: for ingress the pod the
//! gate is for, for egress the peer, where many pods name the same ports. Peers of one meaning
//! share a number, and 0 is that of peers that name nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::gates::{Recipe, World};
use super::lines::Lines;
use crate::Direction;
use crate::model::{NamedPort, Protocol};
use crate::table::addresses::Class;

/// The number of a distinct list of ports.
pub(super) type Meaning = usize;

/// What names mean, where each class is the peer.
#[derive(Debug)]
pub(super) struct Names<'a> {
    used: &'a BTreeSet<&'a (String, Protocol)>,
    is_peers: bool,
    meanings: Vec<Vec<NamedPort>>,
    by_ports: HashMap<Vec<NamedPort>, Meaning, FixedState>,
    /// By the place in memory of a list that identities share.
    by_list: HashMap<usize, Meaning, FixedState>,
}

impl<'a> Names<'a> {
    pub(super) fn new(lines: &'a Lines<'_>, recipe: &Recipe) -> Self {
        Self {
            used: &lines.names,
            is_peers: lines.direction == Direction::Egress && !lines.names.is_empty(),
            meanings: vec![recipe.ports.clone()],
            by_ports: HashMap::from_iter([(recipe.ports.clone(), 0)]),
            by_list: HashMap::default(),
        }
    }

    /// The meaning of names where a class is the peer.
    pub(super) fn meaning(&mut self, class: Class, world: World<'_>) -> Meaning {
        if !self.is_peers {
            return 0;
        }
        let kind = world.places.kind(class);
        let Some(list) = kind
            .and_then(|kind| kind.identity)
            .and_then(|identity| world.selectors.ports(identity))
        else {
            return 0;
        };
        let place = Arc::as_ptr(list).addr();
        if let Some(&meaning) = self.by_list.get(&place) {
            return meaning;
        }
        let ports = used_ports(list, self.used);
        let meaning = *self.by_ports.entry(ports).or_insert_with_key(|ports| {
            self.meanings.push(ports.clone());
            self.meanings.len() - 1
        });
        self.by_list.insert(place, meaning);
        meaning
    }

    /// The ports of a meaning.
    pub(super) fn ports(&self, meaning: Meaning) -> &[NamedPort] {
        self.meanings.get(meaning).map_or(&[], Vec::as_slice)
    }
}

/// Those of a pod's ports that have one of these names.
pub(super) fn used_ports(
    ports: &[NamedPort],
    names: &BTreeSet<&(String, Protocol)>,
) -> Vec<NamedPort> {
    let is_used = |port: &&NamedPort| {
        let mut names = names.iter();
        names.any(|(name, protocol)| *name == port.name && *protocol == port.protocol)
    };
    let mut used: Vec<NamedPort> = ports.iter().filter(is_used).cloned().collect();
    used.sort();
    used.dedup();
    used
}
