//! What arrives, and how much of it in time?
//!
//! Rates are the receiver's: with a time it counts only what comes within that long of the first
//! byte, so that queues which drain after the sender has stopped add nothing.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Serialize;
use weft_switch::runtime::Clock;
use weft_sys::udp::{self, Buffers, RecvBatch};

use super::flows::Flows;
use super::frames::number_and_mark;
use super::{scramble, tell};
use crate::stats::elapsed;

/// What a sink is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// TCP, counted
    Tcp,
    /// Datagrams, each answered by itself
    Udp,
    /// Datagrams that the kernel may merge, counted
    Gso,
    /// Datagrams with numbers, counted flow by flow
    Frames,
    /// TCP, each byte answered
    Rr,
    /// TCP connections of one byte each way
    Churn,
    /// TCP whose bytes are summed and answered by as many
    Hash,
}

/// What arrived.
#[derive(Debug, Default, Serialize)]
pub(super) struct Arrived {
    /// Payload, in time.
    bytes: u64,
    /// Datagrams or connections, in time.
    packets: u64,
    /// Datagrams or connections, whenever they came.
    all: u64,
    /// Datagrams with numbers: how many are missing below the highest of their flows.
    lost: u64,
    /// Datagrams with numbers that came after a higher one of their flow.
    reordered: u64,
}

impl Arrived {
    fn add(&mut self, packets: u64, bytes: u64, in_time: bool) {
        self.all += packets;
        if in_time {
            self.packets += packets;
            self.bytes += bytes;
        }
    }
}

/// What to count: when, and of frames which.
#[derive(Debug, Default)]
struct Window {
    /// From the first byte on; `None`: for ever.
    length: Option<Duration>,
    /// Of frames.
    mark: u32,
    opened: OnceLock<Clock>,
}

impl Window {
    /// Whether what comes now is in time. The first to ask opens the window.
    fn is_open(&self) -> bool {
        let clock = *self.opened.get_or_init(Clock::start);
        self.length.is_none_or(|length| elapsed(clock) < length)
    }
}

/// Bytes of one read.
const PIECE: usize = 256 << 10;
/// Datagrams of one receive.
const BATCH: usize = 64;
/// Nothing more is under way when nothing came for so long.
const QUIET: Duration = Duration::from_millis(30);
/// Threads that answer short connections: more than a client opens at once.
const ANSWERERS: usize = 16;
/// A short connection that says nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Ready {
    ready: bool,
}

/// Receives until the input ends.
pub(super) fn run(
    listen: SocketAddr,
    kind: Kind,
    time: Option<Duration>,
    mark: u32,
) -> Result<Arrived> {
    let window = Window {
        length: time,
        mark,
        ..Window::default()
    };
    match kind {
        Kind::Gso => datagrams(listen, &window, count_merged),
        Kind::Frames => datagrams(listen, &window, count_flows),
        Kind::Udp => datagrams(listen, &window, echo),
        Kind::Tcp => connections(listen, window, drain),
        Kind::Rr => connections(listen, window, answer),
        Kind::Churn => short_connections(listen, window),
        Kind::Hash => connections(listen, window, |stream, _| hash(stream)),
    }
}

/// True from when the input has ended.
fn input_ends() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        flag.store(true, Relaxed);
    });
    ended
}

#[derive(Debug, Default)]
struct Counted {
    window: Window,
    bytes: AtomicU64,
    packets: AtomicU64,
    all: AtomicU64,
    open: AtomicU64,
}

impl Counted {
    fn new(window: Window) -> Arc<Self> {
        Arc::new(Self {
            window,
            ..Self::default()
        })
    }

    /// Waits until the input has ended and, for a second at most, open connections too.
    fn at_the_end(&self) -> Result<Arrived> {
        std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
        for _ in 0..200 {
            if self.open.load(Relaxed) == 0 {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(Arrived {
            bytes: self.bytes.load(Relaxed),
            packets: self.packets.load(Relaxed),
            all: self.all.load(Relaxed),
            ..Arrived::default()
        })
    }
}

fn listener(listen: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))
}

