//! What becomes of a frame that left the road?
//!
//! It is the reason's example for a moment; then its buffer goes back to the pool, or
//! carries the ICMP error about it back to where it came from. To a port errors come from
//! the gateway, through the tunnel from this node's pod-network address, which is the one a
//! peer accepts from it.

use std::net::IpAddr;

use weft_encap::{Ecn, Tunnel};
use weft_wire::{Frame, Headers, IpVersion, Malformed, Parsed};

use super::drop::DropReason;
use super::example::Origin;
use super::fate::Exit;
use super::icmp::{self, Tell};
use super::limiter::Side;
use super::ports::PortId;
use super::tables::{GATEWAY_V4, GATEWAY_V6};
use super::{Turn, forward, rogue};

/// A drop, and what the sender is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: DropReason,
    pub(super) tell: Option<Tell>,
}

impl Refusal {
    pub(super) const fn telling(reason: DropReason, tell: Tell) -> Self {
        Self {
            reason,
            tell: Some(tell),
        }
    }
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self { reason, tell: None }
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        DropReason::from(malformed).into()
    }
}

impl Turn<'_> {
    /// Keeps the frame as the reason's example, then makes the error about it, or gives it
    /// back to the pool.
    pub(super) fn refuse(&mut self, refusal: Refusal, origin: Origin, mut frame: Frame) {
        self.path
            .examples
            .record(refusal.reason, self.now, origin, &frame);
        let Some(tell) = refusal.tell else {
            return self.out.recycle(frame);
        };
        let sent = match self.make_error(tell, origin, &mut frame) {
            Some(exit) => self.send(exit, frame),
            None => {
                self.out.recycle(frame);
                false
            }
        };
        let counters = &mut self.path.counters;
        if sent {
            counters.icmp_sent += 1
        } else {
            counters.icmp_suppressed += 1
        }
    }

    /// Turns a refused frame into the error about it, on its way back to where it came from.
    fn make_error(&mut self, tell: Tell, origin: Origin, frame: &mut Frame) -> Option<Exit> {
        let Ok(Parsed::Ip(packet)) = weft_wire::parse(frame.as_slice()) else {
            return None;
        };
        if !rogue::deserves_error(&packet) {
            return None;
        }
        match origin {
            Origin::Port(from) => self.error_to_port(tell, from, frame, &packet),
            Origin::Underlay(vtep) => self.error_to_peer(tell, vtep, frame, &packet),
        }
    }

    fn error_to_port(
        &mut self,
        tell: Tell,
        to: PortId,
        frame: &mut Frame,
        packet: &Headers,
    ) -> Option<Exit> {
        let port = self.tables.port(to)?;
        let gateway = match packet.version {
            IpVersion::V4 => IpAddr::V4(GATEWAY_V4),
            IpVersion::V6 => IpAddr::V6(GATEWAY_V6),
        };
        self.path
            .limiter
            .allow(Side::Port(to), self.now)
            .then_some(())?;
        icmp::make_error(frame, packet, tell, gateway)?;
        forward::address(frame, port.mac);
        Some(Exit::Hairpin(to))
    }

    fn error_to_peer(
        &mut self,
        tell: Tell,
        vtep: IpAddr,
        frame: &mut Frame,
        packet: &Headers,
    ) -> Option<Exit> {
        let node = &self.tables.node;
        let id = self.tables.forward().peer_at(vtep)?;
        let peer = self.tables.peer(id)?;
        let own = match packet.version {
            IpVersion::V4 => IpAddr::V4(node.ipv4?),
            IpVersion::V6 => IpAddr::V6(node.ipv6?),
        };
        self.path
            .limiter
            .allow(Side::Tunnel, self.now)
            .then_some(())?;
        icmp::make_error(frame, packet, tell, own)?;
        let tunnel = Tunnel {
            vni: node.vni,
            src: node.vtep_mac,
            dst: peer.mac,
        };
        weft_encap::push(frame, &tunnel).ok()?;
        let flow = packet.entropy(self.path.seed);
        let lane = self.path.lanes.pick(flow);
        Some(Exit::Peer {
            peer: id,
            vtep,
            lane,
            flow,
            ecn: Ecn::NotEct,
        })
    }
}
