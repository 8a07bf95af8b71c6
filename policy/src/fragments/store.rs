//! Where is a datagram's entry, and whose makes room for a new one?
//!
//! Owns the fixed memory: buckets of entries, found by a keyed hash and linked by owner.
#![expect(
    clippy::indexing_slicing,
    reason = "places are made from masked bucket numbers only"
)]

use core::net::IpAddr;

use weft_wire::{FlowKey, IpProtocol};

use super::owners::{Link, Owner, Owners};
use super::spans::Spans;
use super::{FragmentConfig, Opening};
use crate::{Moment, Span};

/// Entries in a bucket.
const WAYS: usize = 8;
/// An owner may hold one entry for so many free ones.
const SHARE: usize = 16;
/// RFC 791 §3.2 leaves it to the receiver; Linux's `net.ipv4.ipfrag_time`.
const LIFETIME_V4: Span = Span::from_secs(30);
/// RFC 8200 §4.5.
const LIFETIME_V6: Span = Span::from_secs(60);

/// An entry's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At(u32);

/// A datagram as its fragments name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    pub(super) owner: Owner,
    pub(super) id: u32,
    /// Addresses, and the protocol as the IP header says it.
    pub(super) flow: FlowKey,
}

/// What is remembered of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    owner: Owner,
    id: u32,
    pub(super) opening: Opening,
    pub(super) spans: Spans,
    pub(super) is_poisoned: bool,
    made: Moment,
    link: Link,
}

pub(super) struct Store {
    /// Buckets of [`WAYS`] entries, one behind the other; a power of two of them.
    entries: Box<[Option<Entry>]>,
    pub(super) owners: Owners,
    quota: u32,
    seed: u64,
    used: usize,
    /// The bucket that is looked through for expired entries next.
    sweep: usize,
}

impl At {
    #[expect(clippy::cast_possible_truncation, reason = "at most 2^28 entries")]
    const fn new(bucket: usize, way: usize) -> Self {
        Self((bucket * WAYS + way) as u32)
    }

    const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Name {
    /// IPv4 counts the protocol in (RFC 791 §3.2), IPv6 does not (RFC 8200 §4.5).
    fn protocol(&self) -> IpProtocol {
        match self.flow.src {
            IpAddr::V4(_) => self.flow.protocol,
            IpAddr::V6(_) => IpProtocol(0),
        }
    }

    fn names(&self, entry: &Entry) -> bool {
        let other = Self {
            owner: entry.owner,
            id: entry.id,
            flow: entry.opening.flow,
        };
        (self.owner, self.id) == (other.owner, other.id)
            && (self.flow.src, self.flow.dst) == (other.flow.src, other.flow.dst)
            && self.protocol() == other.protocol()
    }
}

impl Entry {
    fn is_expired(&self, now: Moment) -> bool {
        let lifetime = match self.opening.flow.src {
            IpAddr::V4(_) => LIFETIME_V4,
            IpAddr::V6(_) => LIFETIME_V6,
        };
        now.since(self.made) >= lifetime
    }
}

impl Store {
    pub(super) fn new(config: FragmentConfig) -> Self {
        let buckets = (config.capacity / WAYS)
            .clamp(2, 1 << 25)
            .next_power_of_two();
        Self {
            entries: vec![None; buckets * WAYS].into_boxed_slice(),
            owners: Owners::new(config.ports),
            quota: config.quota_per_owner,
            seed: config.seed,
            used: 0,
            sweep: 0,
        }
    }

    pub(super) const fn used(&self) -> usize {
        self.used
    }

    pub(super) const fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// The living entry of a datagram.
    pub(super) fn find(&self, name: &Name, now: Moment) -> Option<At> {
        places(self.buckets_of(name)).find(|&at| {
            let entry = self.entries[at.index()].as_ref();
            entry.is_some_and(|entry| name.names(entry) && !entry.is_expired(now))
        })
    }

    pub(super) fn get_mut(&mut self, at: At) -> Option<&mut Entry> {
        self.entries[at.index()].as_mut()
    }

