//! Which addresses do interfaces have?
//!
//! Owns RTM_NEWADDR, RTM_DELADDR and RTM_GETADDR (rtnetlink(7), linux/if_addr.h). It never adds
//! routes itself; the kernel adds the prefix route unless told not to.

use std::net::IpAddr;

use super::{Attributes, Message, Netlink, family, ip, octets};
use crate::error::Result;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;

/// Bytes of `struct ifaddrmsg`.
const FIXED: usize = 8;

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// Bits of the prefix on the link.
    pub prefix_len: u8,
    /// IPv6: usable at once, without duplicate address detection (RFC 4862 section 5.4).
    pub no_dad: bool,
    /// No route to the prefix is added with the address.
    pub no_prefix_route: bool,
}

impl Address {
    /// An address with `prefix_len` bits, without duplicate address detection.
    pub const fn new(index: u32, ip: IpAddr, prefix_len: u8) -> Self {
        Self {
            index,
            ip,
            prefix_len,
            no_dad: true,
            no_prefix_route: false,
        }
    }
}

/// Adds an address, or leaves the one that is there.
///
/// # Errors
/// ENODEV without that interface; EACCES for IPv6 where it is disabled.
pub fn ensure(netlink: &mut Netlink, address: &Address) -> Result<()> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let message = encode(libc::RTM_NEWADDR, flags, address);
    netlink.request(message, || describe("add", address))
}

/// Removes an address; returns whether it was there. With the last IPv4 address of an interface
/// the kernel also removes its IPv4 routes and neighbours, permanent ones too.
///
/// # Errors
/// A permission error.
pub fn delete(netlink: &mut Netlink, address: &Address) -> Result<bool> {
    let message = encode(libc::RTM_DELADDR, 0, address);
    match netlink.request(message, || describe("remove", address)) {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// All addresses, or those of interface `index`.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn list(netlink: &mut Netlink, index: Option<u32>) -> Result<Vec<Address>> {
    let question =
        || Message::new(libc::RTM_GETADDR, libc::NLM_F_REQUEST | libc::NLM_F_DUMP).put(&[0; FIXED]);
    let replies = netlink.ask(question, || "list addresses".to_owned())?;
    let addresses = replies.iter().filter_map(|reply| parse(reply));
    Ok(addresses
        .filter(|a| index.is_none_or(|i| i == a.index))
        .collect())
}

fn describe(verb: &str, address: &Address) -> String {
    let Address {
        ip,
        prefix_len,
        index,
        ..
    } = address;
    format!("{verb} address {ip}/{prefix_len} on interface {index}")
}

fn encode(kind: u16, flags: libc::c_int, address: &Address) -> Message {
    let mut fixed = vec![family(address.ip), address.prefix_len, 0, 0];
    fixed.extend_from_slice(&address.index.to_ne_bytes());
    let no_dad = if address.no_dad { IFA_F_NODAD } else { 0 };
    let no_route = if address.no_prefix_route {
        IFA_F_NOPREFIXROUTE
    } else {
        0
    };
    let octets = octets(address.ip);
    Message::new(kind, libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags)
        .put(&fixed)
        .attr(IFA_LOCAL, &octets)
        .attr(IFA_ADDRESS, &octets)
        .attr_u32(IFA_FLAGS, no_dad | no_route)
}

fn parse(payload: &[u8]) -> Option<Address> {
    let attributes = Attributes::after(payload, FIXED);
    // IFA_LOCAL is the own end; IFA_ADDRESS is the peer's on point-to-point links.
    let octets = attributes
        .get(IFA_LOCAL)
        .or_else(|| attributes.get(IFA_ADDRESS))?;
    let flags = attributes.u32(IFA_FLAGS).unwrap_or(0);
    Some(Address {
        index: u32::from_ne_bytes(*payload.get(4..)?.first_chunk()?),
        ip: ip(octets)?,
        prefix_len: *payload.get(1)?,
        no_dad: flags & IFA_F_NODAD != 0,
        no_prefix_route: flags & IFA_F_NOPREFIXROUTE != 0,
    })
}
