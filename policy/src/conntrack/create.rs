//! Remembering a flow: into one entry, whoever else remembers it at the same time.

use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::fence;

use weft_wire::Headers;

use super::config::{FlowState, UdpState};
use super::entry::{Entry, NO_HOME, Progress};
use super::key::Key;
use super::lookup::{Followed, follow};
use super::packet::{Kind, Packet};
use super::probe::{Place, Probe};
use super::room::Charge;
use super::window::Window;
use super::{Conntrack, EntryRef, Full, Sighting};
use crate::{Direction, Moment, RuleId, TcpState};

/// Attempts to claim an entry that other workers want too.
const ATTEMPTS: usize = 8;

/// A flow about to be remembered.
pub(super) struct Arrival {
    /// Says who started the flow and whom it is charged to.
    pub(super) key: Key,
    pub(super) probe: Probe,
    pub(super) owner: u16,
    pub(super) now: Moment,
}

/// What is known of a flow when its entry is written.
pub(super) struct Start {
    pub(super) progress: Progress,
    pub(super) window: Window,
    pub(super) seen: Moment,
}

impl Conntrack {
    /// Remembers the flow that this packet, allowed by `rule` on `at.side`,
    /// starts, and charges it to `owner`. A flow remembered meanwhile is joined;
    /// if it was the other end that started it, without taking the verdict over.
    ///
    /// # Errors
    /// [`Full`]; also for an owner that [`super::Config::owners`] leaves out and
    /// for a packet that [`Conntrack::lookup`] would call untracked.
    pub fn create(
        &self,
        headers: &Headers,
        at: Sighting,
        rule: RuleId,
        owner: u32,
    ) -> Result<EntryRef, Full> {
        let (packet, arrival) = self.arrival(headers, at, owner).ok_or(Full)?;
        for _ in 0..ATTEMPTS {
            if let Some(hit) = self.find(&arrival.probe, &arrival.key, at.now) {
                let Followed { entry, reply, .. } = follow(&hit, &packet);
                if !reply {
                    self.renew(entry, at.side, rule, at.epoch);
                }
                return Ok(entry);
            }
            let charge = Charge {
                owner: arrival.owner,
                is_held: self.quotas.reserve(arrival.owner),
            };
            let Some(chosen) = self.choose(&arrival, charge) else {
                self.give_back(charge);
                break;
            };
            if let Some(generation) = self.take(&chosen, charge) {
                let start = first_progress(&packet, generation);
                return Ok(self.settle(&arrival, &chosen.place, &start, |entry| {
                    entry.decide(at.side, generation, rule, at.epoch);
                    entry.count(false, packet.at.packets, packet.len());
                }));
            }
        }
        self.events.refused();
        Err(Full)
    }

    fn arrival<'a>(
        &self,
        headers: &'a Headers,
        at: Sighting,
        owner: u32,
    ) -> Option<(Packet<'a>, Arrival)> {
        let packet = Packet::of(headers, at)?;
        let probe = self.probe(&headers.flow);
        let owner = self.quotas.number(owner)?;
        let arrival = Arrival {
            key: packet.canonical.started(owner),
            probe,
            owner,
            now: at.now,
        };
        packet.kind.begins().then_some((packet, arrival))
    }

    /// Fills and publishes a claimed entry, to which `more` adds what `start` leaves out,
    /// then makes sure it is the only one.
    pub(super) fn settle(
        &self,
        arrival: &Arrival,
        place: &Place<'_>,
        start: &Start,
        more: impl FnOnce(&Entry),
    ) -> EntryRef {
        let entry = place.entry;
        entry.fill(&arrival.key, start.progress, start.seen);
        entry.set_window(&Window::from_words([0; 2], 0), &start.window);
        more(entry);
        let generation = start.progress.generation;
        let seen = place
            .guard
            .publish(generation, arrival.probe.tag, arrival.owner);
        self.events.created();
        self.keep_one(arrival, Place { seen, ..*place })
    }

    /// Withdraws all entries of one flow but the first in scanning order, which
    /// it returns. Every inserter does this after publishing.
    fn keep_one(&self, arrival: &Arrival, own: Place<'_>) -> EntryRef {
        fence(SeqCst);
        let mut kept = None;
        for place in arrival
            .probe
            .buckets
            .iter()
            .flat_map(|&bucket| self.places(bucket))
        {
            let is_own = place.index == own.index;
            if !is_own && !self.is_double(arrival, &place) {
                continue;
            }
            let place = if is_own { own } else { place };
            if kept.is_none() {
                kept = Some(place);
            } else if self.end(place.guard, place.entry, place.seen) {
                self.events.doubled();
            }
        }
        kept.unwrap_or(own).to_ref()
    }

    fn is_double(&self, arrival: &Arrival, place: &Place<'_>) -> bool {
        place.seen.is_live_with(arrival.probe.tag)
            && place.read().is_some_and(|snapshot| {
                snapshot.key.is_same_flow(&arrival.key) && !self.is_expired(&snapshot, arrival.now)
            })
    }
}

/// What a flow's first packet shows.
fn first_progress(packet: &Packet<'_>, generation: u32) -> Start {
    let empty = Window::from_words([0; 2], 0);
    let (flow, window) = match packet.kind {
        Kind::Tcp(info) => {
            let window = empty.after(&info, false, true);
            (FlowState::Tcp(TcpState::Opening), window)
        }
        Kind::Udp => (FlowState::Udp(UdpState::OneWay), empty),
        Kind::Sctp => (FlowState::Sctp { answered: false }, empty),
        Kind::EchoRequest | Kind::EchoReply => (FlowState::Echo { answered: false }, empty),
    };
    let home = match packet.at.side {
        Direction::Egress => packet.at.worker,
        Direction::Ingress => NO_HOME,
    };
    let progress = Progress {
        generation,
        homes: [home, NO_HOME],
        flow,
        known: window.known(),
    };
    Start {
        progress,
        window,
        seen: packet.at.now,
    }
}
