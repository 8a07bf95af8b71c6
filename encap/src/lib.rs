//! Bytes to tunnel and back: the VXLAN overlay (RFC 7348).
//!
//! | module | answers |
//! |---|---|
//! | [`vni`] | which overlay network |
//! | [`vxlan`] | what the eight header bytes say |
//! | [`tunnel`] | how a frame enters ([`push`]) and leaves ([`pop`]) the tunnel |
//! | [`ecn`] | what becomes of congestion marks (RFC 6040) |
//! | [`lane`] | which outer source port carries a flow |
//! | [`split`] | which packets a super-frame stands for |
//! | [`merge`] | which received packets become one super-frame |
//! | [`mtu`] | how much the tunnel takes of an MTU |
//!
//! Pure: no sockets, no clock, no allocation but in [`Merger::new`]. It never knows who the peer is;
//! outer IP and UDP headers belong to the socket.

#![forbid(unsafe_code)]

pub mod ecn;
pub mod lane;
mod layout;
pub mod merge;
pub mod mtu;
pub mod split;
pub mod tunnel;
pub mod vni;
pub mod vxlan;

pub use ecn::Ecn;
pub use lane::{Lane, Lanes};
pub use merge::{Merger, NoBuffer, Outer};
pub use mtu::{Mtu, Underlay, pod_mtu};
pub use split::Cut;
pub use tunnel::{NoHeadroom, Tunnel, pop, push};
pub use vni::{BadVni, Vni};
pub use vxlan::{BadTunnel, IANA_VXLAN_PORT, VXLAN_HEADER, VXLAN_PORT};
