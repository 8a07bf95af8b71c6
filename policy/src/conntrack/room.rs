//! Which entry does a new flow get, and what is given up for it?
//!
//! Owns the order of eviction and the search for whom it meets. An owner at its quota pays with
//! one of its own entries: one that lives where the newcomer may live, or, where there is a
//! vacancy, one from anywhere in the table. It is searched for with a hand that goes round the
//! buckets, one hand per owner, from where the last search ended: every entry comes up once in a
//! round. Never takes another owner's living entry, and never looks at more than
//! [`Conntrack::reach`] buckets.

use super::Conntrack;
use super::config::Rank;
use super::create::Arrival;
use super::entry::Snapshot;
use super::probe::Place;
use crate::Moment;

/// Entries of its own that an owner at its quota weighs against each other.
const WEIGHED: usize = 8;
/// Buckets searched for more of them once there is one.
const BROAD: usize = 64;
/// Entries of the owner that [`Conntrack::reach`] buckets hold on average when it is at its
/// quota: keyed hashing places them by chance, so that none at all is out of the question.
const EXPECTED: usize = 64;

/// A unit of an owner's quota, for the newcomer.
#[derive(Clone, Copy)]
pub(super) struct Charge {
    pub(super) owner: u16,
    /// Otherwise the owner is at its quota.
    pub(super) is_held: bool,
}

/// The entry a flow gets.
pub(super) struct Chosen<'a> {
    pub(super) place: Place<'a>,
    gives_up: Option<Candidate<'a>>,
    /// The entry elsewhere whose charge the newcomer takes over.
    payer: Option<Candidate<'a>>,
}

/// A flow that may have to go.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    place: Place<'a>,
    rank: Rank,
    seen: Moment,
    owner: u16,
}

impl Candidate<'_> {
    /// The least is given up first.
    const fn worth(&self) -> (Rank, Moment) {
        (self.rank, self.seen)
    }

    fn is_expired(&self) -> bool {
        self.rank == Rank::Expired
    }
}

impl<'a> Chosen<'a> {
    const fn vacant(place: Place<'a>) -> Self {
        Self {
            place,
            gives_up: None,
            payer: None,
        }
    }

    const fn instead_of(victim: Candidate<'a>) -> Self {
        Self {
            place: victim.place,
            gives_up: Some(victim),
            payer: None,
        }
    }
}

impl Conntrack {
    /// How many buckets a search may look at, for a table of `buckets` in which an owner has
    /// room for `quota` entries.
    pub(super) fn reach(buckets: usize, quota: usize) -> usize {
        let expected = EXPECTED.saturating_mul(buckets) / quota.max(1);
        expected.max(BROAD).min(buckets)
    }

