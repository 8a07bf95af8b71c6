//! Which address of one range has been free the longest?
//!
//! Owns the order in which the addresses of a range are given: those that never were, upwards,
//! then the one released first. What was released rests before it is given again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::IpNetwork;

use super::error::IpamError;
use super::record::Uptime;

/// With more released addresses than this the oldest is given again although others never were:
/// a large range must not grow the memory and the journal with every pod.
const RELEASED: usize = 1024;

/// The state of one range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The range.
    pub range: IpNetwork,
    /// Addresses that pods can have.
    pub total: u128,
    /// Those that attachments hold.
    pub used: u64,
    /// Those that rest.
    pub cooling: u64,
    /// Those that may be given now.
    pub free: u128,
}

/// One range.
///
/// An address below `next` is held, released or kept from pods, and a released one stays so until
/// it is held again; thus `next` follows from the other fields and only grows.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    range: IpNetwork,
    first: u128,
    last: u128,
    /// Those of `first..=last` that are kept from pods.
    reserved: BTreeSet<IpAddr>,
    held: BTreeSet<IpAddr>,
    released: Released,
    /// The lowest address that never was given.
    next: Option<IpAddr>,
}

impl Pool {
    /// Of `range` but its base, which is the node's, the next, which is its gateway's, the
    /// broadcast address, and `reserved`.
    pub(super) fn new(range: IpNetwork, reserved: &BTreeSet<IpAddr>) -> Self {
        let first = bits(range.network()).saturating_add(2);
        let end = bits(range.broadcast());
        let last = if range.is_ipv4() {
            end.saturating_sub(1)
        } else {
            end
        };
        let inside =
            |ip: &&IpAddr| ip.is_ipv4() == range.is_ipv4() && (first..=last).contains(&bits(**ip));
        let mut pool = Self {
            range,
            first,
            last,
            reserved: reserved.iter().filter(inside).copied().collect(),
            held: BTreeSet::new(),
            released: Released::default(),
            next: (first <= last).then(|| address(range, first)),
        };
        pool.advance();
        pool
    }

    pub(super) const fn range(&self) -> IpNetwork {
        self.range
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        self.range.contains(ip)
    }

    /// Whether a pod may have `ip`, an address of the range.
    pub(super) fn check(&self, ip: IpAddr) -> Result<(), IpamError> {
        if !(self.first..=self.last).contains(&bits(ip)) {
            let range = self.range;
            return Err(IpamError::NotAPodAddress { ip, range });
        }
        if self.reserved.contains(&ip) {
            return Err(IpamError::Reserved { ip });
        }
        Ok(())
    }

    /// `ip` has a holder now.
    pub(super) fn hold(&mut self, ip: IpAddr) {
        if self.check(ip).is_ok() && self.held.insert(ip) {
            self.released.remove(ip);
            self.advance();
        }
    }

    /// `ip` has none any more, since `at`.
    pub(super) fn release(&mut self, ip: IpAddr, at: &Uptime) {
        if self.held.remove(&ip) {
            self.released.push(ip, at);
        }
    }

    /// `ip` has been released at `at`, unless it is held or rests already.
    pub(super) fn rest(&mut self, ip: IpAddr, at: &Uptime) {
        if self.check(ip).is_ok() && !self.is_known(ip) {
            self.released.push(ip, at);
            self.advance();
        }
    }

    /// Lets rests that did not begin before `at` in its boot begin at it.
    pub(super) fn restart(&mut self, at: &Uptime) {
        self.released.restart(at);
    }

    pub(super) fn needs_restart(&self, at: &Uptime) -> bool {
        self.released.entries().any(|entry| entry.is_stale(at))
    }

    /// The released addresses, the first released first.
    pub(super) fn released(&self) -> Vec<(IpAddr, Uptime)> {
        self.released.in_order()
    }

    pub(super) fn released_count(&self) -> usize {
        self.released.len()
    }

    /// The address that is next to be given.
    pub(super) fn pick(&self, pause: Duration, now: &Uptime) -> Result<IpAddr, IpamError> {
        let oldest = self.released.oldest();
        let rested = oldest
            .filter(|entry| entry.left_of(pause, now).is_zero())
            .map(|entry| entry.ip);
        let many = self.released.len() > RELEASED;
        let choice = match rested {
            Some(ip) if many => Some(ip),
            _ => self.next.or(rested),
        };
        choice.ok_or_else(|| {
            let Usage { used, cooling, .. } = self.usage(pause, now);
            IpamError::Exhausted {
                range: self.range,
                used,
                cooling,
                next_free_in: oldest.map(|entry| entry.left_of(pause, now)),
            }
        })
    }

