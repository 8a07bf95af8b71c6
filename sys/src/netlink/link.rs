//! Which interfaces does a namespace have, and how are they made and changed?
//!
//! Owns RTM_NEWLINK, RTM_DELLINK and RTM_GETLINK (rtnetlink(7), linux/if_link.h). It never touches
//! addresses and never deletes an interface it was not asked to.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

pub use super::tun::Tun;
pub use super::vxlan::Vxlan;
use super::{Attributes, Message, Netlink};
use crate::error::{Result, SysError};
use crate::ifreq::name_bytes;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;

const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;

/// Bytes of `struct ifinfomsg`.
const FIXED: usize = 16;

/// An interface as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in the namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address, if it is Ethernet.
    pub mac: Option<[u8; 6]>,
    /// Its MTU in bytes of IP packet.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// The bridge it is a port of.
    pub master: Option<u32>,
    /// Its driver: `veth`, `bridge`, `vxlan`, `tun`; none for loopback and hardware.
    pub kind: Option<String>,
    /// Its tunnel parameters, if it is VXLAN.
    pub vxlan: Option<Vxlan>,
    /// Its mode, if it is a TUN or TAP device.
    pub tun: Option<Tun>,
}

/// What to change about an interface; what is `None` stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    /// Up or down.
    pub up: Option<bool>,
    /// MTU in bytes of IP packet.
    pub mtu: Option<u32>,
    /// Hardware address.
    pub mac: Option<[u8; 6]>,
    /// Index of the bridge to be a port of; 0 takes it off.
    pub master: Option<u32>,
    /// Packets its queue holds.
    pub tx_queue_len: Option<u32>,
    /// New name; the kernel refuses while the interface is up, some drivers excepted.
    pub name: Option<&'a str>,
    /// Namespace to move it to, where it has another index.
    pub netns: Option<BorrowedFd<'a>>,
}

impl fmt::Display for Change<'_> {
    /// What changes, in the words of ip-link(8): `up mtu 1450`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mac = self
            .mac
            .map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
        let words = [
            self.up.map(|up| if up { "up" } else { "down" }.to_owned()),
            self.mtu.map(|mtu| format!("mtu {mtu}")),
            mac.map(|mac| format!("address {mac}")),
            self.master.map(|master| format!("master {master}")),
            self.tx_queue_len.map(|len| format!("txqueuelen {len}")),
            self.name.map(|name| format!("name {name}")),
            self.netns.map(|_| "another network namespace".to_owned()),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        f.write_str(&words.join(" "))
    }
}

