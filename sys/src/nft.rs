//! How does pod traffic get the node's address when it leaves the cluster, and how does a port of
//! the node lead to a pod?
//!
//! Owns one nftables table per caller, of family `inet`, whose chains masquerade what comes from
//! given prefixes, goes to none of others and leaves by none of given interfaces, and redirect
//! host ports to pods. The table is replaced in one transaction, so no packet ever meets half of
//! it. It never reads or changes another table. See nft(8), linux/netfilter/nf_tables.h.

mod connections;
mod expression;
mod forward;
mod message;
mod rules;
mod state;

use std::net::IpAddr;

pub use connections::{forget_redirected, forget_undirected};
pub use forward::{HostPort, Transport};
pub use state::Fingerprint;

use crate::error::Result;
use crate::ifreq::name_bytes;
use crate::netlink::{Message, Netlink};

/// A prefix: base address and number of bits.
pub type Prefix = (IpAddr, u8);

/// A table that translates addresses.
///
/// A host port works for everybody who reaches an address of the node: other hosts, pods, the node
/// itself. The node's own `127.0.0.1` works if `net/ipv4/conf/<pod_interface>/route_localnet` is
/// 1; its `::1` never does, since IPv6 has no such exception, and stays what it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatTable {
    /// Name of the table, of family `inet`.
    pub name: String,
    /// Packets from these prefixes, those of this node's pods, are masqueraded,
    pub sources: Vec<Prefix>,
    /// unless they go to one of these,
    pub exclude_destinations: Vec<Prefix>,
    /// or leave by one of these interfaces.
    pub exclude_interfaces: Vec<String>,
    /// Ports of this node that lead to pods: looked up in maps, so their number costs nothing.
    pub forwards: Vec<HostPort>,
    /// The interface behind which this node's pods are. What leaves by it to a host port's pod is
    /// masqueraded if it comes from `sources` or from 127.0.0.0/8, so that the answer comes back
    /// by the node; what comes by it from or to 127.0.0.0/8 is dropped.
    pub pod_interface: Option<String>,
}

impl NatTable {
    /// Installs the table in the calling thread's namespace, in place of one of that name.
    ///
    /// Returns its [`Fingerprint`], to compare with a later [`Self::fingerprint`].
    ///
    /// # Errors
    /// EINVAL if a host port leads to two pods; EOPNOTSUPP or ENOENT if the kernel has no nftables
    /// NAT; a permission error without CAP_NET_ADMIN.
    pub fn install(&self) -> Result<Fingerprint> {
        for name in self.exclude_interfaces.iter().chain(&self.pod_interface) {
            name_bytes(name)?;
        }
        let messages = rules::install(self)?;
        let what = || format!("install nftables table inet {}", self.name);
        let mut netlink = Netlink::open_protocol(libc::NETLINK_NETFILTER)?;
        commit(&mut netlink, messages, what).map_err(|error| match error.errno() {
            Some(libc::EOPNOTSUPP | libc::ENOENT | libc::EPROTONOSUPPORT) => error.with_hint(
                "the kernel needs nf_tables with NAT: modprobe -a nft_masq nft_nat nft_fib_inet",
            ),
            _ => error,
        })?;
        state::read(&mut netlink, &self.name)?.ok_or_else(|| {
            let gone = std::io::Error::from_raw_os_error(libc::ENOENT);
            crate::SysError::new(what(), gone).with_hint("another program deleted it at once")
        })
    }

    /// What the kernel has in the table `name` of the calling thread's namespace now; `None` if
    /// there is none.
    ///
    /// # Errors
    /// A permission error without CAP_NET_ADMIN.
    pub fn fingerprint(name: &str) -> Result<Option<Fingerprint>> {
        let mut netlink = Netlink::open_protocol(libc::NETLINK_NETFILTER)?;
        state::read(&mut netlink, name)
    }

    /// Deletes the table `name` from the calling thread's namespace; returns whether it was there.
    ///
    /// # Errors
    /// A permission error without CAP_NET_ADMIN.
    pub fn delete(name: &str) -> Result<bool> {
        let what = || format!("delete nftables table inet {name}");
        let mut netlink = Netlink::open_protocol(libc::NETLINK_NETFILTER)?;
        match commit(&mut netlink, vec![message::delete_table(name)], what) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether there is a table `name` in the calling thread's namespace.
    ///
    /// # Errors
    /// A permission error without CAP_NET_ADMIN.
    pub fn exists(name: &str) -> Result<bool> {
        let mut netlink = Netlink::open_protocol(libc::NETLINK_NETFILTER)?;
        let what = || format!("look up nftables table inet {name}");
        match netlink.ask(|| message::get_table(name), what) {
            Ok(replies) => Ok(!replies.is_empty()),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Sends a transaction; all of it happens, or none.
fn commit(
    netlink: &mut Netlink,
    messages: Vec<Message>,
    what: impl FnOnce() -> String,
) -> Result<()> {
    netlink.transaction(message::transaction(messages), 1, what)
}
