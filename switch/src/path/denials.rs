//! Whom did policy refuse, how often, and what was the last packet?
//!
//! Plain integers and one fixed slot of each port and direction, for `weft drops` and
//! `weft policies`. The direction is that of the policies that refused: those of the port's
//! pod for what it sends, or for what reaches it. A reply is refused by the policies that
//! judge its flow, so it counts where the flow's first packet would.

use weft_policy::{Direction, Epoch, Moment, PolicySetId, RuleId};
use weft_wire::FlowKey;

use super::ports::{MAX_PORTS, PortId};

/// A packet that policy refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// When.
    pub at: Moment,
    /// What was asked: the packet's flow, as its initiator writes it.
    pub flow: FlowKey,
    /// What refused it; a name of it is in the tables of `epoch`.
    pub rule: RuleId,
    /// The policies that were asked.
    pub set: PolicySetId,
    /// The tables that were asked.
    pub epoch: Epoch,
}

/// What policy refused at every port of one worker.
#[derive(Debug, Clone)]
pub struct Denials {
    slots: Box<[[Slot; 2]]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    packets: u64,
    last: Option<Denial>,
}

impl Default for Denials {
    fn default() -> Self {
        Self {
            slots: vec![[Slot::default(); 2]; MAX_PORTS].into_boxed_slice(),
        }
    }
}

impl Denials {
    /// Packets that the port's policies of this direction refused.
    pub fn packets(&self, port: PortId, direction: Direction) -> u64 {
        self.slot(port, direction).map_or(0, |slot| slot.packets)
    }

    /// The last of them.
    pub fn last(&self, port: PortId, direction: Direction) -> Option<&Denial> {
        self.slot(port, direction)?.last.as_ref()
    }

    /// Ports and directions in which anything was refused, with how much, and the last of it.
    pub fn iter(&self) -> impl Iterator<Item = (PortId, Direction, u64, &Denial)> {
        let ports = (0u16..).zip(&self.slots);
        let slots = ports.flat_map(|(port, [egress, ingress])| {
            [
                (port, Direction::Egress, egress),
                (port, Direction::Ingress, ingress),
            ]
        });
        slots.filter_map(|(port, direction, slot)| {
            Some((
                PortId::new(port)?,
                direction,
                slot.packets,
                slot.last.as_ref()?,
            ))
        })
    }

    /// Forgets everything (`weft drops --reset`).
    pub fn reset(&mut self) {
        self.slots.fill([Slot::default(); 2]);
    }

    /// Forgets a port's, when its number goes to another pod.
    pub fn reset_port(&mut self, port: PortId) {
        if let Some(slots) = self.slots.get_mut(port.index()) {
            *slots = [Slot::default(); 2];
        }
    }

    /// Counts packets, and keeps them as the example if they are the first of their moment.
    pub(super) fn record(
        &mut self,
        port: PortId,
        direction: Direction,
        packets: u64,
        denial: Denial,
    ) {
        let Some([egress, ingress]) = self.slots.get_mut(port.index()) else {
            return;
        };
        let slot = match direction {
            Direction::Egress => egress,
            Direction::Ingress => ingress,
        };
        slot.packets += packets;
        if slot.last.is_none_or(|last| last.at != denial.at) {
            slot.last = Some(denial);
        }
    }

    fn slot(&self, port: PortId, direction: Direction) -> Option<&Slot> {
        let [egress, ingress] = self.slots.get(port.index())?;
        Some(match direction {
            Direction::Egress => egress,
            Direction::Ingress => ingress,
        })
    }
}
