//! How does a frame get from a TAP queue into a buffer and back?
//!
//! Owns the vnet header that precedes every frame of a fast queue, and which queue of a port a
//! worker reads and writes. Never looks into the frame.

use std::io::{self, ErrorKind};

use weft_sys::SysError;
use weft_sys::tap::TapQueue;
use weft_wire::{Frame, VnetHeader};

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
    /// A frame.
    Frame,
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

/// Reads one frame into `frame`.
pub(super) fn read(queue: &TapQueue, frame: &mut Frame) -> Read {
    let header = queue.vnet_header_len();
    let room = frame.spare_with_front(header);
    let (capacity, count) = (room.len(), queue.read(room));
    match count {
        Ok(count) if count == capacity => Read::Oversize,
        Ok(count) if count >= header => {
            let bytes = frame.spare_with_front(header);
            let vnet = bytes.get(..header).filter(|bytes| !bytes.is_empty());
            frame.vnet = vnet
                .and_then(|b| VnetHeader::parse(b).ok())
                .unwrap_or(VnetHeader::NONE);
            frame.set_len(count - header);
            Read::Frame
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

/// Writes `frame`, which needs no offload.
pub(super) fn write(queue: &TapQueue, frame: &mut Frame) -> io::Result<()> {
    let header = queue.vnet_header_len();
    if header > 0 {
        let bytes = frame.prepend(header).ok_or(ErrorKind::InvalidInput)?;
        bytes.fill(0);
    }
    queue.write(frame.as_slice()).map(|_| ())
}