    /// The entry to use, and who gives up what for it.
    pub(super) fn choose(&self, arrival: &Arrival, charge: Charge) -> Option<Chosen<'_>> {
        if !charge.is_held {
            return self.choose_at_quota(arrival);
        }
        match self.free(arrival) {
            Some(place) => Some(Chosen::vacant(place)),
            None => self.choose_among_living(arrival),
        }
    }

    /// In two full buckets: what has expired, or else the owner's own.
    #[cold]
    fn choose_among_living(&self, arrival: &Arrival) -> Option<Chosen<'_>> {
        let may_go = |found: &Candidate<'_>| found.owner == arrival.owner || found.is_expired();
        let victim = self
            .living(arrival)
            .filter(may_go)
            .min_by_key(Candidate::worth);
        victim.map(Chosen::instead_of)
    }

    /// For one of the owner's own: here, or for a vacancy here and one from anywhere.
    #[cold]
    fn choose_at_quota(&self, arrival: &Arrival) -> Option<Chosen<'_>> {
        let is_own = |found: &Candidate<'_>| found.owner == arrival.owner;
        let near = self
            .living(arrival)
            .filter(is_own)
            .min_by_key(Candidate::worth);
        let vacancy = self.free(arrival).map(Chosen::vacant).or_else(|| {
            let expired = self.living(arrival).find(Candidate::is_expired);
            expired.map(Chosen::instead_of)
        });
        let Some(vacancy) = vacancy else {
            return near.map(Chosen::instead_of);
        };
        let payer = self.search(arrival, near)?;
        let is_near = near.is_some_and(|near| near.place.index == payer.place.index);
        Some(if is_near {
            Chosen::instead_of(payer)
        } else {
            Chosen {
                payer: Some(payer),
                ..vacancy
            }
        })
    }

    /// A free entry in the emptier of the two buckets.
    #[inline]
    pub(super) fn free(&self, arrival: &Arrival) -> Option<Place<'_>> {
        let [first, second] = arrival.probe.buckets.map(|bucket| {
            let mut free = self.places(bucket).filter(|place| place.seen.is_empty());
            let place = free.next();
            (usize::from(place.is_some()) + free.count(), place)
        });
        if second.0 > first.0 {
            second.1
        } else {
            first.1
        }
    }

    /// The flows that live where the newcomer may.
    fn living(&self, arrival: &Arrival) -> impl Iterator<Item = Candidate<'_>> {
        let now = arrival.now;
        let buckets = arrival.probe.buckets.into_iter();
        buckets
            .flat_map(|bucket| self.places(bucket))
            .filter(|place| place.seen.is_live())
            .filter_map(move |place| self.weigh(place, now))
    }

    /// The least of some entries of the newcomer's owner: of `near`, the least where the newcomer
    /// may live, and of what the owner's hand meets.
    fn search<'a>(
        &'a self,
        arrival: &Arrival,
        near: Option<Candidate<'a>>,
    ) -> Option<Candidate<'a>> {
        let (owner, now) = (arrival.owner, arrival.now);
        let (first, last) = (self.quotas.hand(owner), self.buckets.len() - 1);
        let (mut least, mut weighed, mut steps) = (near, usize::from(near.is_some()), 0);
        while steps < self.reach {
            let enough = weighed >= WEIGHED || steps >= BROAD;
            if least.is_some_and(|least| enough || least.is_expired()) {
                break;
            }
            let own = self
                .places((first + steps) & last)
                .filter(|place| place.seen.is_live_of(owner))
                .filter_map(|place| self.weigh(place, now));
            for candidate in own {
                weighed += 1;
                least = least
                    .into_iter()
                    .chain([candidate])
                    .min_by_key(Candidate::worth);
            }
            steps += 1;
        }
        self.quotas.move_hand(owner, (first + steps) & last);
        least
    }

    /// What giving up an entry costs; nothing if it changed hands while it was read.
    fn weigh<'a>(&self, place: Place<'a>, now: Moment) -> Option<Candidate<'a>> {
        let snapshot = place.read()?;
        let rank = if self.is_expired(&snapshot, now) {
            Rank::Expired
        } else {
            snapshot.progress.flow.rank()
        };
        let Snapshot { key, seen, .. } = snapshot;
        Some(Candidate {
            place,
            rank,
            seen,
            owner: key.owner(),
        })
    }

    /// Claims the entry chosen; its new generation. Who gave something up, there or elsewhere,
    /// gives its charge back, or leaves it to a newcomer that came without one. Nothing if
    /// another worker was quicker; the charge is then given back.
    pub(super) fn take(&self, chosen: &Chosen<'_>, mut charge: Charge) -> Option<u32> {
        if let Some(payer) = &chosen.payer {
            if !payer.place.guard.withdraw(payer.place.seen) {
                return None;
            }
            charge.is_held = true;
            self.note(payer);
        }
        let Some(generation) = chosen.place.guard.claim(chosen.place.seen) else {
            self.give_back(charge);
            return None;
        };
        if let Some(victim) = &chosen.gives_up {
            let owner = victim.owner;
            self.give_back(Charge { owner, ..charge });
            self.note(victim);
        }
        Some(generation)
    }

    pub(super) fn give_back(&self, charge: Charge) {
        if charge.is_held {
            self.quotas.release(charge.owner);
        }
    }

    fn note(&self, victim: &Candidate<'_>) {
        if victim.is_expired() {
            self.events.expired();
        } else {
            self.events.evicted();
        }
    }
}

#[cfg(test)]
mod tests {
    use weft_wire::{Headers, Mac, Parsed, build, parse};

    use super::*;
    use crate::{Config, Direction, Epoch, RuleId, Sighting};

    fn question(number: u32) -> Headers {
        let [_, server, high, low] = number.to_be_bytes();
        let frame = build::ethernet(Mac::ZERO, Mac::ZERO)
            .ipv4([10, 1, 0, 2].into(), [10, 2, 0, server].into())
            .udp(u16::from_be_bytes([high, low]), 53, &[]);
        match parse(&frame).unwrap() {
            Parsed::Ip(headers) => headers,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flood_searches_few_buckets() {
        let table = Conntrack::new(Config {
            seed: [0x5eed, 0xcafe],
            ..Config::default()
        });
        let at = Sighting {
            side: Direction::Egress,
            epoch: Epoch(1),
            worker: 0,
            now: Moment::from_secs(1),
            packets: 1,
        };
        let quota = u32::try_from(table.quotas.limit()).unwrap();
        let (mut all, mut most) = (0, 0);
        for number in 0..5 * quota {
            let before = table.quotas.hand(3);
            table.create(&question(number), at, RuleId(1), 3).unwrap();
            let searched = table.quotas.hand(3).wrapping_sub(before) & (table.buckets.len() - 1);
            (all, most) = (all + searched, most.max(searched));
        }
        let newcomers = usize::try_from(4 * quota).unwrap();
        assert!(all / newcomers <= WEIGHED, "{}", all / newcomers);
        assert!(most <= BROAD, "{most}");
    }

    #[test]
    fn a_search_reaches_as_far_as_entries_are_rare_and_never_further_than_once_round() {
        for (buckets, quota, expected) in [
            (16_384, 16_384, 64),
            (16_384, 131_072, 64),
            (16_384, 4_096, 256),
            (16_384, 64, 16_384),
            (16_384, 1, 16_384),
            (16_384, 0, 16_384),
            (2, 16, 2),
        ] {
            assert_eq!(Conntrack::reach(buckets, quota), expected, "{quota}");
        }
    }
}
