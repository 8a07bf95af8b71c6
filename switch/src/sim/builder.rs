//! How big is the network, and how bad are its links?

use weft_encap::{Underlay, pod_mtu};
use weft_policy::{Epoch, Moment};

use super::link::Link;
use super::node::{Plan, SimNode};
use super::pod::Pod;
use super::queue::Queue;
use super::rng::Rng;
use super::trace::Trace;
use super::{Sim, TICK};
use crate::path::{PortId, Tables};

/// Nodes a simulation can have: their number is a byte of their addresses.
const MOST_NODES: usize = 250;

/// What a [`Sim`] is built from. The default is two nodes on an IPv4 Ethernet.
#[derive(Debug, Clone)]
pub struct Builder {
    seed: u64,
    nodes: usize,
    underlay: Underlay,
    link: Link,
}

impl Builder {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            seed,
            nodes: 2,
            underlay: Underlay::V4,
            link: Link::ETHERNET,
        }
    }

    /// So many nodes, at least 1 and at most 250.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes.clamp(1, MOST_NODES);
        self
    }

    /// The IP version of the underlay.
    #[must_use]
    pub const fn underlay(mut self, underlay: Underlay) -> Self {
        self.underlay = underlay;
        self
    }

    /// Every link in both directions; [`Sim::set_link`] changes one.
    #[must_use]
    pub const fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// The network: nodes with their own stacks at their host ports, and no pods yet.
    /// Pods get the largest MTU that fits the links, at least 1280 bytes.
    pub fn build(self) -> Sim {
        let mtu = pod_mtu(self.link.mtu, self.underlay).map_or(1280, |mtu| mtu.get().max(1280));
        let plan = Plan {
            underlay: self.underlay,
            pod_mtu: mtu,
        };
        let links = (0..self.nodes * self.nodes)
            .map(|index| (self.link, Rng::new(self.seed, index as u64 + 1)));
        let mut sim = Sim {
            seed: self.seed,
            plan,
            now: Moment::ZERO,
            next_tick: Moment::ZERO + TICK,
            nodes: Vec::new(),
            pods: Vec::new(),
            links: links.collect(),
            queue: Queue::default(),
            trace: Trace::default(),
        };
        for _ in 0..self.nodes {
            sim.nodes.push(SimNode::new(Tables::empty(), self.seed));
        }
        for node in 0..self.nodes {
            let entry = plan.entry(node, PortId::HOST, mtu);
            sim.attach(Pod::with_stack(
                node,
                PortId::HOST,
                entry,
                mtu,
                self.seed ^ node as u64,
            ));
        }
        debug_assert!(
            sim.nodes
                .iter()
                .all(|node| node.tables.epoch != Epoch::default())
        );
        sim
    }
}
