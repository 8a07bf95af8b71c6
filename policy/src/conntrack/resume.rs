//! Does an entry that a caller remembers still let its flow's packets pass?
//!
//! The way back for who has the entry's number already: no hash, no search, no comparison of
//! keys. Everything that may have changed since is asked again: the entry's life, its expiry and
//! its verdict. Never ends, creates or decides anything.

use weft_wire::{Headers, Transport};

use super::lookup::{Passing, pass};
use super::probe::Place;
use super::{Conntrack, EntryRef, Sighting};

/// A packet's flow goes on as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The queue of the receiving end, if its frames are read here.
    pub home: Option<u8>,
}

impl Conntrack {
    /// Takes a packet in exactly as [`Conntrack::lookup`] does when it answers
    /// [`super::Lookup::Known`] with this `entry` and this `reply`. `None`, and nothing is changed,
    /// when its answer could be another one: then ask it.
    ///
    /// The caller answers for it that the packet's 5-tuple, direction included, is that for
    /// which `lookup` named the entry, that it is no fragment, and that a segment of TCP has
    /// neither SYN nor RST.
    #[must_use]
    #[inline]
    pub fn resume(
        &self,
        entry: EntryRef,
        reply: bool,
        headers: &Headers,
        at: Sighting,
    ) -> Option<Resumed> {
        let (guard, words) = self.place(entry)?;
        let seen = guard.load();
        if !seen.is_live() || seen.generation() != entry.generation {
            return None;
        }
        let (progress, last) = (words.progress(), words.last_use());
        let side = if reply { at.side.opposite() } else { at.side };
        let decided = words.decided(side, entry.generation);
        // What was read is of this life of the entry, whose key never changes.
        if !guard.is_still(seen)
            || decided != Some(at.epoch)
            || self.is_over(progress.flow, last, at.now)
        {
            return None;
        }
        let place = Place {
            index: usize::try_from(entry.index).ok()?,
            guard,
            entry: words,
            seen,
        };
        let tcp = match &headers.transport {
            Transport::Tcp(info) => Some(info),
            _ => None,
        };
        let passing = Passing {
            tcp,
            reply,
            bytes: headers.ip_len() as u64,
            at,
        };
        let followed = pass(&place, progress, last, &passing);
        Some(Resumed {
            home: followed.home,
        })
    }
}
