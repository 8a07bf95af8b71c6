//! What does a list of policies allow whom?
//!
//! Owns the compiled gates: one for each distinct list of parts (and, for ingress, the numbers
//! behind the ports they name), shared by all pods that obey it. A new gate is compiled whole,
//! from what the selectors of its rules select; after that only classes that changed are looked
//! at again, and the published gate is copied only if one of them gets another outcome.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::index::Index;
use super::lines::Lines;
use super::names::{Meaning, Names};
use super::places::{Places, Shift};
use super::policies::{PartId, Policies};
use super::selectors::{SelectorId, Selectors};
use crate::{Cidr, Direction};

use crate::model::NamedPort;
use crate::table::addresses::Class;
use crate::table::gate::Gate;
use crate::table::ports::PortMap;

/// The number of a gate; never used again.
pub(super) type GateId = u64;

/// All that a gate is compiled from, but the peers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Recipe {
    pub(super) direction: Direction,
    /// By name of policy; at least one.
    pub(super) parts: Vec<PartId>,
    /// For ingress, the pod's own ports that the rules name, sorted.
    pub(super) ports: Vec<NamedPort>,
}

/// Who is where and what is selected, settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct World<'a> {
    pub(super) selectors: &'a Selectors,
    pub(super) places: &'a Places,
    pub(super) policies: &'a Policies,
}

/// All gates.
#[derive(Debug, Default)]
pub(super) struct Gates {
    held: HashMap<GateId, Held, FixedState>,
    by_recipe: HashMap<Arc<Recipe>, GateId, FixedState>,
    last: GateId,
}

#[derive(Debug)]
struct Held {
    recipe: Arc<Recipe>,
    users: usize,
    /// None until [`Gates::settle`].
    compiled: Option<Compiled>,
}

impl Gates {
    /// The gate of a recipe, which lives until [`Self::release`] was called as often as this.
    pub(super) fn take(&mut self, recipe: Recipe) -> GateId {
        let id = match self.by_recipe.get(&recipe) {
            Some(&id) => id,
            None => {
                self.last += 1;
                let recipe = Arc::new(recipe);
                self.by_recipe.insert(Arc::clone(&recipe), self.last);
                let held = Held {
                    recipe,
                    users: 0,
                    compiled: None,
                };
                self.held.insert(self.last, held);
                self.last
            }
        };
        if let Some(held) = self.held.get_mut(&id) {
            held.users += 1;
        }
        id
    }

    /// One user fewer.
    pub(super) fn release(&mut self, id: GateId) {
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        held.users -= 1;
        if held.users == 0
            && let Some(held) = self.held.remove(&id)
        {
            self.by_recipe.remove(&held.recipe);
        }
    }

    /// Compiles new gates, and brings the others up to date.
    pub(super) fn settle(&mut self, world: World<'_>, shift: &Shift) {
        let changed = alike(world, &shift.changed);
        for held in self.held.values_mut() {
            match &mut held.compiled {
                Some(compiled) => compiled.update(&held.recipe, world, shift, &changed),
                None => held.compiled = Some(Compiled::new(&held.recipe, world)),
            }
        }
    }

    /// A gate, once settled.
    pub(super) fn get(&self, id: GateId) -> Option<&Arc<Gate>> {
        let compiled = self.held.get(&id)?.compiled.as_ref()?;
        Some(&compiled.gate)
    }

    /// Every gate.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Gate> + Clone {
        let compiled = self.held.values().filter_map(|held| held.compiled.as_ref());
        compiled.map(|compiled| &*compiled.gate)
    }
}

/// Classes by all that the peers of rules can tell: who selects them, and the block.
type Alike<'a> = HashMap<(&'a [SelectorId], Option<Cidr>), Vec<Class>, FixedState>;

