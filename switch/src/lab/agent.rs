//! Who answers on the pods' ports?
//!
//! Owns the agent process: one thread and one poll for the listeners of every namespace. On TCP it
//! says its name in one line and then echoes until the other side is done; on UDP it answers each
//! datagram with its name, on SCTP it refuses every association by its name. It holds no state
//! worth keeping: it can be killed at any time.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::path::Path;

use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Registry, Token};
use socket2::{Domain, Socket, Type};
use weft_sys::netns::Netns;

use super::endpoint::Protocol;
use super::error::{LabError, LabResult};
use super::helper::READY;
use super::plan::Listen;
use super::responders::{Responder, Responders};
use super::sctp;
use super::yaml;

/// Connections at once; more are closed at the door.
const CONNECTIONS_MAX: usize = 4096;
/// What an echo holds back while its peer does not read, bytes.
const PENDING_MAX: usize = 64 * 1024;

/// Serves until it is ended.
pub(crate) fn run(state: &Path) -> LabResult<()> {
    // A listener per port and address of every pod may be more than a shell's limit.
    weft_sys::limits::raise_open_files()?;
    let text = yaml::read(&state.join("agent.json"))?;
    let responders: Responders = serde_json::from_str(&text)
        .map_err(|e| LabError::failed(format!("agent.json is damaged: {e}"), "weft lab up"))?;
    let mut agent = Agent::new().map_err(|e| LabError::failed(format!("cannot poll: {e}"), ""))?;
    for responder in &responders.all {
        agent.listen(responder)?;
    }
    println!("{READY}");
    agent
        .serve()
        .map_err(|e| LabError::failed(format!("cannot poll: {e}"), ""))
}

enum Door {
    Tcp {
        listener: TcpListener,
        who: usize,
    },
    Udp {
        socket: UdpSocket,
        who: usize,
    },
    /// A raw socket; but for its protocol it is used as a datagram socket.
    Sctp {
        socket: UdpSocket,
        ipv4: bool,
        who: usize,
    },
    Talk(Talk),
}

/// One TCP connection.
struct Talk {
    stream: TcpStream,
    /// Bytes still to be written.
    pending: Vec<u8>,
    finished: bool,
}

struct Agent {
    poll: Poll,
    names: Vec<(String, bool)>,
    doors: BTreeMap<usize, Door>,
    next: usize,
}

impl Agent {
    fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            names: Vec::new(),
            doors: BTreeMap::new(),
            next: 0,
        })
    }

    /// Opens every listener of one namespace, inside it.
    fn listen(&mut self, responder: &Responder) -> LabResult<()> {
        let who = self.names.len();
        self.names
            .push((responder.name.clone(), responder.tells_peer));
        let netns = Netns::open(&responder.netns)?;
        let opened = netns.run(|| {
            let all = responder
                .listen
                .iter()
                .filter(|listen| listen.protocol != Protocol::Sctp)
                .map(|listen| open(*listen, &responder.addresses));
            let mut opened = all.collect::<io::Result<Vec<_>>>()?;
            // One for all ports, those nobody listens on too: any SCTP refuses what it does not know.
            let all = responder.addresses.iter().map(|ip| sctp(*ip));
            opened.push(all.collect::<io::Result<_>>()?);
            Ok::<_, io::Error>(opened)
        })?;
        let failed = |e: io::Error| {
            LabError::failed(
                format!("cannot listen in {}: {e}", responder.netns),
                "see what holds the port",
            )
        };
        for opened in opened.map_err(failed)?.into_iter().flatten() {
            let door = match opened {
                Opened::Tcp(listener) => Door::Tcp {
                    listener: TcpListener::from_std(listener),
                    who,
                },
                Opened::Udp(socket) => Door::Udp {
                    socket: UdpSocket::from_std(socket),
                    who,
                },
                Opened::Sctp { socket, ipv4 } => Door::Sctp {
                    socket: UdpSocket::from_std(socket),
                    ipv4,
                    who,
                },
            };
            self.admit(door).map_err(failed)?;
        }
        Ok(())
    }

    fn admit(&mut self, mut door: Door) -> io::Result<()> {
        let token = self.next;
        self.next += 1;
        register(&mut door, self.poll.registry(), Token(token))?;
        self.doors.insert(token, door);
        Ok(())
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                self.visit(event.token().0);
            }
        }
    }

    fn visit(&mut self, token: usize) {
        let mut arrived = Vec::new();
        let done = match self.doors.get_mut(&token) {
            None => false,
            Some(Door::Tcp { listener, who }) => {
                while let Ok((stream, from)) = listener.accept() {
                    arrived.push((stream, from, *who));
                }
                false
            }
            Some(Door::Udp { socket, who }) => {
                answer(socket, self.names.get(*who));
                false
            }
            Some(Door::Sctp { socket, ipv4, who }) => {
                refuse(socket, *ipv4, self.names.get(*who));
                false
            }
            Some(Door::Talk(talk)) => talk.go_on(),
        };
        if done {
            self.doors.remove(&token);
        }
        for (stream, from, who) in arrived {
            self.greet(stream, from, who);
        }
    }

    fn greet(&mut self, stream: TcpStream, from: SocketAddr, who: usize) {
        if self.doors.len() >= CONNECTIONS_MAX {
            return;
        }
        let pending = greeting(self.names.get(who), from);
        let mut talk = Talk {
            stream,
            pending,
            finished: false,
        };
        if !talk.go_on() {
            // A connection that cannot be polled is closed by dropping it.
            let _ = self.admit(Door::Talk(talk));
        }
    }
}

