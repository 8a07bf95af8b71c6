//! What became of a frame, and where does it wait to be sent?
//!
//! A frame has one [`Fate`]; fragments of it and ICMP errors about it are counted apart.
//! [`Out`] gathers what leaves in one turn of a worker, grouped by kind of destination,
//! with the pool the frames come from. It never grows: it has room for every frame of
//! its pool, and a frame beyond that is dropped.

use std::net::IpAddr;

use weft_encap::{Ecn, Lane};
use weft_wire::{Frame, Pool};

use super::drop::DropReason;
use super::ports::PortId;
use super::tables::PeerId;

/// The one thing that became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Delivered to a local port.
    ToPod(PortId),
    /// Sent through the tunnel.
    ToPeer(PeerId),
    /// Answered to the port it came from: ARP, neighbour discovery, echo.
    Hairpin,
    /// Dropped.
    Drop(DropReason),
}

/// A frame to be written to a local port.
#[derive(Debug)]
pub struct ToPod {
    /// The port.
    pub port: PortId,
    /// The TAP queue on which the receiver last sent on this flow, so that the kernel keeps
    /// the flow on it; `None`: the writing worker's own.
    pub queue: Option<u8>,
    /// An Ethernet frame from the gateway's MAC to the port's.
    pub frame: Frame,
}

/// A datagram to be sent on the underlay.
#[derive(Debug)]
pub struct ToPeer {
    /// The peer's underlay address.
    pub vtep: IpAddr,
    /// The sending socket, thus the outer source port.
    pub lane: Lane,
    /// A hash of the flow; frames with equal hashes must leave in the order they are in.
    pub flow: u64,
    /// The ECN field of the outer IP header (RFC 6040).
    pub ecn: Ecn,
    /// The UDP payload: VXLAN header and inner frame.
    pub frame: Frame,
}

/// What leaves in one turn. The shell drains both lists, then gives the frames back to
/// the pool.
#[derive(Debug)]
pub struct Out {
    /// Free frames.
    pub pool: Pool,
    /// To local ports.
    pub to_pod: Vec<ToPod>,
    /// To peers.
    pub to_peer: Vec<ToPeer>,
    /// Fragments beyond the first of the frame on the road; empty between frames.
    pieces: Vec<Frame>,
}

/// Where a frame that was not dropped leaves, and what the shell must know to send it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Exit {
    Port {
        port: PortId,
        queue: Option<u8>,
    },
    Hairpin(PortId),
    Peer {
        peer: PeerId,
        vtep: IpAddr,
        lane: Lane,
        flow: u64,
        ecn: Ecn,
    },
}

impl Exit {
    pub(super) const fn fate(self) -> Fate {
        match self {
            Self::Port { port, .. } => Fate::ToPod(port),
            Self::Hairpin(_) => Fate::Hairpin,
            Self::Peer { peer, .. } => Fate::ToPeer(peer),
        }
    }
}

impl Out {
    /// An empty `Out` with room for every frame of the pool. The only allocation.
    pub fn new(pool: Pool) -> Self {
        let room = pool.count() + pool.large_count();
        Self {
            pool,
            to_pod: Vec::with_capacity(room),
            to_peer: Vec::with_capacity(room),
            pieces: Vec::with_capacity(room),
        }
    }

    /// Whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.to_pod.is_empty() && self.to_peer.is_empty()
    }

    /// Gives all frames back to the pool unsent.
    pub fn clear(&mut self) {
        let frames = self
            .to_pod
            .drain(..)
            .map(|to| to.frame)
            .chain(self.to_peer.drain(..).map(|to| to.frame));
        frames.for_each(|frame| self.pool.put(frame));
    }

    /// How many fragments beyond the first the frame on the road has.
    pub(super) const fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Files the frame, then its pieces, in order. `false`: there was no room for the
    /// frame, and it went back to the pool; cannot happen to a frame of the pool.
    #[inline]
    pub(super) fn push(&mut self, exit: Exit, frame: Frame) -> bool {
        let filed = self.file(exit, frame);
        if !self.pieces.is_empty() {
            self.push_pieces(exit);
        }
        filed
    }

    #[inline(never)]
    fn push_pieces(&mut self, exit: Exit) {
        let mut pieces = std::mem::take(&mut self.pieces);
        for piece in pieces.drain(..) {
            self.file(exit, piece);
        }
        self.pieces = pieces;
    }

    /// Keeps a fragment beyond the first until the frame on the road is filed.
    pub(super) fn keep(&mut self, piece: Frame) {
        self.pieces.push(piece);
    }

    /// The frame on the road and its pieces, in order.
    #[inline]
    pub(super) fn whole<'a>(
        &'a mut self,
        frame: &'a mut Frame,
    ) -> impl Iterator<Item = &'a mut Frame> {
        std::iter::once(frame).chain(&mut self.pieces)
    }

    /// Gives the frame and its pieces back to the pool.
    pub(super) fn recycle(&mut self, frame: Frame) {
        self.pool.put(frame);
        self.forget_pieces();
    }

    /// Gives the pieces back to the pool.
    pub(super) fn forget_pieces(&mut self) {
        self.pieces.drain(..).for_each(|piece| self.pool.put(piece));
    }

    #[inline]
    fn file(&mut self, exit: Exit, frame: Frame) -> bool {
        let room = match exit {
            Exit::Port { .. } | Exit::Hairpin(_) => self.to_pod.len() < self.to_pod.capacity(),
            Exit::Peer { .. } => self.to_peer.len() < self.to_peer.capacity(),
        };
        match exit {
            _ if !room => self.pool.put(frame),
            Exit::Port { port, queue } => self.to_pod.push(ToPod { port, queue, frame }),
            Exit::Hairpin(port) => self.to_pod.push(ToPod {
                port,
                queue: None,
                frame,
            }),
            Exit::Peer {
                vtep,
                lane,
                flow,
                ecn,
                ..
            } => self.to_peer.push(ToPeer {
                vtep,
                lane,
                flow,
                ecn,
                frame,
            }),
        }
        room
    }
}
