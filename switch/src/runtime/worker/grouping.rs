//! Which datagrams of a turn share a send?
//!
//! Owns the plan of what leaves: runs of equally long datagrams of one lane, to one peer, with
//! one congestion mark, each run one message that the kernel cuts (UDP_SEGMENT, udp(7)). The
//! datagrams of one flow stay in the order they came in. Knows numbers of frames, never bytes;
//! all its memory is there from the start.

use std::net::IpAddr;

use weft_encap::{Ecn, Lanes};

/// The most datagrams of one message: what every kernel with UDP_SEGMENT takes, and as many as
/// a receiver puts together again.
pub(super) const MAX_SEGMENTS: usize = 64;
/// The most bytes of one message of several datagrams: with its headers the packet stays below
/// 65,536 bytes, the kernel's limit for one that is cut late or never.
pub(super) const MAX_BYTES: usize = 65_493;

/// Runs of a lane that a datagram may look back past; bounds the work for one datagram.
const LOOK_BACK: usize = 8;

/// One frame to send: a datagram, or the many that a super-frame stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// The lane's number.
    pub(super) lane: usize,
    /// The peer.
    pub(super) to: IpAddr,
    /// The outer congestion mark.
    pub(super) ecn: Ecn,
    /// A hash of the flow.
    pub(super) flow: u64,
    /// How many datagrams, at least one.
    pub(super) count: usize,
    /// Bytes of every datagram but the last.
    pub(super) size: usize,
    /// Bytes of the last datagram, at most `size`.
    pub(super) last: usize,
}

/// Datagrams of one frame that are neighbours in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The frame, by the number it was added with.
    pub(super) frame: usize,
    /// The first of its datagrams.
    pub(super) first: usize,
    /// How many.
    pub(super) count: usize,
    next: Option<usize>,
}

/// One message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// The peer.
    pub(super) to: IpAddr,
    /// The outer congestion mark.
    pub(super) ecn: Ecn,
    /// Bytes of every datagram but the last.
    pub(super) size: usize,
    /// Datagrams.
    pub(super) segments: usize,
    bytes: usize,
    /// Ended by a shorter datagram.
    closed: bool,
    /// One bit for every flow in it; flows may share bits, which only makes runs shorter.
    flows: u64,
    head: usize,
    tail: usize,
    older: Option<usize>,
    newer: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    oldest: Option<usize>,
    newest: Option<usize>,
}

/// The plan of one flush.
#[derive(Debug)]
pub(super) struct Grouping {
    lanes: Box<[Chain]>,
    runs: Vec<Run>,
    pieces: Vec<Piece>,
    most: usize,
}

impl Grouping {
    /// A plan of at most `runs` messages.
    pub(super) fn new(runs: usize) -> Self {
        Self {
            lanes: vec![Chain::default(); usize::from(Lanes::MAX)].into_boxed_slice(),
            runs: Vec::with_capacity(runs),
            pieces: Vec::with_capacity(2 * runs),
            most: MAX_SEGMENTS,
        }
    }

    /// From now on every message is one datagram.
    pub(super) const fn forbid_runs(&mut self) {
        self.most = 1;
    }

    /// Whether a message may hold several datagrams.
    pub(super) const fn allows_runs(&self) -> bool {
        self.most > 1
    }

    /// Begins a new plan.
    pub(super) fn clear(&mut self) {
        self.lanes.fill(Chain::default());
        self.runs.clear();
        self.pieces.clear();
    }

    /// Whether nothing is planned.
    pub(super) const fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Adds the datagrams of a frame, from number `from` on; returns the number of the first that
    /// found no room, which is `load.count` if all did.
    pub(super) fn add(&mut self, frame: usize, load: &Load, from: usize) -> usize {
        let mut next = from;
        while next < load.count {
            let taken = self.place(frame, load, next);
            if taken == 0 {
                break;
            }
            next += taken;
        }
        next
    }

    /// The runs of a lane, in the order to send them in.
    pub(super) fn of_lane(&self, lane: usize) -> impl Iterator<Item = (usize, &Run)> {
        let mut at = self.lanes.get(lane).and_then(|chain| chain.oldest);
        std::iter::from_fn(move || {
            let number = at?;
            let run = self.runs.get(number)?;
            at = run.newer;
            Some((number, run))
        })
    }

