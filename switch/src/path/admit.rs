//! May this packet pass this port?
//!
//! Joins conntrack's memory with policy's answer: one lookup per packet and port; a
//! verdict of an older epoch is decided anew, so that a new deny cuts live connections;
//! what cannot be tracked is decided each time. Only what policy allows is remembered.

use weft_policy::{Direction, Lookup, RuleId, Sighting, Verdict};
use weft_wire::{FlowKey, Headers, embedded};

use super::Turn;
use super::denials::Denial;
use super::drop::DropReason;
use super::ports::{PortEntry, PortId};

/// The TAP queue on which the receiver last sent on a flow, where that is known.
type Home = Option<u8>;
/// A port, and what the tables say of it.
type Place<'a> = (PortId, &'a PortEntry);

impl Turn<'_> {
    /// Lets a packet pass in this direction at this port.
    pub(super) fn admit(
        &mut self,
        direction: Direction,
        at: Place<'_>,
        frame: &[u8],
        packet: &Headers,
    ) -> Result<Home, DropReason> {
        let (epoch, worker) = (self.tables.epoch, self.path.worker);
        let sighting = Sighting {
            side: direction,
            epoch,
            worker,
            now: self.now,
        };
        match self.path.conntrack.lookup(packet, sighting) {
            Lookup::Known { home, .. } => Ok(home),
            Lookup::Stale {
                entry,
                original,
                side,
                home,
                ..
            } => match self.permit(side, at, &original) {
                Ok(rule) => {
                    self.path.conntrack.renew(entry, side, rule, epoch);
                    Ok(home)
                }
                Err(denied) => {
                    self.path.conntrack.remove(entry);
                    Err(denied)
                }
            },
            Lookup::New => {
                let rule = self.permit(direction, at, &packet.flow)?;
                let owner = at.0.get().into();
                let entry = self.path.conntrack.create(packet, sighting, rule, owner);
                entry.map(|_| None).map_err(|_| DropReason::TableFull)
            }
            Lookup::Untracked => self.admit_untracked(direction, at, frame, packet),
        }
    }

    /// An ICMP error about a remembered flow passes where that flow does; anything else
    /// that is not tracked is decided on its own.
    fn admit_untracked(
        &mut self,
        direction: Direction,
        at: Place<'_>,
        frame: &[u8],
        packet: &Headers,
    ) -> Result<Home, DropReason> {
        if let Some(home) = self.related(direction, at, frame, packet) {
            return Ok(home);
        }
        self.permit(direction, at, &packet.flow).map(|_| None)
    }

    /// The home of the flow that an ICMP error is about, if the error passes with it: it comes
    /// from the flow's other end or from a router, which no pod is, and policy allows the
    /// flow at this port now.
    fn related(
        &self,
        direction: Direction,
        (_, port): Place<'_>,
        frame: &[u8],
        packet: &Headers,
    ) -> Option<Home> {
        let quoted = embedded(frame, packet)?;
        let source = packet.flow.src;
        if quoted.flow.src != packet.flow.dst
            || quoted.flow.dst != source && self.tables.is_pods(source)
        {
            return None;
        }
        let about = self.path.conntrack.related(&quoted, self.now)?;
        // The port is that of the end the error goes to, or stands for the end it comes from:
        // the flow's initiator, whose egress is asked, or its responder, whose ingress is.
        let side = if about.reply {
            direction
        } else {
            direction.opposite()
        };
        let verdict = self.tables.decide(side, port, &about.original);
        verdict.is_allowed().then_some(about.home)
    }

    /// The rule that lets a flow pass, or the denial, which is counted.
    fn permit(
        &mut self,
        side: Direction,
        (id, port): Place<'_>,
        flow: &FlowKey,
    ) -> Result<RuleId, DropReason> {
        let rule = match self.tables.decide(side, port, flow) {
            Verdict::Allow(rule) => return Ok(rule),
            Verdict::Deny(rule) => rule,
        };
        let denial = Denial {
            at: self.now,
            flow: *flow,
            rule,
            set: port.policy,
            epoch: self.tables.epoch,
        };
        self.path.denials.record(id, side, denial);
        Err(match side {
            Direction::Egress => DropReason::DeniedEgress,
            Direction::Ingress => DropReason::DeniedIngress,
        })
    }
}
