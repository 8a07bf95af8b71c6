//! Does a packet get from here to there, and what answers?
//!
//! Owns real connections from inside a namespace: TCP connects and reads the responder's line, UDP
//! asks and waits, ICMP and ICMPv6 send an echo request. Many at a time on one thread, all within
//! one time limit. A refusal is an answer: the packet arrived and nothing listens there.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol as IpProto, SockAddr, Socket, Type};
use weft_sys::netns::Netns;

use super::echo;
use super::endpoint::{Protocol, Verdict};
use super::error::{LabError, LabResult};
use super::time::Stopwatch;

/// Sockets open at once on one thread.
const AT_ONCE: usize = 64;
/// What a UDP probe says.
const QUESTION: &[u8] = b"weft lab probe\n";
/// How often UDP and ICMP ask within the time limit.
const TRIES: u32 = 4;

/// Where to and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// From the first packet to the first answer.
    pub(crate) rtt: Option<Duration>,
    /// The responder's line, or why there is none.
    pub(crate) answer: String,
}

impl Outcome {
    pub(crate) const fn allowed(&self) -> bool {
        matches!(self.verdict, Verdict::Allow)
    }

    fn deny(answer: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Deny,
            rtt: None,
            answer: answer.into(),
        }
    }
}

/// Tries every target from inside a namespace; each gets `limit`.
pub(crate) fn run(netns: &Netns, targets: &[Target], limit: Duration) -> LabResult<Vec<Outcome>> {
    let all = netns.run(|| {
        let chunks = targets.chunks(AT_ONCE).map(|chunk| batch(chunk, limit));
        chunks.collect::<io::Result<Vec<_>>>()
    })?;
    let all = all.map_err(|e| LabError::failed(format!("cannot send probes: {e}"), ""))?;
    Ok(all.into_iter().flatten().collect())
}

fn batch(targets: &[Target], limit: Duration) -> io::Result<Vec<Outcome>> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(AT_ONCE);
    let watch = Stopwatch::start();
    let mut attempts: Vec<Attempt> = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        let attempt = Attempt::start(*target, index, watch);
        if let Some(socket) = attempt
            .socket
            .as_ref()
            .filter(|_| attempt.outcome.is_none())
        {
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut SourceFd(&socket.as_raw_fd()), Token(index), interest)?;
        }
        attempts.push(attempt);
    }
    let mut tries = 1;
    while attempts.iter().any(|a| a.outcome.is_none()) {
        let Some(left) = watch.left(limit) else { break };
        let next_try = watch.left(limit * tries / TRIES).unwrap_or(Duration::ZERO);
        match poll.poll(
            &mut events,
            Some(left.min(next_try.max(Duration::from_millis(1)))),
        ) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        for event in &events {
            if let Some(attempt) = attempts.get_mut(event.token().0) {
                attempt.advance(watch);
            }
        }
        if watch.left(limit * tries / TRIES).is_none() {
            tries += 1;
            attempts.iter_mut().for_each(Attempt::ask_again);
        }
    }
    Ok(attempts.into_iter().map(|a| a.finish(limit)).collect())
}

/// One target being tried.
struct Attempt {
    target: Target,
    socket: Option<Socket>,
    /// Echo identifier, so that attempts do not take each other's replies.
    id: u16,
    /// When TCP was connected.
    connected: Option<Duration>,
    line: Vec<u8>,
    outcome: Option<Outcome>,
}

impl Attempt {
    fn start(target: Target, index: usize, watch: Stopwatch) -> Self {
        // Differs between processes and between attempts of one.
        let id = (std::process::id() as usize)
            .wrapping_mul(31)
            .wrapping_add(index)
            & 0xffff;
        let mut attempt = Self {
            target,
            socket: None,
            id: u16::try_from(id).unwrap_or(1),
            connected: None,
            line: Vec::new(),
            outcome: None,
        };
        match attempt.open() {
            Ok(socket) => attempt.socket = Some(socket),
            Err(error) => attempt.settle_error(&error, watch),
        }
        attempt.ask();
        attempt
    }

