//! Has this flow been decided already, and is this packet a reply?
//!
//! Owns the node's one table of connections, which is also its cache of
//! verdicts: one entry per connection, found from either direction, with one
//! verdict for the initiator's egress and one for the responder's ingress, each
//! as good as the epoch of the tables that gave it. Never decides: a packet it
//! does not know is [`Lookup::New`], one whose verdict is from other tables is
//! [`Lookup::Stale`], and the caller asks [`crate::Table`].
//!
//! # Sharing
//! All workers share the table through `&self`. Nothing waits for anybody:
//! there is no lock, every loop is bounded, and after [`Conntrack::new`] nothing
//! is allocated. A worker that stops anywhere delays nobody; at worst the one
//! entry it was writing stays unusable.
//!
//! An entry is guarded by a control word {generation, owner, hash tag, phase}:
//!
//! ```text
//! empty(g) ──claim──▶ writing(g+1) ──publish──▶ live(g+1) ──withdraw──▶ empty(g+1)
//!                          ▲                       │
//!                          └────────evict──────────┘
//! ```
//!
//! Every step is one compare-and-swap from the exact value seen, so exactly one
//! worker takes it; that worker, and no other, moves the quota. The generation
//! makes each life of an entry distinct (it wraps after 2³² lives of one entry).
//!
//! - *Readers* load the control word, copy the key, compare, and load the control
//!   word again: unchanged means that the copy is of one flow (a seqlock; the
//!   fences are in `guard.rs`). Changed means a miss of this entry, since
//!   its flow has ended meanwhile.
//! - *Words that change while an entry lives* stand alone and are written by
//!   compare-and-swap. Those that decide what passes (progress, verdicts) contain
//!   the generation: a worker interrupted between check and write cannot touch
//!   the entry's next flow. Counters do not; such a worker may miscount one
//!   packet.
//! - *Two workers that insert one flow at once* each publish, then, behind a
//!   sequentially consistent fence, scan the flow's buckets again. Of two
//!   published entries at least one of their writers sees both (the fences rule
//!   out that both loads precede both stores); whoever sees the pair withdraws
//!   the one later in scanning order. Scans take the first match, so meanwhile
//!   lookups agree on the survivor.
//! - *Expiry and refresh*: an entry found expired while another worker refreshes
//!   it may be withdrawn; the flow's next packet is then decided anew.
//!
//! # Bounds
//! A key has two buckets of eight entries, chosen by a keyed hash. An insert
//! takes a free entry of the emptier bucket, else an expired one, else an entry
//! *of the same owner* in these two buckets. An owner at its quota gives up one of
//! its own: the least of those in these two buckets if they have no vacancy, else
//! the least of up to eight, here and wherever the owner's hand meets them on its way
//! round the table (`room.rs`). Half-open goes before closing, before one-way, before
//! UDP with one exchange behind it, before the least recently used. Another owner's living
//! entries are never evicted. [`Full`] is left for buckets filled by others.
//!
//! # Life after the process
//! [`Conntrack::export`] and [`Conntrack::import`] hand connections to the next process,
//! without their verdicts (`restart.rs`).

mod config;
mod create;
mod entry;
mod guard;
#[cfg(all(test, loom))]
mod guard_model;
mod info;
mod key;
mod lookup;
mod packet;
mod probe;
mod quota;
mod record;
mod restart;
mod resume;
mod room;
mod sweep;
mod window;

use core::fmt;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use weft_wire::FlowKey;

pub use config::{Config, FlowState, Timeouts, UdpState};
pub use info::{FlowInfo, Related, Stats};
pub use record::ImportError;
pub use restart::ImportCount;
pub use resume::Resumed;

use crate::{Direction, Epoch, Moment, RuleId};
use config::Lifetimes;
use entry::Entry;
use guard::{Bucket, Control, Guard};
use info::Events;
use quota::Quotas;

/// Entries in a bucket.
const WAYS: usize = 8;
/// The most stripes [`Conntrack::expire`] remembers a position for.
const STRIPES: usize = 64;

/// The connections of a node.
pub struct Conntrack {
    buckets: Box<[Bucket]>,
    entries: Box<[[Entry; WAYS]]>,
    quotas: Quotas,
    /// Buckets that one search for an entry to give up may look at.
    reach: usize,
    timeouts: Timeouts,
    lifetimes: Lifetimes,
    seed: [u64; 2],
    cursors: [AtomicUsize; STRIPES],
    events: Events,
}

/// Where and when a packet meets the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Leaving a pod (or the node's own port), or entering one.
    pub side: Direction,
    /// The epoch of the tables this worker decides by.
    pub epoch: Epoch,
    /// The worker, whose queue of the sending port the packet was read from if
    /// the side is egress; 255 is nobody's.
    pub worker: u8,
    /// The worker's time.
    pub now: Moment,
    /// How many packets the frame stands for; they are counted, nothing else.
    pub packets: u32,
}

/// An entry at one time of its life; what happens through it after the entry has
/// become another flow's does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryRef {
    index: u32,
    generation: u32,
}

