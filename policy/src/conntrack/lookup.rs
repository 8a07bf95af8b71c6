//! The fast path: which flow is this, and what does its packet change?

use weft_wire::{Embedded, Headers, TcpFlags, TcpInfo};

use super::config::FlowState;
use super::entry::{Entry, NO_HOME, Progress};
use super::info::Related;
use super::key::Canonical;
use super::packet::{Kind, Packet, embedded_kind};
use super::probe::{Hit, Place};
use super::window::Window;
use super::{Conntrack, EntryRef, Lookup, Sighting};
use crate::{Direction, Moment, Opening, TcpState};

/// A packet of a known flow.
#[derive(Clone, Copy)]
pub(super) struct Passing<'a> {
    /// What its TCP header says.
    pub(super) tcp: Option<&'a TcpInfo>,
    /// It goes from the responder to the initiator.
    pub(super) reply: bool,
    /// Bytes of the IP packet.
    pub(super) bytes: u64,
    pub(super) at: Sighting,
}

/// What a packet of a known flow means.
pub(super) struct Followed {
    pub(super) entry: EntryRef,
    pub(super) reply: bool,
    pub(super) home: Option<u8>,
    off_window: bool,
}

impl Conntrack {
    /// Finds the packet's flow and takes the packet in: time of last use, TCP
    /// state, home queue, counts. A frame between two pods of this node is looked
    /// up on both sides and counted once.
    pub fn lookup(&self, headers: &Headers, at: Sighting) -> Lookup {
        let Some(packet) = Packet::of(headers, at) else {
            return Lookup::Untracked;
        };
        let probe = self.probe(&headers.flow);
        let Some(hit) = self.find(&probe, &packet.canonical.key, at.now) else {
            return if packet.kind.begins() {
                Lookup::New
            } else {
                Lookup::Untracked
            };
        };
        if self.ends_by_reopening(&hit, &packet) {
            return Lookup::New;
        }
        judge(&hit, &follow(&hit, &packet), at)
    }

    /// Finds the flow of a later fragment by what the datagram's first one said.
    /// The fragment counts as a packet of `bytes` bytes and changes nothing else,
    /// not even the time of last use. `Untracked` where there is no such flow:
    /// decide `opening.flow`. Never `New`.
    pub fn lookup_later(&self, opening: &Opening, bytes: u64, at: Sighting) -> Lookup {
        let Some(kind) = Kind::of_transport(opening.transport) else {
            return Lookup::Untracked;
        };
        let canonical = Canonical::of(&opening.flow, kind);
        let probe = self.probe(&opening.flow);
        let Some(hit) = self.find(&probe, &canonical.key, at.now) else {
            return Lookup::Untracked;
        };
        let (homes, reply) = (hit.snapshot.progress.homes, is_reply(&hit, &canonical));
        count(hit.place.entry, homes, reply, bytes, at);
        let followed = Followed {
            entry: hit.place.to_ref(),
            reply,
            home: home_of(homes, !reply),
            off_window: false,
        };
        judge(&hit, &followed, at)
    }

    /// The living flow that the packet embedded in an ICMP error belongs to, as
    /// its tuple says and for TCP its sequence number, which must be one that its
    /// sender has in flight. Changes nothing, not even the time of last use.
    ///
    /// The caller sees to it that the error is addressed to the embedded packet's
    /// sender.
    #[must_use]
    pub fn related(&self, embedded: &Embedded, now: Moment) -> Option<Related> {
        let flow = &embedded.flow;
        let canonical = Canonical::of(flow, embedded_kind(flow)?);
        let hit = self.find(&self.probe(flow), &canonical.key, now)?;
        let reply = is_reply(&hit, &canonical);
        let Progress {
            homes,
            generation,
            flow,
            known,
        } = hit.snapshot.progress;
        let window = hit.place.entry.window(known);
        if matches!(flow, FlowState::Tcp(_)) && !window.has_in_flight(embedded.tcp_seq, reply) {
            return None;
        }
        let epoch = |side| {
            hit.place
                .entry
                .slot(side, generation)
                .map(|(epoch, _)| epoch)
        };
        Some(Related {
            entry: hit.place.to_ref(),
            original: hit.snapshot.key.original(),
            reply,
            home: home_of(homes, reply),
            egress: epoch(Direction::Egress),
            ingress: epoch(Direction::Ingress),
        })
    }

    /// Ends an entry whose connection is over and whose responder now opens
    /// another one the other way.
    fn ends_by_reopening(&self, hit: &Hit<'_>, packet: &Packet<'_>) -> bool {
        let (Kind::Tcp(info), FlowState::Tcp(state)) = (packet.kind, hit.snapshot.progress.flow)
        else {
            return false;
        };
        let reopened = state.is_reopened_by(info.flags, is_reply(hit, &packet.canonical));
        if reopened {
            self.end(hit.place.guard, hit.place.entry, hit.place.seen);
        }
        reopened
    }
}

fn is_reply(hit: &Hit<'_>, canonical: &Canonical) -> bool {
    hit.snapshot.key.high_started() != canonical.from_high
}

