//! How many entries each owner holds, and where the search for one of them goes on.
//!
//! Owns one counter and one hand per owner. A charge is taken before an entry is claimed and
//! given back by whoever withdraws the entry, so the counters are never below the
//! number of live entries, and equal to it when nobody is in between.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

#[derive(Debug)]
pub(super) struct Quotas {
    accounts: Box<[Account]>,
    limit: u32,
}

#[derive(Debug, Default)]
struct Account {
    held: AtomicU32,
    /// The bucket at which the next search for an entry to give up begins. Workers that move it
    /// at once search the same buckets once more.
    hand: AtomicU32,
}

impl Quotas {
    pub(super) fn new(owners: usize, limit: u32) -> Self {
        let owners = owners.clamp(1, 1 << 16);
        Self {
            accounts: (0..owners).map(|_| Account::default()).collect(),
            limit,
        }
    }

    /// Charges one entry; false at the limit. Concurrent refusals may refuse one
    /// another at the very edge.
    pub(super) fn reserve(&self, owner: u16) -> bool {
        let Some(Account { held, .. }) = self.accounts.get(usize::from(owner)) else {
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
        if let Some(account) = self.accounts.get(usize::from(owner)) {
            account.held.fetch_sub(1, Relaxed);
        }
    }

    /// Entries one owner may hold.
    pub(super) fn limit(&self) -> usize {
        widen(self.limit)
    }

    /// The bucket at which to begin to look for entries of `owner`.
    pub(super) fn hand(&self, owner: u16) -> usize {
        let account = self.accounts.get(usize::from(owner));
        account.map_or(0, |account| widen(account.hand.load(Relaxed)))
    }

    /// Lets the next search begin at `bucket`.
    #[expect(clippy::cast_possible_truncation, reason = "at most 2^28 buckets")]
    pub(super) fn move_hand(&self, owner: u16, bucket: usize) {
        if let Some(account) = self.accounts.get(usize::from(owner)) {
            account.hand.store(bucket as u32, Relaxed);
        }
    }

    /// The number that stands for `owner` in an entry, if there is such an owner.
    pub(super) fn number(&self, owner: u32) -> Option<u16> {
        let number = u16::try_from(owner).ok()?;
        (usize::from(number) < self.accounts.len()).then_some(number)
    }

    pub(super) fn of(&self, owner: u32) -> usize {
        let index = usize::try_from(owner).unwrap_or(usize::MAX);
        self.accounts
            .get(index)
            .map_or(0, |account| widen(account.held.load(Relaxed)))
    }

    pub(super) fn total(&self) -> usize {
        let held = |account: &Account| widen(account.held.load(Relaxed));
        self.accounts.iter().map(held).sum()
    }
}

fn widen(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
