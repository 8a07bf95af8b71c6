//! What would the network do? Nodes, links and pods in memory, on an integer clock.
//!
//! A [`Sim`] runs the very [`Path`](crate::path::Path) of the product: pods are smoltcp
//! stacks or the test itself, links have delay, loss, reordering and an MTU, and all luck
//! comes from one seed, so that a failure replays from it. A device takes no time; only
//! links do. Never touches a socket, a clock or a thread.
//!
//! ```
//! use weft_policy::{Moment, Span};
//! use weft_switch::sim::Sim;
//!
//! let mut sim = Sim::builder(1).nodes(2).build();
//! let (client, server) = (sim.add_pod(0), sim.add_pod(1));
//! let listener = sim.pod(server).tcp_listen(80).unwrap();
//! let to = (sim.pod(server).entry().ipv4.unwrap(), 80).into();
//! sim.pod(client).tcp_connect(40_000, to).unwrap();
//! let connected = sim.run_until(Moment::from_secs(1), |sim| {
//!     sim.pod(server).tcp(listener).is_some_and(|socket| socket.is_active())
//! });
//! assert!(connected);
//! ```

mod builder;
mod device;
mod link;
mod node;
mod pod;
mod queue;
mod rng;
mod step;
mod trace;

use weft_policy::{Conntrack, Moment, PolicySetId, Span, Table};

pub use builder::Builder;
pub use link::Link;
pub use pod::Pod;
pub use smoltcp;
pub use trace::{Event, Place, Trace, What};

use crate::path::{Counters, Denials, PodName, PortId, Tables};
use node::{Plan, SimNode};
use queue::Queue;
use rng::Rng;

/// How often a node's path ticks.
const TICK: Span = Span::from_millis(1000);

/// Which pod, in the order of their making; nodes' own stacks come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PodId(usize);

/// A network in memory.
#[derive(Debug)]
pub struct Sim {
    seed: u64,
    plan: Plan,
    now: Moment,
    next_tick: Moment,
    nodes: Vec<SimNode>,
    pods: Vec<Pod>,
    links: Vec<(Link, Rng)>,
    queue: Queue,
    trace: Trace,
}

impl Sim {
    /// Begins a network whose luck comes from `seed`.
    pub const fn builder(seed: u64) -> Builder {
        Builder::new(seed)
    }

    /// A pod on a node, with the MTU it should have.
    pub fn add_pod(&mut self, node: usize) -> PodId {
        self.add_pod_with_mtu(node, self.plan.pod_mtu)
    }

    /// A pod whose stack believes in another MTU than its port's.
    pub fn add_pod_with_mtu(&mut self, node: usize, mtu: u16) -> PodId {
        let port = self.free_port(node);
        let entry = self.plan.entry(node, port, self.plan.pod_mtu);
        let seed = self.seed ^ self.pods.len() as u64;
        self.attach(Pod::with_stack(node, port, entry, mtu, seed))
    }

    /// A pod without a stack: the test sends and receives its frames.
    pub fn add_bare_pod(&mut self, node: usize) -> PodId {
        let port = self.free_port(node);
        let entry = self.plan.entry(node, port, self.plan.pod_mtu);
        self.attach(Pod::bare(node, port, entry))
    }

    fn free_port(&self, node: usize) -> PortId {
        let taken = self.pods.iter().filter(|pod| pod.node == node).count();
        u16::try_from(taken)
            .ok()
            .and_then(PortId::new)
            .unwrap_or(PortId::HOST)
    }

    fn attach(&mut self, pod: Pod) -> PodId {
        let node = pod.node;
        self.pods.push(pod);
        self.publish(node);
        PodId(self.pods.len() - 1)
    }

    /// Puts a node under a policy: its tables are published anew with it, and each of its pods
    /// gets the set that `set_of` names. A pod added later obeys no policy until the next call.
    pub fn enforce(
        &mut self,
        node: usize,
        policy: Table,
        mut set_of: impl FnMut(&PodName) -> PolicySetId,
    ) {
        for pod in self.pods.iter_mut().filter(|pod| pod.node == node) {
            let set = pod.entry().pod.as_deref().map(&mut set_of);
            pod.obey(set.unwrap_or(PolicySetId::UNSELECTED));
        }
        if let Some(known) = self.nodes.get_mut(node) {
            known.policy = policy;
        }
        self.publish(node);
    }

    /// Publishes a node's tables as they are now, with the next epoch.
    fn publish(&mut self, index: usize) {
        let nodes = self.nodes.len();
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        let ports = self
            .pods
            .iter()
            .filter(|pod| pod.node == index)
            .map(|pod| (pod.port, pod.entry().clone()));
        let publication = (node.tables.epoch.next(), node.policy.clone());
        if let Ok(tables) = self.plan.tables((index, nodes), publication, ports) {
            node.tables = tables;
        }
    }

    /// The stack at a node's host port.
    pub const fn host(&self, node: usize) -> PodId {
        PodId(node)
    }

    /// A pod.
    ///
    /// # Panics
    /// If it belongs to another simulation.
    #[expect(
        clippy::indexing_slicing,
        reason = "a PodId is made by this simulation, and pods stay"
    )]
    pub fn pod(&mut self, id: PodId) -> &mut Pod {
        &mut self.pods[id.0]
    }

    /// Replaces what befalls datagrams from one node to another.
    pub fn set_link(&mut self, from: usize, to: usize, link: Link) {
        let index = self.link_index(from, to);
        if let Some((known, _)) = self.links.get_mut(index) {
            *known = link;
        }
    }

    /// The time.
    pub const fn now(&self) -> Moment {
        self.now
    }

    /// What happened so far.
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What a node counted; `None` if there is no such node.
    pub fn counters(&self, node: usize) -> Option<&Counters> {
        Some(self.nodes.get(node)?.path.counters())
    }

    /// What a node's policies refused; `None` if there is no such node.
    pub fn denials(&self, node: usize) -> Option<&Denials> {
        Some(self.nodes.get(node)?.path.denials())
    }

    /// A node's tables; `None` if there is no such node.
    pub fn tables(&self, node: usize) -> Option<&Tables> {
        Some(&self.nodes.get(node)?.tables)
    }

    /// A node's connections; `None` if there is no such node.
    pub fn conntrack(&self, node: usize) -> Option<&Conntrack> {
        Some(&self.nodes.get(node)?.conntrack)
    }

    /// Lets time pass until `done` says so, which then is the result, or until `deadline`.
    /// `done` is asked whenever something may have happened, and may use the pods' sockets.
    pub fn run_until(&mut self, deadline: Moment, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        loop {
            let moved = self.settle();
            if done(self) {
                return true;
            }
            let next = self.next_event();
            if next > deadline {
                self.now = deadline;
                return false;
            }
            // A stack that is due and did nothing would stop the clock.
            let least = if moved {
                self.now
            } else {
                self.now + Span::from_micros(1)
            };
            self.now = next.max(least);
            self.tick();
            while let Some((to, datagram, payload)) = self.queue.pop_due(self.now) {
                self.arrive(to, datagram, &payload);
            }
        }
    }
}