/// Serves every connection on a thread of its own: few that last.
fn connections(
    listen: SocketAddr,
    window: Window,
    serve: fn(TcpStream, &Counted) -> std::io::Result<()>,
) -> Result<Arrived> {
    let listener = listener(listen)?;
    let counted = Counted::new(window);
    let shared = Arc::clone(&counted);
    tell(&Ready { ready: true })?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let counted = Arc::clone(&shared);
            counted.open.fetch_add(1, Relaxed);
            std::thread::spawn(move || {
                // A client whose time is over just goes.
                let _ = serve(stream, &counted);
                counted.open.fetch_sub(1, Relaxed);
            });
        }
    });
    counted.at_the_end()
}

/// Answers one byte on each connection and closes it, with as many threads as there are: starting
/// one costs more than such a connection.
fn short_connections(listen: SocketAddr, window: Window) -> Result<Arrived> {
    let listener = Arc::new(listener(listen)?);
    let counted = Counted::new(window);
    for _ in 0..ANSWERERS {
        let (listener, counted) = (Arc::clone(&listener), Arc::clone(&counted));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.open.fetch_add(1, Relaxed);
                // What became of it is for the client to tell.
                let _ = answer_once(stream, &counted);
                counted.open.fetch_sub(1, Relaxed);
            }
        });
    }
    tell(&Ready { ready: true })?;
    counted.at_the_end()
}

fn drain(mut stream: TcpStream, counted: &Counted) -> std::io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count if counted.window.is_open() => {
                counted.bytes.fetch_add(count as u64, Relaxed);
            }
            _ => {}
        }
    }
}

fn answer(mut stream: TcpStream, _: &Counted) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 {
        stream.write_all(&byte)?;
    }
    Ok(())
}

fn answer_once(mut stream: TcpStream, counted: &Counted) -> std::io::Result<()> {
    counted.all.fetch_add(1, Relaxed);
    if counted.window.is_open() {
        counted.packets.fetch_add(1, Relaxed);
    }
    stream.set_read_timeout(Some(SILENCE))?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    stream.write_all(&byte)
}

/// Reads as many bytes as the first eight say; answers with their sum, then as many of its own.
fn hash(mut stream: TcpStream) -> std::io::Result<()> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let bytes = u64::from_le_bytes(length);
    let sum = super::client::read_summed(&mut stream, bytes)?;
    stream.write_all(&sum.to_le_bytes())?;
    let mut state = super::client::ANSWER_SEED;
    let mut piece = vec![0; PIECE];
    let mut left = bytes;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let piece = piece.get_mut(..count).unwrap_or_default();
        scramble(&mut state, piece);
        stream.write_all(piece)?;
        left -= count as u64;
    }
    Ok(())
}

/// Lets `serve` have the socket until the input has ended and nothing comes any more.
fn datagrams(
    listen: SocketAddr,
    window: &Window,
    serve: fn(&UdpSocket, &AtomicBool, &Window) -> Result<Arrived>,
) -> Result<Arrived> {
    let socket = udp::bind_rx(listen, false, Buffers::default())?;
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(QUIET))?;
    let ended = input_ends();
    tell(&Ready { ready: true })?;
    serve(&socket, &ended, window)
}

