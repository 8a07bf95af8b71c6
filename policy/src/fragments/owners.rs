//! Which entries does an owner hold, oldest first?
//!
//! Owns one list per port, direction and IP version; the links between neighbours are in
//! the entries. All entries of a list live equally long, so the oldest expires first.
#![expect(
    clippy::indexing_slicing,
    reason = "an owner's number is checked when it is made"
)]

use weft_wire::IpVersion;

use super::store::At;
use crate::Direction;

/// Lists of one port: two directions of two IP versions.
const LISTS: usize = 4;

/// The number of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner(u32);

/// An entry's neighbours in its owner's list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    pub(super) older: Option<At>,
    pub(super) newer: Option<At>,
}

#[derive(Clone, Copy, Debug, Default)]
struct List {
    oldest: Option<At>,
    newest: Option<At>,
    held: u32,
}

#[derive(Debug)]
pub(super) struct Owners {
    lists: Box<[List]>,
}

impl Owner {
    pub(super) const fn get(self) -> u32 {
        self.0
    }

    const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Owners {
    /// Empty lists for `ports` ports, at most 65,536.
    pub(super) fn new(ports: usize) -> Self {
        let ports = ports.clamp(1, 1 << 16);
        Self {
            lists: vec![List::default(); ports * LISTS].into_boxed_slice(),
        }
    }

    /// The owner that `port` is in a direction and for a version, if there is such a port.
    pub(super) fn number(&self, port: u32, side: Direction, version: IpVersion) -> Option<Owner> {
        let list = match (side, version) {
            (Direction::Egress, IpVersion::V4) => 0,
            (Direction::Egress, IpVersion::V6) => 1,
            (Direction::Ingress, IpVersion::V4) => 2,
            (Direction::Ingress, IpVersion::V6) => 3,
        };
        self.of_port(port).nth(list)
    }

    /// All owners that `port` is.
    pub(super) fn of_port(&self, port: u32) -> impl Iterator<Item = Owner> + use<> {
        let lists = self.lists.len();
        let first = usize::try_from(port).map_or(lists, |port| port.saturating_mul(LISTS));
        let numbers = (first..lists).take(LISTS);
        numbers.filter_map(|number| u32::try_from(number).ok().map(Owner))
    }

    pub(super) fn oldest(&self, owner: Owner) -> Option<At> {
        self.lists[owner.index()].oldest
    }

    pub(super) fn held(&self, owner: Owner) -> u32 {
        self.lists[owner.index()].held
    }

    /// Puts an entry at the end of the list; the neighbour it gets.
    pub(super) fn append(&mut self, owner: Owner, at: At) -> Option<At> {
        let list = &mut self.lists[owner.index()];
        list.held += 1;
        list.oldest = list.oldest.or(Some(at));
        list.newest.replace(at)
    }

    /// Takes an entry with these neighbours out.
    pub(super) fn remove(&mut self, owner: Owner, link: Link) {
        let list = &mut self.lists[owner.index()];
        list.held -= 1;
        if link.older.is_none() {
            list.oldest = link.newer;
        }
        if link.newer.is_none() {
            list.newest = link.older;
        }
    }
}
