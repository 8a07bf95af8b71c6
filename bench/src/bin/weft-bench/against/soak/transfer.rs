//! How do the bytes move?
//!
//! Over one TCP connection between sockets of the two pods, both ways at once: four threads, one that
//! sends and one that receives at each end. A receiver may pause, so that every buffer on the way to
//! it fills.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;
use std::time::Duration;

use anyhow::{Context as _, Result};
use weft_switch::runtime::Clock;

use super::super::place::Place;
use super::bytes::Source;
use super::way::{MARK, Mark, Pauses, Way};
use crate::stats::elapsed;

/// Bytes of one write and one read; a mark is a multiple of it.
const PIECE: usize = 128 << 10;
/// A receiver pauses after every so manyth of the bytes.
const PARTS: u64 = 8;
/// So many times its length a pause lasts at most while the sender still finds room.
const LONGEST: usize = 20;
/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(5);
const SEEDS: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];

/// One connection and what moves over it.
#[derive(Debug)]
pub(super) struct Transfer<'a> {
    pub(super) ways: &'a [Way; 2],
    /// At FROM and at TO.
    streams: [TcpStream; 2],
    pause: Option<Duration>,
    /// Senders are to end where they are.
    enough: AtomicBool,
    /// Everybody is to end at once.
    stopped: AtomicBool,
    working: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl<'a> Transfer<'a> {
    /// Connects the pods.
    pub(super) fn open(place: &Place, ways: &'a [Way; 2], pause: Option<Duration>) -> Result<Self> {
        let (from, to) = (&place.from, &place.to);
        let address = to.address;
        let listener = to.netns.run(|| TcpListener::bind(address))?;
        let listener = listener.with_context(|| {
            format!("{} cannot listen on {address}, try another --port", to.pod)
        })?;
        let near = from
            .netns
            .run(|| TcpStream::connect_timeout(&address, PATIENCE))?;
        let near = near.with_context(|| {
            let next = place.probe("TCP");
            format!(
                "{} does not get through to {}, try {next}",
                from.pod, to.pod
            )
        })?;
        let (far, _) = listener.accept().context("cannot accept")?;
        Ok(Self {
            ways,
            streams: [near, far],
            pause,
            enough: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            working: AtomicUsize::new(0),
            failures: Mutex::default(),
        })
    }

    /// Sends and receives on threads of `scope`.
    pub(super) fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        let [near, far] = &self.streams;
        let ends = [(near, far), (far, near)];
        for ((way, seed), (source, target)) in self.ways.iter().zip(SEEDS).zip(ends) {
            self.working.fetch_add(2, Relaxed);
            scope.spawn(move || self.settle(way, "send", self.send(way, source, seed)));
            scope.spawn(move || self.settle(way, "receive", self.receive(way, target)));
        }
    }

    /// What is not sent yet stays unsent.
    pub(super) fn send_no_more(&self) {
        self.enough.store(true, Relaxed);
    }

    /// Ends everything where it is.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Relaxed);
        for stream in &self.streams {
            // One that is closed already stays so.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether all four have ended.
    pub(super) fn is_over(&self) -> bool {
        self.working.load(Relaxed) == 0
    }

    /// What broke.
    pub(super) fn failures(&self) -> Vec<String> {
        let failures = self.failures.lock();
        failures.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn settle(&self, way: &Way, what: &str, outcome: io::Result<()>) {
        if let Err(error) = outcome
            && !self.stopped.load(Relaxed)
        {
            let at = match what {
                "send" => way.sent(),
                _ => way.received(),
            };
            let said = format!("{}: cannot {what} at offset {at}: {error}", way.title());
            let failures = self.failures.lock();
            failures.unwrap_or_else(PoisonError::into_inner).push(said);
            self.stop();
        }
        self.working.fetch_sub(1, Relaxed);
    }

    fn send(&self, way: &Way, mut stream: &TcpStream, seed: u64) -> io::Result<()> {
        let mut source = Source::new(seed);
        let mut sum = crc32fast::Hasher::new();
        let mut room = vec![0; PIECE];
        let mut sent = 0;
        while sent < way.bytes && !self.enough.load(Relaxed) {
            let piece = first(&mut room, way.bytes - sent);
            source.fill(piece);
            sum.update(piece);
            stream.write_all(piece)?;
            sent += piece.len() as u64;
            way.set_sent(sent);
            if sent.is_multiple_of(MARK) {
                let sum = sum.clone().finalize();
                way.mark_sent(Mark { offset: sent, sum });
            }
        }
        if !sent.is_multiple_of(MARK) {
            let sum = sum.finalize();
            way.mark_sent(Mark { offset: sent, sum });
        }
        stream.shutdown(Shutdown::Write)
    }

    fn receive(&self, way: &Way, mut stream: &TcpStream) -> io::Result<()> {
        let mut sum = crc32fast::Hasher::new();
        let mut room = vec![0; PIECE];
        let mut received = 0;
        let mut rest = Rest::new(way, self.pause);
        loop {
            // A read ends at the mark, where the sender has a sum too.
            let piece = first(&mut room, MARK - received % MARK);
            let count = stream.read(piece)?;
            if count == 0 {
                break;
            }
            sum.update(piece.get(..count).unwrap_or_default());
            received += count as u64;
            way.set_received(received);
            rest.came(received, &self.stopped);
            if received.is_multiple_of(MARK) {
                let sum = sum.clone().finalize();
                way.mark_received(Mark {
                    offset: received,
                    sum,
                });
            }
        }
        if !received.is_multiple_of(MARK) && !self.stopped.load(Relaxed) {
            let sum = sum.finalize();
            way.mark_received(Mark {
                offset: received,
                sum,
            });
        }
        way.set_rests(true);
        Ok(())
    }
}

/// The first so many bytes of a buffer, or all of it.
fn first(room: &mut [u8], most: u64) -> &mut [u8] {
    let count = usize::try_from(most).unwrap_or(usize::MAX).min(room.len());
    room.get_mut(..count).unwrap_or_default()
}

/// A receiver's pauses, and what it notices of the time.
struct Rest<'a> {
    way: &'a Way,
    pause: Option<Duration>,
    clock: Clock,
    /// When the last bytes came.
    last: Duration,
    /// The end of a pause, and how much was sent by then.
    resumed: Option<(Duration, u64)>,
    seen: Pauses,
}

