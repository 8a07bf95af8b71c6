//! Does every judge we have say what a case expects?
//!
//! Owns the run without packets: manifests through the daemon's own reader into the engine, once
//! change by change and once from nothing; its table, the oracle and the explanation are asked
//! about every cell.

use std::sync::Arc;

use weft_policy::{
    Change, Cluster, Direction, Engine, Moment, PolicySetId, Question, Table, explain, oracle,
};
use weft_switch::cluster::{ClusterState, Event, parse};
use weft_wire::{FlowKey, IpProtocol};

use crate::case::{Case, Cell, End, Family, Protocol};
use crate::world::World;

/// How many differences a failure lists.
const LISTED: usize = 40;

/// Runs one case; answers what differs and how many cells there were.
pub(crate) fn run(case: &Case) -> (Vec<String>, usize) {
    let mut world = World::base();
    let mut judges = Judges::new();
    let mut differences = Vec::new();
    let mut count = 0;
    let mut before = World::default();
    for step in &case.steps {
        world.step(&case.file, step);
        judges.follow(&before, &world, &format!("{}: {}", case.file, step.label));
        before = world.clone();
        let tables = [
            ("engine, step by step", judges.compiled(&world)),
            ("engine, from nothing", judges.fresh(&world)),
        ];
        for cell in case.cells(step, &world) {
            count += 1;
            let asked = Asked::new(&cell, &world);
            let mut said = vec![
                ("oracle", judges.oracle(&asked)),
                ("explain", judges.explained(&asked)),
            ];
            said.extend(tables.iter().map(|(name, one)| (*name, one.judge(&asked))));
            let wrong = said.iter().filter(|(_, allowed)| *allowed != cell.allow);
            for (judge, allowed) in wrong {
                differences.push(format!(
                    "{}: {}: {cell}: expected {}, {judge} says {}",
                    case.file,
                    step.label,
                    word(cell.allow),
                    word(*allowed)
                ));
            }
        }
    }
    (differences, count)
}

/// Fails with what differs.
pub(crate) fn holds(case: &Case) {
    let (differences, count) = run(case);
    assert!(count > 0, "{}: no cells", case.file);
    let more = differences.len().saturating_sub(LISTED);
    assert!(
        differences.is_empty(),
        "{}\n… and {more} more of {count} cells",
        differences[..differences.len() - more].join("\n")
    );
}

pub(crate) const fn word(allow: bool) -> &'static str {
    if allow { "allow" } else { "deny" }
}

/// A cell as the judges are asked about it.
struct Asked {
    question: Question,
    key: FlowKey,
    /// The pods at its ends; a node that asks its own pod is not asked about.
    sender: Option<String>,
    receiver: Option<String>,
}

impl Asked {
    fn new(cell: &Cell, world: &World) -> Self {
        let pod = |end: &End| match end {
            End::Pod(name) => Some(name.clone()),
            _ => None,
        };
        let own_node = matches!(
            (&cell.from, &cell.to),
            (End::Node(node), End::Pod(pod)) if world.node_of(pod) == node
        );
        let (src, dst) = (
            world.source(&cell.from, cell.family),
            world.target(&cell.to, cell.family),
        );
        let (named, protocol) = match (cell.probe.protocol, cell.family) {
            (Protocol::Tcp, _) => (Some(weft_policy::model::Protocol::Tcp), IpProtocol::TCP),
            (Protocol::Udp, _) => (Some(weft_policy::model::Protocol::Udp), IpProtocol::UDP),
            (Protocol::Sctp, _) => (Some(weft_policy::model::Protocol::Sctp), IpProtocol::SCTP),
            (Protocol::Icmp, Family::V4) => (None, IpProtocol::ICMP),
            (Protocol::Icmp, Family::V6) => (None, IpProtocol::ICMPV6),
        };
        Self {
            question: Question {
                from: src,
                to: dst,
                protocol: named,
                port: cell.probe.port,
            },
            key: FlowKey {
                src,
                dst,
                protocol,
                // A port that rules speak of: it must not count.
                src_port: 80,
                dst_port: cell.probe.port,
            },
            sender: pod(&cell.from),
            // What a pod's own node sends it is let in before policies are asked.
            receiver: pod(&cell.to).filter(|_| !own_node),
        }
    }
}

/// Everything that has an opinion.
pub(crate) struct Judges {
    state: ClusterState,
    cluster: Cluster,
    engine: Engine,
    enforced: Vec<String>,
}

