//! Which flow does a later fragment belong to, and may it still come?
//!
//! Only the first fragment of a datagram names ports, and the parser sees to it that it
//! shows all headers (RFC 7112). [`Fragments`] remembers what it said until the last byte
//! has passed, so that the others are judged as it was, and keeps an exact account of the
//! bytes, so that a receiver can put together nothing else than what was judged.
//!
//! # Rules
//! - A later fragment whose first has not passed is refused ([`FragmentError::NoFirst`]),
//!   also one that overtook it: nothing is held back or put together here.
//! - A fragment that overlaps another, repeats one, is empty, lies beyond the last, or is a
//!   second first or last *poisons* the datagram: it and all that follow are refused until
//!   the entry's time is over ([`FragmentError::Overlap`]; RFC 5722, RFC 8200 §4.5, for
//!   IPv4 too). RFC 8200 lets a receiver ignore exact repetitions; here they are overlap.
//!   A datagram in more than 8 pieces with gaps between them is poisoned as well.
//! - An entry lives 30 s for IPv4 and 60 s for IPv6 from the first fragment on, whatever
//!   follows. It ends when the last missing byte passes, or makes room for a newer one of
//!   its owner.
//! - Datagrams are told apart by addresses, identification and for IPv4 the protocol
//!   (RFC 791 §3.2). For IPv6 the protocol of a later fragment means nothing (RFC 8200
//!   §4.5).
//!
//! Verdicts are not remembered: the caller asks anew for every fragment, so that newer
//! tables count for the rest of a datagram too.
//!
//! # One worker's
//! Every worker has its own, without a lock. The fragments between two addresses leave a
//! node by one lane, hence with one outer UDP tuple, and reach one socket
//! ([`Headers::entropy`]); nor does the hash by which the kernel chooses a TAP's queue take
//! ports from fragments. A fragment that strays to another worker finds no first and is
//! dropped.
//!
//! # Bounds
//! All memory is allocated by [`Fragments::new`], and every step is of bounded length. An
//! owner is a port in one direction with one IP version; it holds at most
//! [`FragmentConfig::quota_per_owner`] entries, and at most one for 16 that are free until
//! half are in use, but one in any case. Beyond that a new datagram takes the place of the
//! owner's oldest. So floods of any number of owners leave room for others. A datagram can
//! be in two buckets of 8 entries, chosen by a keyed hash; where others' living entries
//! fill both, it is refused ([`FragmentError::Full`]).

mod owners;
mod spans;
mod store;

use core::fmt;

use weft_wire::{FlowKey, Fragment, Headers, Transport};

use crate::{Direction, Moment};
use spans::{Run, Spans};
use store::{Name, Store};

/// The bounds of a [`Fragments`].
#[derive(Clone, Copy, Debug)]
pub struct FragmentConfig {
    /// Datagrams remembered, rounded up to a power of two, at least 16; 136 bytes each.
    pub capacity: usize,
    /// Datagrams of one owner: one port in one direction with one IP version.
    pub quota_per_owner: u32,
    /// Ports there are, numbered from 0, at most 65,536; 80 bytes each.
    pub ports: usize,
    /// Random, so that nobody outside can choose datagrams that share a bucket.
    pub seed: u64,
}

impl Default for FragmentConfig {
    /// 8,192 datagrams (1.1 MiB), 256 of one owner, 4,096 ports, and a seed that the caller must
    /// replace.
    fn default() -> Self {
        Self {
            capacity: 8_192,
            quota_per_owner: 256,
            ports: 4_096,
            seed: 0,
        }
    }
}

/// Why a fragment may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// The datagram's first fragment has not passed, or too long ago.
    #[error("the first fragment of the datagram has not passed")]
    NoFirst,
    /// The datagram's fragments contradict each other.
    #[error("the fragments of the datagram contradict each other")]
    Overlap,
    /// No room for another datagram.
    #[error("no room for another fragmented datagram")]
    Full,
}