    /// A run by its number.
    pub(super) fn run(&self, number: usize) -> Option<&Run> {
        self.runs.get(number)
    }

    /// What a run consists of, in order.
    pub(super) fn pieces(&self, run: &Run) -> impl Iterator<Item = Piece> {
        let mut at = Some(run.head);
        std::iter::from_fn(move || {
            let piece = *self.pieces.get(at?)?;
            at = piece.next;
            Some(piece)
        })
    }

    /// Puts as many datagrams as go into one run, from `first` on; returns how many.
    fn place(&mut self, frame: usize, load: &Load, first: usize) -> usize {
        if self.pieces.len() == self.pieces.capacity() {
            return 0;
        }
        let joined = self.open_run(load, load.len_of(first));
        let Some(number) = joined.or_else(|| self.begin(load, load.len_of(first))) else {
            return 0;
        };
        let Some(run) = self.runs.get_mut(number) else {
            return 0;
        };
        let count = run.take(load, first, self.most);
        let at = self.pieces.len();
        self.pieces.push(Piece {
            frame,
            first,
            count,
            next: None,
        });
        if joined.is_none() {
            run.head = at;
        } else if let Some(last) = self.pieces.get_mut(run.tail) {
            last.next = Some(at);
        }
        run.tail = at;
        count
    }

    /// The newest run that a datagram of `len` bytes may join: one of its kind that is not full,
    /// with none of its flow's datagrams in later runs.
    fn open_run(&self, load: &Load, len: usize) -> Option<usize> {
        let mut at = self.lanes.get(load.lane)?.newest;
        for _ in 0..LOOK_BACK {
            let number = at?;
            let run = self.runs.get(number)?;
            let alike = run.size == len && run.to == load.to && run.ecn == load.ecn;
            if alike && !run.closed && run.has_room(self.most) {
                return Some(number);
            }
            if run.flows & load.flow_bit() != 0 {
                return self.tail_of(load, len, number);
            }
            at = run.older;
        }
        None
    }

    /// The run `number`, if it is the lane's newest and a shorter datagram may end it.
    fn tail_of(&self, load: &Load, len: usize, number: usize) -> Option<usize> {
        let run = self.runs.get(number)?;
        let alike = run.size > len && run.to == load.to && run.ecn == load.ecn;
        (alike && run.newer.is_none() && !run.closed && run.has_room(self.most)).then_some(number)
    }

    fn begin(&mut self, load: &Load, size: usize) -> Option<usize> {
        if self.runs.len() == self.runs.capacity() {
            return None;
        }
        let chain = self.lanes.get_mut(load.lane)?;
        let number = self.runs.len();
        let older = chain.newest.replace(number);
        chain.oldest.get_or_insert(number);
        if let Some(older) = older.and_then(|older| self.runs.get_mut(older)) {
            older.newer = Some(number);
        }
        self.runs.push(Run {
            to: load.to,
            ecn: load.ecn,
            size,
            segments: 0,
            bytes: 0,
            closed: false,
            flows: 0,
            head: 0,
            tail: 0,
            older,
            newer: None,
        });
        Some(number)
    }
}

impl Run {
    /// Whether one more datagram fits.
    const fn has_room(&self, most: usize) -> bool {
        self.segments < most && self.bytes + self.size <= MAX_BYTES
    }

    /// Takes datagrams from `first` on while they fit; the first always does.
    fn take(&mut self, load: &Load, first: usize, most: usize) -> usize {
        self.flows |= load.flow_bit();
        let mut taken = 0;
        while first + taken < load.count && !self.closed {
            let len = load.len_of(first + taken);
            if taken > 0 && (!self.has_room(most) || len > self.size) {
                break;
            }
            self.closed = len < self.size;
            self.bytes += len;
            self.segments += 1;
            taken += 1;
        }
        taken
    }
}

impl Load {
    const fn flow_bit(&self) -> u64 {
        1 << (self.flow & 63)
    }

    const fn len_of(&self, datagram: usize) -> usize {
        if datagram + 1 < self.count {
            self.size
        } else {
            self.last
        }
    }
}

#[cfg(test)]
mod tests;
