//! Do two hosts understand each other?
//!
//! Owns TCP and UDP exchanges whose every byte is checked, and asking a host what it believes the
//! MTU of a path to be. Errors are values, so that a test can list all pairs that fail.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};

use super::clock::now;
use super::host::{Family, Host};

/// How long one packet may take: long enough for a busy machine, reached by a loss only.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// How long an ICMP error may take, which is not sent where many were sent just before.
pub(crate) const ERROR_PATIENCE: Duration = Duration::from_millis(500);
const CHUNK: usize = 64 * 1024;

/// The byte at a place of the test stream: no two neighbouring packets look alike.
pub(crate) fn pattern(offset: usize, length: usize) -> Vec<u8> {
    (offset..offset + length)
        .map(|at| (at.wrapping_mul(0x9e37_79b1) >> 13).to_le_bytes()[0])
        .collect()
}

/// Sends `bytes` from client to server and back over TCP; every byte is compared.
/// Answers how long it took, connection included.
pub(crate) fn tcp(
    client: &Host,
    server: &Host,
    family: Family,
    bytes: usize,
    limit: Duration,
) -> Result<Duration, String> {
    let listener = server.listen(family);
    let address = listener.local_addr().map_err(text("listen"))?;
    let began = now();
    let near = client
        .run(|| TcpStream::connect_timeout(&address, limit))
        .map_err(text("connect"))?;
    let (far, from) = listener.accept().map_err(text("accept"))?;
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(limit)).map_err(text("set"))?;
        stream.set_write_timeout(Some(limit)).map_err(text("set"))?;
        stream.set_nodelay(true).map_err(text("set"))?;
    }
    if from.ip() != client.address(family) {
        return Err(format!(
            "the server saw {from} instead of {}",
            client.address(family)
        ));
    }
    // The limit is for the whole exchange: whoever is late is cut off.
    thread::scope(|scope| {
        let answer = scope.spawn(|| {
            receive(&far, bytes).map_err(|e| format!("server: {e}"))?;
            send(&far, bytes).map_err(|e| format!("server: {e}"))
        });
        let sent = send(&near, bytes)
            .and_then(|()| receive(&near, bytes))
            .map_err(|e| format!("client: {e}"));
        if sent.is_err() {
            let _ = far.shutdown(Shutdown::Both);
        }
        let answered = answer.join().unwrap_or_else(|_| Err("panicked".to_owned()));
        sent.and(answered)
    })?;
    let took = now() - began;
    if took > limit {
        return Err(format!("took {took:?}, longer than {limit:?}"));
    }
    Ok(took)
}

fn send(mut stream: &TcpStream, bytes: usize) -> Result<(), String> {
    let mut at = 0;
    while at < bytes {
        let chunk = pattern(at, CHUNK.min(bytes - at));
        stream
            .write_all(&chunk)
            .map_err(|e| format!("write at {at} of {bytes}: {e}"))?;
        at += chunk.len();
    }
    Ok(())
}

fn receive(mut stream: &TcpStream, bytes: usize) -> Result<(), String> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < bytes {
        let room = CHUNK.min(bytes - at);
        let read = stream
            .read(&mut buffer[..room])
            .map_err(|e| format!("read at {at} of {bytes}: {e}"))?;
        if read == 0 {
            return Err(format!("closed at {at} of {bytes}"));
        }
        if buffer[..read] != pattern(at, read) {
            return Err(format!("other bytes within {at}..{}", at + read));
        }
        at += read;
    }
    Ok(())
}

/// Sends a datagram of `bytes` there and back; both are compared, and so is the sender's address.
pub(crate) fn udp(
    client: &Host,
    server: &Host,
    family: Family,
    bytes: usize,
) -> Result<(), String> {
    let near = client.udp(family, 0);
    let far = server.udp(family, 0);
    fragments(&near, family, Fragments::Forbidden);
    fragments(&far, family, Fragments::Forbidden);
    one_way(&near, &far, bytes).map_err(|e| format!("there: {e}"))?;
    one_way(&far, &near, bytes).map_err(|e| format!("back: {e}"))
}

/// Sends one datagram to where `to` is bound and compares what arrives.
pub(crate) fn one_way(from: &UdpSocket, to: &UdpSocket, bytes: usize) -> Result<(), String> {
    let sent = pattern(bytes, bytes);
    let address = to.local_addr().map_err(text("address"))?;
    from.send_to(&sent, address).map_err(text("send"))?;
    to.set_read_timeout(Some(PATIENCE)).map_err(text("set"))?;
    let mut buffer = vec![0; 65_536];
    let (length, source) = to.recv_from(&mut buffer).map_err(text("receive"))?;
    let expected = from.local_addr().map_err(text("address"))?;
    if source != expected {
        return Err(format!("came from {source} instead of {expected}"));
    }
    if buffer[..length] != sent {
        return Err(format!("{length} bytes that are not the {bytes} sent"));
    }
    Ok(())
}

/// Sends a datagram of `bytes` with DF that no way can carry, whatever the host has learned of it;
/// fine if the socket is told so, by the interface at once or by an ICMP error.
pub(crate) fn too_big(from: &Host, to: IpAddr, bytes: usize) -> Result<(), String> {
    let family = Family::of(to);
    let socket = from.udp(family, 0);
    fragments(&socket, family, Fragments::Forbidden);
    // Any port: the datagram does not get there.
    socket
        .connect(SocketAddr::new(to, 9))
        .map_err(text("connect"))?;
    socket
        .set_read_timeout(Some(ERROR_PATIENCE))
        .map_err(text("set"))?;
    let told = socket
        .send(&pattern(0, bytes))
        .and_then(|_| socket.recv(&mut [0; 1]));
    let too_big = rustix::io::Errno::MSGSIZE.raw_os_error();
    match told {
        Err(error) if error.raw_os_error() == Some(too_big) => Ok(()),
        other => Err(format!("{other:?} instead of EMSGSIZE")),
    }
}

/// Whether routers may fragment what a socket sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragments {
    /// DF, and the path MTU that the host has learned is ignored: the packet leaves as it is.
    Forbidden,
    /// No DF (IPv4); the host itself fragments at the path MTU.
    Allowed,
}

/// Sets [`Fragments`] for a socket of a family.
pub(crate) fn fragments(socket: &UdpSocket, family: Family, fragments: Fragments) {
    let set = match (family, fragments) {
        (Family::V4, Fragments::Forbidden) => {
            sockopt::set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE)
        }
        (Family::V4, Fragments::Allowed) => {
            sockopt::set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DONT)
        }
        (Family::V6, Fragments::Forbidden) => {
            sockopt::set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)
        }
        (Family::V6, Fragments::Allowed) => {
            sockopt::set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DONT)
        }
    };
    set.unwrap_or_else(|error| panic!("set path MTU discovery: {error}"));
}

/// What a host believes the MTU of its path to an address to be.
pub(crate) fn path_mtu(host: &Host, to: IpAddr) -> u32 {
    let family = Family::of(to);
    let socket = host.udp(family, 0);
    socket
        .connect(SocketAddr::new(to, 9))
        .unwrap_or_else(|error| panic!("{host}: connect to {to}: {error}"));
    let mtu = match family {
        Family::V4 => sockopt::ip_mtu(&socket),
        Family::V6 => sockopt::ipv6_mtu(&socket),
    };
    mtu.unwrap_or_else(|error| panic!("{host}: path MTU to {to}: {error}"))
}

fn text<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}
