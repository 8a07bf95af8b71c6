//! Who holds which address, and which one is next?

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use weft_cni::daemon::Identity;

use super::error::{Conflict, IpamError};
use super::pool::{Pool, Usage};
use super::record::{Attachment, Record, Uptime};

/// An attachment and how far it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The attachment.
    pub attachment: Attachment,
    /// Whether it was finished.
    pub committed: bool,
}

/// The attachments of a node and the addresses of its ranges.
///
/// Only [`apply`](Self::apply) changes it, so the records that were applied are the whole state:
/// applied again, in the same order and with the same ranges, they give the same ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    pools: Vec<Pool>,
    cool_down: Duration,
    holdings: BTreeMap<Identity, Holding>,
    holders: BTreeMap<IpAddr, Identity>,
}

impl Ledger {
    /// Without attachments. `pools` do not overlap; pods get none of the `reserved` addresses,
    /// and none less than `cool_down` after its last holder is gone, unless it is asked for.
    #[must_use]
    pub fn new(pools: Vec<IpNetwork>, reserved: &BTreeSet<IpAddr>, cool_down: Duration) -> Self {
        let pool = |range| Pool::new(range, reserved);
        Self {
            pools: pools.into_iter().map(pool).collect(),
            cool_down,
            holdings: BTreeMap::new(),
            holders: BTreeMap::new(),
        }
    }

    /// Makes one change. The same record again changes nothing more.
    ///
    /// A `Reserve` of an attachment that exists with the same addresses replaces its other facts
    /// and leaves it as finished as it is. `Commit` and `Release` of an unknown one do nothing.
    ///
    /// # Errors
    /// If the change would give an address a second holder, or an attachment other addresses.
    pub fn apply(&mut self, record: Record) -> Result<(), Conflict> {
        match record {
            Record::Reserve(attachment) => return self.reserve(*attachment),
            Record::Commit(identity) => {
                if let Some(holding) = self.holdings.get_mut(&identity) {
                    holding.committed = true;
                }
            }
            Record::Release { identity, at } => self.release(&identity, &at),
            Record::Freed { ip, at } => {
                if !self.holders.contains_key(&ip)
                    && let Some(pool) = self.pool_mut(ip)
                {
                    pool.rest(ip, &at);
                }
            }
            Record::Restart { at } => self.pools.iter_mut().for_each(|pool| pool.restart(&at)),
        }
        Ok(())
    }

    /// What a daemon that starts at `now` writes and applies after it has applied the records of
    /// its predecessor: rests of another boot begin anew, and what was not finished is released.
    /// [`choose`](Self::choose) relies on it.
    #[must_use]
    pub fn recover(&self, now: &Uptime) -> Vec<Record> {
        let stale = self.pools.iter().any(|pool| pool.needs_restart(now));
        let restart = stale.then(|| Record::Restart { at: now.clone() });
        let unfinished = self.holdings.values().filter(|holding| !holding.committed);
        let releases = unfinished.map(|holding| Record::Release {
            identity: holding.attachment.identity.clone(),
            at: now.clone(),
        });
        restart.into_iter().chain(releases).collect()
    }

    /// An attachment.
    #[must_use]
    pub fn get(&self, identity: &Identity) -> Option<&Holding> {
        self.holdings.get(identity)
    }

    /// Who holds an address, of whatever range.
    #[must_use]
    pub fn holder_of(&self, ip: IpAddr) -> Option<&Identity> {
        self.holders.get(&ip)
    }

    /// All attachments, by identity.
    pub fn iter(&self) -> impl Iterator<Item = &Holding> {
        self.holdings.values()
    }

    /// Addresses for a new attachment: those asked for, resting or not; or else one of each
    /// family for which the node has ranges, the one that has been free the longest. An address
    /// that never was given comes before all others.
    ///
    /// # Errors
    /// If an asked address may not be given or a family has no free one.
    pub fn choose(&self, asked: &[IpAddr], now: &Uptime) -> Result<Vec<IpAddr>, IpamError> {
        if self.pools.is_empty() {
            return Err(IpamError::NoRange);
        }
        if !asked.is_empty() {
            self.check(asked)?;
            return Ok(asked.to_vec());
        }
        let picks = [true, false].map(|v4| self.pick(v4, now));
        picks.into_iter().flatten().collect()
    }

