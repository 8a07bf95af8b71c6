//! What do these bytes say? Packet formats of the dataplane: check once, then trust.
//!
//! Bytes from a pod or from the underlay are hostile until [`parse`] or a view's
//! `new_checked` has accepted them. Both look at every length they later rely on, so
//! no accessor of what they return can panic or read outside the packet. Everything
//! here is pure: no time, no I/O, no policy words, and no allocation except in
//! [`Pool::new`], [`Pool::with_large`], [`Frame::with_capacity`] and the packet builder [`build`].
//!
//! | module | format | reference |
//! |---|---|---|
//! | [`ethernet`] | Ethernet II header, MAC addresses, EtherTypes | IEEE 802.3 |
//! | [`arp`] | address resolution for IPv4 | RFC 826 |
//! | [`ipv4`] | IPv4 header and options | RFC 791 |
//! | [`ipv6`], [`extension`] | IPv6 header and extension headers | RFC 8200 |
//! | [`icmp`], [`ndp`] | ICMP, ICMPv6, neighbour discovery | RFC 792, 4443, 4861 |
//! | [`tcp`], [`udp`], [`sctp`] | transport headers | RFC 9293, 768, 9260 |
//! | [`vnet`], [`offload`] | virtio-net header in front of a TAP's frames | virtio 1.2, 5.1.6 |
//! | [`checksum`] | the Internet checksum | RFC 1071, 1624 |
//!
//! [`headers`] walks a frame once and gives the [`FlowKey`] ([`flow`]) the rest of the
//! switch decides by; [`frame`] and [`pool`] are the buffers packets live in.

#![forbid(unsafe_code)]

pub mod arp;
pub mod build;
pub mod bytes;
pub mod checksum;
mod embedded;
pub mod error;
pub mod ethernet;
pub mod extension;
pub mod flow;
pub mod fragment;
pub mod frame;
pub mod headers;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod offload;
pub mod pool;
pub mod protocol;
pub mod sctp;
pub mod tcp;
mod transport;
pub mod udp;
pub mod vnet;

#[cfg(test)]
mod tests;

pub use arp::{Arp, ArpOperation};
pub use embedded::{Embedded, embedded};
pub use error::Malformed;
pub use ethernet::{EtherType, Mac};
pub use flow::FlowKey;
pub use fragment::Fragment;
pub use frame::{Frame, HEADROOM};
pub use headers::{Headers, Parsed, Transport, parse};
pub use ndp::{NeighborAdvert, NeighborSolicit};
pub use offload::{BadOffload, Gso, GsoKind};
pub use pool::Pool;
pub use protocol::{IpProtocol, IpVersion};
pub use tcp::{TcpFlags, TcpInfo};
pub use vnet::VnetHeader;