impl<'a> Rest<'a> {
    fn new(way: &'a Way, pause: Option<Duration>) -> Self {
        Self {
            way,
            pause,
            clock: Clock::start(),
            last: Duration::ZERO,
            resumed: None,
            seen: Pauses::default(),
        }
    }

    /// Bytes came; pauses if it is time.
    fn came(&mut self, received: u64, stopped: &AtomicBool) {
        let now = elapsed(self.clock);
        let gap = now.saturating_sub(self.last);
        self.seen.longest_gap = self.seen.longest_gap.max(gap);
        if let Some((since, sent)) = self.resumed
            && self.way.sent() > sent
        {
            let took = now.saturating_sub(since);
            self.seen.slowest_resume = self.seen.slowest_resume.max(took);
            self.resumed = None;
        }
        // The last part needs no pause: nothing comes after it.
        let due = (self.seen.count + 1) * (self.way.bytes / PARTS).max(1);
        if let Some(pause) = self.pause
            && received >= due
            && self.seen.count + 1 < PARTS
        {
            self.pause(pause, stopped);
        }
        self.last = elapsed(self.clock);
        self.way.note(self.seen);
    }

    /// Reads nothing for a while, and longer until the sender can send no more.
    fn pause(&mut self, length: Duration, stopped: &AtomicBool) {
        self.way.set_rests(true);
        let mut after = self.way.sent();
        let mut full = false;
        for _ in 0..LONGEST {
            self.wait(length, stopped);
            let before = std::mem::replace(&mut after, self.way.sent());
            full = before == after && after < self.way.bytes;
            if full || after == self.way.bytes || stopped.load(Relaxed) {
                break;
            }
        }
        self.way.set_rests(false);
        self.seen.count += 1;
        if full {
            self.seen.full += 1;
            self.resumed = Some((elapsed(self.clock), after));
        }
    }

    fn wait(&self, length: Duration, stopped: &AtomicBool) {
        let end = elapsed(self.clock) + length;
        while !stopped.load(Relaxed)
            && let Some(left) = end.checked_sub(elapsed(self.clock))
        {
            std::thread::park_timeout(left.min(Duration::from_millis(20)));
        }
    }
}