    /// The state of each range.
    #[must_use]
    pub fn usage(&self, now: &Uptime) -> Vec<Usage> {
        let usage = |pool: &Pool| pool.usage(self.cool_down, now);
        self.pools.iter().map(usage).collect()
    }

    /// Records that make the same ledger out of an empty one.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Record> {
        let released = self.pools.iter().flat_map(Pool::released);
        let released = released.map(|(ip, at)| Record::Freed { ip, at });
        let holdings = self.holdings.values().flat_map(|holding| {
            let reserve = Record::reserve(holding.attachment.clone());
            let identity = || holding.attachment.identity.clone();
            let commit = holding.committed.then(|| Record::Commit(identity()));
            std::iter::once(reserve).chain(commit)
        });
        released.chain(holdings).collect()
    }

    /// How many records a [`snapshot`](Self::snapshot) has at most.
    #[must_use]
    pub fn snapshot_len(&self) -> usize {
        let released: usize = self.pools.iter().map(Pool::released_count).sum();
        released + 2 * self.holdings.len()
    }

    fn reserve(&mut self, attachment: Attachment) -> Result<(), Conflict> {
        let identity = &attachment.identity;
        let held_by_another = |ip: &IpAddr| {
            let by = self.holders.get(ip).filter(|by| *by != identity)?;
            let (ip, by) = (*ip, by.clone());
            Some(Conflict::Held { ip, by })
        };
        if let Some(conflict) = attachment.ips.iter().find_map(held_by_another) {
            return Err(conflict);
        }
        if let Some(holding) = self.holdings.get_mut(identity) {
            if holding.attachment.ips != attachment.ips {
                return Err(Conflict::Attached(attachment.identity));
            }
            holding.attachment = attachment;
            return Ok(());
        }
        for &ip in &attachment.ips {
            self.holders.insert(ip, identity.clone());
            if let Some(pool) = self.pool_mut(ip) {
                pool.hold(ip);
            }
        }
        let holding = Holding {
            attachment,
            committed: false,
        };
        self.holdings
            .insert(holding.attachment.identity.clone(), holding);
        Ok(())
    }

    fn release(&mut self, identity: &Identity, at: &Uptime) {
        let Some(holding) = self.holdings.remove(identity) else {
            return;
        };
        for ip in holding.attachment.ips {
            self.holders.remove(&ip);
            if let Some(pool) = self.pool_mut(ip) {
                pool.release(ip, at);
            }
        }
    }

    /// Whether all of `asked` may be given.
    fn check(&self, asked: &[IpAddr]) -> Result<(), IpamError> {
        for (number, &ip) in asked.iter().enumerate() {
            let mut earlier = asked.iter().take(number).copied();
            if let Some(first) = earlier.find(|other| other.is_ipv4() == ip.is_ipv4()) {
                return Err(IpamError::SecondOfFamily { first, second: ip });
            }
            let Some(pool) = self.pools.iter().find(|pool| pool.contains(ip)) else {
                let ranges = self.pools.iter().map(Pool::range).collect();
                return Err(IpamError::OutOfRange { ip, ranges });
            };
            pool.check(ip)?;
            if let Some(by) = self.holders.get(&ip) {
                let by = by.clone();
                return Err(IpamError::Taken { ip, by });
            }
        }
        Ok(())
    }

    /// An address of one family, from the first of its ranges that has one; `None` without range.
    fn pick(&self, v4: bool, now: &Uptime) -> Option<Result<IpAddr, IpamError>> {
        let pools = self
            .pools
            .iter()
            .filter(|pool| pool.range().is_ipv4() == v4);
        let mut picked = None;
        for pool in pools {
            picked = Some(pool.pick(self.cool_down, now));
            if matches!(picked, Some(Ok(_))) {
                break;
            }
        }
        picked
    }

    fn pool_mut(&mut self, ip: IpAddr) -> Option<&mut Pool> {
        self.pools.iter_mut().find(|pool| pool.contains(ip))
    }
}
