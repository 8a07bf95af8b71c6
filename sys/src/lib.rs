//! What may weft ask of the Linux kernel, and where is the project's `unsafe`?
//!
//! This crate owns every system call weft makes beyond the standard library, and all unsafe code:
//! TAP queues, UDP batches, network namespaces, netlink, nftables, control sockets. It speaks
//! plain types only (`[u8; 6]`, `IpAddr`, prefix lengths) and knows nothing of ports, peers or
//! policies. It never runs another program and keeps no global state.
//!
//! Every function acts in the network namespace of the calling thread unless it is handed a
//! descriptor; [`netns::Netns::run`] takes a closure into another one.

#![deny(unsafe_code)]

pub mod affinity;
pub mod caps;
pub mod error;
pub mod ethtool;
mod ifreq;
pub mod limits;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod packet;
pub mod process;
mod sockopt;
pub mod sysctl;
pub mod tap;
pub mod udp;
pub mod unixsock;
pub mod uptime;

pub use error::{Result, SysError};