/// The interface of that name, if there is one.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn get(netlink: &mut Netlink, name: &str) -> Result<Option<Link>> {
    name_bytes(name)?;
    let what = || format!("look up interface {name}");
    let question = || {
        Message::new(libc::RTM_GETLINK, libc::NLM_F_REQUEST | libc::NLM_F_ACK)
            .put(&fixed(0, 0, 0))
            .attr_str(IFLA_IFNAME, name)
    };
    match netlink.ask(question, what) {
        Ok(replies) => Ok(replies.iter().find_map(|reply| parse(reply))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The number of the interface of that name.
///
/// # Errors
/// [`SysError::is_not_found`] if there is none.
pub fn index_of(netlink: &mut Netlink, name: &str) -> Result<u32> {
    match get(netlink, name)? {
        Some(link) => Ok(link.index),
        None => {
            let missing = std::io::Error::from_raw_os_error(libc::ENODEV);
            Err(SysError::new(format!("find interface {name}"), missing))
        }
    }
}

/// All interfaces.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn list(netlink: &mut Netlink) -> Result<Vec<Link>> {
    let question = || {
        Message::new(libc::RTM_GETLINK, libc::NLM_F_REQUEST | libc::NLM_F_DUMP).put(&fixed(0, 0, 0))
    };
    let replies = netlink.ask(question, || "list interfaces".to_owned())?;
    Ok(replies.iter().filter_map(|r| parse(r)).collect())
}

/// Makes a pair of interfaces joined back to back. The peer appears in `peer_netns`, or beside
/// `name` without one.
///
/// # Errors
/// [`SysError::is_exists`] if either name is taken.
pub fn add_veth(
    netlink: &mut Netlink,
    name: &str,
    peer: &str,
    peer_netns: Option<BorrowedFd<'_>>,
) -> Result<()> {
    name_bytes(peer)?;
    let netns = peer_netns.map(|fd| fd.as_raw_fd().to_ne_bytes());
    add(netlink, name, "veth", |data| {
        data.nest(VETH_INFO_PEER, |peer_message| {
            peer_message
                .put(&fixed(0, 0, 0))
                .attr_str(IFLA_IFNAME, peer)
                .attr_opt(IFLA_NET_NS_FD, netns.as_ref().map(|fd| &fd[..]))
        })
    })
}

/// Makes a veth pair unless `name` is one already; returns whether it was made.
///
/// # Errors
/// [`SysError::is_exists`] if `name` is another kind of interface or `peer` is taken.
pub fn ensure_veth(
    netlink: &mut Netlink,
    name: &str,
    peer: &str,
    peer_netns: Option<BorrowedFd<'_>>,
) -> Result<bool> {
    if find_kind(netlink, name, "veth")?.is_some() {
        return Ok(false);
    }
    add_veth(netlink, name, peer, peer_netns)?;
    Ok(true)
}

/// Makes a bridge unless there is one of that name; returns its index.
///
/// # Errors
/// [`SysError::is_exists`] if `name` is another kind of interface.
pub fn ensure_bridge(netlink: &mut Netlink, name: &str) -> Result<u32> {
    if let Some(link) = find_kind(netlink, name, "bridge")? {
        return Ok(link.index);
    }
    add(netlink, name, "bridge", |data| data)?;
    index_of(netlink, name)
}

/// Makes a VXLAN interface with these parameters, replacing one of that name with others; returns
/// its index.
///
/// # Errors
/// [`SysError::is_exists`] if `name` is another kind of interface, or if another interface has
/// that VNI and port.
pub fn ensure_vxlan(netlink: &mut Netlink, name: &str, vxlan: &Vxlan) -> Result<u32> {
    match find_kind(netlink, name, "vxlan")? {
        Some(link) if link.vxlan.as_ref() == Some(vxlan) => return Ok(link.index),
        Some(_) => {
            delete(netlink, name)?;
        }
        None => {}
    }
    add(netlink, name, "vxlan", |data| vxlan.encode(data))?;
    index_of(netlink, name)
}

/// Changes an interface in one step.
///
/// # Errors
/// [`SysError::is_not_found`] if there is no such interface; EINVAL for a value out of range.
pub fn change(netlink: &mut Netlink, index: u32, change: &Change<'_>) -> Result<()> {
    if let Some(name) = change.name {
        name_bytes(name)?;
    }
    let (flags, mask) = match change.up {
        Some(up) => (if up { IFF_UP } else { 0 }, IFF_UP),
        None => (0, 0),
    };
    let number = |value: Option<u32>| value.map(u32::to_ne_bytes);
    let netns = change.netns.map(|fd| fd.as_raw_fd().to_ne_bytes());
    let name = change.name.map(|name| format!("{name}\0"));
    let message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_REQUEST | libc::NLM_F_ACK)
        .put(&fixed(index, flags, mask))
        .attr_opt(IFLA_ADDRESS, change.mac.as_ref().map(|mac| &mac[..]))
        .attr_opt(IFLA_IFNAME, name.as_deref().map(str::as_bytes))
        .attr_opt(IFLA_MTU, number(change.mtu).as_ref().map(|n| &n[..]))
        .attr_opt(IFLA_MASTER, number(change.master).as_ref().map(|n| &n[..]))
        .attr_opt(
            IFLA_TXQLEN,
            number(change.tx_queue_len).as_ref().map(|n| &n[..]),
        )
        .attr_opt(IFLA_NET_NS_FD, netns.as_ref().map(|fd| &fd[..]));
    netlink.request(message, || format!("set interface {index} to {change}"))
}

