//! The world's stations as pods of one namespace, and policies over them.

use std::net::IpAddr;
use std::sync::Arc;

use weft_policy::model::{
    Isolation, Labels, ObjectName, Operator, Peer, Peers, Pod, Policy, PortMatch, PortRange, Ports,
    Protocol, Requirement, Rule, Scope, Selector,
};
use weft_policy::{Change, Cidr, Cluster, Direction, Engine, Epoch};
use weft_switch::path::{Denial, Fate, PortEntry, Tables};
use weft_wire::build::{IpBuilder, Network, TcpSpec};
use weft_wire::{IpProtocol, TcpFlags};

use crate::world::*;

const PODS: [(Station, &str); 5] = [
    (POD, "pod"),
    (OTHER, "other"),
    (NARROW, "narrow"),
    (REMOTE, "remote"),
    (FAR, "far"),
];
const LOCAL: [Station; 3] = [POD, OTHER, NARROW];

pub(crate) fn name_of(station: Station) -> ObjectName {
    let known = PODS.iter().find(|(pod, _)| pod.v4() == station.v4());
    ObjectName::new("x", known.expect("a pod").1)
}

fn labels(station: Station) -> Labels {
    Labels::from([("app".to_owned(), name_of(station).name)])
}

/// Selects one pod.
pub(crate) fn select(station: Station) -> Selector {
    let labels = labels(station).into_iter();
    let requirements = labels.map(|(key, value)| Requirement {
        key,
        operator: Operator::In([value].into()),
    });
    Selector {
        requirements: requirements.collect(),
    }
}

/// Allows every packet to or from these pods.
pub(crate) fn peers(stations: &[Station]) -> Rule {
    let pods = stations.iter().map(|station| Peer::Pods {
        namespaces: Scope::Own,
        pods: select(*station),
    });
    Rule {
        peers: Peers::Of(pods.collect()),
        ports: Ports::Any,
    }
}

/// Allows these addresses.
pub(crate) fn block(cidr: &str) -> Rule {
    let cidr: Cidr = cidr.parse().expect("a CIDR");
    Rule {
        peers: Peers::Of(vec![Peer::Block {
            cidr,
            except: vec![],
        }]),
        ports: Ports::Any,
    }
}

/// The rule, for one destination port only.
pub(crate) fn on(protocol: Protocol, port: u16, rule: Rule) -> Rule {
    let port = PortMatch {
        protocol,
        port: PortRange::Numbers(port, port),
    };
    Rule {
        ports: Ports::Of(vec![port]),
        ..rule
    }
}

/// A policy that isolates one pod in one direction but for the rules.
pub(crate) fn only(direction: Direction, of: Station, rules: Vec<Rule>) -> Policy {
    let (ingress, egress) = match direction {
        Direction::Egress => (Isolation::None, Isolation::Only(rules)),
        Direction::Ingress => (Isolation::Only(rules), Isolation::None),
    };
    let way = if ingress.isolates() {
        "ingress"
    } else {
        "egress"
    };
    Policy {
        name: ObjectName::new("x", format!("{}-{way}", name_of(of).name)),
        pods: select(of),
        ingress,
        egress,
    }
}

/// The engine behind a world's tables.
pub(crate) struct Enforced {
    pub(crate) engine: Engine,
    epoch: Epoch,
}

impl Enforced {
    /// Every station is a pod, those of this node are enforced; no policies.
    pub(crate) fn new() -> Self {
        let mut engine = Engine::new(7);
        for (station, _) in PODS {
            engine.apply(Change::Pod(Arc::new(Pod {
                name: name_of(station),
                labels: labels(station),
                addresses: vec![station.v4().into(), station.v6().into()],
                ports: vec![],
            })));
        }
        for station in LOCAL {
            engine.enforce(&name_of(station));
        }
        Self {
            engine,
            epoch: Epoch(1),
        }
    }

    /// Adds a policy, or replaces the one of its name.
    pub(crate) fn set(&mut self, policy: Policy) {
        self.engine.apply(Change::Policy(Arc::new(policy)));
    }

