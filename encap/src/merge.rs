//! Which received packets are one transfer? Consecutive segments become one super-frame.
//!
//! Owns the receiving half of segmentation in software: segments go in, frames come out in
//! an order that keeps every inner flow's own. Never drops a packet it was given a buffer
//! for, never changes one it does not merge, and never waits: [`Merger::finish`] ends a turn.
#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "sets, ways and places are below their arrays' lengths; a hash is cut on purpose"
)]

mod group;
mod plain;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, vec::Drain};

use weft_wire::{Frame, Pool};

use crate::Ecn;
use group::{Group, Joined};
use plain::{Flow, Seen};

/// Frames that may be ready at once; [`Merger::offer`] refuses more until they were taken.
pub const READY: usize = 4096;

/// Open groups: a flow's hash chooses the set, any place in the set may be its.
const SETS: usize = 32;
const WAYS: usize = 4;
const GROUPS: usize = SETS * WAYS;

/// What must be equal for two tunnel packets to be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// The peer that sent them.
    pub source: IpAddr,
    /// The outer header's congestion mark.
    pub ecn: Ecn,
}

/// The packet was not taken: no frame was free or large enough, or [`READY`] frames wait to be
/// taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBuffer;

/// Joins the segments of one turn.
///
/// A flow has at most one open group. Whatever comes of a flow and does not join its group
/// closes it first; a packet whose flow cannot be told (a fragment, one with IPv4 options or
/// extension headers) closes all groups between its addresses.
#[derive(Debug)]
pub struct Merger {
    seed: u64,
    groups: Box<[Option<Group>]>,
    /// The upper half of the flow's hash for each group, 0 where there is none. Two flows
    /// with equal tags in one set close each other's groups, which is never wrong.
    tags: [[u32; WAYS]; SETS],
    /// Which groups are open.
    open: u128,
    /// Where the group is that was opened or joined last: the next packet's, most of the time.
    last: usize,
    /// Where the next group of a full set goes, in turn: the oldest one's place.
    next: [u8; SETS],
    ready: Vec<(Outer, Frame)>,
}

impl Merger {
    /// A merger with all the memory it will ever use. Nobody outside knows `seed`: flows that
    /// share a set close each other's groups, which a pod could use against another's.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            groups: (0..GROUPS).map(|_| None).collect(),
            tags: [[0; WAYS]; SETS],
            open: 0,
            last: 0,
            next: [0; SETS],
            // Every packet adds at most one frame, ready or in an open group.
            ready: Vec::with_capacity(READY + GROUPS),
        }
    }

    /// Takes one tunnel packet: a VXLAN header and the frame behind it.
    ///
    /// # Errors
    /// [`NoBuffer`] when the packet could not be kept. Order holds all the same.
    #[inline]
    pub fn offer(&mut self, outer: Outer, payload: &[u8], pool: &mut Pool) -> Result<(), NoBuffer> {
        if self.ready.len() >= READY {
            return Err(NoBuffer);
        }
        // Headers that equal those of a group are of its flow: no need to look at what they are.
        if self.join(self.last, &outer, payload, pool) {
            return Ok(());
        }
        match Seen::of(payload, self.seed) {
            Seen::Plain(flow) => self.offer_plain(outer, payload, flow, pool),
            Seen::Between { v4 } => {
                self.close_between(v4, payload);
                self.pass(outer, payload, pool)
            }
            Seen::Other => self.pass(outer, payload, pool),
        }
    }

    /// Takes the packets of one receive buffer, `stride` bytes each but the last, which may be
    /// shorter. Gives how many of them could not be kept.
    pub fn offer_run(
        &mut self,
        outer: Outer,
        buffer: &[u8],
        stride: usize,
        pool: &mut Pool,
    ) -> usize {
        buffer
            .chunks(stride.max(1))
            .filter(|payload| self.offer(outer, payload, pool).is_err())
            .count()
    }

    /// Closes every group: nothing more joins what was offered so far.
    pub fn finish(&mut self) {
        while self.open != 0 {
            self.close(self.open.trailing_zeros() as usize);
        }
    }

    /// The frames that are complete, the oldest first.
    pub fn ready(&mut self) -> Drain<'_, (Outer, Frame)> {
        self.ready.drain(..)
    }

    #[inline]
    fn offer_plain(
        &mut self,
        outer: Outer,
        payload: &[u8],
        flow: Flow,
        pool: &mut Pool,
    ) -> Result<(), NoBuffer> {
        let set = flow.hash as usize & (SETS - 1);
        let tag = (flow.hash >> 32) as u32 | 1;
        let way = self.tags[set].iter().position(|other| *other == tag);
        if let Some(way) = way {
            let at = set * WAYS + way;
            if at != self.last && self.join(at, &outer, payload, pool) {
                return Ok(());
            }
            self.close(at);
        }
        let frame = copy(payload, pool)?;
        match Group::begin(outer, flow.kind, frame) {
            Ok(group) => self.open(set, tag, group),
            Err(frame) => self.ready.push((outer, frame)),
        }
        Ok(())
    }

    /// Adds a packet to the group at this place, if there is one that it continues.
    #[inline]
    fn join(&mut self, at: usize, outer: &Outer, payload: &[u8], pool: &mut Pool) -> bool {
        let joined = match &mut self.groups[at] {
            Some(group) => group.join(outer, payload, pool),
            None => Joined::Not,
        };
        match joined {
            Joined::Not => return false,
            Joined::More => self.last = at,
            Joined::Last => self.close(at),
        }
        true
    }

    /// Gives the group a place in its set, of the oldest one there if need be.
    #[inline]
    fn open(&mut self, set: usize, tag: u32, group: Group) {
        let free = self.tags[set].iter().position(|tag| *tag == 0);
        let way = free.unwrap_or_else(|| {
            let way = usize::from(self.next[set]) % WAYS;
            self.close(set * WAYS + way);
            way
        });
        self.next[set] = (way as u8).wrapping_add(1);
        self.tags[set][way] = tag;
        self.open |= 1 << (set * WAYS + way);
        self.last = set * WAYS + way;
        self.groups[self.last] = Some(group);
    }

    #[inline]
    fn close(&mut self, at: usize) {
        self.open &= !(1 << at);
        self.tags[at / WAYS][at % WAYS] = 0;
        if let Some(group) = self.groups[at].take() {
            self.ready.push(group.close());
        }
    }

    /// Closes the groups of all flows that a packet other than plain ones may be of.
    #[cold]
    fn close_between(&mut self, v4: bool, payload: &[u8]) {
        let mut left = self.open;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            let group = self.groups[at].as_ref();
            if group.is_some_and(|group| group.is_between(v4, payload)) {
                self.close(at);
            }
        }
    }

    fn pass(&mut self, outer: Outer, payload: &[u8], pool: &mut Pool) -> Result<(), NoBuffer> {
        let frame = copy(payload, pool)?;
        self.ready.push((outer, frame));
        Ok(())
    }
}

/// A frame of the pool with these bytes.
#[inline]
fn copy(payload: &[u8], pool: &mut Pool) -> Result<Frame, NoBuffer> {
    let mut frame = pool.take().ok_or(NoBuffer)?;
    if frame.copy_from(payload) {
        return Ok(frame);
    }
    pool.put(frame);
    // Longer than usual, as when a peer's MTU is larger.
    let mut frame = pool.take_large().ok_or(NoBuffer)?;
    if frame.copy_from(payload) {
        return Ok(frame);
    }
    pool.put(frame);
    Err(NoBuffer)
}
