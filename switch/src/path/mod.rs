//! What becomes of a frame? The pure core of the switch.
//!
//! [`Path`] has two doors: [`Turn::on_pod_frame`] for what a port's device gave, and
//! [`Turn::on_datagram`] for what the underlay brought. Behind each lies one function that
//! reads like a list of steps (`egress.rs`, `ingress.rs`); a step may leave the road with a
//! [`DropReason`]. Every frame meets one [`Fate`], and what leaves waits in [`Out`].
//!
//! No I/O, no clock, no threads, no locks, no allocation per frame: time and tables are
//! arguments, and a test keeps the imports so.

mod admit;
mod builder;
mod counters;
mod denials;
mod drop;
mod egress;
mod example;
mod fate;
mod flow_cache;
mod forward;
mod fragment;
mod gateway;
mod icmp;
mod ingress;
mod limiter;
mod martian;
mod meter;
mod neighbor;
mod offload;
mod ports;
mod refusal;
mod rogue;
mod spoof;
mod table_error;
mod tables;
mod trace;
mod tunnel;

use std::net::IpAddr;
use std::sync::Arc;

use weft_encap::{Ecn, Lanes};
use weft_policy::{Conntrack, FragmentConfig, Fragments, Moment};
use weft_wire::Frame;

pub use builder::TablesBuilder;
pub use counters::{Counters, PortCounters};
pub use denials::{Denial, Denials};
pub use drop::{Decider, DropReason, Road};
pub use example::{Example, Examples, Origin};
pub use fate::{Fate, Out, ToPeer, ToPod};
pub use forward::{Forward, Location};
pub use meter::{Limits, Meter};
pub use ports::{MAX_PORTS, PodName, PortEntry, PortId, PortKind};
pub use table_error::TableError;
pub use tables::{GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6, Node, Peer, PeerId, Tables};
pub use trace::{NoSource, Query, Sender, Trace, TraceStep, trace};
pub use weft_policy::cidr::{BadCidr, Cidr};

pub(crate) use offload::segments;

use fate::Exit;
use flow_cache::FlowCache;
use limiter::Limiter;
use refusal::Refusal;

/// Conntrack entries a worker looks at in one tick: one worker sweeps a table of the default
/// size in about 6 s at 10 ticks a second.
const EXPIRE_BUDGET: usize = 2048;

/// What a worker's [`Path`] is made with.
#[derive(Debug, Clone, Copy)]
pub struct PathConfig {
    /// Which worker, `0..workers`; also the TAP queue it reads.
    pub worker: u8,
    /// How many workers share the conntrack table.
    pub workers: u8,
    /// Sending sockets per worker.
    pub lanes: Lanes,
    /// Secret and equal on all workers, so that a flow keeps its lane.
    pub seed: u64,
}

/// One worker's packet path: its counters and its share of the node's state.
#[derive(Debug)]
pub struct Path {
    worker: u8,
    workers: u8,
    lanes: Lanes,
    seed: u64,
    conntrack: Arc<Conntrack>,
    flow_cache: FlowCache,
    fragments: Fragments,
    counters: Counters,
    examples: Examples,
    denials: Denials,
    limiter: Limiter,
    /// Whether frames count against the bandwidth of their ports.
    metered: bool,
}

/// A datagram's envelope: what the underlay says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// The outer IP source.
    pub source: IpAddr,
    /// The outer ECN field.
    pub ecn: Ecn,
}

/// A worker's turn: one snapshot of the tables, one moment, one place for what leaves.
#[derive(Debug)]
pub struct Turn<'a> {
    path: &'a mut Path,
    tables: &'a Tables,
    now: Moment,
    out: &'a mut Out,
    /// How many packets the frame on the road stands for.
    packets: u32,
}

impl Path {
    /// A path with counters at zero. All memory it will ever need is allocated here.
    pub fn new(config: PathConfig, conntrack: Arc<Conntrack>) -> Self {
        let fragments = FragmentConfig {
            ports: MAX_PORTS,
            seed: config.seed,
            ..FragmentConfig::default()
        };
        Self {
            worker: config.worker,
            workers: config.workers,
            lanes: config.lanes,
            seed: config.seed,
            conntrack,
            flow_cache: FlowCache::new(config.seed),
            fragments: Fragments::new(fragments),
            counters: Counters::default(),
            examples: Examples::default(),
            denials: Denials::default(),
            limiter: Limiter::new(),
            metered: true,
        }
    }

