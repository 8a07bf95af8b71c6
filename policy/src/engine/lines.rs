//! Which rules of a gate speak of whom, and what do they allow together?
//!
//! Owns the reading of one gate's rules, in the order of their policies' names and their places
//! in them. Rules for everybody are in every outcome; the others only in those of the classes
//! that they match.

use std::collections::BTreeSet;

use super::gates::{Recipe, World};
use super::paint::Canvas;
use super::policies::{Line, Part, Policies};
use super::trail::{Place, Trail};
use crate::model::{NamedPort, Peer, Peers, PortMatch, PortRange, Ports, Protocol};
use crate::table::addresses::Class;
use crate::table::gate::Gate;
use crate::table::ports::{PortMap, Span};
use crate::{Direction, RuleId};

/// The rules of one gate.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    parts: Vec<&'a Part>,
    pub(super) direction: Direction,
    all: Vec<Line<'a>>,
    pub(super) names: BTreeSet<&'a (String, Protocol)>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(recipe: &Recipe, policies: &'a Policies) -> Self {
        let parts = recipe.parts.iter().filter_map(|&part| policies.part(part));
        let parts: Vec<&Part> = parts.collect();
        Self {
            direction: recipe.direction,
            all: parts.iter().flat_map(|part| part.lines()).collect(),
            names: parts.iter().flat_map(|part| &part.names).collect(),
            parts,
        }
    }

    /// The gate that allows everybody `usual`.
    pub(super) fn gate(&self, usual: PortMap) -> Gate {
        let first = self.parts.first();
        let deny = first.map_or(RuleId::DEFAULT, |part| part.isolates);
        let isolating = self.parts.iter().map(|part| part.name().clone());
        Gate::new(deny, isolating.collect(), usual)
    }

    /// Each rule, at its place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Line<'a>)> {
        (0..).zip(&self.all)
    }

    /// What the rules for everybody and the `matching` ones allow.
    pub(super) fn paint(&self, matching: &[Place], ports: &[NamedPort]) -> PortMap {
        let mut canvases = [Canvas::new(), Canvas::new(), Canvas::new()];
        let mut other = None;
        let mut matching = matching.iter().copied().peekable();
        for (place, line) in self.iter() {
            let matched = matching.next_if_eq(&place).is_some();
            if matched || matches!(line.rule.peers, Peers::Any) {
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

    /// All classes that any rule singles out, together with those that the same rules match.
    pub(super) fn match_all(&self, world: World<'_>) -> Vec<(Vec<Place>, Vec<Class>)> {
        let mut trail = Trail::new(world.places.bound());
        for (place, line) in self.iter() {
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
        if self.direction == Direction::Egress && self.all.iter().any(names_ports_of_all) {
            for class in world.places.of_pods() {
                trail.visit(class);
            }
        }
        trail.finish()
    }
}

/// Whether a rule for everybody names ports: what they are is another matter for each pod.
fn names_ports_of_all(line: &Line<'_>) -> bool {
    let is_named = |port: &PortMatch| matches!(port.port, PortRange::Named(_));
    matches!(line.rule.peers, Peers::Any)
        && matches!(&line.rule.ports, Ports::Of(ports) if ports.iter().any(is_named))
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
