//! A pod that does its worst, and its neighbours whose flows go on.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use weft_policy::Span;
use weft_switch::path::Fate;
use weft_wire::build;
use weft_wire::{FlowKey, IpProtocol, Parsed, TcpFlags, parse};

use crate::frames::{Family, POD, PORTS, Station, Talk};
use crate::guarded;
use crate::node::{Door, PEERS, PODS, Worker, conntrack};

/// Flows of each neighbour.
const FLOWS: u16 = 10;

/// Frames of an attack that repeats itself only after so many: more flows than the pod may hold.
const SHOTS: usize = 65_536;

/// What the pod sends between the others' frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Nothing.
    None,
    /// Addresses, ports and protocols by chance, a quarter of them allowed: each one a flow of
    /// its own.
    Tuples,
    /// Every port at the edge of a rule, at every pod, and every address at the edge of a block.
    Edges,
    /// Allowed flows of which each falls into two buckets of the connection table where the
    /// others' established flows may be: what only somebody who knew its seed could send.
    Collisions,
}

impl Attack {
    /// Quiet first, then every attack.
    pub const ALL: [Self; 4] = [Self::None, Self::Tuples, Self::Edges, Self::Collisions];

    /// As it is printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "quiet",
            Self::Tuples => "random tuples",
            Self::Edges => "edges of rules",
            Self::Collisions => "crafted collisions",
        }
    }
}

/// A node with established flows of all pods but one, which attacks.
#[derive(Debug)]
pub struct Siege {
    worker: Worker,
    established: Vec<(Door, Vec<u8>)>,
    shots: Vec<Vec<u8>>,
    next: usize,
}

impl Siege {
    /// Establishes the flows.
    #[must_use]
    pub fn new(attack: Attack) -> Self {
        let mut siege = Self {
            worker: guarded::worker(),
            established: established(),
            shots: match attack {
                Attack::None => Vec::new(),
                Attack::Tuples => tuples(),
                Attack::Edges => edges(),
                Attack::Collisions => collisions(),
            },
            next: 0,
        };
        for (door, bytes) in &siege.established {
            let fate = siege.worker.meet(*door, bytes);
            assert!(
                matches!(fate, Some(Fate::ToPeer(_))),
                "a flow meets {fate:?}"
            );
        }
        siege
    }

    /// So many frames of the attack.
    pub fn attack(&mut self, frames: usize) {
        self.worker.pass(Span::from_micros(100));
        let Some(last) = self.shots.len().checked_sub(1) else {
            return;
        };
        for _ in 0..frames {
            self.next = if self.next >= last { 0 } else { self.next + 1 };
            if let Some(bytes) = self.shots.get(self.next) {
                self.worker.meet(Door::Port(POD.port()), bytes);
            }
        }
    }

    /// One frame of every established flow; how many that are.
    pub fn go_on(&mut self) -> usize {
        for (door, bytes) in &self.established {
            self.worker.meet(*door, bytes);
        }
        self.established.len()
    }

    /// The worker's housekeeping.
    pub fn tick(&mut self) {
        self.worker.tick();
    }

    /// Frames of established flows that were dropped: there must be none.
    #[must_use]
    pub fn losses(&self) -> u64 {
        let counters = self.worker.path().counters();
        let neighbours = neighbours().map(|of| counters.port(of.port()).egress_drops);
        neighbours.sum()
    }
}

fn neighbours() -> impl Iterator<Item = Station> {
    (2..2 + PODS)
        .map(|last| Station { node: 1, last })
        .filter(|of| *of != POD)
}

/// Each neighbour talks to a pod of its own app on some peer.
fn established() -> Vec<(Door, Vec<u8>)> {
    let mut flows = Vec::new();
    for from in neighbours() {
        for number in 0..FLOWS {
            let [_, low] = number.to_be_bytes();
            let to = Station {
                node: 2 + (from.last + low) % PEERS,
                last: 2 + (from.last - 2) % 10,
            };
            let macs = Talk::out_of_pod(from, to, Family::V4).macs;
            let frame = build::ethernet(macs.0, macs.1)
                .ipv4(from.v4(), to.v4())
                .udp(PORTS.0 + number, PORTS.1, &[0; 22]);
            flows.push((Door::Port(from.port()), frame));
        }
    }
    flows
}

