//! How does a frame get from a TAP queue into a buffer and back?
//!
//! Owns the vnet header that precedes every frame of a fast queue, how a super-frame is cut for a
//! queue that takes none, and which queue of a port a worker reads and writes. Never decides about
//! a frame; what it reads is as hostile as the pod made it.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};

use weft_encap::split::Cut;
use weft_sys::SysError;
use weft_sys::tap::{TapQueue, VNET_HEADER};
use weft_wire::{Frame, VnetHeader};

use crate::path::segments;

/// The queues of one port, shared by all workers: each reads its own and may write to any.
#[derive(Debug)]
pub(super) struct PortQueues {
    queues: Vec<TapQueue>,
    /// The one worker that reads the port, where it has a single queue.
    reader: usize,
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A frame, in the usual buffer.
    Frame,
    /// A longer one, in the large buffer.
    Large,
    /// More than fits a buffer; the rest is lost.
    Oversize,
    /// Nothing is queued.
    Empty,
    /// A signal came in between; read again.
    Again,
    /// The device is gone.
    Dead,
}

impl PortQueues {
    /// The queues of a port; `reader` reads it if there is only one.
    pub(super) const fn new(queues: Vec<TapQueue>, reader: usize) -> Self {
        Self { queues, reader }
    }

    /// How many queues there are.
    pub(super) const fn len(&self) -> usize {
        self.queues.len()
    }

    /// Sets whether the device outlives its queues.
    pub(super) fn keep(&self, on: bool) -> Result<(), SysError> {
        self.queues
            .first()
            .map_or(Ok(()), |queue| queue.set_persist(on))
    }

    /// The queue `worker` reads, if it reads this port.
    pub(super) fn read_by(&self, worker: usize) -> Option<&TapQueue> {
        match self.queues.as_slice() {
            [only] => (worker == self.reader).then_some(only),
            many => many.get(worker),
        }
    }

    /// The queue to write to: the one asked for, or the worker's own.
    pub(super) fn write_to(&self, queue: Option<u8>, worker: usize) -> Option<&TapQueue> {
        let wanted = queue.map_or(worker, usize::from);
        self.queues.get(wanted).or_else(|| self.queues.first())
    }
}

/// Reads one frame: into `usual` if it fits there, into `large` otherwise. What is longer than
/// `usual` lands behind the room that its beginning, the only part that is copied, then takes.
pub(super) fn read(queue: &TapQueue, usual: &mut Frame, large: Option<&mut Frame>) -> Read {
    let header = queue.vnet_header_len();
    let front = usual.spare_with_front(header);
    let first = front.len();
    match large {
        Some(large) if header > 0 => {
            let behind = large.spare_mut().get_mut(first - header..);
            let behind = behind.unwrap_or_default();
            let all = first + behind.len();
            let read = queue.readv(&mut [IoSliceMut::new(front), IoSliceMut::new(behind)]);
            settle(read, all, header, usual, Some(large))
        }
        _ => settle(queue.read(front), first, header, usual, None),
    }
}

/// Says what a read of at most `room` bytes gave, and makes the frame of it.
fn settle(
    read: io::Result<usize>,
    room: usize,
    header: usize,
    usual: &mut Frame,
    large: Option<&mut Frame>,
) -> Read {
    match read {
        Ok(count) if count == room => Read::Oversize,
        Ok(count) if count >= header => {
            let bytes = usual.spare_with_front(header);
            let first = bytes.len();
            let vnet = bytes.get(..header).filter(|bytes| !bytes.is_empty());
            usual.vnet = vnet
                .and_then(|b| VnetHeader::parse(b).ok())
                .unwrap_or(VnetHeader::NONE);
            match large {
                Some(large) if count > first => {
                    usual.set_len(first - header);
                    // As long as the room in front of what was read, which is behind it.
                    let _ = large.copy_from(usual.as_slice());
                    large.set_len(count - header);
                    large.vnet = usual.vnet;
                    Read::Large
                }
                _ => {
                    usual.set_len(count - header);
                    Read::Frame
                }
            }
        }
        // The kernel never gives less than the header.
        Ok(_) => Read::Again,
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock => Read::Empty,
            ErrorKind::Interrupted => Read::Again,
            _ => Read::Dead,
        },
    }
}

/// Writes `frame` as it is: a fast queue is told what is left to do by `frame.vnet`, for a plain
/// one its checksum is finished first.
pub(super) fn write(queue: &TapQueue, frame: &mut Frame) -> io::Result<()> {
    let (header, vnet) = (queue.vnet_header_len(), frame.vnet);
    if header == 0 {
        let finished = vnet.complete_checksum(frame.as_mut_slice());
        finished.map_err(|_| ErrorKind::InvalidInput)?;
        return queue.write(frame.as_slice()).map(|_| ());
    }
    let bytes = frame.prepend(header).ok_or(ErrorKind::InvalidInput)?;
    let written = match vnet.emit(bytes) {
        true => queue.write(frame.as_slice()).map(|_| ()),
        false => Err(ErrorKind::InvalidInput.into()),
    };
    frame.trim_front(header);
    written
}

/// What became of the segments of a super-frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pieces {
    /// Segments written.
    pub(super) written: usize,
    /// Segments that were not.
    pub(super) failed: usize,
}

/// Writes a super-frame segment by segment, every one finished. `scratch` is room for them.
pub(super) fn write_pieces(queue: &TapQueue, frame: &Frame, scratch: &mut [u8]) -> Pieces {
    let (bytes, mut pieces) = (frame.as_slice(), Pieces::default());
    let cut = Cut::of(bytes, 0, &frame.vnet);
    let Some(cut) = cut.filter(|cut| cut.write(bytes, scratch).is_some()) else {
        pieces.failed += segments(frame) as usize;
        return pieces;
    };
    let vnet = [0; VNET_HEADER];
    let vnet = vnet.get(..queue.vnet_header_len()).unwrap_or_default();
    for n in 0..cut.count() {
        let packet = scratch.get(cut.packet(n)).unwrap_or_default();
        let parts = [vnet, packet].map(IoSlice::new);
        match queue.writev(&parts) {
            Ok(_) => pieces.written += 1,
            Err(_) => pieces.failed += 1,
        }
    }
    pieces
}
