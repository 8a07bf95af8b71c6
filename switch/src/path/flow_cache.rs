//! What has the road found out about this flow already?
//!
//! Most of what the road asks about a packet of TCP or UDP depends on its addresses, ports and
//! MACs, and on the tables, alone: is the source the sender's, may such a destination be, where
//! does it live, which lane does the flow have. A worker's [`FlowCache`] remembers the answers.
//! Its key is all that those steps read, nothing is left out or masked, and an answer is as good
//! as the epoch of the tables that gave it. What depends on more (lengths, TTL, marks, bandwidth,
//! time) is asked of every packet, and so is the connection table: the cache knows only which
//! of its entries to ask.
//!
//! # Bounds
//! Two slots for a flow, chosen by a keyed hash. A flow takes one that is empty, of other tables
//! or its own port's; another port's flow never loses a slot to it, and the flows of one port
//! hold an eighth of the slots at most, so no pod can push out what others use. A flow without a
//! slot goes the long way, packet by packet. What no packet used between two visits of the sweep
//! is forgotten.

use std::net::IpAddr;

use weft_encap::Lane;
use weft_policy::{EntryRef, Epoch};
use weft_wire::flow::mix;
use weft_wire::{Fragment, Headers, TcpFlags, Transport};

use super::ports::{MAX_PORTS, PortId};
use super::tables::PeerId;

/// Pairs of slots, a power of two.
const PAIRS: usize = 1024;
/// Slots that the flows of one port may hold.
const SHARE: u16 = 256;
/// Pairs that one tick sweeps: all of them in a second of ten ticks.
const SWEPT: usize = PAIRS.div_ceil(10);

/// By which door a packet came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Port(PortId),
    Peer(PeerId),
}

/// All that the skipped steps read of a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Key {
    words: [u64; 7],
}

/// What is known of a flow's packets in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) onward: Onward,
    /// What lets them pass.
    pub(super) memory: Memory,
}

/// An entry of the connection table, as a direction of its flow sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) entry: EntryRef,
    /// From the connection's responder to its initiator.
    pub(super) reply: bool,
}

/// The next hop, and what is worked out once for a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Onward {
    Port(PortId),
    Peer {
        peer: PeerId,
        /// Keeps the flow's packets in order.
        flow: u64,
        lane: Lane,
    },
}

/// One flow's answers.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key: Key,
    way: Way,
    epoch: Epoch,
    /// The port of this node whose share it is of.
    owner: PortId,
    /// A packet used it since the last sweep.
    used: bool,
}

/// The answers of one worker.
#[derive(Debug)]
pub(super) struct FlowCache {
    pairs: Box<[[Option<Slot>; 2]]>,
    /// Slots that each port's flows hold under `epoch`.
    held: Box<[u16]>,
    epoch: Epoch,
    seeds: [u64; 2],
    /// The pair the sweep comes to next.
    hand: usize,
}

impl Door {
    /// Distinct for each port and each peer.
    fn word(self) -> u64 {
        match self {
            Self::Port(port) => port.get().into(),
            Self::Peer(peer) => 1 << 16 | peer.index() as u64,
        }
    }
}

impl Key {
    /// The key of a packet; `None` where more than a key decides, or where the packet may begin
    /// or end a connection.
    #[inline]
    pub(super) fn of(door: Door, packet: &Headers) -> Option<Self> {
        let plain = match packet.transport {
            Transport::Udp => true,
            Transport::Tcp(info) => info.flags.0 & UNUSUAL == 0,
            _ => false,
        };
        if !plain || packet.fragment != Fragment::Whole || packet.source_routed {
            return None;
        }
        let flow = &packet.flow;
        let [d0, d1, d2, d3, d4, d5] = packet.dst_mac.octets();
        let [s0, s1, s2, s3, s4, s5] = packet.src_mac.octets();
        let ports = u64::from(flow.src_port) << 16 | u64::from(flow.dst_port);
        let tail = u64::from(flow.protocol.0) << 32 | ports;
        let (is_v6, [a, b, c, d]) = match (flow.src, flow.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let both = u64::from(src.to_bits()) << 32 | u64::from(dst.to_bits());
                (0, [both, 0, 0, 0])
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let ([a, b], [c, d]) = (halves(src.to_bits()), halves(dst.to_bits()));
                (1 << 40, [a, b, c, d])
            }
            _ => return None,
        };
        Some(Self {
            words: [
                a,
                tail | is_v6,
                u64::from_le_bytes([d0, d1, d2, d3, d4, d5, s0, s1]),
                u64::from(u32::from_le_bytes([s2, s3, s4, s5])) | door.word() << 32,
                b,
                c,
                d,
            ],
        })
    }

    /// No early exit: one branch on the whole comparison.
    #[inline]
    fn is(&self, other: &Self) -> bool {
        let both = self.words.iter().zip(&other.words);
        both.fold(0, |differ, (mine, theirs)| differ | (mine ^ theirs)) == 0
    }

    #[inline]
    fn hash(&self, [first, second]: [u64; 2]) -> u64 {
        let [a, tail, _, door, b, c, d] = self.words;
        let more = if tail & 1 << 40 == 0 {
            0
        } else {
            mix(b ^ first, c ^ second) ^ mix(d ^ second, first)
        };
        mix(a ^ more ^ first, (tail ^ door << 16) ^ second)
    }
}

