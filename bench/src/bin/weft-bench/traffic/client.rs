//! What is sent through real sockets, and how fast does it go?

use std::io::{self, ErrorKind, Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use weft_switch::runtime::Clock;
use weft_sys::udp::{self, Buffers, SendBatch, Target};

use super::histogram::Histogram;
use super::{To, scramble};
use crate::stats::elapsed;

const PIECE: usize = 128 << 10;
/// Threads that open connections.
const OPENERS: usize = 8;
/// A connection that takes longer has failed; a SYN that is lost once (RFC 6298: one second) has not.
const GIVE_UP: Duration = Duration::from_secs(4);
/// Questions on their way when no rate is given.
const WINDOW: u64 = 64;
/// An answer that comes later counts as lost.
const PATIENCE: Duration = Duration::from_millis(200);
const QUESTION_SEED: u64 = 0x243f_6a88_85a3_08d3;
pub(super) const ANSWER_SEED: u64 = 0x1319_8a2e_0370_7344;

fn connect(to: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect_timeout(&to, Duration::from_secs(5))
        .with_context(|| format!("cannot connect to {to}"))
}

#[derive(Debug, Serialize)]
pub(super) struct Streamed {
    bytes: u64,
    seconds: f64,
}

pub(super) fn stream(to: To, streams: u16) -> Result<Streamed> {
    let connections: Vec<TcpStream> = (0..streams)
        .map(|_| connect(to.to))
        .collect::<Result<_>>()?;
    let clock = Clock::start();
    let send = |mut stream: TcpStream| -> Result<u64> {
        let piece = vec![0x5a; PIECE];
        let mut bytes = 0;
        while elapsed(clock) < to.seconds {
            bytes += stream.write(&piece)? as u64;
        }
        Ok(bytes)
    };
    let bytes = std::thread::scope(|scope| {
        let threads: Vec<_> = connections
            .into_iter()
            .map(|stream| scope.spawn(move || send(stream)))
            .collect();
        let sent = threads.into_iter().map(|thread| match thread.join() {
            Ok(sent) => sent,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        sent.sum::<Result<u64>>()
    })?;
    Ok(Streamed {
        bytes,
        seconds: elapsed(clock).as_secs_f64(),
    })
}

#[derive(Debug, Serialize)]
pub(super) struct Datagrams {
    bytes: u64,
    packets: u64,
    seconds: f64,
}

pub(super) fn gso(to: To, size: u16) -> Result<Datagrams> {
    let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let socket = udp::bind_rx(local, false, Buffers::default())?;
    socket.set_nonblocking(false)?;
    let count = udp::MAX_SEGMENTS.min(65_000 / usize::from(size));
    let payload = vec![0x5a; usize::from(size) * count];
    let target = Target {
        to: to.to,
        tos: 0,
        segment: NonZeroU16::new(size),
    };
    let mut batch = SendBatch::new(1, 1);
    let clock = Clock::start();
    let mut sends = 0;
    while elapsed(clock) < to.seconds {
        let mut filling = batch.fill();
        if !filling.begin(target) || !filling.part(&payload) {
            bail!("a batch takes a message");
        }
        let mut failure = None;
        sends += filling.send(&socket, |_, error| failure = Some(error)) as u64;
        match failure {
            // A full queue: others are to empty it.
            Some(error) if is_full(&error) => std::thread::yield_now(),
            Some(error) => return Err(error).context("cannot send"),
            None => {}
        }
    }
    Ok(Datagrams {
        bytes: sends * payload.len() as u64,
        packets: sends * count as u64,
        seconds: elapsed(clock).as_secs_f64(),
    })
}

/// Whether an error only says that there is no room at the moment.
pub(super) fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
        || error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

#[derive(Debug, Serialize)]
pub(super) struct Latency {
    count: u64,
    seconds: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
}

pub(super) fn ping_pong(to: To) -> Result<Latency> {
    let mut stream = connect(to.to)?;
    stream.set_nodelay(true)?;
    let mut histogram = Histogram::new();
    let clock = Clock::start();
    let mut byte = [0];
    let mut before = elapsed(clock);
    while before < to.seconds {
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        let now = elapsed(clock);
        histogram.add(now - before);
        before = now;
    }
    Ok(Latency {
        count: histogram.total(),
        seconds: before.as_secs_f64(),
        p50_us: histogram.micros(500),
        p99_us: histogram.micros(990),
        p999_us: histogram.micros(999),
    })
}

#[derive(Debug, Serialize)]
pub(super) struct Echoes {
    asked: u64,
    answered: u64,
    lost: u64,
    seconds: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
}

/// Sends question n at its moment, whether or not others were answered, and counts the time from
/// that moment: an answer that is late because its question was, is late. A question carries its
/// moment.
pub(super) fn open_loop(to: To, rate: Option<u64>) -> Result<Echoes> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot open a socket")?;
    socket.connect(to.to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let clock = Clock::start();
    let count = Arc::new(AtomicU64::new(0));
    let shared = Arc::clone(&count);
    let receiver = socket.try_clone()?;
    let receive = move || -> Histogram {
        let mut histogram = Histogram::new();
        let mut buffer = [0; 64];
        loop {
            match receiver.recv(&mut buffer) {
                Ok(_) => {}
                // Refused while the sink starts, which the count shows.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                Err(_) if elapsed(clock) > to.seconds => return histogram,
                Err(_) => continue,
            }
            let Some(sent) = buffer.first_chunk().copied().map(u64::from_be_bytes) else {
                continue;
            };
            histogram.add(elapsed(clock).saturating_sub(Duration::from_nanos(sent)));
            shared.fetch_add(1, Relaxed);
        }
    };
    let thread = std::thread::spawn(receive);
    let asked = ask(&socket, clock, to.seconds, rate, &count)?;
    let mut histogram = match thread.join() {
        Ok(histogram) => histogram,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let answered = histogram.total();
    let lost = asked.saturating_sub(answered);
    // No answer is the slowest one: nobody improves by losing those.
    (0..lost).for_each(|_| histogram.add(PATIENCE));
    Ok(Echoes {
        asked,
        answered,
        lost,
        seconds: to.seconds.as_secs_f64(),
        p50_us: histogram.micros(500),
        p99_us: histogram.micros(990),
        p999_us: histogram.micros(999),
    })
}

/// Sends the questions; how many.
fn ask(
    socket: &UdpSocket,
    clock: Clock,
    time: Duration,
    rate: Option<u64>,
    answered: &AtomicU64,
) -> Result<u64> {
    let mut asked = 0;
    let mut stuck_since = Duration::ZERO;
    let mut written_off = 0;
    loop {
        let now = elapsed(clock);
        if now >= time {
            return Ok(asked);
        }
        let moment = match rate {
            Some(rate) => Duration::from_nanos(asked * 1_000_000_000 / rate.max(1)),
            None if asked < answered.load(Relaxed) + written_off + WINDOW => {
                stuck_since = now;
                now
            }
            None => {
                // Lost ones free their places, or a loss would end it.
                if now.saturating_sub(stuck_since) > PATIENCE / 10 {
                    written_off = asked.saturating_sub(answered.load(Relaxed));
                }
                std::thread::yield_now();
                continue;
            }
        };
        if moment > now {
            let early = moment - now;
            match early.checked_sub(Duration::from_micros(200)) {
                Some(sleep) => std::thread::park_timeout(sleep),
                None => std::thread::yield_now(),
            }
            continue;
        }
        let nanos = u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX);
        // What cannot be sent is lost, which the count shows.
        let _ = socket.send(&nanos.to_be_bytes());
        asked += 1;
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Churned {
    /// Over in time.
    connections: u64,
    failed: u64,
    seconds: f64,
}

pub(super) fn churn(to: To) -> Result<Churned> {
    let clock = Clock::start();
    let work = || {
        let (mut opened, mut failed) = (0_u64, 0_u64);
        while elapsed(clock) < to.seconds {
            match open_and_close(to.to) {
                // The last one of each thread may end after the time is over.
                Ok(()) if elapsed(clock) >= to.seconds => {}
                Ok(()) => opened += 1,
                Err(_) => failed += 1,
            }
        }
        (opened, failed)
    };
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..OPENERS).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|joined| joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    Ok(Churned {
        connections: counts.0,
        failed: counts.1,
        seconds: to.seconds.as_secs_f64(),
    })
}

/// One connection with a byte each way.
fn open_and_close(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, GIVE_UP)?;
    stream.set_read_timeout(Some(GIVE_UP))?;
    stream.write_all(&[7])?;
    let mut answer = [0; 2];
    stream.read_exact(answer.get_mut(..1).unwrap_or_default())?;
    // The sink closes first, so that its end keeps the connection's last state.
    match stream.read(&mut answer)? {
        0 => Ok(()),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Compared {
    bytes: u64,
    seconds: f64,
    intact: bool,
}

pub(super) fn hash(to: To, bytes: u64) -> Result<Compared> {
    let mut stream = connect(to.to)?;
    let clock = Clock::start();
    stream.write_all(&bytes.to_le_bytes())?;
    let mut piece = vec![0; PIECE];
    let sent = sum_of(QUESTION_SEED, bytes, &mut piece, |piece| {
        stream.write_all(piece)
    })?;
    let mut theirs = [0; 4];
    stream.read_exact(&mut theirs)?;
    let answer = read_summed(&mut stream, bytes)?;
    let expected = sum_of(ANSWER_SEED, bytes, &mut piece, |_| Ok(()))?;
    Ok(Compared {
        bytes,
        seconds: elapsed(clock).as_secs_f64(),
        intact: u32::from_le_bytes(theirs) == sent && answer == expected,
    })
}

/// The sum over so many pseudo-random bytes, each piece of which `give` takes.
fn sum_of(
    mut state: u64,
    bytes: u64,
    piece: &mut [u8],
    mut give: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u32> {
    let mut sum = crc32fast::Hasher::new();
    let mut left = bytes;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let piece = piece.get_mut(..count).unwrap_or_default();
        scramble(&mut state, piece);
        sum.update(piece);
        give(piece)?;
        left -= count as u64;
    }
    Ok(sum.finalize())
}

/// The sum over the next so many bytes of a stream.
pub(super) fn read_summed(stream: &mut impl Read, bytes: u64) -> io::Result<u32> {
    let mut sum = crc32fast::Hasher::new();
    let mut buffer = vec![0; PIECE];
    let mut left = bytes;
    while left > 0 {
        let room = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = stream.read(buffer.get_mut(..room).unwrap_or_default())?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        sum.update(buffer.get(..count).unwrap_or_default());
        left -= count as u64;
    }
    Ok(sum.finalize())
}
