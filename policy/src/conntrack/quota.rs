//! How many entries each owner holds.
//!
//! Owns one counter per owner. A charge is taken before an entry is claimed and
//! given back by whoever withdraws the entry, so the counters are never below the
//! number of live entries, and equal to it when nobody is in between.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

#[derive(Debug)]
pub(super) struct Quotas {
    held: Box<[AtomicU32]>,
    limit: u32,
}

impl Quotas {
    pub(super) fn new(owners: usize, limit: u32) -> Self {
        let owners = owners.clamp(1, 1 << 16);
        Self {
            held: (0..owners).map(|_| AtomicU32::new(0)).collect(),
            limit,
        }
    }

    /// Charges one entry; false at the limit. Concurrent refusals may refuse one
    /// another at the very edge.
    pub(super) fn reserve(&self, owner: u16) -> bool {
        let Some(held) = self.held.get(usize::from(owner)) else {
            return false;
        };
        let granted = held.fetch_add(1, Relaxed) < self.limit;
        if !granted {
            held.fetch_sub(1, Relaxed);
        }
        granted
    }

    /// Gives one charge back.
    pub(super) fn release(&self, owner: u16) {
        if let Some(held) = self.held.get(usize::from(owner)) {
            held.fetch_sub(1, Relaxed);
        }
    }

    /// The number that stands for `owner` in an entry, if there is such an owner.
    pub(super) fn number(&self, owner: u32) -> Option<u16> {
        let number = u16::try_from(owner).ok()?;
        (usize::from(number) < self.held.len()).then_some(number)
    }

    pub(super) fn of(&self, owner: u32) -> usize {
        let index = usize::try_from(owner).unwrap_or(usize::MAX);
        self.held
            .get(index)
            .map_or(0, |held| widen(held.load(Relaxed)))
    }

    pub(super) fn total(&self) -> usize {
        self.held.iter().map(|held| widen(held.load(Relaxed))).sum()
    }
}

fn widen(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