/// What the first fragment of a datagram said, for those that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The 5-tuple.
    pub flow: FlowKey,
    /// The transport header.
    pub transport: Transport,
}

/// The fragmented datagrams of one worker.
pub struct Fragments(Store);

impl Fragments {
    /// An empty memory; the only place that allocates.
    #[must_use]
    pub fn new(config: FragmentConfig) -> Self {
        Self(Store::new(config))
    }

    /// Remembers the datagram whose first fragment passes `port` in direction `side` now.
    /// What policy denies is not to be remembered; a packet that is no first fragment is
    /// ignored.
    ///
    /// # Errors
    /// `Overlap` for a first fragment without bytes, and for a second one, which poisons the
    /// datagram; `Full`.
    pub fn first(
        &mut self,
        packet: &Headers,
        side: Direction,
        port: u32,
        now: Moment,
    ) -> Result<(), FragmentError> {
        let Fragment::First { id, len } = packet.fragment else {
            return Ok(());
        };
        let name = self
            .name(packet, id, side, port)
            .ok_or(FragmentError::Full)?;
        if let Some(entry) = self.0.find(&name, now).and_then(|at| self.0.get_mut(at)) {
            entry.is_poisoned = true;
            return Err(FragmentError::Overlap);
        }
        let mut spans = Spans::default();
        let run = Run { start: 0, end: len };
        spans.add(run, true).map_err(|_| FragmentError::Overlap)?;
        let opening = Opening {
            flow: packet.flow,
            transport: packet.transport,
        };
        let is_kept = self.0.insert(&name, opening, spans, now);
        is_kept.then_some(()).ok_or(FragmentError::Full)
    }

    /// What the first fragment said of the datagram of which a later one comes to `port` in
    /// direction `side` now. The later one counts as passed.
    ///
    /// # Errors
    /// `NoFirst`; `Overlap` for what contradicts an earlier fragment, and all that follow.
    pub fn later(
        &mut self,
        packet: &Headers,
        side: Direction,
        port: u32,
        now: Moment,
    ) -> Result<Opening, FragmentError> {
        let Fragment::Later { id, offset, more } = packet.fragment else {
            return Err(FragmentError::NoFirst);
        };
        let name = self.name(packet, id, side, port);
        let at = name.and_then(|name| self.0.find(&name, now));
        let at = at.ok_or(FragmentError::NoFirst)?;
        let entry = self.0.get_mut(at).ok_or(FragmentError::NoFirst)?;
        let len = u16::try_from(packet.payload_len()).unwrap_or(u16::MAX);
        let run = Run {
            start: offset,
            end: offset.saturating_add(len),
        };
        if entry.is_poisoned || entry.spans.add(run, more).is_err() {
            entry.is_poisoned = true;
            return Err(FragmentError::Overlap);
        }
        let opening = entry.opening;
        if entry.spans.is_complete() {
            self.0.free(at);
        }
        Ok(opening)
    }

    /// Forgets the datagrams seen at `port`; how many there were.
    pub fn purge_port(&mut self, port: u32) -> usize {
        let before = self.len();
        for owner in self.0.owners.of_port(port) {
            while let Some(oldest) = self.0.owners.oldest(owner) {
                self.0.free(oldest);
            }
        }
        before - self.len()
    }

    /// Entries in use, expired ones not yet swept among them.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.used()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries in use of `port`.
    #[must_use]
    pub fn len_of(&self, port: u32) -> usize {
        let owners = self.0.owners.of_port(port);
        let held = owners.map(|owner| self.0.owners.held(owner)).sum::<u32>();
        usize::try_from(held).unwrap_or(usize::MAX)
    }

    /// Entries there is room for.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// `None` for a port beyond the configured ones.
    fn name(&self, packet: &Headers, id: u32, side: Direction, port: u32) -> Option<Name> {
        let owner = self.0.owners.number(port, side, packet.version)?;
        Some(Name {
            owner,
            id,
            flow: packet.flow,
        })
    }
}

impl fmt::Debug for Fragments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fragments")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}
