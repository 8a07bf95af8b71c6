//! How do datagrams of the underlay become frames?
//!
//! Owns one worker's receiving socket and the buffers behind it, large enough for what the kernel
//! joined (UDP_GRO). What is received is copied once, into frames, by the merger, which makes
//! super-frames of segments of one flow.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};

use weft_encap::Ecn;
use weft_encap::merge::{Merger, Outer};
use weft_sys::udp::{Received, RecvBatch};
use weft_wire::{Frame, Pool};

use super::Stats;

/// Buffers of one system call.
const BUFFERS: usize = 4;
/// Bytes of one: the longest UDP payload, and more, so that none is cut short.
const BUFFER: usize = 65_536;
/// Datagrams the kernel joins at most (`UDP_GRO_CNT_MAX`), and frames they may need.
pub(super) const MOST_JOINED: usize = 64;

pub(super) struct Receiver {
    socket: UdpSocket,
    batch: RecvBatch,
    buffers: Box<[u8]>,
    merger: Merger,
}

/// What one call received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Buffers filled.
    pub(super) count: usize,
    /// Whether that was all there was.
    pub(super) last: bool,
}

impl Receiver {
    pub(super) fn new(socket: UdpSocket) -> Self {
        Self {
            socket,
            batch: RecvBatch::new(BUFFERS),
            buffers: vec![0; BUFFERS * BUFFER].into_boxed_slice(),
            merger: Merger::new(RandomState::new().hash_one(0_u8)),
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Receives what waits, as far as there are buffers.
    pub(super) fn receive(&mut self) -> io::Result<Batch> {
        let buffers = self.buffers.chunks_exact_mut(BUFFER);
        let count = self.batch.recv(&self.socket, buffers)?;
        Ok(Batch {
            count,
            last: count < BUFFERS,
        })
    }

    /// Takes the datagrams of buffer `number` into frames; returns how many found none, or `None`
    /// when what was sent is longer than a buffer.
    pub(super) fn take(
        &mut self,
        number: usize,
        pool: &mut Pool,
        stats: &mut Stats,
    ) -> Option<usize> {
        let received: Received = self.batch.received().nth(number)?;
        let start = number * BUFFER;
        let bytes = self.buffers.get(start..start + received.len)?;
        stats.receives += 1;
        if received.truncated {
            stats.datagrams_in += 1;
            return None;
        }
        let stride = received
            .segment
            .map_or(bytes.len(), |size| size.get().into());
        stats.datagrams_in += bytes.len().div_ceil(stride.max(1)).max(1) as u64;
        let outer = Outer {
            source: received.source.ip(),
            ecn: Ecn::from_bits(received.tos),
        };
        if bytes.is_empty() {
            return Some(self.merger.offer(outer, bytes, pool).is_err().into());
        }
        Some(self.merger.offer_run(outer, bytes, stride, pool))
    }

    /// No more joins what was taken so far.
    pub(super) fn finish(&mut self) {
        self.merger.finish();
    }

    /// The frames, in order.
    pub(super) fn ready(&mut self) -> impl Iterator<Item = (Outer, Frame)> {
        self.merger.ready()
    }
}
