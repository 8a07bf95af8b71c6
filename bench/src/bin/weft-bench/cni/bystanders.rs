//! What do pods notice that have nothing to do with the pods that come and go?
//!
//! Owns two attached pods and what flows from one to the other all the time: a TCP stream whose
//! every byte is checked, and datagrams with numbers and the moments they were sent at. Knows
//! nothing of the daemon and of what happens to it.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;
use weft_switch::runtime::Clock;

use super::node::{FROM, PORT, TO};
use super::runtime::{Runtime, Sandbox};
use super::space::Space;
use crate::stats::elapsed;

/// Between two datagrams, and between two pieces of the stream.
const INTERVAL: Duration = Duration::from_millis(2);
/// Bytes of a piece of the stream.
const PIECE: usize = 1000;
/// What is under way arrives within this time, or never.
const LAST: Duration = Duration::from_secs(1);
/// A stream that stands still for so long is broken. The kernel tries again after a second, two,
/// four and so on up to two minutes; each try may meet a daemon that is away.
const BROKEN: Duration = Duration::from_secs(300);

/// What the two did and saw.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// When each datagram was sent, by number.
    pub(super) sent: Vec<Duration>,
    /// Whether it arrived.
    pub(super) arrived: Vec<bool>,
    /// Bytes of the stream that arrived, each as it was sent.
    pub(super) streamed: u64,
    /// Longest time without any.
    pub(super) stall: Duration,
    /// Why it ended early, if it did: what each end says.
    pub(super) broken: Option<String>,
}

/// Two pods that talk.
#[derive(Debug)]
pub(super) struct Bystanders {
    sandboxes: [Sandbox; 2],
    talk: Talk,
}

/// The threads behind it.
#[derive(Debug)]
struct Talk {
    stop: Arc<AtomicBool>,
    datagrams_out: JoinHandle<Result<Vec<Duration>>>,
    datagrams_in: JoinHandle<Result<Vec<bool>>>,
    stream_out: JoinHandle<Result<u64>>,
    stream_in: JoinHandle<Result<(u64, Duration)>>,
}

impl Bystanders {
    /// Attaches two pods and has one talk to the other; moments are `clock`'s.
    pub(super) fn start(runtime: &Runtime, clock: Clock) -> Result<Self> {
        let pod = |name: &str| -> Result<(Sandbox, IpAddr)> {
            let space = Space::new()?;
            let container = space.container();
            let sandbox = Sandbox {
                container,
                pod: name.to_owned(),
                space,
            };
            let (_, added) = runtime.add(&sandbox)?.done("ADD")?;
            let address = address(&added).context("the plugin told no IPv4 address")?;
            Ok((sandbox, address))
        };
        let (from, _) = pod(FROM)?;
        let (to, address) = pod(TO)?;
        let talk = Talk::start(&from, &to, SocketAddr::new(address, PORT), clock)?;
        Ok(Self {
            sandboxes: [from, to],
            talk,
        })
    }

    /// Ends the talk, detaches the pods and tells what they saw.
    pub(super) fn finish(self, runtime: &Runtime) -> Result<Observed> {
        let observed = self.talk.finish();
        for sandbox in &self.sandboxes {
            runtime.del(sandbox)?.done("DEL")?;
        }
        observed
    }
}

fn address(added: &Value) -> Option<IpAddr> {
    let ips = added.get("ips")?.as_array()?.iter();
    let texts = ips.filter_map(|ip| ip.get("address")?.as_str()?.split('/').next());
    texts
        .filter_map(|text| text.parse().ok())
        .find(IpAddr::is_ipv4)
}