/// A frame of the attacking pod.
fn shot(to: Ipv4Addr, protocol: IpProtocol, ports: (u16, u16)) -> Vec<u8> {
    let macs = Talk::out_of_pod(POD, POD, Family::V4).macs;
    let ip = build::ethernet(macs.0, macs.1).ipv4(POD.v4(), to);
    match protocol {
        IpProtocol::TCP => ip.tcp(
            build::TcpSpec {
                src_port: ports.0,
                dst_port: ports.1,
                flags: TcpFlags::SYN,
                ..build::TcpSpec::default()
            },
            &[],
        ),
        IpProtocol::UDP => ip.udp(ports.0, ports.1, &[]),
        protocol => ip.payload(protocol, &[0; 8]),
    }
}

/// Numbers that look random and are the same in every run (Steele et al., splitmix64).
fn luck(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn tuples() -> Vec<Vec<u8>> {
    let shots = (0..SHOTS as u64).map(|seed| {
        let [a, b, c, d, e, f, g, h] = luck(seed).to_be_bytes();
        let ports = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        match e % 4 {
            // Allowed, and remembered.
            0 => {
                let to = Station {
                    node: 2 + f % PEERS,
                    last: POD.last,
                };
                shot(to.v4(), IpProtocol::UDP, (ports.0, PORTS.1))
            }
            1 => shot([10, 244, f, g].into(), IpProtocol::TCP, ports),
            2 => shot([f % 126 + 1, g, h, 1].into(), IpProtocol::UDP, ports),
            _ => shot([10, 244, f, g].into(), IpProtocol(h), ports),
        }
    });
    shots.collect()
}

fn edges() -> Vec<Vec<u8>> {
    let mut shots = Vec::new();
    for policy in 0..100u16 {
        let base = 1000 + policy * 10;
        for port in [base - 1, base, base + 5, base + 6, 52, 53, 54] {
            for last in 2..12 {
                let [_, low] = (policy + port).to_be_bytes();
                let to = Station {
                    node: 2 + low % PEERS,
                    last,
                };
                shots.push(shot(to.v4(), IpProtocol::TCP, (port, port)));
                shots.push(shot(to.v4(), IpProtocol::UDP, (port, port)));
            }
        }
        let [_, third] = policy.to_be_bytes();
        for edge in [[198, 51, third, 0], [198, 51, third, 255]] {
            for port in [442, 443, 444] {
                shots.push(shot(edge.into(), IpProtocol::TCP, (port, port)));
            }
        }
    }
    shots
}

fn collisions() -> Vec<Vec<u8>> {
    let table = conntrack();
    let aimed_at: HashSet<usize> = established()
        .iter()
        .filter_map(|(_, bytes)| match parse(bytes) {
            Ok(Parsed::Ip(headers)) => Some(table.buckets_of(&headers.flow)),
            _ => None,
        })
        .flatten()
        .collect();
    let is_aimed = |to: Station, port| {
        let flow = FlowKey {
            src: POD.v4().into(),
            dst: to.v4().into(),
            protocol: IpProtocol::UDP,
            src_port: port,
            dst_port: PORTS.1,
        };
        let buckets = table.buckets_of(&flow);
        buckets.iter().all(|bucket| aimed_at.contains(bucket))
    };
    let peers = (2..2 + PEERS).map(|node| Station {
        node,
        last: POD.last,
    });
    let shots: Vec<Vec<u8>> = peers
        .flat_map(|to| (0..=u16::MAX).map(move |port| (to, port)))
        .filter(|&(to, port)| is_aimed(to, port))
        .take(SHOTS)
        .map(|(to, port)| shot(to.v4(), IpProtocol::UDP, (port, PORTS.1)))
        .collect();
    assert_eq!(shots.len(), SHOTS, "enough collide");
    shots
}
