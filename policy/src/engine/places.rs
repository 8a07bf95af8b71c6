//! Which kind of peer is at which address?
//!
//! Owns the classes: what identity an address's pod has, if it is a pod's, and which is the
//! longest block of any policy around it, which settles the other blocks around it as well.
//! Classes come and go with the addresses and blocks they stand for. A class keeps its number
//! while new blocks are laid around it: no policy compiled before tells the difference.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::blocks::intervals;
use super::owners::Owners;
use super::selectors::{IdentityId, Selectors};
use super::slab::Slab;
use crate::model::{ObjectName, Pod};
use crate::table::addresses::{Addresses, Class};
use crate::{Cidr, Cluster};

/// What a class stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// None for addresses that are no pod's.
    pub(super) identity: Option<IdentityId>,
    /// The longest around the address; none if there is none.
    pub(super) block: Option<Cidr>,
    /// Whether the address is IPv6. A pod's two families are two classes, because a block lies
    /// around one of them only: where it comes or goes, classes move instead of splitting.
    pub(super) is_v6: bool,
}

impl Kind {
    const fn outside(block: Option<Cidr>) -> Self {
        Self {
            identity: None,
            is_v6: match block {
                Some(block) => block.base().is_ipv6(),
                None => false,
            },
            block,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Held {
    kind: Kind,
    /// Addresses of pods, or the block.
    users: usize,
}

/// What happened to classes between two publications; in this order.
#[derive(Debug, Default)]
pub(super) struct Shift {
    /// New ones by the old one that every policy compiled before takes them for.
    pub(super) split: HashMap<Class, Vec<Class>, FixedState>,
    /// Those that are no more.
    pub(super) gone: HashMap<Class, (), FixedState>,
    /// Those that every policy must look at again.
    pub(super) changed: Vec<Class>,
}

/// Addresses and their classes.
#[derive(Debug)]
pub(super) struct Places {
    owners: Owners,
    stale: HashSet<IpAddr, FixedState>,
    classes: Slab<Held>,
    by_kind: HashMap<Kind, Class, FixedState>,
    by_identity: HashMap<IdentityId, Vec<Class>, FixedState>,
    by_block: BTreeSet<(Cidr, Class)>,
    /// How many speak of a block.
    wanted: BTreeMap<Cidr, usize>,
    /// The blocks that `addresses` knows, and their outside addresses' classes.
    laid: BTreeMap<Cidr, Class>,
    addresses: Addresses,
    /// Classes that are new or gone, or whose identity others select.
    changed: HashSet<Class, FixedState>,
    /// Classes that were split off, by the one they were part of.
    split: HashMap<Class, Vec<Class>, FixedState>,
}

impl Places {
    pub(super) fn new(seed: u64) -> Self {
        let outside = Kind::outside(None);
        let mut classes = Slab::default();
        // The first of a slab has number 0, which is `OUTSIDE`.
        let number = classes.insert(Held {
            kind: outside,
            users: 1,
        });
        Self {
            owners: Owners::default(),
            stale: HashSet::default(),
            classes,
            by_kind: HashMap::from_iter([(outside, number)]),
            by_identity: HashMap::default(),
            by_block: BTreeSet::new(),
            wanted: BTreeMap::new(),
            laid: BTreeMap::new(),
            addresses: Addresses::new(seed),
            changed: HashSet::default(),
            split: HashMap::default(),
        }
    }

    /// A pod came, changed or went.
    pub(super) fn pod(
        &mut self,
        name: &ObjectName,
        before: Option<&Pod>,
        after: Option<&Arc<Pod>>,
    ) {
        self.owners.change(name, before, after);
        let addresses = |pod: &Pod| pod.addresses.clone();
        self.stale.extend(before.into_iter().flat_map(addresses));
        self.stale
            .extend(after.into_iter().flat_map(|pod| addresses(pod)));
    }

    /// A policy speaks of a block.
    pub(super) fn want(&mut self, block: Cidr) {
        *self.wanted.entry(block).or_default() += 1;
    }

    /// It does no more.
    pub(super) fn unwant(&mut self, block: Cidr) {
        if let Some(users) = self.wanted.get_mut(&block) {
            *users -= 1;
            if *users == 0 {
                self.wanted.remove(&block);
            }
        }
    }

    /// Others select this identity now.
    pub(super) fn reselected(&mut self, identity: IdentityId) {
        let classes = self.by_identity.get(&identity).into_iter().flatten();
        self.changed.extend(classes);
    }

    /// Brings every address up to date.
    pub(super) fn settle(&mut self, selectors: &mut Selectors, cluster: &Cluster) -> Shift {
        self.settle_blocks(selectors);
        for address in std::mem::take(&mut self.stale) {
            let identity = self.owners.at(address).map(|pod| {
                selectors.identity(pod, || cluster.namespace_labels(&pod.name.namespace))
            });
            let before = self.addresses.pod(address);
            let after = identity.map(|identity| {
                let kind = Kind {
                    identity: Some(identity),
                    block: self.block_at(address),
                    is_v6: address.is_ipv6(),
                };
                self.take(kind, selectors)
            });
            if before != after {
                self.addresses.set(address, after);
            }
            if let Some(before) = before {
                self.release(before, selectors);
            }
        }
        let mut shift = Shift {
            split: std::mem::take(&mut self.split),
            ..Shift::default()
        };
        for class in std::mem::take(&mut self.changed) {
            match self.kind(class) {
                Some(_) => shift.changed.push(class),
                None => {
                    shift.gone.insert(class, ());
                }
            }
        }
        shift
    }

    fn settle_blocks(&mut self, selectors: &mut Selectors) {
        if self.wanted.keys().eq(self.laid.keys()) {
            return;
        }
        let wanted = self.wanted.keys().copied();
        let new: Vec<Cidr> = wanted
            .filter(|block| !self.laid.contains_key(block))
            .collect();
        for &block in &new {
            let class = self.take(Kind::outside(Some(block)), selectors);
            self.laid.insert(block, class);
        }
        let gone: Vec<(Cidr, Class)> = self
            .laid
            .extract_if(.., |block, _| !self.wanted.contains_key(block))
            .collect();
        self.addresses.set_blocks(intervals(self.laid.iter()));
        let touched: Vec<Cidr> = new
            .into_iter()
            .chain(gone.iter().map(|&(block, _)| block))
            .collect();
        self.move_pods(&touched, selectors);
        for (_, class) in gone {
            self.release(class, selectors);
        }
    }

    /// Finds the pods' addresses around which another block is the longest now. Where that goes
    /// for all addresses of a class, it is the class that moves; where it goes for some, the
    /// class is split.
    fn move_pods(&mut self, touched: &[Cidr], selectors: &mut Selectors) {
        let mut moves: HashMap<(Class, Option<Cidr>), Vec<IpAddr>, FixedState> = HashMap::default();
        for (address, class) in self.addresses.pods() {
            // A look at few blocks is cheaper than a search among all.
            if touched.len() < 8 && !touched.iter().any(|block| block.contains(address)) {
                continue;
            }
            let block = self.block_at(address);
            if self.kind(class).is_some_and(|kind| kind.block != block) {
                moves.entry((class, block)).or_default().push(address);
            }
        }
        for ((class, block), addresses) in moves {
            let Some(&Held { kind, users }) = self.classes.get(class) else {
                continue;
            };
            let kind = Kind { block, ..kind };
            if self.by_kind.contains_key(&kind) || self.changed.contains(&class) {
                self.stale.extend(addresses);
            } else if users > addresses.len() {
                self.split(class, kind, &addresses, selectors);
            } else {
                self.unlist(class);
                if let Some(held) = self.classes.get_mut(class) {
                    held.kind = kind;
                }
                self.list(class);
            }
        }
    }

    /// Makes another class of some addresses of a class.
    fn split(&mut self, class: Class, kind: Kind, addresses: &[IpAddr], selectors: &mut Selectors) {
        if let Some(identity) = kind.identity {
            selectors.retain_identity(identity);
        }
        let part = self.classes.insert(Held {
            kind,
            users: addresses.len(),
        });
        self.list(part);
        self.split.entry(class).or_default().push(part);
        for &address in addresses {
            self.addresses.set(address, Some(part));
        }
        if let Some(held) = self.classes.get_mut(class) {
            held.users -= addresses.len();
        }
    }

    fn block_at(&self, address: IpAddr) -> Option<Cidr> {
        self.kind(self.addresses.blocks().find(address))?.block
    }

    /// The class of a kind, with one user more. The use of the identity is the class's.
    fn take(&mut self, kind: Kind, selectors: &mut Selectors) -> Class {
        if let Some(&class) = self.by_kind.get(&kind) {
            if let Some(held) = self.classes.get_mut(class) {
                held.users += 1;
            }
            if let Some(identity) = kind.identity {
                selectors.release_identity(identity);
            }
            return class;
        }
        let class = self.classes.insert(Held { kind, users: 1 });
        self.list(class);
        self.changed.insert(class);
        class
    }

    fn release(&mut self, class: Class, selectors: &mut Selectors) {
        let Some(held) = self.classes.get_mut(class) else {
            return;
        };
        held.users -= 1;
        if held.users > 0 {
            return;
        }
        let identity = held.kind.identity;
        self.unlist(class);
        self.classes.remove(class);
        self.changed.insert(class);
        if let Some(identity) = identity {
            selectors.release_identity(identity);
        }
    }

    fn list(&mut self, class: Class) {
        let Some(kind) = self.kind(class) else {
            return;
        };
        self.by_kind.insert(kind, class);
        if let Some(identity) = kind.identity {
            self.by_identity.entry(identity).or_default().push(class);
        }
        if let Some(block) = kind.block {
            self.by_block.insert((block, class));
        }
    }

    fn unlist(&mut self, class: Class) {
        let Some(kind) = self.kind(class) else {
            return;
        };
        self.by_kind.remove(&kind);
        if let Some(identity) = kind.identity
            && let Some(classes) = self.by_identity.get_mut(&identity)
        {
            classes.retain(|&other| other != class);
            if classes.is_empty() {
                self.by_identity.remove(&identity);
            }
        }
        if let Some(block) = kind.block {
            self.by_block.remove(&(block, class));
        }
    }

    /// What a class stands for; none if it is gone.
    pub(super) fn kind(&self, class: Class) -> Option<Kind> {
        self.classes.get(class).map(|held| held.kind)
    }

    /// The classes of an identity's addresses.
    pub(super) fn of_identity(&self, identity: IdentityId) -> &[Class] {
        self.by_identity.get(&identity).map_or(&[], Vec::as_slice)
    }

    /// The classes of all addresses inside a block but not inside its exceptions.
    pub(super) fn in_block(&self, block: Cidr, except: &[Cidr]) -> impl Iterator<Item = Class> {
        let inside = self.by_block.range((block, 0)..);
        inside
            .take_while(move |(inner, _)| block.contains(inner.base()))
            .filter(|(inner, _)| !except.iter().any(|hole| covers(*hole, *inner)))
            .map(|&(_, class)| class)
    }

    /// Every class of pods.
    pub(super) fn of_pods(&self) -> impl Iterator<Item = Class> {
        let pods = self.classes.iter();
        let pods = pods.filter(|(_, held)| held.kind.identity.is_some());
        pods.map(|(class, _)| class)
    }

    /// One more than the highest class.
    pub(super) const fn bound(&self) -> usize {
        self.classes.bound()
    }

    pub(super) const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Whether nothing is left.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.owners.is_empty()
            && self.classes.len() == 1
            && self.by_kind.len() == 1
            && self.by_identity.is_empty()
            && self.by_block.is_empty()
            && self.wanted.is_empty()
            && self.laid.is_empty()
    }
}

/// Whether all of `inner` lies in `outer`.
pub(super) fn covers(outer: Cidr, inner: Cidr) -> bool {
    outer.length() <= inner.length() && outer.contains(inner.base())
}
