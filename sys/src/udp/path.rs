//! How large a datagram does the way to a host carry?
//!
//! Owns one question to the kernel; sends nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::sockopt::{ip_mtu, ipv6_mtu};
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Context, Result};

/// The path MTU from `local` to `to`, in bytes of the IP packet, as the kernel knows it now: the
/// MTU of the route or of its interface, or less where a router has said so (RFC 1191, RFC 8201)
/// within the last minutes.
///
/// # Errors
/// When `local` is not on this host, or no route leads to `to`.
pub fn path_mtu(local: IpAddr, to: SocketAddr) -> Result<u32> {
    let what = || format!("ask for the path MTU from {local} to {to}");
    let kind = Type::DGRAM.cloexec();
    let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::UDP)).context(what)?;
    socket
        .bind(&SocketAddr::new(local, 0).into())
        .context(what)?;
    // Of a datagram socket that only chooses the route.
    socket.connect(&to.into()).context(what)?;
    match to {
        SocketAddr::V4(_) => ip_mtu(&socket),
        SocketAddr::V6(_) => ipv6_mtu(&socket),
    }
    .map_err(io::Error::from)
    .context(what)
}
