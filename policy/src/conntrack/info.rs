//! What the table tells people: one flow, one match of an ICMP error, totals.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use weft_wire::FlowKey;

use super::EntryRef;
use super::config::FlowState;
use crate::{Epoch, Moment, RuleId};

/// One flow, for a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowInfo {
    /// The flow as its initiator writes it.
    pub original: FlowKey,
    /// What it has shown so far.
    pub state: FlowState,
    /// Whom it is charged to.
    pub owner: u32,
    /// The verdict on the initiator's egress: its tables and rule.
    pub egress: Option<(Epoch, RuleId)>,
    /// The verdict on the responder's ingress: its tables and rule.
    pub ingress: Option<(Epoch, RuleId)>,
    /// The queue of the initiator and of the responder, where read here.
    pub homes: [Option<u8>; 2],
    /// Packets sent by the initiator and by the responder.
    pub packets: [u64; 2],
    /// IP bytes sent by the initiator and by the responder.
    pub bytes: [u64; 2],
    /// When its last packet passed.
    pub seen: Moment,
    /// When it will be forgotten unless another packet passes.
    pub expires: Moment,
}

/// The flow an ICMP error speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Related {
    /// The flow's entry.
    pub entry: EntryRef,
    /// The flow as its initiator writes it.
    pub original: FlowKey,
    /// The embedded packet was sent by the responder; its sender is whom the
    /// error must be addressed to.
    pub reply: bool,
    /// The queue of the embedded packet's sender, if its frames are read here.
    pub home: Option<u8>,
    /// The epoch that allowed the flow on the initiator's egress.
    pub egress: Option<Epoch>,
    /// The epoch that allowed the flow on the responder's ingress.
    pub ingress: Option<Epoch>,
}

/// Totals since the table was made, and its filling now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries in use.
    pub live: usize,
    /// Entries there are.
    pub capacity: usize,
    /// Flows created or imported.
    pub created: u64,
    /// Flows forgotten after their timeout.
    pub expired: u64,
    /// Living flows that made room for a newer one of their owner.
    pub evicted: u64,
    /// Flows refused with [`super::Full`].
    pub refused: u64,
    /// Entries withdrawn because two workers created one flow at once.
    pub doubled: u64,
}

/// The counters behind [`Stats`]; none is touched by a hit.
#[derive(Debug, Default)]
pub(super) struct Events {
    created: AtomicU64,
    expired: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
    doubled: AtomicU64,
}

impl Events {
    pub(super) fn created(&self) {
        self.created.fetch_add(1, Relaxed);
    }

    pub(super) fn expired(&self) {
        self.expired.fetch_add(1, Relaxed);
    }

    pub(super) fn evicted(&self) {
        self.evicted.fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn doubled(&self) {
        self.doubled.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self, live: usize, capacity: usize) -> Stats {
        Stats {
            live,
            capacity,
            created: self.created.load(Relaxed),
            expired: self.expired.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            doubled: self.doubled.load(Relaxed),
        }
    }
}
