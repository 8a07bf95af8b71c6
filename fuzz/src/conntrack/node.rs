//! The tables under test, asked as `switch/src/path/admit.rs` asks them.

use weft_policy::{
    Config, Conntrack, Direction, Epoch, FragmentConfig, FragmentError, Fragments, Full, Lookup,
    Moment, RuleId, Sighting, Timeouts, Verdict,
};
use weft_wire::{FlowKey, Fragment, Headers};

use super::rules::Rules;
use super::script::{Sent, WORKERS, is_pod};

/// How much there is room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) flows: usize,
    pub(super) flows_of_one: u32,
    pub(super) datagrams: usize,
    pub(super) datagrams_of_one: u32,
}

impl Room {
    /// Nobody ever has to make room.
    pub(super) const ENOUGH: Self = Self {
        flows: 2_048,
        flows_of_one: 2_048,
        datagrams: 4_096,
        datagrams_of_one: 4_096,
    };

    /// All flows share the same two buckets, and all datagrams too.
    pub(super) const fn tight(flows_of_one: u32) -> Self {
        Self {
            flows: 16,
            flows_of_one,
            datagrams: 16,
            datagrams_of_one: 4,
        }
    }

    pub(super) const fn is_tight(self) -> bool {
        self.flows == 16
    }
}

/// Where a packet is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    pub(super) side: Direction,
    pub(super) port: u32,
    /// The tables of the worker that asks.
    pub(super) rules: Rules,
    pub(super) epoch: Epoch,
    pub(super) now: Moment,
}

/// What becomes of a packet at a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It passes, to the queue of the receiver if that is known.
    Pass(Option<u8>),
    Denied,
    Full,
    Fragment(FragmentError),
}

pub(super) struct Node {
    pub(super) conntrack: Conntrack,
    pub(super) fragments: [Fragments; WORKERS as usize],
}

impl Node {
    pub(super) fn new(room: Room) -> Self {
        let memory = || {
            Fragments::new(FragmentConfig {
                capacity: room.datagrams,
                quota_per_owner: room.datagrams_of_one,
                ports: 8,
                seed: 7,
            })
        };
        Self {
            conntrack: Conntrack::new(Config {
                capacity: room.flows,
                quota_per_owner: room.flows_of_one,
                owners: 8,
                seed: [3, 5],
                timeouts: Timeouts::default(),
            }),
            fragments: [memory(), memory()],
        }
    }

    pub(super) fn admit(&mut self, door: Door, sent: &Sent) -> Answer {
        let at = Sighting {
            side: door.side,
            epoch: door.epoch,
            worker: sent.worker,
            now: door.now,
            packets: 1,
        };
        let packet = &sent.headers;
        let passed = match packet.fragment {
            Fragment::Later { .. } => return self.later(door, at, packet),
            Fragment::First { .. } | Fragment::Whole => self.whole(door, at, sent),
        };
        let memory = &mut self.fragments[usize::from(sent.worker)];
        match passed {
            Ok(home) => match memory.first(packet, door.side, door.port, door.now) {
                Ok(()) => Answer::Pass(home),
                Err(error) => Answer::Fragment(error),
            },
            Err(answer) => answer,
        }
    }

    fn later(&mut self, door: Door, at: Sighting, packet: &Headers) -> Answer {
        let memory = &mut self.fragments[usize::from(at.worker)];
        let opening = match memory.later(packet, door.side, door.port, door.now) {
            Ok(opening) => opening,
            Err(error) => return Answer::Fragment(error),
        };
        let bytes = packet.ip_len() as u64;
        let found = self.conntrack.lookup_later(&opening, bytes, at);
        assert_ne!(found, Lookup::New, "a later fragment begins nothing");
        let passed = match self.follow(door, found) {
            Some(passed) => passed,
            None => permit(door, door.side, &opening.flow).map(|_| None),
        };
        passed.map_or_else(|answer| answer, Answer::Pass)
    }

    fn whole(&self, door: Door, at: Sighting, sent: &Sent) -> Result<Option<u8>, Answer> {
        let found = self.conntrack.lookup(&sent.headers, at);
        if let Some(passed) = self.follow(door, found) {
            return passed;
        }
        if found == Lookup::Untracked {
            if let Some(home) = self.related(door, sent) {
                return Ok(home);
            }
            return permit(door, door.side, &sent.headers.flow).map(|_| None);
        }
        let rule = permit(door, door.side, &sent.headers.flow)?;
        let made = self.conntrack.create(&sent.headers, at, rule, door.port);
        made.map(|_| None).map_err(|Full| Answer::Full)
    }

    /// What becomes of a packet of a known flow.
    fn follow(&self, door: Door, found: Lookup) -> Option<Result<Option<u8>, Answer>> {
        Some(match found {
            Lookup::Known { home, .. } => Ok(home),
            Lookup::Stale {
                entry,
                original,
                side,
                home,
                ..
            } => match permit(door, side, &original) {
                Ok(rule) => {
                    self.conntrack.renew(entry, side, rule, door.epoch);
                    Ok(home)
                }
                Err(denied) => {
                    // It lives on if younger tables have allowed it there.
                    self.conntrack.refuse(entry, side, door.epoch);
                    Err(denied)
                }
            },
            Lookup::New | Lookup::Untracked => return None,
        })
    }

    fn related(&self, door: Door, sent: &Sent) -> Option<Option<u8>> {
        let quoted = sent.quoted?;
        let outer = sent.headers.flow;
        if quoted.flow.src != outer.dst || quoted.flow.dst != outer.src && is_pod(outer.src) {
            return None;
        }
        let about = self.conntrack.related(&quoted, door.now)?;
        let side = if about.reply {
            door.side
        } else {
            door.side.opposite()
        };
        permit(door, side, &about.original)
            .is_ok()
            .then_some(about.home)
    }
}

pub(super) fn permit(door: Door, side: Direction, flow: &FlowKey) -> Result<RuleId, Answer> {
    match door.rules.decide(side, flow) {
        Verdict::Allow(rule) => Ok(rule),
        Verdict::Deny(_) => Err(Answer::Denied),
    }
}
