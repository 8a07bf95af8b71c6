//! Which way does a namespace send its packets?
//!
//! Owns RTM_NEWROUTE, RTM_DELROUTE and RTM_GETROUTE (rtnetlink(7)) for unicast routes with one
//! next hop, and for routes that refuse. It never touches rules or other people's routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Attributes, Message, Netlink, family, ip, octets};
use crate::error::Result;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;

const RTN_UNICAST: u8 = 1;
const RTN_UNREACHABLE: u8 = 7;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_NOWHERE: u8 = 255;
const RTNH_F_ONLINK: u32 = 4;

/// The table routes are in unless somebody says otherwise.
pub const MAIN_TABLE: u32 = 254;

/// Bytes of `struct rtmsg`.
const FIXED: usize = 12;

/// Where packets of a route go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Straight out of an interface.
    Link {
        /// The interface.
        index: u32,
    },
    /// To a router.
    Via {
        /// The router's address, of the same family as the destination.
        gateway: IpAddr,
        /// The interface; 0 lets the kernel find it.
        index: u32,
        /// Whether the router is on the link though no prefix of the interface says so.
        onlink: bool,
    },
    /// Nowhere: the sender gets an ICMP error.
    Unreachable,
}

impl Hop {
    /// The interface the packets leave by, if one is known.
    pub const fn index(self) -> Option<u32> {
        match self {
            Self::Link { index } | Self::Via { index, .. } if index != 0 => Some(index),
            _ => None,
        }
    }
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination prefix: base address.
    pub destination: IpAddr,
    /// Destination prefix: bits; 0 is the default route.
    pub prefix_len: u8,
    /// Where the packets go.
    pub hop: Hop,
    /// Source address for packets that have none yet.
    pub source: Option<IpAddr>,
    /// Preference, lower first; IPv6 without one gets 1024 from the kernel.
    pub metric: Option<u32>,
    /// Routing table.
    pub table: u32,
}

impl Route {
    /// A route in the main table.
    pub const fn new(destination: IpAddr, prefix_len: u8, hop: Hop) -> Self {
        Self {
            destination,
            prefix_len,
            hop,
            source: None,
            metric: None,
            table: MAIN_TABLE,
        }
    }

    /// The default route to a router of either family.
    pub const fn default_via(gateway: IpAddr, index: u32, onlink: bool) -> Self {
        let any = unspecified(gateway);
        Self::new(
            any,
            0,
            Hop::Via {
                gateway,
                index,
                onlink,
            },
        )
    }
}

/// Adds a route in place of one with the same destination, metric and table.
///
/// # Errors
/// ENETUNREACH if the router is not on the link; ENODEV without that interface.
pub fn ensure(netlink: &mut Netlink, route: &Route) -> Result<()> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    netlink.request(encode(libc::RTM_NEWROUTE, flags, route), || {
        describe("add", route)
    })
}

/// Removes a route; returns whether it was there.
///
/// # Errors
/// A permission error.
pub fn delete(netlink: &mut Netlink, route: &Route) -> Result<bool> {
    let message = encode(libc::RTM_DELROUTE, 0, route);
    match netlink.request(message, || describe("remove", route)) {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The routes of both families in `table` that [`Route`] can describe.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn list(netlink: &mut Netlink, table: u32) -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    for any in [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ] {
        let question = || {
            let mut fixed = [0; FIXED];
            fixed[0] = family(any);
            Message::new(libc::RTM_GETROUTE, libc::NLM_F_REQUEST | libc::NLM_F_DUMP).put(&fixed)
        };
        let replies = netlink.ask(question, || "list routes".to_owned())?;
        routes.extend(replies.iter().filter_map(|reply| parse(reply, any)));
    }
    routes.retain(|route| route.table == table);
    Ok(routes)
}

/// The default routes of both families in the main table, best first.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn list_default(netlink: &mut Netlink) -> Result<Vec<Route>> {
    let mut routes = list(netlink, MAIN_TABLE)?;
    routes.retain(|route| route.prefix_len == 0);
    routes.sort_by_key(|route| route.metric.unwrap_or(0));
    Ok(routes)
}

const fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

fn describe(verb: &str, route: &Route) -> String {
    let to = format!("{}/{}", route.destination, route.prefix_len);
    match route.hop {
        Hop::Link { index } => format!("{verb} route to {to} on interface {index}"),
        Hop::Via { gateway, index, .. } => {
            format!("{verb} route to {to} via {gateway} on interface {index}")
        }
        Hop::Unreachable => format!("{verb} unreachable route to {to}"),
    }
}

fn encode(kind: u16, flags: libc::c_int, route: &Route) -> Message {
    let (gateway, index) = match route.hop {
        Hop::Link { index } => (None, index),
        Hop::Via { gateway, index, .. } => (Some(octets(gateway)), index),
        Hop::Unreachable => (None, 0),
    };
    let index = Some(index)
        .filter(|index| *index != 0)
        .map(u32::to_ne_bytes);
    let metric = route.metric.map(u32::to_ne_bytes);
    Message::new(kind, libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags)
        .put(&fixed(kind, route))
        .attr_u32(RTA_TABLE, route.table)
        .attr(RTA_DST, &octets(route.destination))
        .attr_opt(RTA_GATEWAY, gateway.as_deref())
        .attr_opt(RTA_OIF, index.as_ref().map(|n| &n[..]))
        .attr_opt(RTA_PREFSRC, route.source.map(octets).as_deref())
        .attr_opt(RTA_PRIORITY, metric.as_ref().map(|n| &n[..]))
}

/// `struct rtmsg`. A route to delete matches whatever its scope and protocol are.
fn fixed(kind: u16, route: &Route) -> [u8; FIXED] {
    let (scope, outcome, flags) = match route.hop {
        Hop::Link { .. } => (RT_SCOPE_LINK, RTN_UNICAST, 0),
        Hop::Via { onlink: true, .. } => (RT_SCOPE_UNIVERSE, RTN_UNICAST, RTNH_F_ONLINK),
        Hop::Via { onlink: false, .. } => (RT_SCOPE_UNIVERSE, RTN_UNICAST, 0),
        Hop::Unreachable => (RT_SCOPE_UNIVERSE, RTN_UNREACHABLE, 0),
    };
    let (scope, protocol) = match kind {
        libc::RTM_DELROUTE => (RT_SCOPE_NOWHERE, 0),
        _ => (scope, RTPROT_STATIC),
    };
    let [f0, f1, f2, f3] = flags.to_ne_bytes();
    let family = family(route.destination);
    [
        family,
        route.prefix_len,
        0,
        0,
        0,
        protocol,
        scope,
        outcome,
        f0,
        f1,
        f2,
        f3,
    ]
}

fn parse(payload: &[u8], any: IpAddr) -> Option<Route> {
    let fixed: &[u8; FIXED] = payload.first_chunk()?;
    let [_, prefix_len, _, _, table, _, _, kind, flags @ ..] = *fixed;
    let attributes = Attributes::after(payload, FIXED);
    let index = attributes.u32(RTA_OIF);
    let hop = match (kind, attributes.get(RTA_GATEWAY).and_then(ip)) {
        (RTN_UNREACHABLE, _) => Hop::Unreachable,
        (RTN_UNICAST, Some(gateway)) => Hop::Via {
            gateway,
            index: index?,
            onlink: u32::from_ne_bytes(flags) & RTNH_F_ONLINK != 0,
        },
        (RTN_UNICAST, None) => Hop::Link { index: index? },
        _ => return None,
    };
    Some(Route {
        destination: attributes.get(RTA_DST).and_then(ip).unwrap_or(any),
        prefix_len,
        hop,
        source: attributes.get(RTA_PREFSRC).and_then(ip),
        metric: attributes.u32(RTA_PRIORITY),
        table: attributes.u32(RTA_TABLE).unwrap_or_else(|| table.into()),
    })
}
