//! From descriptors through the path to descriptors.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use rustix::io::Errno;
use weft_policy::{Epoch, Moment};
use weft_wire::{Frame, Gso, Pool};

use super::super::control::Command;
use super::super::queue::{self, PortQueues, Read};
use super::offloads::{Offload, Offloads};
use super::ready::Source;
use super::receiving::{MOST_JOINED, Receiver};
use super::sending::Sender;
use super::{Left, Snapshot, Stats, WorkerParts};
use crate::path::{Datagram, DropReason, MAX_PORTS, Out, Path, PortId, Tables, ToPod, segments};

/// Frames a port may bring per turn: enough that small ones of several flows share sends, few
/// enough that the next source waits well under a millisecond.
const BATCH: usize = 256;
/// Calls that receive per turn; each may bring a thousand datagrams.
const CALLS: usize = 4;
/// Usual frames of a worker: several sources' batches, so that one turn is one flush.
const FRAMES: usize = BATCH * 4;
/// Large frames of a worker.
const LARGE_FRAMES: usize = 64;
/// What must be free before a frame is taken on: room for the pieces and answers it may cause, and
/// for what the kernel joined in one buffer.
const RESERVE: usize = 2 * MOST_JOINED;
const LARGE_RESERVE: usize = 4;
/// Bytes of a large frame: the longest IP packet behind the headers of Ethernet and VXLAN, and
/// enough beyond to tell what is too long.
const LARGE: usize = 65_535 + 14 + 8 + 64;
/// Packets that the super-frames of such a batch may stand for: a pod that makes the smallest ones
/// there are does not hold up the others longer.
const PACKETS: usize = 1024;
/// Bytes of such a batch: what is read, cut and sent, or received and joined, while it is still in
/// the core's own cache.
const BYTES: usize = 256 << 10;
/// Bytes for the packets of super-frames: of any one, and of four with a usual MTU.
const SCRATCH: usize = Gso::MOST_HEADERS + LARGE;

/// How many packets a frame asks to be, whether that may be believed or not.
fn asked(frame: &Frame) -> usize {
    match usize::from(frame.vnet.gso_size) {
        0 => 1,
        size => frame.len().div_ceil(size).min(Gso::MOST_PACKETS),
    }
}

pub(super) struct Forwarding {
    number: usize,
    path: Path,
    out: Out,
    ports: Box<[Option<Arc<PortQueues>>]>,
    receiver: Receiver,
    sender: Sender,
    offloads: Arc<Offloads>,
    control: crossbeam_channel::Sender<Command>,
    /// Where the next super-frame is read to.
    large: Option<Frame>,
    scratch: Box<[u8]>,
    /// Control was told of datagrams that were too long, since the last tick.
    complained: bool,
    pub(super) stats: Stats,
}

impl Forwarding {
    pub(super) fn new(parts: WorkerParts) -> Self {
        let pool = Pool::new(FRAMES, parts.frame_capacity).with_large(LARGE_FRAMES, LARGE);
        let mut out = Out::new(pool);
        let offloads = parts.offloads;
        Self {
            number: parts.number,
            path: parts.path,
            large: out.pool.take_large(),
            out,
            ports: vec![None; MAX_PORTS].into_boxed_slice(),
            receiver: Receiver::new(parts.receive),
            sender: Sender::new(parts.lanes, Arc::clone(&offloads), FRAMES + LARGE_FRAMES),
            offloads,
            control: parts.control,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            complained: false,
            stats: Stats::default(),
        }
    }

    pub(super) fn underlay(&self) -> i32 {
        self.receiver.fd()
    }

    /// Takes one batch from `source` through the path.
    pub(super) fn serve(&mut self, source: Source, tables: &Tables, now: Moment) -> Left {
        match source {
            Source::Underlay => self.receive(tables, now),
            Source::Port(port) => self.read(port, tables, now),
        }
    }

