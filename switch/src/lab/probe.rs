//! Does a packet get from here to there, and what answers?
//!
//! Owns real connections from inside a namespace: TCP connects and reads the responder's line, UDP
//! asks and waits, SCTP sends an INIT, ICMP and ICMPv6 an echo request. Many at a time on one
//! thread. A refusal is an answer: the packet arrived and nothing listens there. Silence proves
//! something only while others are answered, so who is expected to be silent is waited for until
//! everybody else has answered.

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
use super::sctp;
use super::time::Stopwatch;

/// Sockets open at once on one thread.
const AT_ONCE: usize = 256;
/// What a UDP probe says; a larger one goes on with zeros.
const QUESTION: &[u8] = b"weft lab probe\n";
/// Payload of an echo request, bytes.
const ECHO: u16 = 32;
/// How often UDP, SCTP and ICMP ask within the time limit.
const TRIES: u32 = 4;

/// Where to and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    /// Bytes that a UDP or ICMP probe carries; more than fits a packet goes in fragments.
    pub(crate) size: Option<u16>,
    /// How long an answer is waited for; longer while a probe beside it still waits.
    pub(crate) limit: Duration,
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

/// Tries every target from inside a namespace.
pub(crate) fn run(netns: &Netns, targets: &[Target]) -> LabResult<Vec<Outcome>> {
    let all = netns.run(|| {
        let chunks = targets.chunks(AT_ONCE).map(batch);
        chunks.collect::<io::Result<Vec<_>>>()
    })?;
    let all = all.map_err(|e| LabError::failed(format!("cannot send probes: {e}"), ""))?;
    Ok(all.into_iter().flatten().collect())
}

fn batch(targets: &[Target]) -> io::Result<Vec<Outcome>> {
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
    while let Some(pause) = next_event(&attempts, watch) {
        match poll.poll(&mut events, Some(pause.max(Duration::from_millis(1)))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        for event in &events {
            if let Some(attempt) = attempts.get_mut(event.token().0) {
                attempt.advance(watch);
            }
        }
        for attempt in &mut attempts {
            attempt.ask_again(watch);
        }
    }
    Ok(attempts.into_iter().map(Attempt::finish).collect())
}

/// How long until something is to be done without an event; none when all is decided.
fn next_event(attempts: &[Attempt], watch: Stopwatch) -> Option<Duration> {
    let open = || attempts.iter().filter(|a| a.outcome.is_none());
    let left = open().filter_map(|a| watch.left(a.target.limit)).max()?;
    let tries = open().filter_map(|a| watch.left(a.next_try()));
    Some(tries.min().map_or(left, |next| next.min(left)))
}

/// One target being tried.
struct Attempt {
    target: Target,
    socket: Option<Socket>,
    /// Echo identifier, so that attempts do not take each other's replies.
    id: u16,
    /// How often it has been asked.
    tries: u32,
    /// Whether it must be asked anew at once.
    refit: bool,
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
            tries: 1,
            refit: false,
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
            Protocol::Sctp => Socket::new(domain, Type::RAW, Some(sctp::PROTOCOL.into()))?,
            Protocol::Icmp if domain == Domain::IPV4 => {
                Socket::new(domain, Type::RAW, Some(IpProto::ICMPV4))?
            }
            Protocol::Icmp => Socket::new(domain, Type::RAW, Some(IpProto::ICMPV6))?,
        };
        socket.set_nonblocking(true)?;
        let port = match self.target.protocol {
            Protocol::Tcp | Protocol::Udp => self.target.port,
            Protocol::Sctp | Protocol::Icmp => 0,
        };
        let to = SockAddr::from(SocketAddr::new(self.target.address, port));
        match socket.connect(&to) {
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => Ok(socket),
            Err(error) => Err(error),
            Ok(()) => Ok(socket),
        }
    }

    /// Sends the question of all but TCP; what the network answers shows on reading.
    fn ask(&self) {
        let Some(socket) = self.socket.as_ref().filter(|_| self.outcome.is_none()) else {
            return;
        };
        let Target { address, port, .. } = self.target;
        let size = self.target.size;
        let question = match self.target.protocol {
            Protocol::Tcp => return,
            Protocol::Udp => {
                let mut question = QUESTION.to_vec();
                question.resize(question.len().max(size.unwrap_or(0).into()), 0);
                question
            }
            Protocol::Sctp => sctp::init(self.source_port(), port, self.tag()),
            Protocol::Icmp => echo::request(address, self.id, 1, size.unwrap_or(ECHO).into()),
        };
        let _ = socket.send(&question);
    }

    /// Port and tag of an SCTP probe, which no socket keeps for us.
    const fn source_port(&self) -> u16 {
        32_768 + self.id % 16_384
    }

    fn tag(&self) -> u32 {
        1 + u32::from(self.id)
    }

    /// When it is asked once more.
    fn next_try(&self) -> Duration {
        self.target.limit * self.tries / TRIES
    }

    fn ask_again(&mut self, watch: Stopwatch) {
        let due = self.tries < TRIES && watch.left(self.next_try()).is_none();
        if std::mem::take(&mut self.refit) {
            self.ask();
        } else if due && self.outcome.is_none() {
            self.tries += 1;
            self.ask();
        }
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
        if let Ok(Some(error)) = socket.take_error()
            && !self.is_fitted(&error)
        {
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
                Err(error) if self.is_fitted(&error) => {}
                Err(error) => return self.settle_error(&error, watch),
            }
        }
    }

    /// Whether the way turned out narrower than the packet: the kernel knows now, and cuts the
    /// next question to fit.
    fn is_fitted(&mut self, error: &io::Error) -> bool {
        let fitted = error.raw_os_error() == Some(EMSGSIZE) && self.target.size.is_some();
        if fitted {
            self.refit = true;
        }
        fitted
    }

    /// The answer, if these bytes complete one.
    fn answered(&mut self, bytes: &[u8]) -> Option<String> {
        match self.target.protocol {
            Protocol::Icmp => echo::is_reply(self.target.address, self.id, 1, bytes)
                .then(|| "echo reply".to_owned()),
            Protocol::Udp => Some(first_line(bytes)),
            Protocol::Sctp => {
                let ports = (self.source_port(), self.target.port);
                let ipv4 = self.target.address.is_ipv4();
                sctp::is_answer(bytes, ipv4, ports, self.tag()).map(|text| first_line(&text))
            }
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
        let Target { port, protocol, .. } = self.target;
        // How a kernel without SCTP answers: the packet arrived all the same.
        let unknown = matches!(error.raw_os_error(), Some(ENOPROTOOPT | EPROTO));
        let refused = error.kind() == io::ErrorKind::ConnectionRefused;
        self.outcome = Some(if refused || (protocol == Protocol::Sctp && unknown) {
            let answer = format!("nothing listens on {port}/{protocol}");
            Outcome {
                verdict: Verdict::Allow,
                rtt: Some(watch.elapsed()),
                answer,
            }
        } else {
            Outcome::deny(plain(error))
        });
    }

    fn finish(self) -> Outcome {
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
        let limit = self.target.limit;
        Outcome::deny(format!("no answer within {limit:?}"))
    }
}

/// Errors of Linux which `std::io::ErrorKind` has no stable name for.
const EPROTO: i32 = 71;
const EMSGSIZE: i32 = 90;
const ENOPROTOOPT: i32 = 92;
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
