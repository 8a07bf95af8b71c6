//! How does pod traffic get the node's address when it leaves the cluster?
//!
//! Owns one nftables table per caller, of family `inet`, whose only chain masquerades what comes
//! from given prefixes, goes to none of others and leaves by none of given interfaces. The table
//! is replaced in one transaction, so no packet ever meets half of it. It never reads or changes
//! another table. See nft(8), linux/netfilter/nf_tables.h.

mod encode;

use std::net::IpAddr;

use crate::error::Result;
use crate::ifreq::name_bytes;
use crate::netlink::Netlink;

/// A prefix: base address and number of bits.
pub type Prefix = (IpAddr, u8);

/// A table that masquerades.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasqueradeTable {
    /// Name of the table, of family `inet`.
    pub name: String,
    /// Packets from these prefixes are masqueraded,
    pub sources: Vec<Prefix>,
    /// unless they go to one of these,
    pub exclude_destinations: Vec<Prefix>,
    /// or leave by one of these interfaces.
    pub exclude_interfaces: Vec<String>,
}

impl MasqueradeTable {
    /// Installs the table in the calling thread's namespace, in place of one of that name.
    ///
    /// # Errors
    /// EOPNOTSUPP or ENOENT if the kernel has no nftables NAT; a permission error without
    /// CAP_NET_ADMIN.
    pub fn install(&self) -> Result<()> {
        for name in &self.exclude_interfaces {
            name_bytes(name)?;
        }
        let messages = encode::install(self);
        let what = || format!("install nftables table inet {}", self.name);
        commit(messages, what).map_err(|error| match error.errno() {
            Some(libc::EOPNOTSUPP | libc::ENOENT | libc::EPROTONOSUPPORT) => {
                error.with_hint("the kernel needs nf_tables with NAT: modprobe nft_masq")
            }
            _ => error,
        })
    }

    /// Deletes the table `name` from the calling thread's namespace; returns whether it was there.
    ///
    /// # Errors
    /// A permission error without CAP_NET_ADMIN.
    pub fn delete(name: &str) -> Result<bool> {
        let what = || format!("delete nftables table inet {name}");
        match commit(encode::delete(name), what) {
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
        match netlink.ask(|| encode::look_up(name), what) {
            Ok(replies) => Ok(!replies.is_empty()),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Sends a transaction; all of it happens, or none.
fn commit(messages: Vec<crate::netlink::Message>, what: impl FnOnce() -> String) -> Result<()> {
    let mut netlink = Netlink::open_protocol(libc::NETLINK_NETFILTER)?;
    // Every message but the two that frame the batch is acknowledged.
    let acknowledgements = messages.len().saturating_sub(2);
    netlink.transaction(messages, acknowledgements, what)
}