const fn home_of(homes: [u8; 2], of_responder: bool) -> Option<u8> {
    let [initiator, responder] = homes;
    match if of_responder { responder } else { initiator } {
        NO_HOME => None,
        home => Some(home),
    }
}

/// The verdict on the side a packet was seen on: a reply entering the initiator
/// passes by the initiator's egress, one leaving the responder by its ingress.
#[inline]
fn judge(hit: &Hit<'_>, followed: &Followed, at: Sighting) -> Lookup {
    let &Followed {
        entry,
        reply,
        home,
        off_window,
    } = followed;
    let side = if reply { at.side.opposite() } else { at.side };
    match hit.place.entry.slot(side, entry.generation) {
        Some((epoch, rule)) if epoch == at.epoch => Lookup::Known {
            rule,
            reply,
            home,
            entry,
            off_window,
        },
        _ => {
            let original = hit.snapshot.key.original();
            Lookup::Stale {
                entry,
                original,
                side,
                reply,
                home,
                off_window,
            }
        }
    }
}

/// Takes a packet in: state, home of the sending end, last use, counts.
#[inline]
pub(super) fn follow(hit: &Hit<'_>, packet: &Packet<'_>) -> Followed {
    let passing = Passing {
        tcp: packet.kind.tcp(),
        reply: is_reply(hit, &packet.canonical),
        bytes: packet.len(),
        at: packet.at,
    };
    pass(
        &hit.place,
        hit.snapshot.progress,
        hit.snapshot.seen,
        &passing,
    )
}

/// The same for an entry whose progress and last use were read, and which is the packet's.
#[inline]
pub(super) fn pass(
    place: &Place<'_>,
    before: Progress,
    seen: Moment,
    packet: &Passing<'_>,
) -> Followed {
    let (entry, at, reply) = (place.entry, packet.at, packet.reply);
    let home = match at.side {
        Direction::Egress => at.worker,
        Direction::Ingress => NO_HOME,
    };
    let mut step = Step {
        reply,
        home,
        flags: None,
        opens: false,
        learned: 0,
    };
    let mut off_window = false;
    if let Some(info) = packet.tcp {
        let window = entry.window(before.known);
        off_window = info.flags.contains(TcpFlags::RST) && !window.accepts_reset(info, reply);
        if !off_window {
            step = take_in(entry, before.flow, &window, info, step);
        }
    }
    let after = entry.advance(before, |progress| step.apply(progress));
    entry.refresh(seen, at.now);
    count(entry, after.homes, reply, packet.bytes, at);
    Followed {
        entry: place.to_ref(),
        reply,
        home: home_of(after.homes, !reply),
        off_window,
    }
}

/// Counts a packet where it leaves its sender, or enters from another node.
#[inline]
fn count(entry: &Entry, homes: [u8; 2], reply: bool, bytes: u64, at: Sighting) {
    if at.side == Direction::Egress || home_of(homes, reply).is_none() {
        entry.count(reply, at.packets, bytes);
    }
}

/// Takes the sequence numbers in; what the packet then does to the progress.
fn take_in(entry: &Entry, flow: FlowState, window: &Window, info: &TcpInfo, step: Step) -> Step {
    let flags = Some(info.flags);
    let FlowState::Tcp(state) = flow else {
        return step;
    };
    if info.flags.contains(TcpFlags::RST) {
        return Step { flags, ..step };
    }
    let opens = info.flags.contains(TcpFlags::SYN)
        && state.next(info.flags, step.reply) == TcpState::Opening;
    let after = window.after(info, step.reply, opens);
    entry.set_window(window, &after);
    Step {
        flags,
        opens,
        learned: after.known(),
        ..step
    }
}

/// How one packet moves a flow's progress.
#[derive(Clone, Copy)]
struct Step {
    reply: bool,
    home: u8,
    /// The flags of a segment that counts.
    flags: Option<TcpFlags>,
    /// The segment starts the connection anew; older numbers are void.
    opens: bool,
    /// [`Window::known`] bits the packet adds.
    learned: u8,
}

impl Step {
    #[inline]
    fn apply(self, progress: Progress) -> Progress {
        let [initiator, responder] = progress.homes;
        let homes = match (self.home, self.reply) {
            (NO_HOME, _) => progress.homes,
            (home, false) => [home, responder],
            (home, true) => [initiator, home],
        };
        let flow = match (progress.flow, self.flags) {
            (FlowState::Tcp(state), Some(flags)) => FlowState::Tcp(state.next(flags, self.reply)),
            (FlowState::Udp(state), _) => FlowState::Udp(state.next(self.reply)),
            (FlowState::Sctp { .. }, _) if self.reply => FlowState::Sctp { answered: true },
            (FlowState::Echo { .. }, _) if self.reply => FlowState::Echo { answered: true },
            (flow, _) => flow,
        };
        let kept = if self.opens { 0 } else { progress.known };
        Progress {
            homes,
            flow,
            known: kept | self.learned,
            ..progress
        }
    }
}
