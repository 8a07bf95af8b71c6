//! How do the frames of a turn leave for their peers?
//!
//! Owns the lanes' sockets in use by one worker: plans runs ([`super::grouping`]), has the packets
//! of super-frames written, and hands each lane's messages to the kernel, as few
//! system calls as there is room for. A message that the kernel refuses to cut leaves as single
//! datagrams. Never keeps a frame.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::sync::Arc;

use rustix::io::Errno;
use weft_encap::split::Cut;
use weft_sys::udp::{Filling, SendBatch, Target};

use super::grouping::{Grouping, Load, Piece, Run};
use super::offloads::{Offload, Offloads};
use crate::path::ToPeer;

/// Messages handed over with one system call.
const MESSAGES: usize = 64;
/// Their parts in all: a datagram, or neighbours of one super-frame.
const PARTS: usize = 2048;
/// Messages of one plan.
const RUNS: usize = 1024;
/// Bytes in front of the inner Ethernet header: the VXLAN header.
const FRONT: usize = 8;

/// The segments of one super-frame.
#[derive(Clone, Copy, Debug)]
struct Segments {
    cut: Cut,
    /// Where they are in the scratch.
    at: usize,
}

/// What became of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Messages that the kernel took.
    pub(super) messages: u64,
    /// Their datagrams.
    pub(super) datagrams: u64,
    /// Datagrams that the kernel did not take.
    pub(super) failed: u64,
    /// The kernel does not cut messages: found out now.
    pub(super) refused: bool,
    /// Some did not fit the way to their peer.
    pub(super) too_long: bool,
}

pub(super) struct Sender {
    lanes: Arc<[UdpSocket]>,
    offloads: Arc<Offloads>,
    grouping: Grouping,
    batch: SendBatch,
    /// Of the frames of a plan, by their number.
    segments: Vec<Option<Segments>>,
    /// Numbers of the runs handed to the kernel.
    handed: Vec<usize>,
    /// Numbers of those it refused, and why.
    failures: Vec<(usize, io::Error)>,
}

/// The frames of one plan and what is known of them.
#[derive(Clone, Copy)]
struct Plan<'a> {
    grouping: &'a Grouping,
    frames: &'a [ToPeer],
    segments: &'a [Option<Segments>],
    /// The packets of super-frames.
    packets: &'a [u8],
    port: u16,
}

impl Sender {
    /// Sends at most `frames` frames at once.
    pub(super) fn new(lanes: Arc<[UdpSocket]>, offloads: Arc<Offloads>, frames: usize) -> Self {
        Self {
            lanes,
            offloads,
            grouping: Grouping::new(RUNS),
            batch: SendBatch::new(MESSAGES, PARTS),
            segments: Vec::with_capacity(frames),
            handed: Vec::with_capacity(MESSAGES),
            failures: Vec::with_capacity(MESSAGES),
        }
    }

    /// Sends `frames` to UDP port `port` of their peers, each flow's in order. `scratch` is room
    /// for the packets of super-frames.
    pub(super) fn send(&mut self, mut frames: &[ToPeer], port: u16, scratch: &mut [u8]) -> Sent {
        let (mut sent, mut from) = (Sent::default(), 0);
        if self.grouping.allows_runs() && !self.offloads.works(Offload::Segments) {
            self.grouping.forbid_runs();
        }
        while !frames.is_empty() {
            let (done, next) = self.plan(frames, from, scratch);
            let stuck = done == 0 && self.grouping.is_empty();
            if stuck {
                // More packets than the scratch holds; the path lets no such frame through.
                sent.failed += frames
                    .first()
                    .map_or(0, packets)
                    .saturating_sub(from as u64);
            }
            self.send_plan(frames, port, scratch, &mut sent);
            frames = frames.get(done + usize::from(stuck)..).unwrap_or_default();
            from = if stuck { 0 } else { next };
        }
        sent
    }

    /// Plans as many frames as there is room for, beginning with datagram `from` of the first;
    /// returns how many are planned in whole, and where to go on in the one behind.
    fn plan(&mut self, frames: &[ToPeer], from: usize, scratch: &mut [u8]) -> (usize, usize) {
        self.grouping.clear();
        self.segments.clear();
        let (mut used, mut from) = (0, from);
        for (number, to) in frames.iter().enumerate() {
            let bytes = to.frame.as_slice();
            let cut = Cut::of(bytes, FRONT, &to.frame.vnet);
            let segments = match cut {
                None => None,
                Some(cut) => {
                    let room = scratch.get_mut(used..).unwrap_or_default();
                    if cut.write(bytes, room).is_none() {
                        return (number, from);
                    }
                    let at = used;
                    used += cut.total_len();
                    Some(Segments { cut, at })
                }
            };
            self.segments.push(segments);
            let load = load(to, cut.as_ref());
            from = self.grouping.add(number, &load, from);
            if from < load.count {
                return (number, from);
            }
            from = 0;
        }
        (frames.len(), 0)
    }