fn alike<'a>(world: World<'a>, classes: &[Class]) -> Alike<'a> {
    let mut alike = Alike::default();
    for &class in classes {
        let Some(kind) = world.places.kind(class) else {
            continue;
        };
        let selectors = kind
            .identity
            .map_or(&[][..], |id| world.selectors.selected_by(id));
        alike
            .entry((selectors, kind.block))
            .or_default()
            .push(class);
    }
    alike
}

/// A gate and what helps to change it.
#[derive(Debug)]
struct Compiled {
    gate: Arc<Gate>,
    outcomes: HashMap<PortMap, u32, FixedState>,
    index: Index,
    /// How many outcomes there were when it was compiled whole.
    fresh: usize,
}

impl Compiled {
    fn new(recipe: &Recipe, world: World<'_>) -> Self {
        let lines = Lines::new(recipe, world.policies);
        let mut names = Names::new(&lines, recipe);
        let usual = lines.paint(&[], names.ports(0));
        let mut outcomes = HashMap::from_iter([(usual.clone(), 0)]);
        let mut gate = lines.gate(usual);
        for (rules, classes) in lines.match_all(world) {
            let mut seen: HashMap<Meaning, u32, FixedState> = HashMap::default();
            for class in classes {
                let meaning = names.meaning(class, world);
                let outcome = *seen.entry(meaning).or_insert_with(|| {
                    let ports = lines.paint(&rules, names.ports(meaning));
                    enter(&mut outcomes, &mut gate, ports)
                });
                gate.set(class, outcome);
            }
        }
        gate.shrink();
        Self {
            fresh: gate.outcomes(),
            gate: Arc::new(gate),
            index: Index::new(&lines),
            outcomes,
        }
    }

    fn update(&mut self, recipe: &Recipe, world: World<'_>, shift: &Shift, changed: &Alike<'_>) {
        self.split(&shift.split);
        self.forget(&shift.gone);
        self.look_again(recipe, world, changed);
        // Outcomes nobody has any more are found by compiling anew, before they are many.
        if self.gate.outcomes() > 2 * self.fresh + 64 {
            *self = Self::new(recipe, world);
        }
    }

    fn split(&mut self, parts: &HashMap<Class, Vec<Class>, FixedState>) {
        for (whole, outcome) in self.gate.among(parts) {
            for &part in parts.get(&whole).into_iter().flatten() {
                self.set(part, outcome);
            }
        }
    }

    fn forget(&mut self, gone: &HashMap<Class, (), FixedState>) {
        for (class, _) in self.gate.among(gone) {
            self.set(class, 0);
        }
    }

    fn look_again(&mut self, recipe: &Recipe, world: World<'_>, changed: &Alike<'_>) {
        if changed.is_empty() {
            return;
        }
        let lines = Lines::new(recipe, world.policies);
        let mut names = Names::new(&lines, recipe);
        for (&(selectors, block), classes) in changed {
            let rules = self.index.find(selectors, block);
            let mut seen: HashMap<Meaning, u32, FixedState> = HashMap::default();
            for &class in classes {
                let meaning = names.meaning(class, world);
                let outcome = match rules.is_empty() && meaning == 0 {
                    true => 0,
                    false => *seen.entry(meaning).or_insert_with(|| {
                        let ports = lines.paint(&rules, names.ports(meaning));
                        match self.outcomes.get(&ports) {
                            Some(&outcome) => outcome,
                            None => enter(&mut self.outcomes, Arc::make_mut(&mut self.gate), ports),
                        }
                    }),
                };
                self.set(class, outcome);
            }
        }
    }

    /// Copies the gate only if that makes a difference.
    fn set(&mut self, class: Class, outcome: u32) {
        if self.gate.outcome(class) != outcome {
            Arc::make_mut(&mut self.gate).set(class, outcome);
        }
    }
}

/// The number of an outcome, new or not.
fn enter(outcomes: &mut HashMap<PortMap, u32, FixedState>, gate: &mut Gate, ports: PortMap) -> u32 {
    let outcome = outcomes.entry(ports);
    *outcome.or_insert_with_key(|ports| gate.add_outcome(ports.clone()))
}
