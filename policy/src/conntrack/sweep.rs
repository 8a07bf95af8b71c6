//! Walks over the whole table: expiry bit by bit, purges, listings.
//!
//! These run beside the workers: an entry created or refreshed while a walk is
//! under way may be met or missed. Whoever purges first sees to it that no new
//! packet of what is purged gets in.

use core::net::IpAddr;

use super::entry::{NO_HOME, Snapshot};
use super::info::FlowInfo;
use super::probe::Place;
use super::{Conntrack, WAYS};
use crate::{Direction, Moment};

impl Conntrack {
    /// Looks at the next `budget` entries (rounded up to buckets of 8) of stripe
    /// `stripe` of `of` and forgets silent flows; how many it forgot. Called now and then by every worker
    /// with its own stripe, this covers the table; lookups treat an expired entry
    /// as missing either way.
    pub fn expire(&self, stripe: usize, of: usize, budget: usize, now: Moment) -> usize {
        let of = of.max(1);
        let stripe = stripe % of;
        let buckets = (self.buckets.len() + of - 1 - stripe) / of;
        if buckets == 0 {
            return 0;
        }
        (0..budget.div_ceil(WAYS).min(buckets))
            .map(|_| self.next_stripe_position(stripe) % buckets * of + stripe)
            .map(|bucket| self.expire_bucket(bucket, now))
            .sum()
    }

    fn expire_bucket(&self, bucket: usize, now: Moment) -> usize {
        self.end_where(
            bucket..bucket + 1,
            |snapshot| self.is_expired(snapshot, now),
            true,
        )
    }

    /// Forgets every flow charged to `owner`; how many there were.
    pub fn purge_owner(&self, owner: u32) -> usize {
        let is_owned = |snapshot: &Snapshot| u32::from(snapshot.key.owner()) == owner;
        self.end_where(0..self.buckets.len(), is_owned, false)
    }

    /// Forgets every flow from or to `address`; how many there were.
    pub fn purge_address(&self, address: IpAddr) -> usize {
        let is_end = |snapshot: &Snapshot| snapshot.key.involves(address);
        self.end_where(0..self.buckets.len(), is_end, false)
    }

    fn end_where(
        &self,
        buckets: core::ops::Range<usize>,
        is_over: impl Fn(&Snapshot) -> bool,
        expired: bool,
    ) -> usize {
        buckets
            .flat_map(|bucket| self.live_in(bucket))
            .filter(|(_, snapshot)| is_over(snapshot))
            .filter(|(place, _)| {
                if expired {
                    self.reclaim(place)
                } else {
                    self.end(place.guard, place.entry, place.seen)
                }
            })
            .count()
    }

    /// Calls `visit` for every flow in the table, in no order; flows past their
    /// timeout but not yet swept among them.
    pub fn for_each(&self, mut visit: impl FnMut(FlowInfo)) {
        for (place, snapshot) in (0..self.buckets.len()).flat_map(|bucket| self.live_in(bucket)) {
            visit(self.describe(&place, &snapshot));
        }
    }

    pub(super) fn live_in(&self, bucket: usize) -> impl Iterator<Item = (Place<'_>, Snapshot)> {
        self.places(bucket)
            .filter(|place| place.seen.is_live())
            .filter_map(|place| Some((place, place.read()?)))
    }

    fn describe(&self, place: &Place<'_>, snapshot: &Snapshot) -> FlowInfo {
        let progress = snapshot.progress;
        let (packets, bytes) = place.entry.counts();
        FlowInfo {
            original: snapshot.key.original(),
            state: progress.flow,
            owner: snapshot.key.owner().into(),
            egress: place.entry.slot(Direction::Egress, progress.generation),
            ingress: place.entry.slot(Direction::Ingress, progress.generation),
            homes: progress.homes.map(|home| (home != NO_HOME).then_some(home)),
            packets,
            bytes,
            seen: snapshot.seen,
            expires: snapshot.seen + progress.flow.timeout(&self.timeouts),
        }
    }
}