    /// For a packet that is only asked about: it uses up nobody's bandwidth.
    #[must_use]
    pub(super) fn unmetered(mut self) -> Self {
        self.metered = false;
        self
    }

    /// Begins a turn; frames are then fed to the turn's doors. Costs nothing.
    pub const fn turn<'a>(
        &'a mut self,
        tables: &'a Tables,
        now: Moment,
        out: &'a mut Out,
    ) -> Turn<'a> {
        Turn {
            path: self,
            tables,
            now,
            out,
            packets: 1,
        }
    }

    /// Housekeeping, about ten times a second: forgets a bounded number of idle flows.
    pub fn on_tick(&mut self, now: Moment) {
        self.flow_cache.sweep();
        self.conntrack
            .expire(self.worker.into(), self.workers.into(), EXPIRE_BUDGET, now);
    }

    /// What was counted so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The counters, for drops that the shell decides.
    pub const fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// The last dropped frame of every reason.
    pub const fn examples(&self) -> &Examples {
        &self.examples
    }

    /// What policy refused, port by port.
    pub const fn denials(&self) -> &Denials {
        &self.denials
    }

    /// Forgets counts and examples of drops and denials (`weft drops --reset`).
    pub fn reset_drops(&mut self) {
        self.counters.reset_drops();
        self.examples.reset();
        self.denials.reset();
    }

    /// Empties the flow cache: the next packet of every flow goes the long way, to the same end.
    pub fn clear_flow_cache(&mut self) {
        self.flow_cache.clear();
    }

    /// Forgets what was counted and remembered of a port, when its number goes to another
    /// pod. The port's connections are the node's to forget.
    pub fn reset_port(&mut self, port: PortId) {
        self.counters.reset_port(port);
        self.denials.reset_port(port);
        self.fragments.purge_port(port.get().into());
    }
}

impl Turn<'_> {
    /// The door of the road out: an Ethernet frame, with its vnet header, read from a port.
    /// The vnet header is as the device gave it.
    pub fn on_pod_frame(&mut self, from: PortId, mut frame: Frame) -> Fate {
        let len = frame.len() as u64;
        self.packets = 1;
        let exit = self.egress(from, &mut frame);
        let packets = u64::from(self.packets);
        self.path.counters.on_port(from, |port| {
            port.egress_frames += packets;
            port.egress_bytes += len;
        });
        self.conclude(exit, Origin::Port(from), frame)
    }

    /// The door of the road in: the payload of a UDP datagram received on the overlay's port;
    /// or a super-frame merged of several, with the vnet header of the inner frame, normalised.
    pub fn on_datagram(&mut self, datagram: Datagram, mut frame: Frame) -> Fate {
        self.packets = 1;
        let exit = self.ingress(datagram, &mut frame);
        self.conclude(exit, Origin::Underlay(datagram.source), frame)
    }

    /// Files or recycles the frame, and counts its fate.
    fn conclude(&mut self, exit: Result<Exit, Refusal>, origin: Origin, frame: Frame) -> Fate {
        let packets = u64::from(self.packets);
        let fate = match exit {
            Ok(exit) => {
                let filed = self.send(exit, frame);
                if filed {
                    exit.fate()
                } else {
                    Fate::Drop(DropReason::NoBuffer)
                }
            }
            Err(refusal) => {
                self.refuse(refusal, origin, frame);
                Fate::Drop(refusal.reason)
            }
        };
        if let (Fate::Drop(_), Origin::Port(from)) = (fate, origin) {
            self.path
                .counters
                .on_port(from, |port| port.egress_drops += packets);
        }
        self.path.counters.record(fate, packets);
        fate
    }

    /// Files the frame and its fragments; `false`: there was no room for it.
    #[inline(always)]
    fn send(&mut self, exit: Exit, mut frame: Frame) -> bool {
        let counters = &mut self.path.counters;
        counters.fragments += self.out.pieces() as u64;
        if let Exit::Port { port, .. } | Exit::Hairpin(port) = exit {
            self.out.whole(&mut frame).for_each(|piece| {
                let len = piece.len() as u64;
                let packets = u64::from(segments(piece));
                counters.on_port(port, |port| {
                    port.ingress_frames += packets;
                    port.ingress_bytes += len;
                });
            });
        }
        self.out.push(exit, frame)
    }
}
