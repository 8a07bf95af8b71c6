//! Which rules has each class met?
//!
//! Owns the ways of all classes through the rules of one gate, in the order of the rules. Classes
//! that met the same rules are at the same step, so that a step is told apart by the one before
//! and one rule.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::table::addresses::Class;

/// The place of a rule among those of its gate.
pub(super) type Place = u32;

/// The way of all classes.
#[derive(Debug)]
pub(super) struct Trail {
    /// The step before, and the rule that led on from it; the first is the start.
    steps: Vec<(usize, Place)>,
    next: HashMap<(usize, Place), usize, FixedState>,
    at: Vec<usize>,
    visited: Vec<Class>,
}

const START: usize = 0;
const UNVISITED: usize = usize::MAX;

impl Trail {
    /// For classes below `classes`.
    pub(super) fn new(classes: usize) -> Self {
        Self {
            steps: vec![(START, 0)],
            next: HashMap::default(),
            at: vec![UNVISITED; classes],
            visited: Vec::new(),
        }
    }

    /// The class counts, whether or not it meets a rule; where it is.
    pub(super) fn visit(&mut self, class: Class) -> usize {
        match self.at.get_mut(class as usize) {
            Some(at) if *at == UNVISITED => {
                *at = START;
                self.visited.push(class);
                START
            }
            Some(at) => *at,
            None => START,
        }
    }

    /// The class meets the rule at `place`, not before those it has met.
    pub(super) fn step(&mut self, class: Class, place: Place) {
        let from = self.visit(class);
        // One rule may match a class for several reasons.
        if from != START && self.steps.get(from).is_some_and(|&(_, last)| last == place) {
            return;
        }
        let to = *self.next.entry((from, place)).or_insert_with(|| {
            self.steps.push((from, place));
            self.steps.len() - 1
        });
        if let Some(at) = self.at.get_mut(class as usize) {
            *at = to;
        }
    }

    /// Those that met the same rules together.
    pub(super) fn finish(mut self) -> Vec<(Vec<Place>, Vec<Class>)> {
        let at = |class: &Class| self.at.get(*class as usize).copied().unwrap_or(START);
        self.visited.sort_unstable_by_key(at);
        let groups = self.visited.chunk_by(|a, b| at(a) == at(b));
        groups
            .map(|classes| {
                let end = classes.first().map_or(START, at);
                (self.way_to(end), classes.to_vec())
            })
            .collect()
    }

    fn way_to(&self, end: usize) -> Vec<Place> {
        let mut way = Vec::new();
        let mut step = end;
        while let Some(&(before, place)) = self.steps.get(step).filter(|_| step != START) {
            way.push(place);
            step = before;
        }
        way.reverse();
        way
    }
}
