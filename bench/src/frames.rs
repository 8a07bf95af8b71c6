//! Which frames are measured? Pods of one node, of a peer, and what they say to each other.

use std::net::{Ipv4Addr, Ipv6Addr};

use weft_switch::path::{GATEWAY_MAC, PortId};
use weft_wire::build::{self, TcpSpec};
use weft_wire::{Mac, TcpFlags};

/// Bytes of the frames that every stage of the road is measured with, Ethernet header included:
/// the smallest, the middle of an Internet mix, and a full tunnel over an MTU of 1500.
pub const SIZES: [usize; 3] = [64, 590, 1450];

const ETHERNET: usize = 14;
const UDP: usize = 8;

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// As it appears in a case's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    const fn header(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }
}

/// An end of a flow: host `last` of node `node` in 10.244.0.0/16 and fd00:10:244::/48.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Station {
    /// The node's number; ours is 1.
    pub node: u8,
    /// The host part of the address; on our node also the port's number.
    pub last: u8,
}

impl Station {
    /// The MAC of the station's interface.
    #[must_use]
    pub const fn mac(self) -> Mac {
        Mac::new([0x02, 0xaa, 0, self.node, 0, self.last])
    }

    /// The port the station is behind, if it is on our node.
    #[must_use]
    pub const fn port(self) -> PortId {
        match PortId::new(self.last as u16) {
            Some(port) => port,
            None => PortId::HOST,
        }
    }

    /// Its IPv4 address.
    #[must_use]
    pub const fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, self.node, self.last)
    }

    /// Its IPv6 address.
    #[must_use]
    pub const fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(
            0xfd00,
            0x10,
            0x244,
            self.node as u16,
            0,
            0,
            0,
            self.last as u16,
        )
    }
}

/// The pod that sends.
pub const POD: Station = Station { node: 1, last: 2 };
/// Another pod of our node.
pub const NEIGHBOR: Station = Station { node: 1, last: 3 };
/// A pod of the first peer.
pub const REMOTE: Station = Station { node: 2, last: 2 };
/// The ports of the flows.
pub const PORTS: (u16, u16) = (40_000, 53);

/// What an IP packet from one station to another is made with.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    /// The sender.
    pub from: Station,
    /// The receiver.
    pub to: Station,
    /// The Ethernet addresses, sender's first.
    pub macs: (Mac, Mac),
    /// The IP version.
    pub family: Family,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DF; IPv4 only.
    pub dont_fragment: bool,
}

impl Talk {
    /// From a pod of our node, as its kernel sends it.
    #[must_use]
    pub const fn out_of_pod(from: Station, to: Station, family: Family) -> Self {
        Self {
            from,
            to,
            macs: (from.mac(), GATEWAY_MAC),
            family,
            ttl: 64,
            dont_fragment: true,
        }
    }

    /// The UDP frame of `size` bytes.
    #[must_use]
    pub fn udp(self, size: usize) -> Vec<u8> {
        let payload = vec![0x77; size.saturating_sub(ETHERNET + self.family.header() + UDP)];
        let ethernet = build::ethernet(self.macs.0, self.macs.1);
        let (src, dst) = PORTS;
        match self.family {
            Family::V4 => ethernet
                .ipv4(self.from.v4(), self.to.v4())
                .ttl(self.ttl)
                .dont_fragment(self.dont_fragment)
                .udp(src, dst, &payload),
            Family::V6 => ethernet
                .ipv6(self.from.v6(), self.to.v6())
                .ttl(self.ttl)
                .udp(src, dst, &payload),
        }
    }

    /// A TCP segment without payload.
    #[must_use]
    pub fn tcp(self, flags: TcpFlags) -> Vec<u8> {
        let (src_port, dst_port) = PORTS;
        let spec = TcpSpec {
            src_port,
            dst_port,
            flags,
            ..TcpSpec::default()
        };
        let ethernet = build::ethernet(self.macs.0, self.macs.1);
        match self.family {
            Family::V4 => ethernet.ipv4(self.from.v4(), self.to.v4()).tcp(spec, &[]),
            Family::V6 => ethernet.ipv6(self.from.v6(), self.to.v6()).tcp(spec, &[]),
        }
    }
}
