//! Which connections does the next process go on with?
//!
//! Owns what an entry means to another process. A daemon that leaves exports its table, its
//! successor imports it before the first packet. An imported flow keeps its state, sequence
//! numbers, counts and remaining lifetime; it keeps no verdict: whichever packet comes first
//! finds it [`super::Lookup::Stale`], and the flow is decided anew by the tables of that
//! time, in the direction of its first packet. So what they allow goes on, replies
//! included, and a deny that came in between cuts.

use core::net::IpAddr;

use super::Conntrack;
use super::create::{Arrival, Start};
use super::entry::{NO_HOME, Progress, Snapshot};
use super::key::Canonical;
use super::packet::Kind;
use super::probe::Place;
use super::record::{self, HEADER, ImportError, LENGTH, Record};
use super::room::Charge;
use super::window::Window;
use crate::{Direction, Epoch, Moment, RuleId};

/// Older than every publication of a process, whose first is number 0 or 1: keeps apart
/// an end whose verdict is void and one that is elsewhere and has none.
const BEFORE: Epoch = Epoch(u32::MAX);

/// Attempts to claim an entry that workers want too.
const ATTEMPTS: usize = 8;

/// What became of saved connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportCount {
    /// Taken over.
    pub imported: usize,
    /// Silent for longer than they are believed.
    pub expired: usize,
    /// Left out, as nobody has the address of an end that was at this node.
    pub gone: usize,
    /// Left out, as the table has a flow of the same key already.
    pub known: usize,
    /// Left out for want of room: the owner's quota is used up, or the buckets are full.
    pub full: usize,
    /// Records that describe no flow, or are missing.
    pub damaged: usize,
}

/// What became of one.
enum Outcome {
    Imported,
    Expired,
    Gone,
    Known,
    Full,
    Damaged,
}

