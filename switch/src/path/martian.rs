//! Can an address be on a wire at all?
//!
//! The addresses of RFC 1122 §3.2.1.3 and RFC 4291 §2.5 that no packet on a link carries,
//! and the scopes that a router does not forward. Owns only the classification; who drops
//! what is the road's business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_policy::Cidr;

/// What kind of destination or source an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One interface somewhere.
    Unicast,
    /// A group, or the limited broadcast.
    Multicast,
    /// IPv6 link-local unicast.
    LinkLocal,
    /// Loopback, unspecified, "this network", class E, IPv4-mapped or -compatible.
    Martian,
}

/// The kind of an address.
pub(super) fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => kind_v6(v6),
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        [255, 255, 255, 255] | [224..=239, ..] => Kind::Multicast,
        [0 | 127 | 240..=255, ..] => Kind::Martian,
        _ => Kind::Unicast,
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    match address.segments() {
        [0xff00..=0xffff, ..] => Kind::Multicast,
        [0xfe80..=0xfebf, ..] => Kind::LinkLocal,
        // `::`, `::1`, IPv4-compatible and IPv4-mapped addresses (RFC 4291 §2.5.5).
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] => Kind::Martian,
        _ => Kind::Unicast,
    }
}

/// Whether a prefix holds an address that pods cannot have.
pub(super) fn is_reserved(cidr: &Cidr) -> bool {
    const RESERVED: [(IpAddr, u8); 8] = [
        (IpAddr::V4(Ipv4Addr::new(0, 0, 0, 0)), 8),
        (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
        (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
        (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 3),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 96),
        (IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0)), 96),
        (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
        (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
    ];
    RESERVED
        .iter()
        .any(|(base, length)| Cidr::new(*base, *length).is_ok_and(|other| other.overlaps(cidr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_at_its_borders() {
        for (text, expected) in [
            ("0.0.0.0", Kind::Martian),
            ("0.255.255.255", Kind::Martian),
            ("1.0.0.0", Kind::Unicast),
            ("126.255.255.255", Kind::Unicast),
            ("127.0.0.1", Kind::Martian),
            ("128.0.0.0", Kind::Unicast),
            ("169.254.169.254", Kind::Unicast),
            ("223.255.255.255", Kind::Unicast),
            ("224.0.0.0", Kind::Multicast),
            ("239.255.255.255", Kind::Multicast),
            ("240.0.0.0", Kind::Martian),
            ("255.255.255.254", Kind::Martian),
            ("255.255.255.255", Kind::Multicast),
            ("::", Kind::Martian),
            ("::1", Kind::Martian),
            ("::10.0.0.1", Kind::Martian),
            ("::ffff:10.0.0.1", Kind::Martian),
            ("64:ff9b::a00:1", Kind::Unicast),
            ("fd00::1", Kind::Unicast),
            ("fe7f::1", Kind::Unicast),
            ("fe80::1", Kind::LinkLocal),
            ("febf::1", Kind::LinkLocal),
            ("fec0::1", Kind::Unicast),
            ("ff02::1", Kind::Multicast),
        ] {
            assert_eq!(kind(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn a_prefix_that_touches_reserved_space_is_reserved() {
        for (text, expected) in [
            ("10.244.1.0/24", false),
            ("fd00:10:244:1::/64", false),
            ("127.0.0.0/24", true),
            ("0.0.0.0/0", true),
            ("169.254.1.0/24", true),
            ("240.0.0.0/8", true),
            ("fe80::/64", true),
            ("::/0", true),
        ] {
            assert_eq!(is_reserved(&text.parse().unwrap()), expected, "{text}");
        }
    }
}
