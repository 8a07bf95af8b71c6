//! What may pass a pod in one direction, where policies isolate it?
//!
//! Owns the outcomes of one list of policies: one for each class of peer that a rule singles out,
//! and one for all others. Few outcomes differ, so classes point into a short list of them.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use weft_wire::IpProtocol;

use super::addresses::{Class, map_bytes};
use super::ports::PortMap;
use crate::RuleId;
use crate::model::ObjectName;

/// Whether and what may pass.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// Everything: no policy isolates.
    Open,
    /// Nothing, and no policy says so.
    Closed,
    /// What policies allow.
    Gate(Arc<Gate>),
}

/// The compiled policies of one direction.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    /// The first policy, which stands for a denial.
    deny: RuleId,
    isolating: Arc<[ObjectName]>,
    classes: HashMap<Class, u32, FixedState>,
    usual: PortMap,
    /// Numbered from 1; 0 is the usual one.
    outcomes: Vec<PortMap>,
    entries: usize,
    outcome_bytes: usize,
}

impl Gate {
    /// A gate of these policies that allows everybody what `usual` says.
    pub(crate) fn new(deny: RuleId, isolating: Arc<[ObjectName]>, usual: PortMap) -> Self {
        Self {
            deny,
            isolating,
            classes: HashMap::default(),
            entries: usual.len(),
            outcome_bytes: usual.bytes(),
            usual,
            outcomes: Vec::new(),
        }
    }

    /// One more outcome; its number.
    pub(crate) fn add_outcome(&mut self, ports: PortMap) -> u32 {
        self.outcome_bytes += ports.bytes();
        self.outcomes.push(ports);
        u32::try_from(self.outcomes.len()).unwrap_or(u32::MAX)
    }

    /// The number of a class's outcome.
    pub(crate) fn outcome(&self, class: Class) -> u32 {
        self.classes.get(&class).copied().unwrap_or(0)
    }

    /// Those of some classes that have an outcome of their own.
    pub(crate) fn among<T>(&self, some: &HashMap<Class, T, FixedState>) -> Vec<(Class, u32)> {
        // The shorter list is walked, the other searched.
        if some.len() < self.classes.len() {
            let known = |class: &Class| Some((*class, *self.classes.get(class)?));
            some.keys().filter_map(known).collect()
        } else {
            let classes = self.classes.iter();
            let wanted = classes.filter(|(class, _)| some.contains_key(*class));
            wanted.map(|(&class, &outcome)| (class, outcome)).collect()
        }
    }

    /// Gives a class an outcome; 0 is that of all others.
    pub(crate) fn set(&mut self, class: Class, outcome: u32) {
        let before = match outcome {
            0 => self.remove(class),
            _ => self.classes.insert(class, outcome),
        };
        self.entries += self.ranges(Some(outcome));
        self.entries -= self.ranges(before);
    }

    fn remove(&mut self, class: Class) -> Option<u32> {
        let before = self.classes.remove(&class);
        if self.classes.len() <= self.classes.capacity() / 8 {
            self.classes.shrink_to_fit();
        }
        before
    }

    fn ranges(&self, outcome: Option<u32>) -> usize {
        let outcome = outcome.filter(|&outcome| outcome != 0);
        outcome.map_or(0, |outcome| self.ports(outcome).len())
    }

    #[inline]
    fn ports(&self, outcome: u32) -> &PortMap {
        let place = (outcome as usize).checked_sub(1);
        let ports = place.and_then(|place| self.outcomes.get(place));
        ports.unwrap_or(&self.usual)
    }

    /// Gives memory back that classes to come are not going to need.
    pub(crate) fn shrink(&mut self) {
        self.classes.shrink_to_fit();
        self.outcomes.shrink_to_fit();
    }

    #[inline]
    pub(crate) fn find(&self, class: Class, protocol: IpProtocol, port: u16) -> Option<RuleId> {
        self.ports(self.outcome(class)).find(protocol, port)
    }

    pub(crate) const fn deny(&self) -> RuleId {
        self.deny
    }

    pub(crate) fn isolating(&self) -> &[ObjectName] {
        &self.isolating
    }

    /// How many outcomes there are besides the usual one, wanted or not.
    pub(crate) const fn outcomes(&self) -> usize {
        self.outcomes.len()
    }

    /// Ranges over all classes.
    pub(crate) const fn entries(&self) -> usize {
        self.entries
    }

    /// Memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let names = self.isolating.iter();
        let names: usize = names
            .map(|name| name.namespace.len() + name.name.len())
            .sum();
        size_of_val(self)
            + size_of_val(&*self.isolating)
            + names
            + map_bytes(&self.classes)
            + self.outcome_bytes
    }
}
