//! Whose entry is this now? The seqlock around each entry.
//!
//! Owns the control words. A writer claims an entry by moving its [`Control`] from
//! empty or live to "writing" with the next generation, fills the words and
//! publishes. A reader copies words and accepts them only if the control word is
//! still the one it began with; otherwise it has read nothing. `guard_model.rs` tries all
//! interleavings.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
#[cfg(not(all(test, loom)))]
use core::sync::atomic::{AtomicU64, fence};
#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU64, fence};

const EMPTY: u64 = 0;
const WRITING: u64 = 1;
const LIVE: u64 = 2;
const PHASE: u64 = 0b11;
const TAG_SHIFT: u32 = 2;
const OWNER_SHIFT: u32 = 16;
const OWNER: u64 = 0xffff << OWNER_SHIFT;
const GENERATION_SHIFT: u32 = 32;

/// The value of a control word: generation, owner, 14 bits of hash tag, phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Control(u64);

impl Control {
    pub(super) const fn is_empty(self) -> bool {
        self.0 & PHASE == EMPTY
    }

    pub(super) const fn is_live(self) -> bool {
        self.0 & PHASE == LIVE
    }

    /// Whether a live entry whose key hashes to `tag` may be here.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "tag and phase")]
    pub(super) const fn is_live_with(self, tag: u16) -> bool {
        self.0 as u16 == tag << TAG_SHIFT | LIVE as u16
    }

    /// Whether a live entry of `owner` is here.
    #[inline]
    pub(super) const fn is_live_of(self, owner: u16) -> bool {
        self.0 & (OWNER | PHASE) == (owner as u64) << OWNER_SHIFT | LIVE
    }

    pub(super) const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    const fn with(generation: u32, owner: u16, rest: u64) -> Self {
        Self((generation as u64) << GENERATION_SHIFT | (owner as u64) << OWNER_SHIFT | rest)
    }
}

/// The control words of one bucket: everything a miss needs, on one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Bucket {
    pub(super) controls: [Guard; 8],
}

/// One entry's control word.
#[derive(Debug, Default)]
pub(super) struct Guard(AtomicU64);

impl Guard {
    #[inline]
    pub(super) fn load(&self) -> Control {
        Control(self.0.load(Acquire))
    }

    /// Whether nothing was claimed or withdrawn since `seen` was loaded; every
    /// word read in between then belongs to the flow that was live.
    #[inline]
    pub(super) fn is_still(&self, seen: Control) -> bool {
        fence(Acquire);
        self.0.load(Relaxed) == seen.0
    }

    /// Takes the entry for writing; the new generation, or `None` if it is no
    /// longer as `seen`.
    pub(super) fn claim(&self, seen: Control) -> Option<u32> {
        let generation = seen.generation().wrapping_add(1);
        let writing = Control::with(generation, 0, WRITING);
        self.0
            .compare_exchange(seen.0, writing.0, AcqRel, Relaxed)
            .ok()?;
        // Orders the claim before the words: who reads one of them sees the claim.
        fence(Release);
        Some(generation)
    }

    /// Makes a claimed and filled entry visible.
    pub(super) fn publish(&self, generation: u32, tag: u16, owner: u16) -> Control {
        let live = Control::with(generation, owner, (tag << TAG_SHIFT) as u64 | LIVE);
        self.0.store(live.0, Release);
        live
    }

    /// Ends a live entry; false if it is no longer as `seen`.
    pub(super) fn withdraw(&self, seen: Control) -> bool {
        let empty = Control::with(seen.generation(), 0, EMPTY);
        self.0
            .compare_exchange(seen.0, empty.0, AcqRel, Relaxed)
            .is_ok()
    }
}
