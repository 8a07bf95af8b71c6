//! How do tunnel datagrams leave and reach the node?
//!
//! Owns the underlay's UDP sockets and batches over recvmmsg(2)/sendmmsg(2), with the traffic
//! class (DSCP and ECN) of every datagram in both directions. Datagrams are never fragmented
//! (DF is set) and always carry a checksum. It never looks into a payload.
//! See ip(7), udp(7), RFC 6040, RFC 8085.

mod address;
mod discarded;
mod path;
mod recv;
mod send;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;

use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Context, Result, SysError};
use crate::sockopt;
pub use discarded::discarded;
pub use path::path_mtu;
pub use recv::{Received, RecvBatch};
pub use send::{Filling, MAX_PARTS, MAX_PAYLOAD, MAX_SEGMENTS, SendBatch, Target};

/// First and last source port of a tunnel lane (RFC 7348 section 5, RFC 6335 section 6).
pub const LANE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;

/// How many random ports [`bind_tx`] tries: with half of them taken, all fail once in 2^64.
const LANE_ATTEMPTS: u64 = 64;

/// Socket buffers in bytes, as the kernel counts them (with its own overhead).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Receive buffer.
    pub receive: usize,
    /// Send buffer.
    pub send: usize,
}

impl Default for Buffers {
    /// 8 MiB each way: 40 ms of a 1.6 Gb/s burst.
    fn default() -> Self {
        Self {
            receive: 8 << 20,
            send: 8 << 20,
        }
    }
}

/// Opens a non-blocking socket that receives datagrams for `local`. With `reuse_port` several
/// share the port, if all ask for it, and the kernel keeps each flow on one of them.
///
/// # Errors
/// [`SysError::is_busy`] if another program owns the port, [`SysError::is_not_found`] if the
/// address is not on this host.
pub fn bind_rx(local: SocketAddr, reuse_port: bool, buffers: Buffers) -> Result<UdpSocket> {
    let what = || format!("receive on UDP {local}");
    let socket = open(local, buffers).context(what)?;
    socket.set_reuse_port(reuse_port).context(what)?;
    match local {
        SocketAddr::V4(_) => socket.set_recv_tos_v4(true),
        SocketAddr::V6(_) => socket.set_recv_tclass_v6(true),
    }
    .context(what)?;
    socket.bind(&local.into()).context(what)?;
    Ok(socket.into())
}

/// Opens a non-blocking socket that sends from `local` and a random free port of [`LANE_PORTS`].
/// Nobody is to answer there, so its receive buffer may be as small as the kernel makes it (0).
///
/// # Errors
/// [`SysError::is_not_found`] if the address is not on this host, [`SysError::is_busy`] if no
/// port was free.
pub fn bind_tx(local: IpAddr, buffers: Buffers) -> Result<UdpSocket> {
    let random = RandomState::new();
    let count = u64::from(LANE_PORTS.end() - LANE_PORTS.start()) + 1;
    let mut last = io::Error::from_raw_os_error(libc::EADDRINUSE);
    for attempt in 0..LANE_ATTEMPTS {
        let offset = u16::try_from(random.hash_one(attempt) % count).unwrap_or(0);
        let address = SocketAddr::new(local, LANE_PORTS.start() + offset);
        let what = || format!("send from UDP {local}");
        let socket = open(address, buffers).context(what)?;
        match socket.bind(&address.into()) {
            Ok(()) => return Ok(socket.into()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(SysError::new(what(), error)),
        }
    }
    Err(SysError::new(format!("send from UDP {local}"), last))
}

/// Lets the kernel join datagrams of one flow that came together (UDP_GRO, udp(7)): a buffer then
/// gets up to 65,507 bytes, which [`Received::segment`] tells apart.
///
/// # Errors
/// ENOPROTOOPT before Linux 5.0.
pub fn set_gro(socket: &UdpSocket) -> Result<()> {
    sockopt::set_int(socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1)
        .context(|| "join received UDP datagrams".to_owned())
}

/// Whether nobody, this process included, receives on `local`.
///
/// # Errors
/// [`SysError::is_not_found`] if the address is not on this host.
pub fn port_is_free(local: SocketAddr) -> Result<bool> {
    let what = || format!("probe UDP {local}");
    let kind = Type::DGRAM.cloexec();
    let socket = Socket::new(Domain::for_address(local), kind, None).context(what)?;
    if local.is_ipv6() {
        socket.set_only_v6(true).context(what)?;
    }
    match socket.bind(&local.into()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(false),
        Err(error) => Err(error).context(what),
    }
}

fn open(local: SocketAddr, buffers: Buffers) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(local), kind, Some(Protocol::UDP))?;
    match local {
        SocketAddr::V4(_) => set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DO)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::DO)?;
            sockopt::set_int(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)?;
        }
    }
    set_buffer(
        socket.as_fd(),
        libc::SO_RCVBUFFORCE,
        libc::SO_RCVBUF,
        buffers.receive,
    )?;
    set_buffer(
        socket.as_fd(),
        libc::SO_SNDBUFFORCE,
        libc::SO_SNDBUF,
        buffers.send,
    )?;
    Ok(socket)
}

/// Sets a buffer past the system's limit, or up to it without CAP_NET_ADMIN.
fn set_buffer(
    fd: BorrowedFd<'_>,
    force: libc::c_int,
    plain: libc::c_int,
    size: usize,
) -> io::Result<()> {
    let size = libc::c_int::try_from(size).unwrap_or(libc::c_int::MAX);
    sockopt::set_int(fd, libc::SOL_SOCKET, force, size)
        .or_else(|_| sockopt::set_int(fd, libc::SOL_SOCKET, plain, size))
}

/// A message header that points at nothing.
fn empty_header() -> libc::mmsghdr {
    libc::mmsghdr {
        msg_hdr: libc::msghdr {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        },
        msg_len: 0,
    }
}

#[cfg(test)]
mod tests;