    fn read(&mut self, port: PortId, tables: &Tables, now: Moment) -> Left {
        let queues = self.ports.get(port.index()).and_then(Option::as_ref);
        let Some(queues) = queues.map(Arc::clone) else {
            return Left::Nothing;
        };
        let Some(queue) = queues.read_by(self.number) else {
            return Left::Nothing;
        };
        let (mut packets, mut bytes) = (0, 0);
        for _ in 0..BATCH {
            if packets >= PACKETS || bytes >= BYTES {
                return Left::More;
            }
            self.make_room(tables);
            let Self { path, out, .. } = self;
            let Some(mut frame) = out.pool.take() else {
                return Left::More;
            };
            let read = queue::read(queue, &mut frame, self.large.as_mut());
            match read {
                Read::Frame | Read::Large => {}
                Read::Oversize => path.counters_mut().record_drop(DropReason::Oversize),
                Read::Again | Read::Empty | Read::Dead => {}
            }
            let frame = match read {
                Read::Frame => Some(frame),
                other => {
                    out.pool.put(frame);
                    match other {
                        Read::Large => std::mem::replace(&mut self.large, out.pool.take_large()),
                        Read::Empty => return Left::Nothing,
                        Read::Dead => return Left::Dead(port),
                        _ => None,
                    }
                }
            };
            if let Some(frame) = frame {
                self.stats.frames_in += 1;
                packets += asked(&frame);
                bytes += frame.len();
                self.stats.super_frames_in += u64::from(frame.vnet.is_segmented());
                path.turn(tables, now, out).on_pod_frame(port, frame);
            }
        }
        Left::More
    }

    fn receive(&mut self, tables: &Tables, now: Moment) -> Left {
        for _ in 0..CALLS {
            let batch = match self.receiver.receive() {
                Ok(batch) => batch,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Left::Nothing,
                // An error queued on the socket is about something sent before, not about what
                // waits behind it.
                Err(_) => return Left::More,
            };
            for number in 0..batch.count {
                if !self.has_room() {
                    self.enter(tables, now);
                    self.make_room(tables);
                }
                let (pool, stats) = (&mut self.out.pool, &mut self.stats);
                let counters = self.path.counters_mut();
                match self.receiver.take(number, pool, stats) {
                    None => counters.record_drop(DropReason::Oversize),
                    Some(lost) => counters.record_drops(DropReason::NoBuffer, lost as u64),
                }
            }
            self.enter(tables, now);
            // While they are in the core's cache; nothing is gained by writing several at once.
            self.write_to_ports();
            if batch.last {
                return Left::Nothing;
            }
        }
        Left::More
    }

    /// Takes the received frames through the path.
    fn enter(&mut self, tables: &Tables, now: Moment) {
        self.receiver.finish();
        for (outer, frame) in self.receiver.ready() {
            let datagram = Datagram {
                source: outer.source,
                ecn: outer.ecn,
            };
            self.stats.super_frames_merged += u64::from(frame.vnet.is_segmented());
            let mut turn = self.path.turn(tables, now, &mut self.out);
            turn.on_datagram(datagram, frame);
        }
    }

    fn has_room(&self) -> bool {
        let pool = &self.out.pool;
        pool.available() >= RESERVE && pool.large_available() >= LARGE_RESERVE
    }

    /// Flushes early when frames run low.
    fn make_room(&mut self, tables: &Tables) {
        if !self.has_room() {
            self.flush(tables);
        }
    }

    /// Sends what the turn produced, in order, and takes the frames back.
    pub(super) fn flush(&mut self, tables: &Tables) {
        self.write_to_ports();
        if !self.out.to_peer.is_empty() {
            self.send_to_peers(tables);
        }
        if self.large.is_none() {
            self.large = self.out.pool.take_large();
        }
    }

    fn write_to_ports(&mut self) {
        let mut to_pod = std::mem::take(&mut self.out.to_pod);
        for mut to in to_pod.drain(..) {
            let failed = self.write_to_port(&mut to) as u64;
            let counters = self.path.counters_mut();
            counters.record_drops(DropReason::PodQueueFull, failed);
            self.out.pool.put(to.frame);
        }
        self.out.to_pod = to_pod;
    }