/// Brings an interface up.
///
/// # Errors
/// As [`change`].
pub fn set_up(netlink: &mut Netlink, index: u32) -> Result<()> {
    let up = Change {
        up: Some(true),
        ..Change::default()
    };
    change(netlink, index, &up)
}

/// Deletes the interface of that name; returns whether there was one.
///
/// # Errors
/// A permission error; EOPNOTSUPP for hardware and loopback.
pub fn delete(netlink: &mut Netlink, name: &str) -> Result<bool> {
    let Some(link) = get(netlink, name)? else {
        return Ok(false);
    };
    let message = Message::new(libc::RTM_DELLINK, libc::NLM_F_REQUEST | libc::NLM_F_ACK)
        .put(&fixed(link.index, 0, 0));
    match netlink.request(message, || format!("delete interface {name}")) {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

fn add(
    netlink: &mut Netlink,
    name: &str,
    kind: &str,
    data: impl FnOnce(Message) -> Message,
) -> Result<()> {
    name_bytes(name)?;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let message = Message::new(libc::RTM_NEWLINK, flags)
        .put(&fixed(0, 0, 0))
        .attr_str(IFLA_IFNAME, name)
        .nest(IFLA_LINKINFO, |info| {
            info.attr_str(IFLA_INFO_KIND, kind)
                .nest(IFLA_INFO_DATA, data)
        });
    netlink.request(message, || format!("create {kind} {name}"))
}

/// The interface of that name, if there is one; an error if it is of another kind.
fn find_kind(netlink: &mut Netlink, name: &str, kind: &str) -> Result<Option<Link>> {
    let found = get(netlink, name)?;
    match &found {
        Some(link) if link.kind.as_deref() != Some(kind) => {
            let taken = std::io::Error::from_raw_os_error(libc::EEXIST);
            let other = link.kind.as_deref().unwrap_or("hardware");
            Err(
                SysError::new(format!("create {kind} {name}"), taken).with_hint(format!(
                    "an interface of that name is there already: {other}"
                )),
            )
        }
        _ => Ok(found),
    }
}

/// `struct ifinfomsg` of any family: index, flags and which of them count.
fn fixed(index: u32, flags: u32, mask: u32) -> [u8; FIXED] {
    let mut bytes = [0; FIXED];
    let (_, fields) = bytes.split_at_mut(4);
    let values = [index, flags, mask];
    for (to, value) in fields.chunks_exact_mut(4).zip(values) {
        to.copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

fn parse(payload: &[u8]) -> Option<Link> {
    let word = |at| Some(u32::from_ne_bytes(*payload.get(at..)?.first_chunk()?));
    let (index, flags) = (word(4)?, word(8)?);
    let attributes = Attributes::after(payload, FIXED);
    let info = attributes.inside(IFLA_LINKINFO);
    let kind = info.str(IFLA_INFO_KIND);
    let data = info.inside(IFLA_INFO_DATA);
    let (vxlan, tun) = match kind.as_deref() {
        Some("vxlan") => (Vxlan::decode(data), None),
        Some("tun") => (None, Tun::decode(data)),
        _ => (None, None),
    };
    Some(Link {
        index,
        name: attributes.str(IFLA_IFNAME)?,
        mac: attributes
            .get(IFLA_ADDRESS)
            .and_then(|mac| mac.try_into().ok()),
        mtu: attributes.u32(IFLA_MTU).unwrap_or(0),
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        master: attributes.u32(IFLA_MASTER),
        kind,
        vxlan,
        tun,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_in_words() {
        let change = Change {
            up: Some(true),
            mtu: Some(1450),
            mac: Some([2, 0, 0, 0, 0, 0xaf]),
            ..Change::default()
        };
        assert_eq!(change.to_string(), "up mtu 1450 address 02:00:00:00:00:af");
    }

    #[test]
    fn an_ifinfomsg_is_as_the_abi_says() {
        let bytes = fixed(0x0102, IFF_UP, IFF_UP);
        assert_eq!(bytes, [0, 0, 0, 0, 2, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(parse(&bytes), None, "no name");
        assert_eq!(parse(&bytes[..7]), None);
    }
}