fn register(door: &mut Door, registry: &Registry, token: Token) -> io::Result<()> {
    match door {
        Door::Tcp { listener, .. } => registry.register(listener, token, Interest::READABLE),
        Door::Udp { socket, .. } | Door::Sctp { socket, .. } => {
            registry.register(socket, token, Interest::READABLE)
        }
        Door::Talk(talk) => registry.register(
            &mut talk.stream,
            token,
            Interest::READABLE | Interest::WRITABLE,
        ),
    }
}

impl Talk {
    /// Writes and reads as far as the socket lets it; answers whether the connection is over.
    fn go_on(&mut self) -> bool {
        let mut buffer = [0u8; 16 * 1024];
        loop {
            while !self.pending.is_empty() {
                match self.stream.write(&self.pending) {
                    Ok(0) => return true,
                    Ok(written) => drop(self.pending.drain(..written)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return true,
                }
            }
            if self.finished {
                return self.pending.is_empty();
            }
            if self.pending.len() >= PENDING_MAX {
                return false;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.finished = true;
                    if self.pending.is_empty() {
                        let _ = self.stream.shutdown(Shutdown::Both);
                    }
                }
                Ok(read) => self
                    .pending
                    .extend_from_slice(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
    }
}

fn greeting(name: Option<&(String, bool)>, from: SocketAddr) -> Vec<u8> {
    match name {
        Some((name, true)) => format!("{name} {}\n", from.ip().to_canonical()).into_bytes(),
        Some((name, false)) => format!("{name}\n").into_bytes(),
        None => Vec::new(),
    }
}

fn answer(socket: &UdpSocket, name: Option<&(String, bool)>) {
    let mut buffer = [0u8; 2048];
    let mut errors = 0;
    while errors < 16 {
        match socket.recv_from(&mut buffer) {
            Ok((_, from)) => {
                // A datagram that cannot be answered is lost, as datagrams are.
                let _ = socket.send_to(&greeting(name, from), from);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // What an earlier answer met (a port unreachable) is reported here.
            Err(_) => errors += 1,
        }
    }
}

/// Answers every INIT; on which port does not matter, nothing is ever associated.
fn refuse(socket: &UdpSocket, ipv4: bool, name: Option<&(String, bool)>) {
    let mut buffer = [0u8; 2048];
    let mut errors = 0;
    while errors < 16 {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                let read = buffer.get(..length).unwrap_or_default();
                if let Some(answer) = sctp::answer(read, ipv4, &greeting(name, from)) {
                    // A raw socket has no ports of its own.
                    let _ = socket.send_to(&answer, SocketAddr::new(from.ip(), 0));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => errors += 1,
        }
    }
}

enum Opened {
    Tcp(std::net::TcpListener),
    Udp(std::net::UdpSocket),
    Sctp {
        socket: std::net::UdpSocket,
        ipv4: bool,
    },
}

/// TCP listens on all addresses; UDP on each, so that answers come from the one that was asked.
fn open(listen: Listen, addresses: &[IpAddr]) -> io::Result<Vec<Opened>> {
    if listen.protocol == Protocol::Udp {
        return addresses
            .iter()
            .map(|ip| udp(SocketAddr::new(*ip, listen.port)))
            .collect();
    }
    let v6 = tcp(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), listen.port));
    let v4 = || tcp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listen.port));
    // Without IPv6 in the kernel there is no socket for both families.
    Ok(vec![v6.or_else(|_| v4())?])
}

fn tcp(at: SocketAddr) -> io::Result<Opened> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    if at.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(256)?;
    Ok(Opened::Tcp(socket.into()))
}

/// Binds an address that may not be there yet.
fn udp(at: SocketAddr) -> io::Result<Opened> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, None)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    Ok(Opened::Udp(socket.into()))
}

fn sctp(address: IpAddr) -> io::Result<Opened> {
    let at = SocketAddr::new(address, 0);
    let socket = Socket::new(
        Domain::for_address(at),
        Type::RAW,
        Some(sctp::PROTOCOL.into()),
    )?;
    if at.is_ipv6() {
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    Ok(Opened::Sctp {
        socket: socket.into(),
        ipv4: at.is_ipv4(),
    })
}