impl Conntrack {
    /// The table's living flows, for [`Conntrack::import`] in another process: 16 bytes and
    /// 96 for each. A flow that changes meanwhile may be met or missed.
    #[must_use]
    pub fn export(&self, now: Moment) -> Vec<u8> {
        let room = self.len().min(self.capacity());
        let mut records = Vec::with_capacity(room);
        let places = (0..self.buckets.len()).flat_map(|bucket| self.live_in(bucket));
        for (place, snapshot) in places {
            if !self.is_expired(&snapshot, now) {
                records.extend(record_of(&place, &snapshot, now));
            }
        }
        let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER + records.len() * LENGTH);
        record::write_header(count, &mut bytes);
        records.iter().for_each(|record| record.write(&mut bytes));
        bytes
    }

    /// Takes over flows that [`Conntrack::export`] saved. `owner_of` says whom an address
    /// that was at this node is charged to now, `None` if nobody has it; of a flow between
    /// two ends of this node both must be there, and the initiator's pays.
    ///
    /// Never evicts. The time between the two processes does not count as silence, as
    /// nobody could be heard. Silence that began before [`Moment::ZERO`] is cut short there,
    /// so a clock should begin later than the longest timeout. The caller sees to it that the
    /// bytes are this node's own and of the process just before.
    ///
    /// # Errors
    /// [`ImportError`] if the bytes are something else as a whole; then nothing is imported.
    pub fn import(
        &self,
        bytes: &[u8],
        now: Moment,
        owner_of: impl Fn(IpAddr) -> Option<u32>,
    ) -> Result<ImportCount, ImportError> {
        let (promised, body) = record::open(bytes)?;
        let (records, _) = body.as_chunks::<LENGTH>();
        let mut count = ImportCount {
            damaged: promised.saturating_sub(records.len()),
            ..ImportCount::default()
        };
        for bytes in records.iter().take(promised) {
            let outcome = match Record::read(bytes) {
                Some(record) => self.restore(&record, now, &owner_of),
                None => Outcome::Damaged,
            };
            match outcome {
                Outcome::Imported => count.imported += 1,
                Outcome::Expired => count.expired += 1,
                Outcome::Gone => count.gone += 1,
                Outcome::Known => count.known += 1,
                Outcome::Full => count.full += 1,
                Outcome::Damaged => count.damaged += 1,
            }
        }
        Ok(count)
    }

    fn restore(
        &self,
        record: &Record,
        now: Moment,
        owner_of: &impl Fn(IpAddr) -> Option<u32>,
    ) -> Outcome {
        let Some(kind) = record.kind().filter(|_| record.here != [false; 2]) else {
            return Outcome::Damaged;
        };
        if record.silent >= record.flow.timeout(&self.timeouts) {
            return Outcome::Expired;
        }
        let Some(owner) = owner(record, owner_of) else {
            return Outcome::Gone;
        };
        let Some(owner) = self.quotas.number(owner) else {
            return Outcome::Full;
        };
        let arrival = self.returning(record, kind, owner, now);
        if self.find(&arrival.probe, &arrival.key, now).is_some() {
            return Outcome::Known;
        }
        let charge = Charge {
            owner,
            is_held: self.quotas.reserve(owner),
        };
        if !charge.is_held {
            return Outcome::Full;
        }
        let Some((place, generation)) = (0..ATTEMPTS).find_map(|_| self.claim_free(&arrival))
        else {
            self.give_back(charge);
            return Outcome::Full;
        };
        self.settle(
            &arrival,
            &place,
            &resumed(record, generation, now),
            |entry| {
                for (side, here) in SIDES.into_iter().zip(record.here) {
                    if here {
                        entry.decide(side, generation, RuleId::DEFAULT, BEFORE);
                    }
                }
                entry.set_counts((record.packets, record.bytes));
            },
        );
        Outcome::Imported
    }

    fn returning(&self, record: &Record, kind: Kind, owner: u16, now: Moment) -> Arrival {
        Arrival {
            key: Canonical::of(&record.original, kind).started(owner),
            probe: self.probe(&record.original),
            owner,
            now,
        }
    }

    fn claim_free(&self, arrival: &Arrival) -> Option<(Place<'_>, u32)> {
        let place = self.free(arrival)?;
        let generation = place.guard.claim(place.seen)?;
        Some((place, generation))
    }
}

/// The side on which the initiator's verdict is, and the responder's.
const SIDES: [Direction; 2] = [Direction::Egress, Direction::Ingress];

/// What is saved of a live entry, unless it changed hands while it was read.
fn record_of(place: &Place<'_>, snapshot: &Snapshot, now: Moment) -> Option<Record> {
    let (entry, progress) = (place.entry, snapshot.progress);
    let (packets, bytes) = entry.counts();
    let record = Record {
        original: snapshot.key.original(),
        here: SIDES.map(|side| entry.slot(side, progress.generation).is_some()),
        flow: progress.flow,
        known: progress.known,
        window: entry.window(progress.known).words(),
        silent: now.since(snapshot.seen),
        packets,
        bytes,
    };
    place.guard.is_still(place.seen).then_some(record)
}

/// Whom the flow is charged to, if every end that was at this node still is.
fn owner(record: &Record, owner_of: &impl Fn(IpAddr) -> Option<u32>) -> Option<u32> {
    let ends = [record.original.src, record.original.dst];
    let here = ends.into_iter().zip(record.here).filter(|(_, here)| *here);
    let owners: Option<Vec<u32>> = here.map(|(end, _)| owner_of(end)).collect();
    owners?.first().copied()
}

/// Where the flow goes on. Its queues are those of another process's workers.
fn resumed(record: &Record, generation: u32, now: Moment) -> Start {
    let silent = record.silent.as_nanos();
    Start {
        progress: Progress {
            generation,
            homes: [NO_HOME; 2],
            flow: record.flow,
            known: record.known,
        },
        window: Window::from_words(record.window, record.known),
        seen: Moment::from_nanos(now.as_nanos().saturating_sub(silent)),
    }
}
