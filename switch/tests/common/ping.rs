//! What answers an echo request of an exact size, TTL and fragmentation?
//!
//! Owns raw ICMP sockets (RFC 792, RFC 4443) and the reading of replies and errors. An error counts
//! as the answer only if it quotes the request.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::clock::now;
use super::host::{Family, Host};
use super::talk::{self, Fragments, PATIENCE};

const ICMP_HEADER: usize = 8;

/// An echo request to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ping {
    pub(crate) to: IpAddr,
    /// Bytes of the IP packet.
    pub(crate) size: usize,
    pub(crate) fragments: Fragments,
    pub(crate) ttl: u32,
    /// Outgoing interface, for link-local destinations.
    pub(crate) scope: u32,
    pub(crate) patience: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Reply(IpAddr),
    /// Fragmentation needed, or packet too big: from whom, and the MTU.
    TooBig(IpAddr, u32),
    TimeExceeded(IpAddr),
    /// Destination unreachable: from whom, and the code.
    Unreachable(IpAddr, u8),
    /// The sender's own interface refused the size.
    NotSent,
    Silence,
}

impl Ping {
    /// A small one.
    pub(crate) fn to(to: IpAddr) -> Self {
        Self {
            to,
            size: 64,
            fragments: Fragments::Forbidden,
            ttl: 64,
            scope: 0,
            patience: PATIENCE,
        }
    }

    pub(crate) fn size(self, size: u32) -> Self {
        let size = usize::try_from(size).expect("a packet's size fits");
        Self { size, ..self }
    }

    pub(crate) fn ttl(self, ttl: u32) -> Self {
        Self { ttl, ..self }
    }

    /// Sends it from a host and waits for the answer.
    pub(crate) fn from(self, host: &Host) -> Answer {
        let family = Family::of(self.to);
        let socket = self.socket(host, family);
        let id = next_id();
        let request = self.request(family, id);
        let to = match SocketAddr::new(self.to, 0) {
            SocketAddr::V6(mut to) => {
                to.set_scope_id(self.scope);
                SocketAddr::V6(to)
            }
            to => to,
        };
        if let Err(error) = socket.send_to(&request, to) {
            let too_big = error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error());
            assert!(too_big, "{host}: ping {to}: {error}");
            return Answer::NotSent;
        }
        self.answer(&socket, &request)
    }

    fn socket(&self, host: &Host, family: Family) -> UdpSocket {
        let open = || -> std::io::Result<Socket> {
            match family {
                Family::V4 => {
                    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
                    socket.set_ttl_v4(self.ttl)?;
                    Ok(socket)
                }
                Family::V6 => {
                    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
                    socket.set_unicast_hops_v6(self.ttl)?;
                    Ok(socket)
                }
            }
        };
        let socket = host
            .run(open)
            .unwrap_or_else(|error| panic!("{host}: raw ICMP socket: {error}"));
        let socket = UdpSocket::from(socket);
        talk::fragments(&socket, family, self.fragments);
        socket
    }

    /// The ICMP message; the kernel fills in the checksum of an ICMPv6 one.
    fn request(&self, family: Family, id: u16) -> Vec<u8> {
        let kind = match family {
            Family::V4 => 8,
            Family::V6 => 128,
        };
        let payload = self.size - family.ip_header() - ICMP_HEADER;
        let mut message = vec![kind, 0, 0, 0];
        message.extend(id.to_be_bytes());
        message.extend([0, 1]);
        message.extend(talk::pattern(0, payload));
        if family == Family::V4 {
            let checksum = internet_checksum(&message);
            message[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        message
    }

    fn answer(&self, socket: &UdpSocket, request: &[u8]) -> Answer {
        let end = now() + self.patience;
        let mut buffer = vec![0; 65_536];
        loop {
            let left = end.saturating_duration_since(now());
            if left.is_zero() {
                return Answer::Silence;
            }
            socket.set_read_timeout(Some(left)).expect("not zero");
            let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            let packet = &buffer[..length];
            let answer = match from.ip() {
                IpAddr::V4(_) => {
                    let header = usize::from(packet[0] & 0xf) * 4;
                    read_v4(from.ip(), &packet[header..], request)
                }
                IpAddr::V6(_) => read_v6(from.ip(), packet, request),
            };
            if let Some(answer) = answer {
                return answer;
            }
        }
    }
}

/// The routers on the way to an address, and who answers at its end.
pub(crate) fn traceroute(host: &Host, to: IpAddr) -> Vec<Answer> {
    let mut hops = Vec::new();
    for ttl in 1..=8 {
        let answer = Ping::to(to).ttl(ttl).from(host);
        hops.push(answer);
        if !matches!(answer, Answer::TimeExceeded(_)) {
            break;
        }
    }
    hops
}

fn next_id() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn read_v4(from: IpAddr, message: &[u8], request: &[u8]) -> Option<Answer> {
    if message.first() == Some(&0) {
        return (message.get(4..)? == &request[4..]).then_some(Answer::Reply(from));
    }
    let quoted = message.get(ICMP_HEADER..)?;
    let header = usize::from(quoted.first()? & 0xf) * 4;
    if quoted.get(header..header + ICMP_HEADER)? != &request[..ICMP_HEADER] {
        return None;
    }
    Some(match (message[0], message[1]) {
        (3, 4) => Answer::TooBig(
            from,
            u32::from(u16::from_be_bytes([message[6], message[7]])),
        ),
        (3, code) => Answer::Unreachable(from, code),
        (11, 0) => Answer::TimeExceeded(from),
        _ => return None,
    })
}

fn read_v6(from: IpAddr, message: &[u8], request: &[u8]) -> Option<Answer> {
    if message.first() == Some(&129) {
        return (message.get(4..)? == &request[4..]).then_some(Answer::Reply(from));
    }
    let quoted = message.get(ICMP_HEADER + Family::V6.ip_header()..)?;
    // The kernel filled in the checksum of what was sent.
    if quoted.first()? != &request[0] || quoted.get(4..8)? != &request[4..8] {
        return None;
    }
    let word = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
    Some(match (message[0], message[1]) {
        (2, 0) => Answer::TooBig(from, word),
        (1, code) => Answer::Unreachable(from, code),
        (3, 0) => Answer::TimeExceeded(from),
        _ => return None,
    })
}

/// RFC 1071, the plain way.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}