/// Flags of a segment that begins or ends a connection.
const UNUSUAL: u8 = TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0;
/// Spreads a seed over all bits.
const SALT: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];

#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
const fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}

impl FlowCache {
    /// An empty cache; the only place that allocates.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            pairs: vec![[None; 2]; PAIRS].into_boxed_slice(),
            held: vec![0; MAX_PORTS].into_boxed_slice(),
            epoch: Epoch::default(),
            seeds: SALT.map(|salt| mix(seed ^ salt, salt.rotate_left(17))),
            hand: 0,
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.pairs.fill([None; 2]);
        self.held.fill(0);
    }

    /// What is known under these tables of the packets with this key.
    #[inline]
    pub(super) fn find(&mut self, key: &Key, epoch: Epoch) -> Option<Way> {
        let index = self.index_of(key);
        let pair = self.pairs.get_mut(index)?;
        let slot = pair
            .iter_mut()
            .flatten()
            .find(|slot| slot.key.is(key) && slot.epoch == epoch)?;
        slot.used = true;
        Some(slot.way)
    }

    /// Remembers what the tables of this epoch said, for a flow of this port, if there is room.
    #[inline(never)]
    pub(super) fn learn(&mut self, key: &Key, way: Way, owner: PortId, epoch: Epoch) {
        if epoch != self.epoch {
            self.held.fill(0);
            self.epoch = epoch;
        }
        let index = self.index_of(key);
        let held = self.held.get_mut(owner.index());
        let (Some(pair), Some(held)) = (self.pairs.get_mut(index), held) else {
            return;
        };
        let is_gone = |slot: &Option<Slot>| slot.is_none_or(|slot| slot.epoch != epoch);
        let is_same = |slot: &Option<Slot>| slot.is_some_and(|slot| slot.key.is(key));
        let is_own = |slot: &Option<Slot>| slot.is_some_and(|slot| slot.owner == owner);
        let free = || pair.iter().position(is_gone).filter(|_| *held < SHARE);
        let own = |wanted: &dyn Fn(&Option<Slot>) -> bool| {
            let mut places = pair.iter();
            places.position(|slot| !is_gone(slot) && is_own(slot) && wanted(slot))
        };
        let chosen = own(&is_same).or_else(free).or_else(|| own(&|_| true));
        let Some(place) = chosen.and_then(|at| pair.get_mut(at)) else {
            return;
        };
        if is_gone(place) {
            *held += 1;
        }
        *place = Some(Slot {
            key: *key,
            way,
            epoch,
            owner,
            used: true,
        });
    }

    /// Forgets a bounded number of flows that no packet belonged to for a second.
    pub(super) fn sweep(&mut self) {
        for _ in 0..SWEPT {
            let pair = self.pairs.get_mut(self.hand);
            for place in pair.into_iter().flatten() {
                let Some(slot) = place else { continue };
                if slot.used && slot.epoch == self.epoch {
                    slot.used = false;
                    continue;
                }
                if slot.epoch == self.epoch
                    && let Some(held) = self.held.get_mut(slot.owner.index())
                {
                    *held = held.saturating_sub(1);
                }
                *place = None;
            }
            self.hand = (self.hand + 1) % PAIRS;
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a part of the hash")]
    fn index_of(&self, key: &Key) -> usize {
        key.hash(self.seeds) as usize % PAIRS
    }
}

#[cfg(test)]
#[path = "flow_cache_tests.rs"]
mod tests;
