//! Whose address, and which port? Words for the fuzzer's choices.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::Arbitrary;
use weft_switch::path::{GATEWAY_V4, GATEWAY_V6};

use crate::node::{PORTS, Station, VTEP, VXLAN_PORT};

/// By which door a frame will come: its honest sender follows from it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sender {
    /// A port, open or not.
    Port(u16),
    /// A node of the overlay, known or not.
    Node(u8),
}

/// Whose address.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Who {
    Honest,
    Ours(u8),
    Theirs { peer: u8, host: u8 },
    Vacant,
    Gateway,
    LinkLocal,
    Vtep,
    Outside(u8),
    Multicast,
    Unspecified,
    Bits(u128),
}

/// A port that means something, or any.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Port {
    Few(u8),
    DhcpServer,
    DhcpClient,
    Dhcpv6Server,
    Dhcpv6Client,
    Vxlan,
    Any(u16),
}

impl Port {
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Few(number) => 1000 + (number % 4) as u16,
            Self::DhcpServer => 67,
            Self::DhcpClient => 68,
            Self::Dhcpv6Server => 547,
            Self::Dhcpv6Client => 546,
            Self::Vxlan => VXLAN_PORT,
            Self::Any(number) => number,
        }
    }
}

fn any_station(node: u8, host: u8) -> Station {
    Station {
        node,
        host,
        families: (true, true),
        mtu: 0,
    }
}

/// The honest sender behind a door.
pub(super) fn station(sender: Sender) -> Station {
    match sender {
        Sender::Port(number) => {
            let closed = any_station(1, 5);
            PORTS.get(usize::from(number)).copied().unwrap_or(closed)
        }
        Sender::Node(node) => any_station(node, 2),
    }
}

/// The IPv4 address meant.
pub(super) fn v4(who: Who, sender: Sender) -> Ipv4Addr {
    match who {
        Who::Honest => station(sender).v4(),
        Who::Ours(host) => any_station(1, host % 5).v4(),
        Who::Theirs { peer, host } => any_station(2 + peer % 2, host % 8).v4(),
        Who::Vacant => any_station(1, 200).v4(),
        Who::Gateway => GATEWAY_V4,
        Who::LinkLocal => Ipv4Addr::new(169, 254, 9, 9),
        Who::Vtep => match VTEP {
            IpAddr::V4(vtep) => vtep,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        },
        Who::Outside(last) => Ipv4Addr::new(203, 0, 113, last),
        Who::Multicast => Ipv4Addr::new(224, 0, 0, 251),
        Who::Unspecified => Ipv4Addr::UNSPECIFIED,
        Who::Bits(bits) => {
            let [a, b, c, d, ..] = bits.to_be_bytes();
            Ipv4Addr::new(a, b, c, d)
        }
    }
}

/// The IPv6 address meant.
pub(super) fn v6(who: Who, sender: Sender) -> Ipv6Addr {
    match who {
        Who::Honest => station(sender).v6(),
        Who::Ours(host) => any_station(1, host % 5).v6(),
        Who::Theirs { peer, host } => any_station(2 + peer % 2, host % 8).v6(),
        Who::Vacant => any_station(1, 200).v6(),
        Who::Gateway => GATEWAY_V6,
        Who::LinkLocal => station(sender).link_local(),
        Who::Vtep => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        Who::Outside(last) => Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, last.into()),
        Who::Multicast => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1),
        Who::Unspecified => Ipv6Addr::UNSPECIFIED,
        Who::Bits(bits) => Ipv6Addr::from_bits(bits),
    }
}
