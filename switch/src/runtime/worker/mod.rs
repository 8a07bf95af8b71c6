//! How does a worker spend a turn?
//!
//! Run to completion: wait, read one moment and one snapshot of the tables, empty the mailbox,
//! give every readable source one bounded batch through the pure path, flush once what leaves.
//! Owns its sockets' batches, its pool and its `Path`. Takes no lock, allocates nothing and logs
//! nothing per frame. After work it looks again for a short while before it sleeps.

use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use crossbeam_channel::{Receiver, Sender};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};
use weft_policy::{Direction, Epoch, Moment, Span};

use self::forwarding::Forwarding;
pub(super) use self::offloads::{Offload, Offloads};
use self::ready::{Ready, Source, WAKER};
use self::rest::Rest;
use super::clock::Clock;
use super::control::Command;
use super::mailbox::{Message, WorkerHandle};
use super::queue::PortQueues;
use crate::path::{Counters, Denial, DropReason, Example, Path, PortId, Tables};

mod forwarding;
mod grouping;
mod offloads;
mod ready;
mod receiving;
mod rest;
mod sending;

/// How long an idle worker waits before it looks after its flows.
const TICK: Span = Span::from_millis(100);
/// The same for the poller.
const IDLE_WAIT: Duration = Duration::from_millis(TICK.as_nanos() / 1_000_000);

/// What one worker is made with.
#[derive(Debug)]
pub(super) struct WorkerParts {
    pub(super) number: usize,
    pub(super) clock: Clock,
    pub(super) path: Path,
    pub(super) tables: Arc<ArcSwap<Tables>>,
    pub(super) receive: UdpSocket,
    pub(super) lanes: Arc<[UdpSocket]>,
    /// Bytes a frame buffer holds, beyond its headroom.
    pub(super) frame_capacity: usize,
    /// How long to look for work before sleeping, at most.
    pub(super) spin: Span,
    pub(super) offloads: Arc<Offloads>,
    pub(super) control: Sender<Command>,
}

/// What a worker did so far, in its own words.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) epoch: Epoch,
    pub(super) stats: Stats,
    pub(super) counters: Counters,
    pub(super) examples: Vec<(DropReason, Example)>,
    pub(super) denials: Vec<(PortId, Direction, u64, Denial)>,
    pub(super) pool_available: usize,
    /// Names of the offloads the kernel refused.
    pub(super) offloads_off: Vec<&'static str>,
}

/// Counts of the shell around the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stats {
    pub(super) turns: u64,
    pub(super) busy: Span,
    pub(super) idle: Span,
    /// Frames read from ports, a super-frame being one.
    pub(super) frames_in: u64,
    /// Super-frames among them.
    pub(super) super_frames_in: u64,
    pub(super) datagrams_in: u64,
    /// Buffers they came in.
    pub(super) receives: u64,
    /// Super-frames made of them.
    pub(super) super_frames_merged: u64,
    /// Frames written to ports.
    pub(super) frames_out: u64,
    /// Super-frames among them.
    pub(super) super_frames_out: u64,
    pub(super) datagrams_out: u64,
    /// Messages they left in.
    pub(super) sends: u64,
    /// Super-frames they were cut of.
    pub(super) super_frames_sent: u64,
}

/// One worker, on its own thread.
pub(super) struct Worker {
    tables: Cache<Arc<ArcSwap<Tables>>, Arc<Tables>>,
    mailbox: Receiver<Message>,
    clock: Clock,
    poll: Poll,
    events: Events,
    ready: Ready,
    forwarding: Forwarding,
    rest: Rest,
    control: Sender<Command>,
    last_turn: Moment,
    last_tick: Moment,
}

