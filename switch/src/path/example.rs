//! What did the last frame look like that was dropped for a reason?
//!
//! One fixed slot per reason, overwritten in place, for `weft drops`: enough to find the
//! sender, no packet bytes. Under a flood of drops a slot is written once per turn.

use std::net::IpAddr;

use weft_policy::Moment;
use weft_wire::ethernet::EthernetFrame;
use weft_wire::{EtherType, FlowKey, Frame, Mac, Parsed};

use super::drop::DropReason;
use super::ports::PortId;

/// Where a frame entered the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Read from a local port.
    Port(PortId),
    /// Received from this underlay address.
    Underlay(IpAddr),
}

/// A dropped frame, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// When it was dropped.
    pub at: Moment,
    /// Where it came from.
    pub origin: Origin,
    /// Its length in bytes, Ethernet header included.
    pub len: usize,
    /// Source MAC, destination MAC and EtherType; `None` below 14 bytes.
    pub ethernet: Option<(Mac, Mac, EtherType)>,
    /// Its addresses and ports, if it could be parsed as IP.
    pub flow: Option<FlowKey>,
}

/// The last example of every reason.
#[derive(Debug, Clone)]
pub struct Examples {
    last: [Option<Example>; DropReason::COUNT],
}

impl Default for Examples {
    fn default() -> Self {
        Self {
            last: [None; DropReason::COUNT],
        }
    }
}

impl Examples {
    /// The last frame dropped for this reason.
    pub fn last(&self, reason: DropReason) -> Option<&Example> {
        self.last.get(reason.index())?.as_ref()
    }

    /// Forgets all examples.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) fn record(&mut self, reason: DropReason, at: Moment, origin: Origin, frame: &Frame) {
        let Some(slot) = self.last.get_mut(reason.index()) else {
            return;
        };
        if slot.as_ref().is_some_and(|last| last.at == at) {
            return;
        }
        let bytes = frame.as_slice();
        let ethernet = EthernetFrame::new_checked(bytes).ok();
        let ethernet = ethernet.map(|view| (view.source(), view.destination(), view.ether_type()));
        let flow = match weft_wire::parse(bytes) {
            Ok(Parsed::Ip(packet)) => Some(packet.flow),
            _ => None,
        };
        *slot = Some(Example {
            at,
            origin,
            len: bytes.len(),
            ethernet,
            flow,
        });
    }
}
