//! What happened, and was it the same as last time?
//!
//! A list of events and a digest of all of them. Two runs of the same program with the
//! same seed have equal digests; the list is for people and is bounded.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use weft_policy::Moment;

use crate::path::{Fate, PortId};

/// Events kept for reading; the digest covers those beyond, too.
const KEPT: usize = 1 << 18;

/// Where something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// A frame read from a port of a node.
    Port {
        /// The node.
        node: usize,
        /// The port.
        port: PortId,
    },
    /// A datagram that arrived at a node.
    Underlay {
        /// The node.
        node: usize,
    },
    /// A datagram on its way.
    Link {
        /// The sending node.
        from: usize,
        /// The receiving node.
        to: usize,
    },
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// The node decided the frame's fate.
    Decided(Fate),
    /// The link will deliver it.
    Sent,
    /// The link will deliver it twice.
    Doubled,
    /// The link lost it.
    Lost,
    /// It exceeded the link's MTU.
    TooBig,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// Where.
    pub place: Place,
    /// What.
    pub what: What,
    /// Bytes of the frame or datagram payload, before the event.
    pub len: usize,
    /// A hash of those bytes.
    pub hash: u64,
}

/// Everything that happened in a simulation.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    events: Vec<Event>,
    count: u64,
    digest: u64,
}

impl Trace {
    /// The first events, up to a bound.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// How many events there were.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// A digest of all events; comparable between runs of one build.
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn record(&mut self, event: Event) {
        self.count += 1;
        self.digest = FixedState::default().hash_one((self.digest, event));
        if self.events.len() < KEPT {
            self.events.push(event);
        }
    }
}

pub(super) fn hash(bytes: &[u8]) -> u64 {
    FixedState::default().hash_one(bytes)
}