impl Worker {
    /// A worker and the handle control reaches it by.
    pub(super) fn new(parts: WorkerParts) -> io::Result<(Self, WorkerHandle)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sender, mailbox) = crossbeam_channel::unbounded();
        let now = parts.clock.now();
        let (tables, clock, control) = (
            Cache::new(Arc::clone(&parts.tables)),
            parts.clock,
            parts.control.clone(),
        );
        let rest = Rest::new(parts.spin, now);
        let forwarding = Forwarding::new(parts);
        let token = Source::Underlay.token();
        poll.registry().register(
            &mut SourceFd(&forwarding.underlay()),
            token,
            Interest::READABLE,
        )?;
        let worker = Self {
            tables,
            mailbox,
            clock,
            poll,
            events: Events::with_capacity(256),
            ready: Ready::new(),
            control,
            forwarding,
            rest,
            last_turn: now,
            last_tick: now,
        };
        Ok((
            worker,
            WorkerHandle {
                mailbox: sender,
                waker,
            },
        ))
    }

    /// Works until told to stop.
    pub(super) fn run(mut self) {
        let _farewell = Farewell(self.control.clone());
        while self.turn().is_continue() {}
    }

    fn turn(&mut self) -> ControlFlow<()> {
        let waits_from = self.clock.now();
        if let Err(error) = self.wait(waits_from) {
            tracing::error!(%error, "a worker cannot wait for frames any more");
            let _ = self.control.send(Command::WorkerFailed(error.to_string()));
            return ControlFlow::Break(());
        }
        let now = self.clock.now();
        self.account(waits_from, now);
        self.empty_mailbox()?;
        if !self.ready.is_empty() {
            self.work(now);
        }
        if now.since(self.last_tick) >= TICK {
            self.forwarding.tick(now);
            self.last_tick = now;
        }
        ControlFlow::Continue(())
    }

    /// Gives every ready source its batch, then sends what came of them.
    fn work(&mut self, now: Moment) {
        self.rest.woke(now);
        let tables = self.tables.load();
        for _ in 0..self.ready.len() {
            let Some(source) = self.ready.pop() else {
                break;
            };
            match self.forwarding.serve(source, tables, now) {
                Left::Nothing => {}
                Left::More => self.ready.push(source),
                Left::Dead(port) => {
                    self.forwarding.close(self.poll.registry(), port);
                    let _ = self.control.send(Command::PortDied(port));
                }
            }
        }
        self.forwarding.flush(tables);
        self.rest.worked(self.clock.now());
    }

    /// Waits for a source, unless some still have frames or may have soon.
    fn wait(&mut self, now: Moment) -> io::Result<()> {
        let looks = self.ready.is_empty() && self.rest.looks(now);
        let limit = if self.ready.is_empty() && !looks {
            IDLE_WAIT
        } else {
            Duration::ZERO
        };
        if looks {
            // Whoever is to send the next frame may wait for this core.
            thread::yield_now();
        }
        match self.poll.poll(&mut self.events, Some(limit)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let sources = self
            .events
            .iter()
            .filter_map(|event| Source::of(event.token()));
        sources.for_each(|source| self.ready.push(source));
        Ok(())
    }

    /// Busy is what is not waiting.
    const fn account(&mut self, waits_from: Moment, now: Moment) {
        let stats = &mut self.forwarding.stats;
        stats.turns += 1;
        let busy = stats.busy.as_nanos() + waits_from.since(self.last_turn).as_nanos();
        let idle = stats.idle.as_nanos() + now.since(waits_from).as_nanos();
        stats.busy = Span::from_nanos(busy);
        stats.idle = Span::from_nanos(idle);
        self.last_turn = now;
    }

    fn empty_mailbox(&mut self) -> ControlFlow<()> {
        while let Ok(message) = self.mailbox.try_recv() {
            let epoch = self.tables.load().epoch;
            let (done, ()) = match message {
                Message::Open { port, queues, done } => (done, self.open(port, queues)),
                Message::Close { port, done } => {
                    (done, self.forwarding.close(self.poll.registry(), port))
                }
                Message::Sync { done } => (done, ()),
                Message::ResetDrops { done } => (done, self.forwarding.reset_drops()),
                Message::Report { done } => {
                    let _ = done.send(Box::new(self.forwarding.snapshot(epoch)));
                    continue;
                }
                Message::Stop => return ControlFlow::Break(()),
            };
            let _ = done.send(epoch);
        }
        ControlFlow::Continue(())
    }

    fn open(&mut self, port: PortId, queues: Arc<PortQueues>) {
        if let Err(error) = self.forwarding.open(self.poll.registry(), port, queues) {
            tracing::error!(port = port.get(), %error, "a worker cannot wait for a port's frames");
            let _ = self.control.send(Command::PortDied(port));
        }
    }
}

/// Tells control that a worker panicked, which would otherwise show only as silence.
struct Farewell(Sender<Command>);

impl Drop for Farewell {
    fn drop(&mut self) {
        if thread::panicking() {
            let why = "it panicked; its last words are in the log".to_owned();
            let _ = self.0.send(Command::WorkerFailed(why));
        }
    }
}

/// What a source still holds after its batch.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// It was read until empty.
    Nothing,
    /// Perhaps more: its batch was used up.
    More,
    /// It is no more.
    Dead(PortId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panicking_worker_is_reported() {
        let (sender, commands) = crossbeam_channel::unbounded();
        let silent = Farewell(sender.clone());
        drop(silent);
        assert!(commands.is_empty());
        let thread = thread::spawn(move || {
            let _farewell = Farewell(sender);
            panic!("the test's own panic");
        });
        assert!(thread.join().is_err());
        assert!(matches!(
            commands.try_recv(),
            Ok(Command::WorkerFailed(why)) if why.contains("panicked")
        ));
    }
}