/// A pod and a direction.
pub(crate) type Refuser = (String, &'static str);

/// A table and which pods it was asked for.
struct Compiled {
    table: Table,
    sets: Vec<(String, PolicySetId)>,
}

impl Judges {
    pub(crate) fn new() -> Self {
        Self {
            state: ClusterState::of_no_node(),
            cluster: Cluster::default(),
            engine: Engine::new(7),
            enforced: Vec::new(),
        }
    }

    /// Takes in what is different, as the daemon would: file by file, all at one moment.
    pub(crate) fn follow(&mut self, before: &World, after: &World, place: &str) {
        let mut events = Vec::new();
        for (name, text) in after.documents() {
            if before.document(name) != Some(text) {
                let manifest = parse(text);
                events.push(Event::Read {
                    origin: Arc::from(name),
                    manifest,
                });
            }
        }
        for (name, _) in before.documents() {
            if after.document(name).is_none() {
                events.push(Event::Gone {
                    origin: Arc::from(name),
                });
            }
        }
        events.push(Event::Synced);
        let effects = self.state.step(Event::Batch(events), Moment::ZERO);
        let none: [weft_switch::cluster::Trouble; 0] = [];
        assert_eq!(effects.appeared, none, "{place}");
        assert!(!effects.closed, "{place}: the cluster is closed");
        for change in effects.changes {
            self.cluster.apply(change.clone());
            self.engine.apply(change);
        }
        // Pods that are gone leave their node, new ones come.
        let pods = pods(after);
        for gone in self.enforced.iter().filter(|name| !pods.contains(name)) {
            self.engine.release(&object(gone));
        }
        for new in pods.iter().filter(|name| !self.enforced.contains(name)) {
            self.engine.enforce(&object(new));
        }
        self.enforced = pods;
    }

    fn compiled(&mut self, world: &World) -> Compiled {
        Compiled::of(&mut self.engine, world)
    }

    /// The same cluster given to a new engine at once, policies first.
    fn fresh(&self, world: &World) -> Compiled {
        let mut engine = Engine::new(8);
        for pod in &self.enforced {
            engine.enforce(&object(pod));
        }
        let Cluster {
            namespaces,
            pods,
            policies,
        } = self.cluster.clone();
        for policy in policies.into_values() {
            engine.apply(Change::Policy(policy));
        }
        for pod in pods.into_values() {
            engine.apply(Change::Pod(pod));
        }
        for (name, labels) in namespaces {
            engine.apply(Change::Namespace(name, labels));
        }
        Compiled::of(&mut engine, world)
    }

    fn oracle(&self, asked: &Asked) -> bool {
        let egress = || oracle::allows(&self.cluster, Direction::Egress, &asked.question);
        let ingress = || oracle::allows(&self.cluster, Direction::Ingress, &asked.question);
        (asked.sender.is_none() || egress()) && (asked.receiver.is_none() || ingress())
    }

    /// Who refuses a cell, in which direction, and the policies that isolate it there.
    pub(crate) fn refused_by(&self, cell: &Cell, world: &World) -> Option<(Refuser, Vec<String>)> {
        let asked = Asked::new(cell, world);
        let told = explain(&self.cluster, &asked.question);
        let ends = [
            (asked.sender, "egress", told.egress),
            (asked.receiver, "ingress", told.ingress),
        ];
        ends.into_iter().find_map(|(pod, direction, side)| {
            let names = side.isolated_by.iter().map(ToString::to_string).collect();
            (!side.allowed).then_some(((pod?, direction), names))
        })
    }

    fn explained(&self, asked: &Asked) -> bool {
        let told = explain(&self.cluster, &asked.question);
        (asked.sender.is_none() || told.egress.allowed)
            && (asked.receiver.is_none() || told.ingress.allowed)
    }
}

impl Compiled {
    fn of(engine: &mut Engine, world: &World) -> Self {
        let table = engine.table();
        let sets = pods(world).into_iter();
        let sets = sets.map(|pod| {
            let set = engine.set_of(&object(&pod));
            (pod, set)
        });
        Self {
            sets: sets.collect(),
            table,
        }
    }

    fn judge(&self, asked: &Asked) -> bool {
        let one = |direction, pod: &Option<String>| {
            let Some(pod) = pod else { return true };
            let (_, set) = self
                .sets
                .iter()
                .find(|(name, _)| name == pod)
                .expect("a set");
            self.table.decide(direction, *set, &asked.key).is_allowed()
        };
        one(Direction::Egress, &asked.sender) && one(Direction::Ingress, &asked.receiver)
    }
}

fn pods(world: &World) -> Vec<String> {
    let ends = world.ends().into_iter();
    let pods = ends.filter_map(|end| match end {
        End::Pod(name) => Some(name),
        _ => None,
    });
    pods.collect()
}

fn object(pod: &str) -> weft_policy::model::ObjectName {
    let (namespace, name) = pod.split_once('/').expect("namespace/name");
    weft_policy::model::ObjectName::new(namespace, name)
}