    /// Makes the entry of a datagram that has none alive; false if there is no room.
    pub(super) fn insert(
        &mut self,
        name: &Name,
        opening: Opening,
        spans: Spans,
        now: Moment,
    ) -> bool {
        self.sweep_one(now);
        let Some(at) = self.make_room(name, now) else {
            return false;
        };
        let older = self.owners.append(name.owner, at);
        if let Some(older) = older.and_then(|older| self.get_mut(older)) {
            older.link.newer = Some(at);
        }
        self.entries[at.index()] = Some(Entry {
            owner: name.owner,
            id: name.id,
            opening,
            spans,
            is_poisoned: false,
            made: now,
            link: Link { older, newer: None },
        });
        self.used += 1;
        true
    }

    pub(super) fn free(&mut self, at: At) {
        let Some(Entry { owner, link, .. }) = self.entries[at.index()].take() else {
            return;
        };
        if let Some(older) = link.older.and_then(|older| self.get_mut(older)) {
            older.link.newer = link.newer;
        }
        if let Some(newer) = link.newer.and_then(|newer| self.get_mut(newer)) {
            newer.link.older = link.older;
        }
        self.owners.remove(owner, link);
        self.used -= 1;
    }

    /// A free entry: expired ones go first, then the owner's oldest.
    fn make_room(&mut self, name: &Name, now: Moment) -> Option<At> {
        let buckets = self.buckets_of(name);
        buckets
            .into_iter()
            .for_each(|bucket| self.expire(bucket, now));
        if self.owners.held(name.owner) >= self.limit() {
            let oldest = self.owners.oldest(name.owner)?;
            self.free(oldest);
        }
        self.free_in(buckets).or_else(|| {
            let own = places(buckets).filter_map(|at| {
                let entry = self.entries[at.index()].as_ref()?;
                (entry.owner == name.owner).then_some((entry.made, at))
            });
            let (_, oldest) = own.min_by_key(|&(made, _)| made)?;
            self.free(oldest);
            Some(oldest)
        })
    }

    /// How much one owner may hold now. Half of the entries is left out, so that two
    /// buckets are hardly ever full.
    fn limit(&self) -> u32 {
        let fillable = self.entries.len() / 2;
        let share = fillable.saturating_sub(self.used) / SHARE;
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        self.quota.min(share).max(1)
    }

    /// A free entry in the emptier bucket.
    fn free_in(&self, buckets: [usize; 2]) -> Option<At> {
        let [first, second] = buckets.map(|bucket| {
            let mut free = ways(bucket).filter(|at| self.entries[at.index()].is_none());
            let at = free.next();
            (usize::from(at.is_some()) + free.count(), at)
        });
        if second.0 > first.0 {
            second.1
        } else {
            first.1
        }
    }

    fn sweep_one(&mut self, now: Moment) {
        let buckets = self.entries.len() / WAYS;
        self.sweep = (self.sweep + 1) & (buckets - 1);
        self.expire(self.sweep, now);
    }

    fn expire(&mut self, bucket: usize, now: Moment) {
        for at in ways(bucket) {
            let entry = self.entries[at.index()].as_ref();
            if entry.is_some_and(|entry| entry.is_expired(now)) {
                self.free(at);
            }
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the hash and the identification are cut into parts"
    )]
    fn buckets_of(&self, name: &Name) -> [usize; 2] {
        let owner = u64::from(name.owner.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let key = FlowKey {
            protocol: name.protocol(),
            src_port: (name.id >> 16) as u16,
            dst_port: name.id as u16,
            ..name.flow
        };
        let hash = key.symmetric_hash(self.seed ^ owner);
        let mask = self.entries.len() / WAYS - 1;
        // Odd, so that the second bucket differs from the first.
        let distance = ((hash >> 32) as usize & mask) | 1;
        let first = hash as usize & mask;
        [first, first ^ distance]
    }
}

fn ways(bucket: usize) -> impl Iterator<Item = At> {
    (0..WAYS).map(move |way| At::new(bucket, way))
}

fn places(buckets: [usize; 2]) -> impl Iterator<Item = At> {
    buckets.into_iter().flat_map(ways)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_documented() {
        assert_eq!(size_of::<Option<Entry>>(), 136);
    }
}
