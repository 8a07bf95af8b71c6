//! The memory of one flow: sixteen atomic words on two cache lines.
//!
//! Owns their layout and how each may change while the flow lives. The words of
//! the key are constant. Every other word stands alone, and those that decide
//! anything carry the generation, so that a writer who was interrupted while its
//! entry became another flow's cannot touch the new one.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::config::FlowState;
use super::key::{Key, owner_of};
use super::window::Window;
use crate::{Direction, Epoch, Moment, RuleId};

/// The queue of an end whose frames were never read here.
pub(super) const NO_HOME: u8 = 0xff;

/// Attempts to change a word that other workers change too.
const ATTEMPTS: usize = 8;

/// What a flow has shown, in one word: generation, homes, state, what is known
/// of its sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) generation: u32,
    /// The TAP queue of the initiator and of the responder.
    pub(super) homes: [u8; 2],
    pub(super) flow: FlowState,
    /// [`Window`]'s bits.
    pub(super) known: u8,
}

impl Progress {
    const fn to_word(self) -> u64 {
        let [initiator, responder] = self.homes;
        (self.generation as u64) << 32
            | (initiator as u64) << 24
            | (responder as u64) << 16
            | (self.flow.to_bits() as u64) << 8
            | self.known as u64
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "each field is cut out of the word"
    )]
    const fn from_word(word: u64) -> Self {
        Self {
            generation: (word >> 32) as u32,
            homes: [(word >> 24) as u8, (word >> 16) as u8],
            flow: FlowState::from_bits((word >> 8) as u8),
            known: word as u8,
        }
    }
}

/// What a reader took from a live entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot {
    pub(super) key: Key,
    pub(super) progress: Progress,
    pub(super) seen: Moment,
}

/// The words of one flow.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Entry {
    /// Constant while live.
    key: [AtomicU64; 5],
    progress: AtomicU64,
    seen: AtomicU64,
    /// Generation and epoch of the verdict on the initiator's egress and on the
    /// responder's ingress; another generation: none yet.
    slots: [AtomicU64; 2],
    /// The low 16 bits of the generation and the rules behind the two verdicts:
    /// labels, never what a packet passes by.
    rules: AtomicU64,
    /// Sequence numbers of the initiator and of the responder.
    window: [AtomicU64; 2],
    packets: [AtomicU64; 2],
    bytes: [AtomicU64; 2],
}

impl Entry {
    /// Copies the words a lookup needs; the caller then asks
    /// [`super::guard::Guard::is_still`].
    #[inline]
    pub(super) fn key(&self) -> Key {
        Key {
            words: self.key.each_ref().map(|word| word.load(Relaxed)),
        }
    }

    #[inline]
    pub(super) fn snapshot(&self, key: Key) -> Snapshot {
        Snapshot {
            key,
            progress: self.progress(),
            seen: self.last_use(),
        }
    }

    #[inline]
    pub(super) fn last_use(&self) -> Moment {
        Moment::from_nanos(self.seen.load(Relaxed))
    }

    pub(super) fn owner(&self) -> u16 {
        owner_of(self.key[4].load(Relaxed))
    }

    #[inline]
    pub(super) fn progress(&self) -> Progress {
        Progress::from_word(self.progress.load(Relaxed))
    }

    /// Fills a claimed entry; no verdict yet, nothing counted.
    pub(super) fn fill(&self, key: &Key, progress: Progress, now: Moment) {
        for (word, &value) in self.key.iter().zip(&key.words) {
            word.store(value, Relaxed);
        }
        self.progress.store(progress.to_word(), Relaxed);
        self.seen.store(now.as_nanos(), Relaxed);
        for slot in &self.slots {
            slot.store(undecided(progress.generation), Relaxed);
        }
        self.rules
            .store(labelled(progress.generation, [RuleId::DEFAULT; 2]), Relaxed);
        let zeroed = self.window.iter().chain(&self.packets).chain(&self.bytes);
        for word in zeroed {
            word.store(0, Relaxed);
        }
    }

    /// Applies `change` to the progress of this generation's flow. Gives up when
    /// the entry is another flow's by now, or after [`ATTEMPTS`] lost races:
    /// then the packet's share in the state is lost, as if the packet were.
    #[inline]
    pub(super) fn advance(
        &self,
        from: Progress,
        change: impl Fn(Progress) -> Progress,
    ) -> Progress {
        // Most packets change nothing.
        let next = change(from);
        if next == from {
            return next;
        }
        self.advance_to(next, from, change)
    }

    #[inline(never)]
    fn advance_to(
        &self,
        mut next: Progress,
        from: Progress,
        change: impl Fn(Progress) -> Progress,
    ) -> Progress {
        let mut current = from;
        for _ in 0..ATTEMPTS {
            let (old, new) = (current.to_word(), next.to_word());
            match self.progress.compare_exchange(old, new, Relaxed, Relaxed) {
                Ok(_) => return next,
                Err(word) => current = Progress::from_word(word),
            }
            if current.generation != from.generation {
                return from;
            }
            next = change(current);
            if next == current {
                return next;
            }
        }
        current
    }

    /// Moves the time of the last packet forward to `now`. A lost race means that
    /// another packet did so.
    #[inline]
    pub(super) fn refresh(&self, seen: Moment, now: Moment) {
        if now > seen {
            let (old, new) = (seen.as_nanos(), now.as_nanos());
            let _ = self.seen.compare_exchange(old, new, Relaxed, Relaxed);
        }
    }

