//! How many frames met which fate?
//!
//! A frame that stands for several packets counts as so many.
//!
//! Plain integers of one worker: no atomics on the path. The runtime copies them out
//! between turns and adds the workers' copies up.

use super::drop::DropReason;
use super::fate::Fate;
use super::ports::{MAX_PORTS, PortId};

/// The counters of one port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames read from the port.
    pub egress_frames: u64,
    /// Their bytes, Ethernet header included.
    pub egress_bytes: u64,
    /// Frames to be written to the port, generated ones included.
    pub ingress_frames: u64,
    /// Their bytes, Ethernet header included.
    pub ingress_bytes: u64,
    /// Frames read from the port and dropped.
    pub egress_drops: u64,
}

/// The counters of one worker, or the sum of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    /// Frames whose fate was a local port.
    pub to_pod: u64,
    /// Frames whose fate was a peer.
    pub to_peer: u64,
    /// Frames answered to their sender: ARP, neighbour discovery, echo.
    pub hairpin: u64,
    /// Frames beyond the first that fragmentation made.
    pub fragments: u64,
    /// ICMP and ICMPv6 errors sent.
    pub icmp_sent: u64,
    /// Errors not sent: rate limit, or a packet about which none may be sent.
    pub icmp_suppressed: u64,
    /// Frames whose way the flow cache knew; a super-frame is one.
    pub recalled: u64,
    drops: [u64; DropReason::COUNT],
    ports: Box<[PortCounters]>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            to_pod: 0,
            to_peer: 0,
            hairpin: 0,
            fragments: 0,
            icmp_sent: 0,
            icmp_suppressed: 0,
            recalled: 0,
            drops: [0; DropReason::COUNT],
            ports: vec![PortCounters::default(); MAX_PORTS].into_boxed_slice(),
        }
    }
}

impl Counters {
    /// Frames dropped for this reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops.get(reason.index()).copied().unwrap_or(0)
    }

    /// Frames dropped for any reason.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Frames that have met a fate.
    pub fn frames(&self) -> u64 {
        self.to_pod + self.to_peer + self.hairpin + self.dropped()
    }

    /// The counters of a port.
    pub fn port(&self, port: PortId) -> PortCounters {
        self.ports.get(port.index()).copied().unwrap_or_default()
    }

    /// Adds another worker's counters.
    pub fn add(&mut self, other: &Self) {
        self.to_pod += other.to_pod;
        self.to_peer += other.to_peer;
        self.hairpin += other.hairpin;
        self.fragments += other.fragments;
        self.icmp_sent += other.icmp_sent;
        self.icmp_suppressed += other.icmp_suppressed;
        self.recalled += other.recalled;
        for (mine, theirs) in self.drops.iter_mut().zip(&other.drops) {
            *mine += theirs;
        }
        for (mine, theirs) in self.ports.iter_mut().zip(&other.ports) {
            mine.add(theirs);
        }
    }

    /// Forgets the drops of all reasons (`weft drops --reset`).
    pub fn reset_drops(&mut self) {
        self.drops.fill(0);
    }

    /// Forgets a port's counters, when its number goes to another pod.
    pub fn reset_port(&mut self, port: PortId) {
        self.on_port(port, |counters| *counters = PortCounters::default());
    }

    /// Counts a drop decided outside the path, such as a full TAP queue.
    pub fn record_drop(&mut self, reason: DropReason) {
        self.record_drops(reason, 1);
    }

    /// The same for a frame that stands for so many packets.
    pub fn record_drops(&mut self, reason: DropReason, packets: u64) {
        if let Some(count) = self.drops.get_mut(reason.index()) {
            *count += packets;
        }
    }

    /// Counts the fate of a frame that stands for so many packets.
    pub(super) fn record(&mut self, fate: Fate, packets: u64) {
        match fate {
            Fate::ToPod(_) => self.to_pod += packets,
            Fate::ToPeer(_) => self.to_peer += packets,
            Fate::Hairpin => self.hairpin += packets,
            Fate::Drop(reason) => self.record_drops(reason, packets),
        }
    }

    pub(super) fn on_port(&mut self, port: PortId, count: impl FnOnce(&mut PortCounters)) {
        if let Some(counters) = self.ports.get_mut(port.index()) {
            count(counters);
        }
    }
}

impl PortCounters {
    const fn add(&mut self, other: &Self) {
        self.egress_frames += other.egress_frames;
        self.egress_bytes += other.egress_bytes;
        self.ingress_frames += other.ingress_frames;
        self.ingress_bytes += other.ingress_bytes;
        self.egress_drops += other.egress_drops;
    }
}