/// What the table knows of a packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Allowed on this side by the current tables.
    Known {
        /// The rule that allows the flow in its original direction.
        rule: RuleId,
        /// The packet goes from the responder to the initiator.
        reply: bool,
        /// The queue of the receiving end, if its frames are read here.
        home: Option<u8>,
        /// The flow's entry.
        entry: EntryRef,
        /// An RST outside the connection's window: it did not end the connection
        /// here, and the receiving end will ignore or challenge it.
        off_window: bool,
    },
    /// A living flow without a verdict of the current tables on this side:
    /// decide `original` for `side`, then [`Conntrack::renew`] or
    /// [`Conntrack::refuse`].
    Stale {
        /// The flow's entry.
        entry: EntryRef,
        /// The flow as its initiator writes it.
        original: FlowKey,
        /// Egress of the initiator or ingress of the responder.
        side: Direction,
        /// The packet goes from the responder to the initiator.
        reply: bool,
        /// The queue of the receiving end, if its frames are read here.
        home: Option<u8>,
        /// As in [`Lookup::Known`].
        off_window: bool,
    },
    /// No such flow; if allowed, [`Conntrack::create`] it.
    New,
    /// Never remembered, decide each packet: TCP without an entry that is no SYN
    /// (RST, FIN and ACK cleared), ICMP other than echo, an echo reply nobody asked
    /// for, other protocols. Of later fragments see [`Conntrack::lookup_later`].
    Untracked,
}

/// No room for another flow of this owner: the flow's buckets are full of other owners' living
/// flows, or the owner may hold none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room for another flow")
    }
}

impl core::error::Error for Full {}

impl Conntrack {
    /// An empty table; the only place that allocates.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let buckets = (config.capacity / WAYS).max(2).next_power_of_two();
        let buckets = buckets.min(1 << 28);
        let quotas = Quotas::new(config.owners, config.quota_per_owner);
        Self {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            entries: (0..buckets).map(|_| Default::default()).collect(),
            reach: Self::reach(buckets, quotas.limit()),
            quotas,
            timeouts: config.timeouts,
            lifetimes: Lifetimes::new(&config.timeouts),
            seed: config.seed,
            cursors: [const { AtomicUsize::new(0) }; STRIPES],
            events: Events::default(),
        }
    }

    /// Records that `rule` of the tables of `epoch` allows the flow on `side`,
    /// which is [`Lookup::Stale`]'s. A verdict of younger tables stays.
    pub fn renew(&self, entry: EntryRef, side: Direction, rule: RuleId, epoch: Epoch) {
        if let Some((control, place)) = self.place(entry)
            && control.load().is_live()
        {
            place.decide(side, entry.generation, rule, epoch);
        }
    }

    /// Forgets a flow that the tables of `epoch` deny on `side`, unless younger
    /// tables have allowed it there meanwhile: around a publication two workers may
    /// ask different tables about one flow. False if it lives on, or was forgotten
    /// already.
    pub fn refuse(&self, entry: EntryRef, side: Direction, epoch: Epoch) -> bool {
        let younger = self
            .place(entry)
            .and_then(|(_, place)| place.slot(side, entry.generation))
            .is_some_and(|(decided, _)| decided.is_after(epoch));
        !younger && self.remove(entry)
    }

    /// Forgets a flow. False if it was forgotten already.
    pub fn remove(&self, entry: EntryRef) -> bool {
        let Some((control, place)) = self.place(entry) else {
            return false;
        };
        let seen = control.load();
        seen.is_live() && seen.generation() == entry.generation && self.end(control, place, seen)
    }

    /// Living and not yet swept entries; a sum over the owners.
    #[must_use]
    pub fn len(&self) -> usize {
        self.quotas.total()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries charged to `owner`.
    #[must_use]
    pub fn len_of(&self, owner: u32) -> usize {
        self.quotas.of(owner)
    }

    /// Entries there is room for.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.entries.len() * WAYS
    }

    /// The two buckets that a flow's entry can be in, for whoever measures what collisions cost:
    /// from outside, without the seed, they cannot be told.
    #[must_use]
    pub fn buckets_of(&self, flow: &FlowKey) -> [usize; 2] {
        self.probe(flow).buckets
    }

    /// What has happened to the table since it was made.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.events.read(self.len(), self.capacity())
    }

    /// Withdraws a live entry last seen as `seen` and gives its charge back.
    fn end(&self, control: &Guard, place: &Entry, seen: Control) -> bool {
        // The owner read belongs to `seen` if the withdrawal succeeds.
        let owner = place.owner();
        let ended = control.withdraw(seen);
        if ended {
            self.quotas.release(owner);
        }
        ended
    }

    #[inline]
    fn place(&self, entry: EntryRef) -> Option<(&Guard, &Entry)> {
        let index = usize::try_from(entry.index).ok()?;
        let (bucket, way) = (index / WAYS, index % WAYS);
        let control = self.buckets.get(bucket)?.controls.get(way)?;
        Some((control, self.entries.get(bucket)?.get(way)?))
    }

    fn next_stripe_position(&self, stripe: usize) -> usize {
        self.cursors
            .get(stripe % STRIPES)
            .map_or(0, |cursor| cursor.fetch_add(1, Relaxed))
    }
}

impl fmt::Debug for Conntrack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conntrack")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
