//! Which connections go on by rules that are no more?
//!
//! A rule decides about a connection's first packet alone; the rest follows what the kernel
//! remembers, for as long as there is traffic. Owns finding and forgetting what leads to an address
//! that is given up, or past a host port that is new. See linux/netfilter/nfnetlink_conntrack.h.

use std::net::IpAddr;

use super::forward::{HostPort, Transport};
use crate::error::Result;
use crate::netlink::{Attributes, Message, Netlink, octets};

/// The subsystem, in the high byte of a message's type.
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

/// `struct nfgenmsg`.
const FIXED: usize = 4;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const IP_V4_SOURCE: u16 = 1;
const IP_V6_SOURCE: u16 = 3;

const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const DESTINATION_PORT: u16 = 3;

/// The source was rewritten.
const SRC_NAT: u32 = 1 << 4;
/// The destination was rewritten.
const DST_NAT: u32 = 1 << 5;

/// Forgets every connection of the calling thread's namespace that is redirected to `to`; returns
/// how many there were.
///
/// # Errors
/// If the kernel cannot list connections; a permission error without CAP_NET_ADMIN.
pub fn forget_redirected(to: IpAddr) -> Result<usize> {
    forget(to.is_ipv4(), |connection| {
        let answers = connection.source(TUPLE_REPLY);
        connection.has(DST_NAT) && answers == Some(&octets(to)[..])
    })
}

/// Forgets what senders of datagrams began while a host port led nowhere: by what the kernel
/// remembers, it would go on to lead nowhere for them. Returns how many there were.
///
/// # Errors
/// As [`forget_redirected`].
pub fn forget_undirected(port: &HostPort) -> Result<usize> {
    if port.protocol != Transport::Udp {
        // What finds a port closed gives up.
        return Ok(0);
    }
    forget(port.to.0.is_ipv4(), |connection| {
        !connection.has(SRC_NAT | DST_NAT) && connection.is_datagrams_to(port.host_port)
    })
}

/// Forgets the connections of a family that are `meant`.
fn forget(v4: bool, meant: impl Fn(Connection<'_>) -> bool) -> Result<usize> {
    let mut netlink = Netlink::open_protocol(libc::NETLINK_NETFILTER)?;
    let what = || "list tracked connections".to_owned();
    let all = netlink.ask(|| message(GET, libc::NLM_F_DUMP, v4), what)?;
    let mut forgotten = 0;
    for payload in all {
        let connection = Connection(Attributes::after(&payload, FIXED));
        let Some(delete) = connection.deletion(v4).filter(|_| meant(connection)) else {
            continue;
        };
        match netlink.request(delete, || "forget a tracked connection".to_owned()) {
            Ok(()) => forgotten += 1,
            // It ended by itself.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(forgotten)
}

/// One that the kernel tracks.
#[derive(Clone, Copy)]
struct Connection<'a>(Attributes<'a>);

impl<'a> Connection<'a> {
    /// Whether any of these bits is set in its status.
    fn has(self, bits: u32) -> bool {
        let status = self.0.get(STATUS).and_then(|s| s.try_into().ok());
        status.is_some_and(|s| u32::from_be_bytes(s) & bits != 0)
    }

    /// Who sends in a direction.
    fn source(self, direction: u16) -> Option<&'a [u8]> {
        let addresses = self.0.inside(direction).inside(TUPLE_IP);
        let v4 = addresses.get(IP_V4_SOURCE);
        v4.or_else(|| addresses.get(IP_V6_SOURCE))
    }

    fn is_datagrams_to(self, port: u16) -> bool {
        const UDP: u8 = 17;
        let original = self.0.inside(TUPLE_ORIGINAL).inside(TUPLE_PROTOCOL);
        let to = original.get(DESTINATION_PORT);
        original.u8(PROTOCOL_NUMBER) == Some(UDP) && to == Some(&port.to_be_bytes()[..])
    }

    /// With its number, so that it is this one and not its successor.
    fn deletion(self, v4: bool) -> Option<Message> {
        let original = self.0.get(TUPLE_ORIGINAL)?;
        let message = message(DELETE, libc::NLM_F_ACK, v4);
        let message = message.nest(TUPLE_ORIGINAL, |tuple| tuple.put(original));
        let message = message.attr_opt(ID, self.0.get(ID));
        Some(message.attr_opt(ZONE, self.0.get(ZONE)))
    }
}

fn message(kind: u16, flags: libc::c_int, v4: bool) -> Message {
    let family = if v4 { libc::AF_INET } else { libc::AF_INET6 };
    let family = u8::try_from(family).unwrap_or_default();
    Message::new(kind, libc::NLM_F_REQUEST | flags).put(&[family, 0, 0, 0])
}
