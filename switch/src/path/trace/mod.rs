//! What would become of a packet, and at which step?
//!
//! Makes the described packet, sends it through a [`Path`] of its own with the live tables,
//! and throws away what leaves. The fate is the road's; the steps up to it are told from the
//! tables (`told.rs`). The connection table is an empty one, and no bandwidth is used up: the
//! answer is about the first packet of a flow. Allocates; never called for a frame.

mod packet;
mod steps;
mod told;

use std::net::IpAddr;
use std::sync::Arc;

use weft_encap::{Ecn, Lanes, Tunnel};
use weft_policy::{Config, Conntrack, Moment};
use weft_wire::{FlowKey, Frame, IpProtocol, Mac, Pool};

use super::{Datagram, Fate, GATEWAY_MAC, MAX_PORTS, Out, Path, PathConfig, PortId, Tables};
use steps::{ENTER, IN, LEAVE, OUT, Step};
use told::Scene;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// What is behind a port of this node, by its own address.
    Port(PortId),
    /// The node, for an address that is routed through it: one outside the pod network.
    Outside(IpAddr),
    /// An address behind a peer.
    Peer {
        /// The peer's underlay address.
        vtep: IpAddr,
        /// The sender's address.
        source: IpAddr,
    },
}

/// The first packet of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Who sends it.
    pub from: Sender,
    /// Who is to receive it.
    pub to: IpAddr,
    /// Its protocol; ICMP of either version stands for an echo request.
    pub protocol: IpProtocol,
    /// Its destination port, where the protocol has ports.
    pub port: u16,
}

/// What happens to the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The packet's flow.
    pub flow: FlowKey,
    /// The steps it takes, in order; only the last can have failed.
    pub steps: Vec<TraceStep>,
    /// What becomes of it.
    pub fate: Fate,
}

/// One step of the road, as `docs/road-of-a-packet.md` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceStep {
    /// Its road, number and name.
    pub step: &'static str,
    /// Whether the packet went on from here, or left as it should.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

/// The sender has no address of the receiver's IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sender has no address of the IP version of {0}")]
pub struct NoSource(pub IpAddr);

/// Sends the packet through the tables; nothing leaves.
///
/// # Errors
/// [`NoSource`].
pub fn trace(tables: &Tables, query: &Query) -> Result<Trace, NoSource> {
    let (ethernet, source) = sender(tables, query);
    let source = source.ok_or(NoSource(query.to))?;
    let packet = packet::make(ethernet, source, query).ok_or(NoSource(query.to))?;
    let fate = road(tables, query, &packet);
    let scene = Scene {
        tables,
        query,
        flow: packet::flow(source, query),
        len: packet.len().saturating_sub(ETHERNET),
        fate,
    };
    let list = steps_to(query, fate);
    let left = match fate {
        Fate::Drop(reason) => Step::of(reason, &list, source),
        Fate::Hairpin => list.iter().position(|step| *step == Step::Questions),
        Fate::ToPod(_) | Fate::ToPeer(_) => None,
    };
    let taken = left.map_or(list.len(), |last| last + 1);
    let last = taken.saturating_sub(1);
    let ok = |index| index < last || !matches!(fate, Fate::Drop(_));
    let steps = list
        .iter()
        .take(taken)
        .enumerate()
        .map(|(index, step)| TraceStep {
            step: step.title(),
            ok: ok(index),
            detail: if ok(index) {
                scene.found(*step)
            } else {
                scene.refused(*step)
            },
        });
    Ok(Trace {
        flow: scene.flow,
        steps: steps.collect(),
        fate,
    })
}

const ETHERNET: usize = weft_wire::ethernet::HEADER_LEN;

const ONE_LANE: Lanes = match Lanes::new(1) {
    Some(lanes) => lanes,
    None => panic!("one is a power of two"),
};

/// The MACs a sender's frame has, and its address.
fn sender(tables: &Tables, query: &Query) -> ((Mac, Mac), Option<IpAddr>) {
    match query.from {
        Sender::Port(id) => {
            let Some(port) = tables.port(id) else {
                // Dropped for its port alone.
                return ((Mac::ZERO, GATEWAY_MAC), Some(query.to));
            };
            let own = port
                .addresses()
                .find(|own| own.is_ipv4() == query.to.is_ipv4());
            ((port.mac, GATEWAY_MAC), own)
        }
        Sender::Outside(source) => {
            let host = tables.port(PortId::HOST).map_or(Mac::ZERO, |host| host.mac);
            ((host, GATEWAY_MAC), Some(source))
        }
        Sender::Peer { vtep, source } => {
            let peer = tables.peer_at(vtep).map_or(Mac::ZERO, |peer| peer.mac);
            ((peer, tables.node.vtep_mac), Some(source))
        }
    }
}

/// The fate of a packet on a road where it is alone.
fn road(tables: &Tables, query: &Query, packet: &[u8]) -> Fate {
    let conntrack = Conntrack::new(Config {
        capacity: 16,
        owners: MAX_PORTS,
        ..Config::default()
    });
    let config = PathConfig {
        worker: 0,
        workers: 1,
        lanes: ONE_LANE,
        seed: 0,
    };
    let mut path = Path::new(config, Arc::new(conntrack)).unmetered();
    let mut out = Out::new(Pool::new(2, 2048));
    let mut frame = Frame::with_capacity(2048);
    let fits = frame.copy_from(packet);
    debug_assert!(fits, "the packet has no payload");
    let mut turn = path.turn(tables, Moment::from_secs(1), &mut out);
    match query.from {
        Sender::Port(port) => turn.on_pod_frame(port, frame),
        Sender::Outside(_) => turn.on_pod_frame(PortId::HOST, frame),
        Sender::Peer { vtep, .. } => {
            let tunnel = Tunnel {
                vni: tables.node.vni,
                src: tables.peer_at(vtep).map_or(Mac::ZERO, |peer| peer.mac),
                dst: tables.node.vtep_mac,
            };
            let pushed = weft_encap::push(&mut frame, &tunnel);
            debug_assert!(pushed.is_ok(), "a new frame has all its headroom");
            let datagram = Datagram {
                source: vtep,
                ecn: Ecn::NotEct,
            };
            turn.on_datagram(datagram, frame)
        }
    }
}

/// All steps there would be, if none refused the packet.
fn steps_to(query: &Query, fate: Fate) -> Vec<Step> {
    let to_peer = matches!(fate, Fate::ToPeer(_));
    let (first, then) = match query.from {
        Sender::Port(_) | Sender::Outside(_) if to_peer => (OUT, LEAVE),
        Sender::Port(_) | Sender::Outside(_) => (OUT, ENTER),
        Sender::Peer { .. } => (IN, ENTER),
    };
    [first, then].concat()
}
