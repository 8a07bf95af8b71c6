//! Which policies does each pod of this node obey?
//!
//! Owns the pods to enforce, what selects them, and the numbers of the sets they share.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::FixedState;

use super::gates::{GateId, Gates, Recipe};
use super::names::used_ports;
use super::policies::{PartId, Policies};
use super::slab::Slab;
use crate::model::{ObjectName, Pod, Policy};
use crate::table::PolicySet;
use crate::table::gate::Way;
use crate::{Cluster, Direction, PolicySetId};

/// What one direction of a pod obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rein {
    Open,
    Closed,
    Gate(GateId),
}

/// Both directions: egress, ingress.
type Reins = [Rein; 2];

const DIRECTIONS: [Direction; 2] = [Direction::Egress, Direction::Ingress];

#[derive(Debug)]
struct Local {
    /// The names of the policies of its namespace that select it.
    selected_by: BTreeSet<String>,
    reins: Reins,
    set: PolicySetId,
}

/// The pods of this node.
#[derive(Debug)]
pub(super) struct Locals {
    pods: BTreeMap<ObjectName, Local>,
    stale: BTreeSet<ObjectName>,
    sets: Slab<Reins>,
    by_reins: HashMap<Reins, u32, FixedState>,
    closed: bool,
}

impl Locals {
    pub(super) fn new() -> Self {
        let mut sets = Slab::default();
        let mut by_reins = HashMap::default();
        // In the order of `PolicySetId::UNSELECTED` and `PolicySetId::CLOSED`.
        for reins in [[Rein::Open; 2], [Rein::Closed; 2]] {
            by_reins.insert(reins, sets.insert(reins));
        }
        Self {
            pods: BTreeMap::new(),
            stale: BTreeSet::new(),
            sets,
            by_reins,
            closed: false,
        }
    }

    pub(super) fn add(&mut self, name: &ObjectName, pod: Option<&Pod>, policies: &Policies) {
        self.pods.entry(name.clone()).or_insert_with(|| Local {
            selected_by: BTreeSet::new(),
            reins: [Rein::Closed; 2],
            set: PolicySetId::CLOSED,
        });
        self.pod(name, pod, policies);
    }

    pub(super) fn remove(&mut self, name: &ObjectName, gates: &mut Gates) {
        if let Some(local) = self.pods.remove(name) {
            release(local.reins, gates);
        }
        self.stale.remove(name);
    }

    /// A pod, maybe of this node, came, changed or went.
    pub(super) fn pod(&mut self, name: &ObjectName, pod: Option<&Pod>, policies: &Policies) {
        if let Some(local) = self.pods.get_mut(name) {
            local.selected_by = pod.map(|pod| policies.selecting(pod)).unwrap_or_default();
            self.stale.insert(name.clone());
        }
    }

    /// A policy came, changed (`after` is what it says now) or went.
    pub(super) fn policy(&mut self, name: &ObjectName, after: Option<&Policy>, cluster: &Cluster) {
        let first = ObjectName::new(name.namespace.clone(), "");
        let there = self.pods.range_mut(first..);
        for (pod, local) in there.take_while(|(pod, _)| pod.namespace == name.namespace) {
            let labels = cluster.pods.get(pod).map(|pod| &pod.labels);
            let is_selected = after
                .zip(labels)
                .is_some_and(|(policy, labels)| policy.pods.matches(labels));
            let was_selected = match is_selected {
                true => !local.selected_by.insert(name.name.clone()),
                false => local.selected_by.remove(&name.name),
            };
            if is_selected || was_selected || labels.is_none() {
                self.stale.insert(pod.clone());
            }
        }
    }

    /// Finds the gates of pods that obey others now.
    pub(super) fn settle(&mut self, cluster: &Cluster, policies: &Policies, gates: &mut Gates) {
        for name in std::mem::take(&mut self.stale) {
            let Some(local) = self.pods.get_mut(&name) else {
                continue;
            };
            let before = local.reins;
            let pod = cluster.pods.get(&name).map(|pod| &**pod);
            local.reins = DIRECTIONS.map(|direction| match pod {
                Some(pod) => rein(pod, &local.selected_by, direction, policies, gates),
                None if policies.isolate(&name.namespace, direction) => Rein::Closed,
                None => Rein::Open,
            });
            release(before, gates);
        }
        self.number();
    }

    fn number(&mut self) {
        let used: BTreeSet<u32> = self
            .pods
            .values_mut()
            .map(|local| {
                let set = self.by_reins.entry(local.reins);
                let set = *set.or_insert_with(|| self.sets.insert(local.reins));
                local.set = PolicySetId(set);
                set
            })
            .chain([PolicySetId::UNSELECTED.0, PolicySetId::CLOSED.0])
            .collect();
        let unused = self.by_reins.extract_if(|_, set| !used.contains(set));
        for (_, set) in unused {
            self.sets.remove(set);
        }
    }

    /// Whether nothing may pass, whatever policies say.
    pub(super) const fn set_closed(&mut self, closed: bool) {
        self.closed = closed;
    }

    /// The number of a pod's set.
    pub(super) fn set_of(&self, name: &ObjectName) -> PolicySetId {
        let local = self.pods.get(name).filter(|_| !self.closed);
        local.map_or(PolicySetId::CLOSED, |local| local.set)
    }

    /// All sets by number; numbers not in use are closed.
    pub(super) fn sets(&self, gates: &Gates) -> Box<[PolicySet]> {
        let last = self.sets.iter().map(|(set, _)| set as usize + 1).max();
        let closed = PolicySet {
            egress: Way::Closed,
            ingress: Way::Closed,
        };
        let mut sets = vec![closed; last.unwrap_or(0)];
        for (set, &[egress, ingress]) in self.sets.iter() {
            if let Some(place) = sets.get_mut(set as usize) {
                *place = PolicySet {
                    egress: way(egress, gates),
                    ingress: way(ingress, gates),
                };
            }
        }
        sets.into()
    }

    /// How many sets of policies there are.
    pub(super) const fn len(&self) -> usize {
        self.sets.len() - 2
    }
}

fn way(rein: Rein, gates: &Gates) -> Way {
    match rein {
        Rein::Open => Way::Open,
        Rein::Closed => Way::Closed,
        Rein::Gate(gate) => gates
            .get(gate)
            .map_or(Way::Closed, |gate| Way::Gate(gate.clone())),
    }
}

fn release(reins: Reins, gates: &mut Gates) {
    for rein in reins {
        if let Rein::Gate(gate) = rein {
            gates.release(gate);
        }
    }
}

fn rein(
    pod: &Pod,
    selected_by: &BTreeSet<String>,
    direction: Direction,
    policies: &Policies,
    gates: &mut Gates,
) -> Rein {
    let names = selected_by.iter();
    let parts: Vec<PartId> = names
        .filter_map(|name| policies.part_of(&pod.name.namespace, name, direction))
        .collect();
    if parts.is_empty() {
        return Rein::Open;
    }
    let ports = match direction {
        Direction::Egress => Vec::new(),
        Direction::Ingress => {
            let parts = parts.iter().filter_map(|&part| policies.part(part));
            used_ports(&pod.ports, &parts.flat_map(|part| &part.names).collect())
        }
    };
    Rein::Gate(gates.take(Recipe {
        direction,
        parts,
        ports,
    }))
}