    fn send_plan(&mut self, frames: &[ToPeer], port: u16, packets: &[u8], sent: &mut Sent) {
        let plan = Plan {
            grouping: &self.grouping,
            frames,
            segments: &self.segments,
            packets,
            port,
        };
        for (lane, socket) in self.lanes.iter().enumerate() {
            let mut runs = plan.grouping.of_lane(lane).peekable();
            while runs.peek().is_some() {
                self.handed.clear();
                let mut filling = self.batch.fill();
                while let Some((number, run)) = runs.peek() {
                    if !plan.fill(run, &mut filling) {
                        break;
                    }
                    self.handed.push(*number);
                    runs.next();
                }
                if self.handed.is_empty() {
                    // A message with more parts than fit: cannot be, as they are at most 64.
                    sent.failed += runs.next().map_or(0, |(_, run)| run.segments as u64);
                    continue;
                }
                let (handed, failures) = (&self.handed, &mut self.failures);
                filling.send(socket, |index, error| {
                    if let Some(number) = handed.get(index) {
                        failures.push((*number, error));
                    }
                });
                let runs_handed = handed
                    .iter()
                    .filter_map(|number| plan.grouping.run(*number));
                for run in runs_handed {
                    sent.messages += 1;
                    sent.datagrams += run.segments as u64;
                }
                for (number, error) in failures.drain(..) {
                    if let Some(run) = plan.grouping.run(number) {
                        sent.messages -= 1;
                        sent.datagrams -= run.segments as u64;
                        plan.settle(run, &error, (&mut self.batch, socket), sent);
                    }
                }
            }
        }
        if sent.refused {
            self.grouping.forbid_runs();
        }
    }
}

impl<'a> Plan<'a> {
    fn target(&self, run: &Run, segment: Option<NonZeroU16>) -> Target {
        Target {
            to: SocketAddr::new(run.to, self.port),
            tos: run.ecn.bits(),
            segment,
        }
    }

    /// Adds a run as one message; `false`, and nothing added, if there is no room.
    fn fill(&self, run: &Run, filling: &mut Filling<'_, 'a>) -> bool {
        let size = u16::try_from(run.size).ok().and_then(NonZeroU16::new);
        let segment = size.filter(|_| run.segments > 1);
        filling.begin(self.target(run, segment))
            && (self.grouping.pieces(run)).all(|piece| self.fill_piece(piece, filling))
    }

    fn fill_piece(&self, piece: Piece, filling: &mut Filling<'_, 'a>) -> bool {
        let last = piece.first + piece.count - 1;
        filling.part(self.bytes(piece.frame, piece.first..=last))
    }

    /// The bytes of some datagrams of a frame, which are neighbours.
    fn bytes(&self, frame: usize, datagrams: RangeInclusive<usize>) -> &'a [u8] {
        let bytes = match self.segments.get(frame).copied().flatten() {
            None => self.frames.get(frame).map(|to| to.frame.as_slice()),
            Some(Segments { cut, at }) => {
                let first = at + cut.packet(*datagrams.start()).start;
                let end = at + cut.packet(*datagrams.end()).end;
                self.packets.get(first..end)
            }
        };
        bytes.unwrap_or_default()
    }

    /// A message was refused: what was to be cut leaves datagram by datagram, if that is why. The
    /// messages behind it have left already: a flow's order may break when this is found out, and
    /// while a path carries only the short end of a run.
    fn settle(
        &self,
        run: &Run,
        error: &io::Error,
        (batch, socket): (&mut SendBatch, &UdpSocket),
        sent: &mut Sent,
    ) {
        let error = Errno::from_io_error(error);
        sent.too_long |= error == Some(Errno::MSGSIZE);
        let may_be_the_cut = matches!(
            error,
            Some(Errno::MSGSIZE | Errno::INVAL | Errno::IO | Errno::OPNOTSUPP)
        );
        if run.segments < 2 || !may_be_the_cut {
            sent.failed += run.segments as u64;
            return;
        }
        let mut taken = 0;
        for piece in self.grouping.pieces(run) {
            for datagram in piece.first..piece.first + piece.count {
                let mut filling = batch.fill();
                if filling.begin(self.target(run, None))
                    && filling.part(self.bytes(piece.frame, datagram..=datagram))
                {
                    taken += filling.send(socket, |_, error| {
                        sent.too_long |= Errno::from_io_error(&error) == Some(Errno::MSGSIZE);
                    });
                }
            }
        }
        sent.messages += taken as u64;
        sent.datagrams += taken as u64;
        sent.failed += (run.segments - taken) as u64;
        // Datagrams over the path's MTU fail either way, but for a short one at the end.
        sent.refused |= taken == run.segments && error != Some(Errno::MSGSIZE);
    }
}

/// How many packets a frame stands for.
fn packets(to: &ToPeer) -> u64 {
    let cut = Cut::of(to.frame.as_slice(), FRONT, &to.frame.vnet);
    cut.map_or(1, |cut| cut.count() as u64)
}

fn load(to: &ToPeer, cut: Option<&Cut>) -> Load {
    let len = to.frame.len();
    let (count, size, last) = cut.map_or((1, len, len), |cut| {
        let last = cut.packet(cut.count() - 1).len();
        (cut.count(), cut.segment_len(), last)
    });
    Load {
        lane: to.lane.index(),
        to: to.vtep,
        ecn: to.ecn,
        flow: to.flow,
        count,
        // A lone segment is no longer than what it carries.
        size: if count == 1 { last } else { size },
        last,
    }
}

#[cfg(test)]
mod tests;