    /// Counts packets, `bytes` bytes together, sent by the responder (`reply`) or the
    /// initiator.
    #[inline]
    pub(super) fn count(&self, reply: bool, seen: u32, bytes: u64) {
        let [packets, responder_packets] = &self.packets;
        let [octets, responder_octets] = &self.bytes;
        let (packets, octets) = if reply {
            (responder_packets, responder_octets)
        } else {
            (packets, octets)
        };
        packets.fetch_add(seen.into(), Relaxed);
        octets.fetch_add(bytes, Relaxed);
    }

    /// Sets the counts of a claimed entry to what [`Entry::counts`] gave of another.
    pub(super) fn set_counts(&self, (packets, bytes): ([u64; 2], [u64; 2])) {
        let words = self.packets.iter().chain(&self.bytes);
        for (word, value) in words.zip(packets.into_iter().chain(bytes)) {
            word.store(value, Relaxed);
        }
    }

    /// Packets and bytes sent by the initiator, then by the responder.
    pub(super) fn counts(&self) -> ([u64; 2], [u64; 2]) {
        let load = |word: &AtomicU64| word.load(Relaxed);
        (
            self.packets.each_ref().map(load),
            self.bytes.each_ref().map(load),
        )
    }

    /// What is known of the sequence numbers of both ends.
    #[inline]
    pub(super) fn window(&self, known: u8) -> Window {
        Window::from_words(self.window.each_ref().map(|word| word.load(Relaxed)), known)
    }

    /// Replaces what was known of the sequence numbers, where nobody else did.
    #[inline]
    pub(super) fn set_window(&self, from: &Window, to: &Window) {
        let changed = from.words().into_iter().zip(to.words());
        for (word, (old, new)) in self.window.iter().zip(changed) {
            if old != new {
                let _ = word.compare_exchange(old, new, Relaxed, Relaxed);
            }
        }
    }

    /// The epoch of the verdict in a direction, and its rule.
    #[inline]
    pub(super) fn slot(&self, side: Direction, generation: u32) -> Option<(Epoch, RuleId)> {
        let slot = self.slot_word(side).load(Acquire);
        let (decided_by, epoch) = split(slot);
        if decided_by != generation {
            return None;
        }
        // Written before the slot, so it is the label of this verdict or a later one.
        let [egress, ingress] = labels(self.rules.load(Relaxed), generation)?;
        let rule = match side {
            Direction::Egress => egress,
            Direction::Ingress => ingress,
        };
        Some((Epoch(epoch), rule))
    }

    /// The epoch of the verdict in a direction, without its label.
    #[inline]
    pub(super) fn decided(&self, side: Direction, generation: u32) -> Option<Epoch> {
        let (decided_by, epoch) = split(self.slot_word(side).load(Acquire));
        (decided_by == generation).then_some(Epoch(epoch))
    }

    /// Records that the tables of `epoch` allowed the flow in a direction. Never
    /// replaces the word of younger tables, nor of another generation.
    pub(super) fn decide(&self, side: Direction, generation: u32, rule: RuleId, epoch: Epoch) {
        let slot = self.slot_word(side);
        let mut old = slot.load(Relaxed);
        for _ in 0..ATTEMPTS {
            let (decided_by, decided) = split(old);
            let ours = decided_by == generation && !Epoch(decided).is_after(epoch);
            if !ours && old != undecided(generation) {
                return;
            }
            self.label(side, generation, rule);
            match slot.compare_exchange(old, join(generation, epoch.0), Release, Relaxed) {
                Ok(_) => return,
                Err(current) => old = current,
            }
        }
    }

    fn label(&self, side: Direction, generation: u32, rule: RuleId) {
        let mut old = self.rules.load(Relaxed);
        for _ in 0..ATTEMPTS {
            let Some([egress, ingress]) = labels(old, generation) else {
                return;
            };
            let new = match side {
                Direction::Egress => labelled(generation, [rule, ingress]),
                Direction::Ingress => labelled(generation, [egress, rule]),
            };
            match self.rules.compare_exchange(old, new, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(current) => old = current,
            }
        }
    }

    const fn slot_word(&self, side: Direction) -> &AtomicU64 {
        let [egress, ingress] = &self.slots;
        match side {
            Direction::Egress => egress,
            Direction::Ingress => ingress,
        }
    }
}

/// A slot of this generation without a verdict.
const fn undecided(generation: u32) -> u64 {
    join(!generation, 0)
}

/// The word of two rules.
const fn labelled(generation: u32, [egress, ingress]: [RuleId; 2]) -> u64 {
    (generation as u64) << 48 | label_bits(egress) << 24 | label_bits(ingress)
}

const fn label_bits(rule: RuleId) -> u64 {
    if rule.0 > RuleId::MAX.0 {
        RuleId::MAX.0 as u64
    } else {
        rule.0 as u64
    }
}

/// The two rules in a word of this generation.
#[expect(
    clippy::cast_possible_truncation,
    reason = "each field is cut out of the word"
)]
const fn labels(word: u64, generation: u32) -> Option<[RuleId; 2]> {
    if (word >> 48) as u16 != generation as u16 {
        return None;
    }
    let mask = RuleId::MAX.0;
    Some([
        RuleId((word >> 24) as u32 & mask),
        RuleId(word as u32 & mask),
    ])
}

const fn join(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
const fn split(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}
