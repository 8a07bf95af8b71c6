//! Which rules of a gate speak of whom, and what do they allow together?
//!
//! Owns the reading of one gate's rules, in the order of their policies' names and their places
//! in them. Rules for everybody are in every outcome; the others only in those of the classes
//! that they match.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::gates::{Recipe, World};
use super::paint::Canvas;
use super::places::{Kind, covers};
use super::policies::{Line, Part, Policies};
use crate::model::{NamedPort, ObjectName, Peer, Peers, PortRange, Ports, Protocol};
use crate::table::addresses::Class;
use crate::table::ports::{PortMap, Span};
use crate::{Direction, RuleId};

/// The place of a rule among those of its gate.
type Place = u32;

/// The rules of one gate.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    /// The first policy.
    pub(super) deny: RuleId,
    pub(super) isolating: Arc<[ObjectName]>,
    direction: Direction,
    all: Vec<Line<'a>>,
    names: BTreeSet<&'a (String, Protocol)>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(recipe: &Recipe, policies: &'a Policies) -> Self {
        let parts = recipe.parts.iter().filter_map(|&part| policies.part(part));
        let parts: Vec<&Part> = parts.collect();
        Self {
            deny: parts.first().map_or(RuleId::DEFAULT, |part| part.isolates),
            isolating: parts.iter().map(|part| part.name().clone()).collect(),
            direction: recipe.direction,
            all: parts.iter().flat_map(|part| part.lines()).collect(),
            names: parts.iter().flat_map(|part| &part.names).collect(),
        }
    }

    /// The ports behind the names that rules use, where a class is the peer: the destination's.
    pub(super) fn ports_behind(
        &self,
        class: Class,
        recipe: &Recipe,
        world: World<'_>,
    ) -> Vec<NamedPort> {
        match self.direction {
            Direction::Ingress => recipe.ports.clone(),
            Direction::Egress if self.names.is_empty() => Vec::new(),
            Direction::Egress => {
                let identity = world.places.kind(class).and_then(|kind| kind.identity);
                let ports = identity.map_or(&[][..], |identity| world.selectors.ports(identity));
                used_ports(ports, &self.names)
            }
        }
    }

    /// What the rules for everybody and the `matching` ones allow.
    pub(super) fn paint(&self, matching: &[Place], ports: &[NamedPort]) -> PortMap {
        let mut canvases = [Canvas::new(), Canvas::new(), Canvas::new()];
        let mut other = None;
        let mut matching = matching.iter().copied().peekable();
        for (place, line) in (0..).zip(&self.all) {
            let matched = matching.next_if_eq(&place).is_some();
            if matched || line.rule.peers == Peers::Any {
                brush(line, ports, &mut canvases, &mut other);
            }
        }
        let [tcp, udp, sctp] = canvases.map(|canvas| {
            let spans = canvas.finish().map(|stroke| Span {
                first: stroke.first,
                last: stroke.last,
                rule: stroke.paint,
            });
            spans.collect::<Vec<Span>>()
        });
        PortMap::new([&tcp, &udp, &sctp], other)
    }

    /// The rules that match one class; none if the class is gone.
    pub(super) fn match_one(&self, class: Class, world: World<'_>) -> Option<Vec<Place>> {
        let kind = world.places.kind(class)?;
        let lines = (0..).zip(&self.all);
        let matching = lines.filter(|(_, line)| matches(line, kind, world));
        Some(matching.map(|(place, _)| place).collect())
    }

    /// All classes that any rule singles out, together with those that the same rules match.
    pub(super) fn match_all(&self, world: World<'_>) -> Vec<(Vec<Place>, Vec<Class>)> {
        let mut trail = Trail::new(world.places.bound());
        for (place, line) in (0..).zip(&self.all) {
            let Peers::Of(peers) = &line.rule.peers else {
                continue;
            };
            for &selector in line.selectors {
                for &identity in world.selectors.members(selector) {
                    for &class in world.places.of_identity(identity) {
                        trail.step(class, place);
                    }
                }
            }
            for peer in peers {
                if let Peer::Block { cidr, except } = peer {
                    for class in world.places.in_block(*cidr, except) {
                        trail.step(class, place);
                    }
                }
            }
        }
        if self.direction == Direction::Egress && !self.names.is_empty() {
            for (class, identity) in world.places.of_pods() {
                if !used_ports(world.selectors.ports(identity), &self.names).is_empty() {
                    trail.visit(class);
                }
            }
        }
        trail.finish()
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

fn matches(line: &Line<'_>, kind: Kind, world: World<'_>) -> bool {
    let Peers::Of(peers) = &line.rule.peers else {
        return false;
    };
    let selected_by = kind
        .identity
        .map_or(&[][..], |id| world.selectors.selected_by(id));
    let is_selected = |selector| selected_by.binary_search(selector).is_ok();
    line.selectors.iter().any(is_selected)
        || kind.block.is_some_and(|inner| {
            peers.iter().any(|peer| match peer {
                Peer::Pods { .. } => false,
                Peer::Block { cidr, except } => {
                    covers(*cidr, inner) && !except.iter().any(|hole| covers(*hole, inner))
                }
            })
        })
}

/// Paints the ports of one rule.
fn brush(
    line: &Line<'_>,
    names: &[NamedPort],
    [tcp, udp, sctp]: &mut [Canvas<RuleId>; 3],
    other: &mut Option<RuleId>,
) {
    let ports = match &line.rule.ports {
        Ports::Of(ports) => ports,
        Ports::Any => {
            for canvas in [tcp, udp, sctp] {
                canvas.paint(0, u16::MAX, line.id);
            }
            other.get_or_insert(line.id);
            return;
        }
    };
    for port in ports {
        let canvas = match port.protocol {
            Protocol::Tcp => &mut *tcp,
            Protocol::Udp => &mut *udp,
            Protocol::Sctp => &mut *sctp,
        };
        match &port.port {
            PortRange::Any => canvas.paint(0, u16::MAX, line.id),
            PortRange::Numbers(first, last) => canvas.paint(*first, *last, line.id),
            PortRange::Named(name) => {
                let meant = names.iter().filter(|candidate| {
                    candidate.name == *name && candidate.protocol == port.protocol
                });
                for meant in meant {
                    canvas.paint(meant.port, meant.port, line.id);
                }
            }
        }
    }
}

/// Which rules each class has met, in their order. Classes that met the same are at the same
/// step.
struct Trail {
    /// The step before, and the rule that led on from it; the first is the start.
    steps: Vec<(usize, Place)>,
    next: HashMap<(usize, Place), usize, FixedState>,
    at: Vec<usize>,
    visited: Vec<Class>,
}

const START: usize = 0;
const UNVISITED: usize = usize::MAX;

impl Trail {
    fn new(classes: usize) -> Self {
        Self {
            steps: vec![(START, 0)],
            next: HashMap::default(),
            at: vec![UNVISITED; classes],
            visited: Vec::new(),
        }
    }

    fn visit(&mut self, class: Class) -> usize {
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

    fn step(&mut self, class: Class, place: Place) {
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

    fn finish(mut self) -> Vec<(Vec<Place>, Vec<Class>)> {
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
