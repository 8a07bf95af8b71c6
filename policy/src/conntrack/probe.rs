//! Where a flow's entry can be: two buckets and a tag, from one keyed hash.
//!
//! Owns the one way through a flow's sixteen entries. Its order is the same for
//! every worker and both directions, which is what lets two inserters agree.
#![expect(
    clippy::indexing_slicing,
    reason = "bucket numbers are masked by the number of buckets, a power of two"
)]

use weft_wire::FlowKey;

use super::config::FlowState;
use super::entry::{Entry, Snapshot};
use super::guard::{Control, Guard};
use super::key::Key;
use super::{Conntrack, EntryRef, WAYS};
use crate::Moment;

/// A flow's buckets, first choice first, and its tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) buckets: [usize; 2],
    pub(super) tag: u16,
}

/// One entry of the table, with the control word as it was when reached.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) index: usize,
    pub(super) guard: &'a Guard,
    pub(super) entry: &'a Entry,
    pub(super) seen: Control,
}

/// A flow's live entry and what it held.
#[derive(Clone, Copy)]
pub(super) struct Hit<'a> {
    pub(super) place: Place<'a>,
    pub(super) snapshot: Snapshot,
}

impl Place<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "at most 2^28 buckets of 8")]
    pub(super) const fn to_ref(self) -> EntryRef {
        EntryRef {
            index: self.index as u32,
            generation: self.seen.generation(),
        }
    }

    /// What the entry holds, unless it changed hands while it was read.
    pub(super) fn read(&self) -> Option<Snapshot> {
        let snapshot = self.entry.snapshot(self.entry.key());
        self.guard.is_still(self.seen).then_some(snapshot)
    }
}

impl Conntrack {
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the hash is cut into parts"
    )]
    pub(super) fn probe(&self, flow: &FlowKey) -> Probe {
        let [seed, _] = self.seed;
        let hash = flow.symmetric_hash(seed);
        let mask = self.buckets.len() - 1;
        let first = hash as usize & mask;
        // Odd, so that the second bucket differs from the first.
        let distance = (self.scatter(hash) as usize & mask) | 1;
        Probe {
            buckets: [first, first ^ distance],
            tag: (hash >> 48) as u16,
        }
    }

    const fn scatter(&self, hash: u64) -> u64 {
        let [_, seed] = self.seed;
        (hash ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
    }

    /// The entries of a bucket in order.
    #[inline]
    pub(super) fn places(&self, bucket: usize) -> impl Iterator<Item = Place<'_>> {
        let guards = &self.buckets[bucket].controls;
        let entries = &self.entries[bucket];
        guards
            .iter()
            .zip(entries)
            .enumerate()
            .map(move |(way, (guard, entry))| Place {
                index: bucket * WAYS + way,
                guard,
                entry,
                seen: guard.load(),
            })
    }

    /// The first live entry of a flow. Expired ones are ended on the way.
    #[inline]
    pub(super) fn find(&self, probe: &Probe, key: &Key, now: Moment) -> Option<Hit<'_>> {
        probe.buckets.iter().find_map(|&bucket| {
            self.places(bucket)
                .filter(|place| place.seen.is_live_with(probe.tag))
                .find_map(|place| self.hit(place, key, now))
        })
    }

    #[inline]
    fn hit<'a>(&'a self, place: Place<'a>, key: &Key, now: Moment) -> Option<Hit<'a>> {
        let stored = place.entry.key();
        if !stored.is_same_flow(key) {
            return None;
        }
        let snapshot = place.entry.snapshot(stored);
        if !place.guard.is_still(place.seen) {
            return None;
        }
        if self.is_expired(&snapshot, now) {
            self.reclaim(&place);
            return None;
        }
        Some(Hit { place, snapshot })
    }

    /// Whether an entry has been silent for longer than its state is believed.
    #[inline]
    pub(super) fn is_expired(&self, snapshot: &Snapshot, now: Moment) -> bool {
        self.is_over(snapshot.progress.flow, snapshot.seen, now)
    }

    /// The same of a flow in this state whose last packet passed at `seen`.
    #[inline]
    pub(super) fn is_over(&self, flow: FlowState, seen: Moment, now: Moment) -> bool {
        now.since(seen) >= self.lifetimes.of(flow)
    }

    /// Ends an expired entry.
    #[cold]
    pub(super) fn reclaim(&self, place: &Place<'_>) -> bool {
        let ended = self.end(place.guard, place.entry, place.seen);
        if ended {
            self.events.expired();
        }
        ended
    }
}