    fn open(&self) -> io::Result<Socket> {
        let domain = Domain::for_address(SocketAddr::new(self.target.address, 0));
        let socket = match self.target.protocol {
            Protocol::Tcp => Socket::new(domain, Type::STREAM, None)?,
            Protocol::Udp => Socket::new(domain, Type::DGRAM, None)?,
            Protocol::Icmp if domain == Domain::IPV4 => {
                Socket::new(domain, Type::RAW, Some(IpProto::ICMPV4))?
            }
            Protocol::Icmp => Socket::new(domain, Type::RAW, Some(IpProto::ICMPV6))?,
        };
        socket.set_nonblocking(true)?;
        let port = if self.target.protocol == Protocol::Icmp {
            0
        } else {
            self.target.port
        };
        let to = SockAddr::from(SocketAddr::new(self.target.address, port));
        match socket.connect(&to) {
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => Ok(socket),
            Err(error) => Err(error),
            Ok(()) => Ok(socket),
        }
    }

    /// Sends the question of UDP and ICMP; what the network answers shows on reading.
    fn ask(&self) {
        let Some(socket) = self.socket.as_ref().filter(|_| self.outcome.is_none()) else {
            return;
        };
        let _ = match self.target.protocol {
            Protocol::Tcp => Ok(0),
            Protocol::Udp => socket.send(QUESTION),
            Protocol::Icmp => socket.send(&echo::request(self.target.address, self.id, 1, 32)),
        };
    }

    fn ask_again(&mut self) {
        self.ask();
    }

    /// Reads what has come.
    fn advance(&mut self, watch: Stopwatch) {
        if self.outcome.is_some() {
            return;
        }
        let Some(socket) = self.socket.take() else {
            return;
        };
        self.read(&socket, watch);
        self.socket = Some(socket);
    }

    fn read(&mut self, socket: &Socket, watch: Stopwatch) {
        if let Ok(Some(error)) = socket.take_error() {
            return self.settle_error(&error, watch);
        }
        if self.target.protocol == Protocol::Tcp && self.connected.is_none() {
            if socket.peer_addr().is_err() {
                return;
            }
            self.connected = Some(watch.elapsed());
        }
        let mut buffer = [0u8; 2048];
        loop {
            match (&mut &*socket).read(&mut buffer) {
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    if let Some(answer) = self.answered(bytes) {
                        let rtt = self.connected.unwrap_or_else(|| watch.elapsed());
                        self.outcome = Some(Outcome {
                            verdict: Verdict::Allow,
                            rtt: Some(rtt),
                            answer,
                        });
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.settle_error(&error, watch),
            }
        }
    }

    /// The answer, if these bytes complete one.
    fn answered(&mut self, bytes: &[u8]) -> Option<String> {
        match self.target.protocol {
            Protocol::Icmp => echo::is_reply(self.target.address, self.id, 1, bytes)
                .then(|| "echo reply".to_owned()),
            Protocol::Udp => Some(first_line(bytes)),
            Protocol::Tcp => {
                self.line.extend_from_slice(bytes);
                let done = bytes.is_empty() || self.line.contains(&b'\n') || self.line.len() > 512;
                done.then(|| {
                    if self.line.is_empty() {
                        "closed without a word".to_owned()
                    } else {
                        first_line(&self.line)
                    }
                })
            }
        }
    }

    fn settle_error(&mut self, error: &io::Error, watch: Stopwatch) {
        let refused = error.kind() == io::ErrorKind::ConnectionRefused;
        self.outcome = Some(if refused {
            let answer = format!(
                "nothing listens on {}/{}",
                self.target.port, self.target.protocol
            );
            Outcome {
                verdict: Verdict::Allow,
                rtt: Some(watch.elapsed()),
                answer,
            }
        } else {
            Outcome::deny(plain(error))
        });
    }

    fn finish(self, limit: Duration) -> Outcome {
        if let Some(outcome) = self.outcome {
            return outcome;
        }
        if let Some(rtt) = self.connected {
            let answer = "connected, no line".to_owned();
            return Outcome {
                verdict: Verdict::Allow,
                rtt: Some(rtt),
                answer,
            };
        }
        Outcome::deny(format!("no answer within {limit:?}"))
    }
}

/// `EINPROGRESS` of Linux, which `std::io::ErrorKind` has no stable name for.
const EINPROGRESS: i32 = 115;

fn first_line(bytes: &[u8]) -> String {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line)
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}

/// The system's words without the error number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase()
}
