//! From descriptors through the path to descriptors.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use weft_encap::Ecn;
use weft_policy::{Epoch, Moment};
use weft_sys::udp::{Message, RecvBatch, SendBatch};
use weft_wire::{Frame, Pool};

use super::super::queue::{self, PortQueues, Read};
use super::ready::Source;
use super::{Left, Snapshot, Stats, WorkerParts};
use crate::path::{Datagram, DropReason, MAX_PORTS, Out, Path, PortId, Tables};

/// Frames a source may bring per turn: enough to share system calls, few enough that the next
/// source waits well under a millisecond.
const BATCH: usize = 64;
/// Frames of a worker: one batch waiting to be received into, one on its way with every frame cut
/// into three pieces, and as many again for what is generated.
const FRAMES: usize = BATCH * 8;

pub(super) struct Forwarding {
    number: usize,
    path: Path,
    out: Out,
    ports: Box<[Option<Arc<PortQueues>>]>,
    socket: UdpSocket,
    lanes: Arc<[UdpSocket]>,
    /// Empty frames the next datagrams go into.
    inbound: VecDeque<Frame>,
    receive: RecvBatch,
    send: SendBatch,
    pub(super) stats: Stats,
}

impl Forwarding {
    pub(super) fn new(parts: WorkerParts) -> Self {
        let mut out = Out::new(Pool::new(FRAMES, parts.frame_capacity));
        let mut inbound = VecDeque::with_capacity(BATCH);
        inbound.extend(std::iter::from_fn(|| out.pool.take()).take(BATCH));
        Self {
            number: parts.number,
            path: parts.path,
            out,
            ports: vec![None; MAX_PORTS].into_boxed_slice(),
            socket: parts.receive,
            lanes: parts.lanes,
            inbound,
            receive: RecvBatch::new(BATCH),
            send: SendBatch::new(BATCH),
            stats: Stats::default(),
        }
    }

    /// Takes one batch from `source` through the path.
    pub(super) fn serve(&mut self, source: Source, tables: &Tables, now: Moment) -> Left {
        match source {
            Source::Underlay => self.receive(tables, now),
            Source::Port(port) => self.read(port, tables, now),
        }
    }

    fn read(&mut self, port: PortId, tables: &Tables, now: Moment) -> Left {
        let Self {
            ports, path, out, ..
        } = self;
        let queues = ports.get(port.index()).and_then(Option::as_ref);
        let Some(queue) = queues.and_then(|queues| queues.read_by(self.number)) else {
            return Left::Nothing;
        };
        for _ in 0..BATCH {
            let Some(mut frame) = out.pool.take() else {
                return Left::More;
            };
            match queue::read(queue, &mut frame) {
                Read::Frame => {
                    self.stats.frames_in += 1;
                    path.turn(tables, now, out).on_pod_frame(port, frame);
                    continue;
                }
                Read::Oversize => path.counters_mut().record_drop(DropReason::Oversize),
                Read::Again => {}
                Read::Empty => {
                    out.pool.put(frame);
                    return Left::Nothing;
                }
                Read::Dead => {
                    out.pool.put(frame);
                    return Left::Dead(port);
                }
            }
            out.pool.put(frame);
        }
        Left::More
    }

    fn receive(&mut self, tables: &Tables, now: Moment) -> Left {
        let Self {
            inbound,
            receive,
            path,
            out,
            ..
        } = self;
        let offered = inbound.len();
        match receive.recv(&self.socket, inbound.iter_mut().map(Frame::spare_mut)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Left::Nothing,
            // An error queued on the socket is about something sent before, not about what waits
            // behind it.
            Err(_) => return Left::More,
        }
        let count = receive.received().len();
        for message in receive.received() {
            let Some(mut frame) = inbound.pop_front() else {
                break;
            };
            self.stats.datagrams_in += 1;
            frame.set_len(message.len);
            if message.truncated {
                path.counters_mut().record_drop(DropReason::Oversize);
                out.pool.put(frame);
            } else {
                let source = message.source.ip();
                let datagram = Datagram {
                    source,
                    ecn: Ecn::from_bits(message.tos),
                };
                path.turn(tables, now, out).on_datagram(datagram, frame);
            }
        }
        self.refill();
        if count < offered {
            Left::Nothing
        } else {
            Left::More
        }
    }

    /// Replaces the frames that went on; the pool is larger than a batch, so after the flush
    /// there are enough again.
    fn refill(&mut self) {
        while self.inbound.len() < BATCH {
            let Some(frame) = self.out.pool.take() else {
                return;
            };
            self.inbound.push_back(frame);
        }
    }

    /// Sends what the batch produced, in order, and takes the frames back.
    pub(super) fn flush(&mut self, tables: &Tables) {
        self.write_to_ports();
        if !self.out.to_peer.is_empty() {
            self.send_to_peers(tables);
        }
        self.refill();
    }

    fn write_to_ports(&mut self) {
        let Self {
            out, ports, path, ..
        } = self;
        for mut to in out.to_pod.drain(..) {
            let queues = ports.get(to.port.index()).and_then(Option::as_ref);
            let queue = queues.and_then(|queues| queues.write_to(to.queue, self.number));
            match queue.map(|queue| queue::write(queue, &mut to.frame)) {
                Some(Ok(())) => self.stats.frames_out += 1,
                Some(Err(_)) | None => path.counters_mut().record_drop(DropReason::PodQueueFull),
            }
            out.pool.put(to.frame);
        }
    }

    fn send_to_peers(&mut self, tables: &Tables) {
        let Self {
            out,
            lanes,
            send,
            path,
            ..
        } = self;
        let port = tables.node.vxlan_port;
        let used = out
            .to_peer
            .iter()
            .fold(0_u64, |used, to| used | 1 << to.lane.index());
        for (number, socket) in lanes.iter().enumerate() {
            if used & 1 << number == 0 {
                continue;
            }
            let of_lane = out.to_peer.iter().filter(|to| to.lane.index() == number);
            let messages = of_lane.map(|to| {
                let target = SocketAddr::new(to.vtep, port);
                Message::new(target, to.ecn.bits(), to.frame.as_slice())
            });
            let sent = send.send(socket, messages, |_, _| {
                path.counters_mut().record_drop(DropReason::SendFailed);
            });
            self.stats.datagrams_out += sent as u64;
        }
        for to in out.to_peer.drain(..) {
            out.pool.put(to.frame);
        }
    }

    pub(super) fn tick(&mut self, now: Moment) {
        self.path.on_tick(now);
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
        }
    }
}