    /// Removes what [`only`] made.
    pub(crate) fn unset(&mut self, direction: Direction, of: Station) {
        let name = only(direction, of, vec![]).name;
        self.engine.apply(Change::PolicyGone(name));
    }

    /// The tables of this moment, of the next epoch.
    pub(crate) fn tables(&mut self) -> Tables {
        self.epoch = self.epoch.next();
        let policy = self.engine.table();
        let entries = [HOST, POD, OTHER, NARROW].map(|station| {
            let mut entry: PortEntry = station.entry();
            if station.port != HOST.port {
                entry.policy = self.engine.set_of(&name_of(station));
            }
            (station.id(), entry)
        });
        publish(entries, policy, self.epoch)
    }

    /// Publishes the tables of this moment to a world.
    pub(crate) fn publish(&mut self, world: &mut World) {
        world.tables = self.tables();
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        self.engine.cluster()
    }
}

/// A world under these policies.
pub(crate) fn under(policies: impl IntoIterator<Item = Policy>) -> (World, Enforced) {
    let mut enforced = Enforced::new();
    policies.into_iter().for_each(|policy| enforced.set(policy));
    let mut world = World::new();
    enforced.publish(&mut world);
    (world, enforced)
}

/// What the policies of a pod refused in a direction: how much, and the last of it.
pub(crate) fn denied(world: &World, of: Station, direction: Direction) -> (u64, Option<Denial>) {
    let denials = world.path.denials();
    let last = denials.last(of.id(), direction).copied();
    (denials.packets(of.id(), direction), last)
}

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What a packet carries.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Udp(u16, u16),
    Tcp(u16, u16, TcpFlags),
    Ping(u16),
    Pong(u16),
    Esp,
}

/// An Ethernet frame, or an inner one where the sender is behind a peer.
pub(crate) fn frame(from: Station, to: Station, family: Family, said: &Said) -> Vec<u8> {
    let ethernet = if is_local(from) { from.says() } else { inner() };
    match family {
        Family::V4 => finish(ethernet.ipv4(from.v4(), to.v4()), said),
        Family::V6 => finish(ethernet.ipv6(from.v6(), to.v6()), said),
    }
}

fn finish<N: Network>(ip: IpBuilder<N>, said: &Said) -> Vec<u8> {
    match *said {
        Said::Udp(from, to) => ip.udp(from, to, b"said"),
        Said::Tcp(src_port, dst_port, flags) => {
            let spec = TcpSpec {
                src_port,
                dst_port,
                flags,
                ..TcpSpec::default()
            };
            ip.tcp(spec, b"")
        }
        Said::Ping(id) => ip.icmp_echo_request(id, 1, b"said"),
        Said::Pong(id) => ip.icmp_echo_reply(id, 1, b"said"),
        Said::Esp => ip.payload(IpProtocol::ESP, &[0; 16]),
    }
}

fn is_local(station: Station) -> bool {
    station.v4().octets()[2] == HOST.v4().octets()[2]
}

/// Lets a frame in where its sender is.
pub(crate) fn enter(world: &mut World, from: Station, frame: &[u8]) -> Outcome {
    let node = from.v4().octets()[2];
    match PEERS.iter().find(|(_, _, number, _)| *number == node) {
        None => world.pod_sends(from, frame),
        Some((vtep, ..)) => {
            let door = Door::Underlay(IpAddr::V4(*vtep), weft_encap::Ecn::NotEct);
            world.send(door, &tunnelled(VNI, frame))
        }
    }
}

/// One station says something to another.
pub(crate) fn say(
    world: &mut World,
    (from, to): (Station, Station),
    family: Family,
    said: &Said,
) -> Fate {
    enter(world, from, &frame(from, to, family, said)).fate
}

/// Whether a fate is an arrival or a way on.
pub(crate) fn passed(fate: Fate) -> bool {
    matches!(fate, Fate::ToPod(_) | Fate::ToPeer(_))
}
