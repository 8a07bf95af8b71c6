//! How large a packet may be once the tunnel has taken its share.
//!
//! The one place that knows the overhead of VXLAN: 50 bytes over IPv4, 70 over
//! IPv6. An MTU counts the IP packet, without its Ethernet header, as `ip link`
//! shows it.

use core::fmt;
use core::net::IpAddr;

use crate::VXLAN_HEADER;

const ETHERNET_HEADER: u16 = 14;
const UDP_HEADER: u16 = 8;
const IPV4_HEADER: u16 = 20;
const IPV6_HEADER: u16 = 40;
#[expect(clippy::cast_possible_truncation, reason = "8 fits 16 bits")]
const SHIM: u16 = VXLAN_HEADER as u16;

/// The IP version that carries the tunnel between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Underlay {
    /// Nodes reach each other over IPv4.
    V4,
    /// Nodes reach each other over IPv6.
    V6,
}

impl Underlay {
    /// The underlay of a node whose tunnel address is `vtep`.
    #[must_use]
    pub const fn of(vtep: IpAddr) -> Self {
        match vtep {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Bytes the tunnel adds to an inner IP packet: outer IP (no options), UDP,
    /// VXLAN and the inner Ethernet header; 50 or 70.
    #[must_use]
    pub const fn overhead(self) -> u16 {
        let ip = match self {
            Self::V4 => IPV4_HEADER,
            Self::V6 => IPV6_HEADER,
        };
        ip + UDP_HEADER + SHIM + ETHERNET_HEADER
    }
}

/// The largest IP packet a link carries, in bytes; at least [`Mtu::MIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtu(u16);

impl Mtu {
    /// Every IPv4 host accepts packets of 576 bytes (RFC 791 §3.1); a pod link
    /// below that is a misconfiguration.
    pub const MIN: Self = Self(576);
    /// The least a link that carries IPv6 may have (RFC 8200 §5).
    pub const MIN_IPV6: Self = Self(1280);

    /// `bytes`, or `None` below [`Mtu::MIN`].
    #[must_use]
    pub const fn new(bytes: u16) -> Option<Self> {
        if bytes >= Self::MIN.0 {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether IPv6 may run on such a link (RFC 8200 §5).
    #[must_use]
    pub const fn carries_ipv6(self) -> bool {
        self.0 >= Self::MIN_IPV6.0
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The MTU of a pod whose packets cross an underlay of `underlay_mtu` bytes
/// unfragmented, or `None` when less than [`Mtu::MIN`] would be left.
#[must_use]
pub const fn pod_mtu(underlay_mtu: u16, underlay: Underlay) -> Option<Mtu> {
    match underlay_mtu.checked_sub(underlay.overhead()) {
        Some(bytes) => Mtu::new(bytes),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn overhead_is_fifty_or_seventy() {
        assert_eq!(Underlay::V4.overhead(), 50);
        assert_eq!(Underlay::V6.overhead(), 70);
        assert_eq!(Underlay::of(Ipv4Addr::LOCALHOST.into()), Underlay::V4);
        assert_eq!(Underlay::of(Ipv6Addr::LOCALHOST.into()), Underlay::V6);
    }

    #[test]
    fn pod_mtu_is_the_underlay_less_the_tunnel() {
        for (mtu, underlay, pod) in [
            (1500, Underlay::V4, Some(1450)),
            (1500, Underlay::V6, Some(1430)),
            (9000, Underlay::V4, Some(8950)),
            (u16::MAX, Underlay::V4, Some(65_485)),
            (626, Underlay::V4, Some(576)),
            (625, Underlay::V4, None),
            (646, Underlay::V6, Some(576)),
            (645, Underlay::V6, None),
            (50, Underlay::V4, None),
            (49, Underlay::V4, None),
            (0, Underlay::V6, None),
        ] {
            assert_eq!(
                pod_mtu(mtu, underlay).map(Mtu::get),
                pod,
                "{mtu} {underlay:?}"
            );
        }
    }

    #[test]
    fn ipv6_needs_1280() {
        for (mtu, legal) in [(576, false), (1279, false), (1280, true), (1450, true)] {
            assert_eq!(Mtu::new(mtu).unwrap().carries_ipv6(), legal, "{mtu}");
        }
        assert_eq!(Mtu::new(575), None);
    }
}
