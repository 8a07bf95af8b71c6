//! How are interfaces, addresses, routes and neighbours of a namespace read and changed?
//!
//! Owns rtnetlink(7): one blocking socket, and one module per kind of object, each with an
//! idempotent `ensure` and a `list`. Sockets speak to the namespace they were opened in. It never
//! remembers what it configured: the kernel is asked.

pub mod addr;
pub mod link;
mod message;
pub mod neigh;
pub mod route;
mod socket;
mod tun;
mod vxlan;

use std::net::IpAddr;

pub(crate) use message::{Attributes, Message};
pub use socket::Netlink;

/// `AF_INET` or `AF_INET6`, as the one byte rtnetlink headers have for it.
pub(crate) fn family(ip: IpAddr) -> u8 {
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// The bytes of an address in network order.
pub(crate) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The address whose bytes an attribute holds.
fn ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}
