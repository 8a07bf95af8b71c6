//! May this packet pass this port?
//!
//! Joins conntrack's memory with policy's answer: one lookup per packet and port; a
//! verdict of an older epoch is decided anew, so that a new deny cuts live connections;
//! what cannot be tracked is decided each time. Only what policy allows is remembered.

use weft_policy::{Direction, Lookup, Related, RuleId, Sighting, Verdict};
use weft_wire::{FlowKey, Headers, embedded_flow};

use super::Turn;
use super::drop::DropReason;
use super::ports::{PortEntry, PortId};

/// The TAP queue on which the receiver last sent on a flow, where that is known.
type Home = Option<u8>;

impl Turn<'_> {
    /// Lets a packet pass in this direction at this port.
    pub(super) fn admit(
        &self,
        direction: Direction,
        (id, port): (PortId, &PortEntry),
        frame: &[u8],
        packet: &Headers,
    ) -> Result<Home, DropReason> {
        let conntrack = &self.path.conntrack;
        let (epoch, worker) = (self.tables.epoch, self.path.worker);
        let sighting = Sighting {
            side: direction,
            epoch,
            worker,
            now: self.now,
        };
        match conntrack.lookup(packet, sighting) {
            Lookup::Known { home, .. } => Ok(home),
            Lookup::Stale {
                entry,
                original,
                side,
                home,
                ..
            } => {
                match self.decide(side, port, &original) {
                    Verdict::Allow(rule) => conntrack.renew(entry, side, rule, epoch),
                    Verdict::Deny(_) => {
                        conntrack.remove(entry);
                        return Err(denied(direction));
                    }
                }
                Ok(home)
            }
            Lookup::New => {
                let rule = self.permit(direction, port, &packet.flow)?;
                let entry = conntrack.create(packet, sighting, rule, id.get().into());
                entry.map(|_| None).map_err(|_| DropReason::TableFull)
            }
            Lookup::Untracked => self.admit_untracked(direction, port, frame, packet),
        }
    }

    /// An ICMP error about a remembered flow passes where that flow does; anything else
    /// that is not tracked is decided on its own.
    fn admit_untracked(
        &self,
        direction: Direction,
        port: &PortEntry,
        frame: &[u8],
        packet: &Headers,
    ) -> Result<Home, DropReason> {
        let quoted = embedded_flow(frame, packet);
        let about = quoted.and_then(|quoted| self.path.conntrack.related(&quoted, self.now));
        let Some(Related {
            original,
            reply,
            home,
            ..
        }) = about
        else {
            return self.permit(direction, port, &packet.flow).map(|_| None);
        };
        // This port's end is the one the error goes to, or comes from: the flow's initiator,
        // whose egress was decided, or its responder, whose ingress was.
        let side = if reply {
            direction
        } else {
            direction.opposite()
        };
        self.permit(side, port, &original)
            .map(|_| home)
            .map_err(|_| denied(direction))
    }

    fn permit(
        &self,
        direction: Direction,
        port: &PortEntry,
        flow: &FlowKey,
    ) -> Result<RuleId, DropReason> {
        match self.decide(direction, port, flow) {
            Verdict::Allow(rule) => Ok(rule),
            Verdict::Deny(_) => Err(denied(direction)),
        }
    }

    /// Policy's answer for the first packet of a flow. A pod's own node always reaches it
    /// (NetworkPolicy), and only the node can send from the node's addresses.
    fn decide(&self, direction: Direction, port: &PortEntry, flow: &FlowKey) -> Verdict {
        if direction == Direction::Ingress && self.tables.node.has(flow.src) {
            return Verdict::Allow(RuleId::DEFAULT);
        }
        self.tables.policy().decide(direction, port.policy, flow)
    }
}

const fn denied(direction: Direction) -> DropReason {
    match direction {
        Direction::Egress => DropReason::DeniedEgress,
        Direction::Ingress => DropReason::DeniedIngress,
    }
}