    /// Writes one frame; returns how many packets of it could not be.
    fn write_to_port(&mut self, to: &mut ToPod) -> usize {
        let queues = self.ports.get(to.port.index()).and_then(Option::as_ref);
        let queue = queues.and_then(|queues| queues.write_to(to.queue, self.number));
        let Some(queue) = queue else {
            return segments(&to.frame) as usize;
        };
        let stats = &mut self.stats;
        let whole = !to.frame.vnet.is_segmented();
        let offload = Offload::of_write(&to.frame.vnet);
        let mut refused = false;
        if whole || (queue.has_vnet() && self.offloads.works(offload)) {
            match queue::write(queue, &mut to.frame) {
                Ok(()) => {
                    stats.frames_out += 1;
                    stats.super_frames_out += u64::from(!whole);
                    return 0;
                }
                Err(error) if !whole && Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                    refused = true
                }
                Err(_) => return segments(&to.frame) as usize,
            }
        }
        let pieces = queue::write_pieces(queue, &to.frame, &mut self.scratch);
        stats.frames_out += pieces.written as u64;
        if refused && pieces.failed == 0 {
            let what = "the kernel refuses super-frames for pods";
            self.lose(offload, what);
        }
        pieces.failed
    }

    fn send_to_peers(&mut self, tables: &Tables) {
        let Self {
            out,
            sender,
            scratch,
            stats,
            ..
        } = self;
        let port = tables.node.vxlan_port;
        let sent = sender.send(&out.to_peer, port, scratch);
        stats.sends += sent.messages;
        stats.datagrams_out += sent.datagrams;
        for to in out.to_peer.drain(..) {
            stats.super_frames_sent += u64::from(to.frame.vnet.is_segmented());
            out.pool.put(to.frame);
        }
        let counters = self.path.counters_mut();
        counters.record_drops(DropReason::SendFailed, sent.failed);
        if sent.too_long && !self.complained {
            self.complained = true;
            let _ = self.control.send(Command::TooLong);
        }
        if sent.refused {
            self.lose(Offload::Segments, "the kernel refuses to cut sends");
        }
    }

    /// Does without an offload from now on, and says so once.
    #[cold]
    fn lose(&self, offload: Offload, what: &str) {
        if self.offloads.refuse(offload) {
            let what = what.to_owned();
            let _ = self.control.send(Command::OffloadLost { offload, what });
        }
    }

    pub(super) fn tick(&mut self, now: Moment) {
        self.path.on_tick(now);
        self.complained = false;
    }

    /// Begins to read and write a port.
    pub(super) fn open(
        &mut self,
        registry: &Registry,
        port: PortId,
        queues: Arc<PortQueues>,
    ) -> io::Result<()> {
        if let Some(queue) = queues.read_by(self.number) {
            let token = Source::Port(port).token();
            registry.register(&mut SourceFd(&queue.as_raw_fd()), token, Interest::READABLE)?;
        }
        self.path.reset_port(port);
        if let Some(slot) = self.ports.get_mut(port.index()) {
            *slot = Some(queues);
        }
        Ok(())
    }

    /// Forgets a port. Control still holds its queues, so that destroying the device, which
    /// takes tens of milliseconds, happens there.
    pub(super) fn close(&mut self, registry: &Registry, port: PortId) {
        let queues = self.ports.get_mut(port.index()).and_then(Option::take);
        if let Some(queue) = queues
            .as_ref()
            .and_then(|queues| queues.read_by(self.number))
        {
            // Fails only if the descriptor is not registered, which is what is wanted.
            let _ = registry.deregister(&mut SourceFd(&queue.as_raw_fd()));
        }
    }

    pub(super) fn reset_drops(&mut self) {
        self.path.reset_drops();
    }

    pub(super) fn snapshot(&self, epoch: Epoch) -> Snapshot {
        Snapshot {
            epoch,
            stats: self.stats,
            counters: self.path.counters().clone(),
            examples: DropReason::ALL
                .iter()
                .filter_map(|reason| Some((*reason, *self.path.examples().last(*reason)?)))
                .collect(),
            denials: (self.path.denials().iter())
                .map(|(port, direction, packets, last)| (port, direction, packets, *last))
                .collect(),
            pool_available: self.out.pool.available(),
            offloads_off: self.offloads.refused().map(Offload::name).collect(),
        }
    }
}