    pub(super) fn usage(&self, pause: Duration, now: &Uptime) -> Usage {
        let size = match self.last.checked_sub(self.first) {
            Some(steps) => steps.saturating_add(1),
            None => 0,
        };
        let total = size.saturating_sub(self.reserved.len() as u128);
        let used = self.held.len() as u64;
        let resting = |entry: &&Entry| !entry.left_of(pause, now).is_zero();
        let cooling = self.released.entries().filter(resting).count() as u64;
        Usage {
            range: self.range,
            total,
            used,
            cooling,
            free: total.saturating_sub(u128::from(used) + u128::from(cooling)),
        }
    }

    fn is_known(&self, ip: IpAddr) -> bool {
        self.held.contains(&ip) || self.released.contains(ip)
    }

    fn advance(&mut self) {
        while let Some(ip) = self.next {
            if !self.is_known(ip) && !self.reserved.contains(&ip) {
                return;
            }
            let after = bits(ip).checked_add(1).filter(|next| *next <= self.last);
            self.next = after.map(|next| address(self.range, next));
        }
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address of `range`'s family; `bits` came from one.
fn address(range: IpNetwork, bits: u128) -> IpAddr {
    match (range, u32::try_from(bits)) {
        (IpNetwork::V4(_), Ok(bits)) => Ipv4Addr::from_bits(bits).into(),
        _ => Ipv6Addr::from_bits(bits).into(),
    }
}

/// A released address.
#[derive(Clone, Debug)]
struct Entry {
    ip: IpAddr,
    boot: Arc<str>,
    nanos: u64,
}

impl Entry {
    /// Whether the rest began in another boot than `at`, or later.
    fn is_stale(&self, at: &Uptime) -> bool {
        *self.boot != at.boot || self.nanos > at.nanos
    }

    /// How much of a `pause` since the release is left at `now`: all of it, if `now` is earlier
    /// or of another boot.
    fn left_of(&self, pause: Duration, now: &Uptime) -> Duration {
        if *self.boot != now.boot {
            return pause;
        }
        pause.saturating_sub(Duration::from_nanos(now.nanos.saturating_sub(self.nanos)))
    }
}

/// Released addresses by time; those of one moment in the order in which they came.
#[derive(Clone, Debug, Default)]
struct Released {
    order: BTreeMap<(u64, u64), Entry>,
    places: BTreeMap<IpAddr, (u64, u64)>,
    /// Counts releases; ties of time are broken by it.
    count: u64,
    /// The boot of the last entry: one text for all that share it.
    boot: Arc<str>,
}

impl Released {
    fn push(&mut self, ip: IpAddr, at: &Uptime) {
        if *self.boot != at.boot {
            self.boot = at.boot.as_str().into();
        }
        let place = (at.nanos, self.count);
        self.count += 1;
        let (boot, nanos) = (Arc::clone(&self.boot), at.nanos);
        self.order.insert(place, Entry { ip, boot, nanos });
        self.places.insert(ip, place);
    }

    fn remove(&mut self, ip: IpAddr) {
        if let Some(place) = self.places.remove(&ip) {
            self.order.remove(&place);
        }
    }

    fn restart(&mut self, at: &Uptime) {
        let boot: Arc<str> = at.boot.as_str().into();
        for ((nanos, count), mut entry) in std::mem::take(&mut self.order) {
            let stale = entry.is_stale(at);
            if stale {
                (entry.boot, entry.nanos) = (Arc::clone(&boot), at.nanos);
            }
            let place = (if stale { at.nanos } else { nanos }, count);
            self.places.insert(entry.ip, place);
            self.order.insert(place, entry);
        }
    }

    /// Released first; all entries are of one boot.
    fn oldest(&self) -> Option<&Entry> {
        self.order.first_key_value().map(|(_, entry)| entry)
    }

    /// By count, which also orders entries of several boots.
    fn in_order(&self) -> Vec<(IpAddr, Uptime)> {
        let mut entries: Vec<(u64, &Entry)> = self
            .order
            .iter()
            .map(|((_, count), entry)| (*count, entry))
            .collect();
        entries.sort_unstable_by_key(|(count, _)| *count);
        let pair = |entry: &Entry| {
            let (boot, nanos) = (entry.boot.to_string(), entry.nanos);
            (entry.ip, Uptime { boot, nanos })
        };
        entries.into_iter().map(|(_, entry)| pair(entry)).collect()
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.order.values()
    }

    fn contains(&self, ip: IpAddr) -> bool {
        self.places.contains_key(&ip)
    }

    fn len(&self) -> usize {
        self.order.len()
    }
}