/// Receives one batch; `None` when the input has ended and nothing came.
fn receive(
    socket: &UdpSocket,
    batch: &mut RecvBatch,
    buffers: &mut [Vec<u8>],
    ended: &AtomicBool,
) -> Result<Option<usize>> {
    loop {
        match batch.recv(socket, buffers.iter_mut().map(Vec::as_mut_slice)) {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if ended.load(Relaxed) {
                    return Ok(None);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
}

fn count_merged(socket: &UdpSocket, ended: &AtomicBool, window: &Window) -> Result<Arrived> {
    udp::set_gro(socket)?;
    let mut batch = RecvBatch::new(8);
    let mut buffers = vec![vec![0; udp::MAX_PAYLOAD]; 8];
    let mut arrived = Arrived::default();
    while receive(socket, &mut batch, &mut buffers, ended)?.is_some() {
        let in_time = window.is_open();
        for message in batch.received() {
            let size = message
                .segment
                .map_or(message.len, |size| size.get().into());
            let packets = message.len.div_ceil(size.max(1));
            arrived.add(packets as u64, message.len as u64, in_time);
        }
    }
    Ok(arrived)
}

fn count_flows(socket: &UdpSocket, ended: &AtomicBool, window: &Window) -> Result<Arrived> {
    let mut batch = RecvBatch::new(BATCH);
    let mut buffers = vec![vec![0; 2048]; BATCH];
    let mut flows = Flows::default();
    let mut arrived = Arrived::default();
    while receive(socket, &mut batch, &mut buffers, ended)?.is_some() {
        let mut in_time = None;
        for (message, buffer) in batch.received().zip(&buffers) {
            let payload = buffer.get(..message.len).unwrap_or_default();
            match number_and_mark(payload) {
                Some((number, mark)) if mark == window.mark => {
                    let in_time = *in_time.get_or_insert_with(|| window.is_open());
                    arrived.add(1, message.len as u64, in_time);
                    flows.take(message.source.port(), number);
                }
                _ => {}
            }
        }
    }
    arrived.lost = flows.missing();
    arrived.reordered = flows.overtaken();
    Ok(arrived)
}

fn echo(socket: &UdpSocket, ended: &AtomicBool, window: &Window) -> Result<Arrived> {
    let mut buffer = [0; 2048];
    let mut arrived = Arrived::default();
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((count, from)) => {
                arrived.add(1, count as u64, window.is_open());
                // A client whose time is over hears nothing any more.
                let _ = socket.send_to(buffer.get(..count).unwrap_or_default(), from);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if ended.load(Relaxed) {
                    return Ok(arrived);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// What a sink on the loopback device counts of `send`.
    fn counted(window: &Window, send: impl FnOnce(&UdpSocket, &UdpSocket)) -> Arrived {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let sink = UdpSocket::bind(here).unwrap();
        sink.set_read_timeout(Some(QUIET)).unwrap();
        let ends = [
            UdpSocket::bind(here).unwrap(),
            UdpSocket::bind(here).unwrap(),
        ];
        for end in &ends {
            end.connect(sink.local_addr().unwrap()).unwrap();
        }
        send(&ends[0], &ends[1]);
        count_flows(&sink, &AtomicBool::new(true), window).unwrap()
    }

    const MARK: u32 = 7;

    fn number(socket: &UdpSocket, number: u32) {
        marked(socket, number, MARK);
    }

    fn marked(socket: &UdpSocket, number: u32, mark: u32) {
        let words = [number.to_be_bytes(), mark.to_be_bytes()];
        socket.send(&words.concat()).unwrap();
    }

    fn window(length: Option<Duration>) -> Window {
        Window {
            length,
            mark: MARK,
            ..Window::default()
        }
    }

    #[test]
    fn what_is_left_of_another_run_is_nothing() {
        let arrived = counted(&window(None), |one, _| {
            marked(one, 1_000_000, MARK - 1);
            one.send(&[0; 5]).unwrap();
            (0..3).for_each(|next| number(one, next));
        });
        assert_eq!((arrived.all, arrived.lost, arrived.reordered), (3, 0, 0));
    }

    #[test]
    fn what_overtakes_on_its_way_is_counted_and_other_flows_are_not_asked() {
        let arrived = counted(&window(None), |one, other| {
            for next in [0, 1, 3, 2, 4, 6] {
                number(one, next);
                number(other, next / 2);
            }
        });
        assert_eq!((arrived.packets, arrived.all, arrived.bytes), (12, 12, 96));
        // Of the other flow 1 comes thrice: twice too late.
        assert_eq!(arrived.reordered, 1 + 2);
        assert_eq!(arrived.lost, 1);
    }

    #[test]
    fn what_comes_too_late_counts_for_nothing_but_completeness() {
        let closed = window(Some(Duration::ZERO));
        let arrived = counted(&closed, |one, _| (0..5).for_each(|next| number(one, next)));
        assert_eq!((arrived.packets, arrived.bytes), (0, 0));
        assert_eq!((arrived.all, arrived.lost, arrived.reordered), (5, 0, 0));
    }
}