impl Talk {
    fn start(from: &Sandbox, to: &Sandbox, at: SocketAddr, clock: Clock) -> Result<Self> {
        let any = SocketAddr::new("0.0.0.0".parse()?, 0);
        let receiver = to.space.netns.run(|| UdpSocket::bind(at))??;
        let sender = from.space.netns.run(|| UdpSocket::bind(any))??;
        receiver.set_read_timeout(Some(LAST))?;
        sender.connect(at)?;
        let listener = to.space.netns.run(|| TcpListener::bind(at))??;
        let client = from
            .space
            .netns
            .run(|| TcpStream::connect_timeout(&at, BROKEN))??;
        let (server, _) = listener.accept()?;
        server.set_read_timeout(Some(BROKEN))?;
        client.set_write_timeout(Some(BROKEN))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (one, two) = (Arc::clone(&stop), Arc::clone(&stop));
        let three = Arc::clone(&stop);
        Ok(Self {
            stop,
            datagrams_out: std::thread::spawn(move || send(&sender, &one, clock)),
            datagrams_in: std::thread::spawn(move || receive(&receiver, &two)),
            stream_out: std::thread::spawn(move || pour(client, &three)),
            stream_in: std::thread::spawn(move || drink(server)),
        })
    }

    fn finish(self) -> Result<Observed> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = joined(self.datagrams_out)?;
        let mut arrived = joined(self.datagrams_in)?;
        arrived.resize(sent.len(), false);
        let (poured, drunk) = (joined(self.stream_out), joined(self.stream_in));
        let (streamed, stall, broken) = match (poured, drunk) {
            (Ok(poured), Ok((streamed, stall))) => {
                let short = format!("it ended after {streamed} of {poured} bytes");
                (streamed, stall, (poured != streamed).then_some(short))
            }
            (poured, drunk) => {
                let why = [poured.err(), drunk.err()].into_iter().flatten();
                let why: Vec<_> = why.map(|error| format!("{error:#}")).collect();
                (0, Duration::ZERO, Some(why.join("; ")))
            }
        };
        Ok(Observed {
            sent,
            arrived,
            streamed,
            stall,
            broken,
        })
    }
}

fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread panicked"))?
}

fn send(socket: &UdpSocket, stop: &AtomicBool, clock: Clock) -> Result<Vec<Duration>> {
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let number = u32::try_from(sent.len())?;
        sent.push(elapsed(clock));
        // Without a daemon the interface has no carrier, and the kernel may refuse: then it is lost.
        let _ = socket.send(&number.to_be_bytes());
        std::thread::park_timeout(INTERVAL);
    }
    Ok(sent)
}

fn receive(socket: &UdpSocket, stop: &AtomicBool) -> Result<Vec<bool>> {
    let mut arrived = Vec::new();
    let mut buffer = [0; 4];
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) => {
                let number = usize::try_from(u32::from_be_bytes(buffer))?;
                if arrived.len() <= number {
                    arrived.resize(number + 1, false);
                }
                if let Some(arrived) = arrived.get_mut(number) {
                    *arrived = true;
                }
            }
            Err(error) if is_pause(&error) => {
                if stop.load(Ordering::Relaxed) {
                    return Ok(arrived);
                }
            }
            Err(error) => return Err(error).context("a pod cannot receive"),
        }
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The byte at a place of the stream.
fn byte(at: u64) -> u8 {
    u8::try_from(at % 251).unwrap_or(0)
}

fn pour(mut stream: TcpStream, stop: &AtomicBool) -> Result<u64> {
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        let piece: Vec<u8> = (at..at + PIECE as u64).map(byte).collect();
        let written = stream.write_all(&piece);
        written.with_context(|| format!("a pod cannot write behind byte {at}"))?;
        at += PIECE as u64;
        std::thread::park_timeout(INTERVAL);
    }
    Ok(at)
}

fn drink(mut stream: TcpStream) -> Result<(u64, Duration)> {
    let (mut at, mut stall) = (0, Duration::ZERO);
    let mut buffer = [0; 16 << 10];
    loop {
        let clock = Clock::start();
        let count = stream.read(&mut buffer);
        let count = count.with_context(|| format!("a pod cannot read behind byte {at}"))?;
        if count == 0 {
            return Ok((at, stall));
        }
        stall = stall.max(elapsed(clock));
        for got in buffer.iter().take(count) {
            if *got != byte(at) {
                return Err(anyhow!(
                    "byte {at} of the stream is {got}, not {}",
                    byte(at)
                ));
            }
            at += 1;
        }
    }
}
