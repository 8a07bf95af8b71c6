//! What arrives?

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Serialize;
use weft_sys::udp::{self, Buffers, RecvBatch};

use super::{scramble, tell};

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
    bytes: u64,
    packets: u64,
    lost: u64,
    reordered: u64,
}

/// Bytes of one read.
const PIECE: usize = 256 << 10;
/// Datagrams of one receive.
const BATCH: usize = 64;
/// Nothing more is under way when nothing came for so long.
const QUIET: Duration = Duration::from_millis(30);

#[derive(Serialize)]
struct Ready {
    ready: bool,
}

/// Receives until the input ends.
pub(super) fn run(listen: SocketAddr, kind: Kind) -> Result<Arrived> {
    match kind {
        Kind::Gso => datagrams(listen, count_merged),
        Kind::Frames => datagrams(listen, count_flows),
        Kind::Udp => datagrams(listen, echo),
        Kind::Tcp => connections(listen, drain),
        Kind::Rr => connections(listen, answer),
        Kind::Churn => connections(listen, |stream, counted| {
            counted.packets.fetch_add(1, Relaxed);
            answer_once(stream)
        }),
        Kind::Hash => connections(listen, |stream, _| hash(stream)),
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
    bytes: AtomicU64,
    packets: AtomicU64,
    open: AtomicU64,
}

/// Serves every connection on a thread of its own.
fn connections(
    listen: SocketAddr,
    serve: fn(TcpStream, &Counted) -> std::io::Result<()>,
) -> Result<Arrived> {
    let listener =
        TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let counted = Arc::new(Counted::default());
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
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    for _ in 0..200 {
        if counted.open.load(Relaxed) == 0 {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(Arrived {
        bytes: counted.bytes.load(Relaxed),
        packets: counted.packets.load(Relaxed),
        ..Arrived::default()
    })
}

fn drain(mut stream: TcpStream, counted: &Counted) -> std::io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => counted.bytes.fetch_add(count as u64, Relaxed),
        };
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

fn answer_once(mut stream: TcpStream) -> std::io::Result<()> {
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

/// Gives every batch of datagrams to `take` until the input has ended and nothing comes any more.
fn datagrams(
    listen: SocketAddr,
    mut serve: impl FnMut(&UdpSocket, &AtomicBool) -> Result<Arrived>,
) -> Result<Arrived> {
    let socket = udp::bind_rx(listen, false, Buffers::default())?;
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(QUIET))?;
    let ended = input_ends();
    tell(&Ready { ready: true })?;
    serve(&socket, &ended)
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

fn count_merged(socket: &UdpSocket, ended: &AtomicBool) -> Result<Arrived> {
    udp::set_gro(socket)?;
    let mut batch = RecvBatch::new(8);
    let mut buffers = vec![vec![0; udp::MAX_PAYLOAD]; 8];
    let mut arrived = Arrived::default();
    while receive(socket, &mut batch, &mut buffers, ended)?.is_some() {
        for message in batch.received() {
            let size = message
                .segment
                .map_or(message.len, |size| size.get().into());
            arrived.bytes += message.len as u64;
            arrived.packets += message.len.div_ceil(size.max(1)) as u64;
        }
    }
    Ok(arrived)
}

/// The numbers of one flow.
#[derive(Debug, Default)]
struct Numbers {
    next: u64,
    seen: u64,
}

fn count_flows(socket: &UdpSocket, ended: &AtomicBool) -> Result<Arrived> {
    let mut batch = RecvBatch::new(BATCH);
    let mut buffers = vec![vec![0; 2048]; BATCH];
    let mut flows: HashMap<u16, Numbers> = HashMap::new();
    let mut arrived = Arrived::default();
    while receive(socket, &mut batch, &mut buffers, ended)?.is_some() {
        for (message, buffer) in batch.received().zip(&buffers) {
            arrived.bytes += message.len as u64;
            arrived.packets += 1;
            let Some(number) = buffer
                .first_chunk()
                .map(|n| u64::from(u32::from_be_bytes(*n)))
            else {
                continue;
            };
            let flow = flows.entry(message.source.port()).or_default();
            if number < flow.next {
                arrived.reordered += 1;
            }
            flow.next = flow.next.max(number + 1);
            flow.seen += 1;
        }
    }
    let lost = |flow: &Numbers| flow.next.saturating_sub(flow.seen);
    arrived.lost = flows.values().map(lost).sum();
    Ok(arrived)
}

fn echo(socket: &UdpSocket, ended: &AtomicBool) -> Result<Arrived> {
    let mut buffer = [0; 2048];
    let mut arrived = Arrived::default();
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((count, from)) => {
                arrived.packets += 1;
                arrived.bytes += count as u64;
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
