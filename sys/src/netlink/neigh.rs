//! Which link-layer address, and which tunnel end, does a neighbour have?
//!
//! Owns RTM_NEWNEIGH, RTM_DELNEIGH and RTM_GETNEIGH (rtnetlink(7), linux/neighbour.h) for permanent
//! entries: the neighbour tables of IPv4 and IPv6 and the forwarding database of VXLAN
//! interfaces. What the kernel learned is read, never touched.

use std::net::IpAddr;

use super::{Attributes, Message, Netlink, family, ip, octets};
use crate::error::Result;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
const NTF_SELF: u8 = 0x02;
const AF_BRIDGE: u8 = 7;

/// Bytes of `struct ndmsg`.
const FIXED: usize = 12;

/// A neighbour whose MAC never has to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// The interface it is behind.
    pub index: u32,
    /// Its address.
    pub ip: IpAddr,
    /// Its MAC.
    pub mac: [u8; 6],
}

/// A MAC behind a tunnel end of a VXLAN interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// The VXLAN interface.
    pub index: u32,
    /// The MAC; all zeroes stands for broadcast and every unknown one.
    pub mac: [u8; 6],
    /// Address of the tunnel end.
    pub remote: IpAddr,
}

/// Adds a permanent neighbour in place of one with the same address.
///
/// # Errors
/// ENODEV without that interface.
pub fn ensure(netlink: &mut Netlink, neighbor: &Neighbor) -> Result<()> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let message = encode(libc::RTM_NEWNEIGH, flags, neighbor);
    netlink.request(message, || describe("add", neighbor))
}

/// Removes a neighbour; returns whether it was there.
///
/// # Errors
/// A permission error.
pub fn delete(netlink: &mut Netlink, neighbor: &Neighbor) -> Result<bool> {
    let message = encode(libc::RTM_DELNEIGH, 0, neighbor);
    absent_is_false(netlink.request(message, || describe("remove", neighbor)))
}

/// The permanent neighbours of both families.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn list(netlink: &mut Netlink) -> Result<Vec<Neighbor>> {
    list_where(netlink, |state| state & NUD_PERMANENT != 0)
}

/// The neighbours of both families whose MAC the kernel learned from packets.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn list_learned(netlink: &mut Netlink) -> Result<Vec<Neighbor>> {
    list_where(netlink, |state| state & (NUD_PERMANENT | NUD_NOARP) == 0)
}

fn list_where(netlink: &mut Netlink, wanted: impl Fn(u16) -> bool) -> Result<Vec<Neighbor>> {
    let replies = dump(netlink, 0)?;
    let of = |payload: &Vec<u8>| {
        let (index, state) = head(payload)?;
        let attributes = Attributes::after(payload, FIXED);
        Some(Neighbor {
            index: wanted(state).then_some(index)?,
            ip: ip(attributes.get(NDA_DST)?)?,
            mac: attributes.get(NDA_LLADDR)?.try_into().ok()?,
        })
    };
    Ok(replies.iter().filter_map(of).collect())
}

/// Adds a permanent FDB entry in place of one with the same MAC.
///
/// # Errors
/// EOPNOTSUPP if the interface is not VXLAN.
pub fn ensure_fdb(netlink: &mut Netlink, entry: &FdbEntry) -> Result<()> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    netlink.request(encode_fdb(libc::RTM_NEWNEIGH, flags, entry), || {
        describe_fdb("add", entry)
    })
}

/// Removes an FDB entry; returns whether it was there.
///
/// # Errors
/// A permission error.
pub fn delete_fdb(netlink: &mut Netlink, entry: &FdbEntry) -> Result<bool> {
    let message = encode_fdb(libc::RTM_DELNEIGH, 0, entry);
    absent_is_false(netlink.request(message, || describe_fdb("remove", entry)))
}

/// The FDB entries of VXLAN interface `index` that name a tunnel end.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn list_fdb(netlink: &mut Netlink, index: u32) -> Result<Vec<FdbEntry>> {
    let replies = dump(netlink, AF_BRIDGE)?;
    let of = |payload: &Vec<u8>| {
        let (found, _) = head(payload)?;
        let attributes = Attributes::after(payload, FIXED);
        Some(FdbEntry {
            index: (found == index).then_some(index)?,
            mac: attributes.get(NDA_LLADDR)?.try_into().ok()?,
            remote: ip(attributes.get(NDA_DST)?)?,
        })
    };
    Ok(replies.iter().filter_map(of).collect())
}

fn describe(verb: &str, neighbor: &Neighbor) -> String {
    format!(
        "{verb} neighbour {} on interface {}",
        neighbor.ip, neighbor.index
    )
}

fn describe_fdb(verb: &str, entry: &FdbEntry) -> String {
    format!(
        "{verb} FDB entry of {} on interface {}",
        entry.remote, entry.index
    )
}

fn absent_is_false(result: Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

fn encode(kind: u16, flags: libc::c_int, neighbor: &Neighbor) -> Message {
    Message::new(kind, libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags)
        .put(&fixed(
            family(neighbor.ip),
            neighbor.index,
            NUD_PERMANENT,
            0,
        ))
        .attr(NDA_DST, &octets(neighbor.ip))
        .attr(NDA_LLADDR, &neighbor.mac)
}

fn encode_fdb(kind: u16, flags: libc::c_int, entry: &FdbEntry) -> Message {
    let state = NUD_PERMANENT | NUD_NOARP;
    Message::new(kind, libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags)
        .put(&fixed(AF_BRIDGE, entry.index, state, NTF_SELF))
        .attr(NDA_LLADDR, &entry.mac)
        .attr(NDA_DST, &octets(entry.remote))
}

fn dump(netlink: &mut Netlink, family: u8) -> Result<Vec<Vec<u8>>> {
    let question = || {
        Message::new(libc::RTM_GETNEIGH, libc::NLM_F_REQUEST | libc::NLM_F_DUMP)
            .put(&fixed(family, 0, 0, 0))
    };
    netlink.ask(question, || "list neighbours".to_owned())
}

/// `struct ndmsg`.
fn fixed(family: u8, index: u32, state: u16, flags: u8) -> [u8; FIXED] {
    let [i0, i1, i2, i3] = index.to_ne_bytes();
    let [s0, s1] = state.to_ne_bytes();
    [family, 0, 0, 0, i0, i1, i2, i3, s0, s1, flags, 0]
}

fn head(payload: &[u8]) -> Option<(u32, u16)> {
    let index = payload.get(4..)?.first_chunk()?;
    let state = payload.get(8..)?.first_chunk()?;
    Some((u32::from_ne_bytes(*index), u16::from_ne_bytes(*state)))
}
