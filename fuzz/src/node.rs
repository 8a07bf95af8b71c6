//! On which node do the doors stand? Five ports, two peers, and who owns which address.
//!
//! The facts are constants here, apart from the tables that are built from them, so that a
//! harness can ask them instead of the code under test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weft_encap::{Lanes, Vni};
use weft_policy::{Config, Conntrack, Epoch, PolicySetId};
use weft_switch::path::{
    Cidr, Node, Path, PathConfig, Peer, PortEntry, PortId, PortKind, Tables, TablesBuilder,
};
use weft_wire::Mac;

/// The VXLAN header of the overlay.
pub const VXLAN: [u8; 8] = [0x08, 0, 0, 0, 0, 0, 1, 0];
/// The UDP port of the overlay.
pub const VXLAN_PORT: u16 = weft_encap::VXLAN_PORT;
/// Sending sockets of the worker.
pub const LANES: u8 = 4;
/// Connections the table holds: few, so that it fills up.
pub const CONNECTIONS: usize = 32;

/// One end of the pod network: `host` on node `node`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Station {
    /// The number of its node; ours is 1.
    pub node: u8,
    /// The host part of its addresses; on our node also the port's number.
    pub host: u8,
    /// Whether it has an IPv4 and an IPv6 address.
    pub families: (bool, bool),
    /// The MTU of its link.
    pub mtu: u16,
}

/// The stations of our node by port number: the host, two dual-stack pods, one with IPv4 only and
/// a small MTU, one with IPv6 only.
pub const PORTS: [Station; 5] = [
    Station {
        node: 1,
        host: 0,
        families: (true, true),
        mtu: 1450,
    },
    Station {
        node: 1,
        host: 1,
        families: (true, true),
        mtu: 1450,
    },
    Station {
        node: 1,
        host: 2,
        families: (true, true),
        mtu: 1450,
    },
    Station {
        node: 1,
        host: 3,
        families: (true, false),
        mtu: 600,
    },
    Station {
        node: 1,
        host: 4,
        families: (false, true),
        mtu: 1280,
    },
];

/// The peers: number, underlay address and MTU of the tunnel.
pub const PEERS: [(u8, IpAddr, u16); 2] = [
    (2, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 1450),
    (
        3,
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3)),
        1280,
    ),
];

/// Our underlay address.
pub const VTEP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

impl Station {
    /// The MAC of its interface.
    #[must_use]
    pub const fn mac(self) -> Mac {
        Mac::new([0x02, 0xaa, 0, 0, self.node, self.host])
    }

    /// Its IPv4 address, had it one.
    #[must_use]
    pub const fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, self.node, self.host)
    }

    /// Its IPv6 address, had it one.
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
            self.host as u16,
        )
    }

    /// Its link-local address.
    #[must_use]
    pub const fn link_local(self) -> Ipv6Addr {
        let tail = (self.node as u16) << 8 | self.host as u16;
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0x00aa, 0x00ff, 0xfe00, tail)
    }

    /// Whether the routable address is this station's.
    #[must_use]
    pub fn owns(self, address: IpAddr) -> bool {
        self.families.0 && address == self.v4() || self.families.1 && address == self.v6()
    }

    fn entry(self) -> PortEntry {
        PortEntry {
            kind: if self.host == 0 {
                PortKind::Host
            } else {
                PortKind::Pod
            },
            mac: self.mac(),
            ipv4: self.families.0.then_some(self.v4()),
            ipv6: self.families.1.then_some(self.v6()),
            mtu: self.mtu,
            policy: PolicySetId::UNSELECTED,
            pod: None,
            limits: None,
        }
    }
}

/// Whether the address lies in a node's podCIDRs.
#[must_use]
pub fn is_of_node(address: IpAddr, node: u8) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..3] == [10, 244, node],
        IpAddr::V6(address) => address.segments()[..4] == [0xfd00, 0x10, 0x244, u16::from(node)],
    }
}

/// The VTEP MAC of a node.
#[must_use]
pub const fn vtep_mac(node: u8) -> Mac {
    Mac::new([0x02, 0xee, 0, 0, 0, node])
}

/// What is published at the moment: a bit for every port, and from bit 5 on for every peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published(pub u8);

impl Published {
    /// Everything.
    pub const ALL: Self = Self(0xff);

    /// The station at an open port.
    #[must_use]
    pub fn port(self, number: u16) -> Option<Station> {
        let station = PORTS.get(usize::from(number))?;
        (self.0 & 1 << number != 0).then_some(*station)
    }

    /// The peer at an underlay address.
    #[must_use]
    pub fn peer_at(self, vtep: IpAddr) -> Option<(u8, u16)> {
        let index = PEERS.iter().position(|(_, address, _)| *address == vtep)?;
        let (node, _, mtu) = PEERS[index];
        (self.0 & 1 << (5 + index) != 0).then_some((node, mtu))
    }

    /// The tables that say so.
    #[must_use]
    pub fn tables(self, epoch: Epoch) -> Tables {
        let host = PORTS[0];
        let node = Node {
            vni: Vni::new(1).expect("1 is a VNI"),
            vxlan_port: VXLAN_PORT,
            vtep_mac: vtep_mac(1),
            vtep: VTEP,
            ipv4: Some(host.v4()),
            ipv6: Some(host.v6()),
            addresses: vec![VTEP],
            cidrs: cidrs(1),
        };
        let mut builder = TablesBuilder::new(node).epoch(epoch);
        for number in 0..5 {
            if let (Some(station), Some(id)) = (self.port(number), PortId::new(number)) {
                builder = builder.port(id, station.entry());
            }
        }
        for (number, vtep, mtu) in PEERS {
            if self.peer_at(vtep).is_some() {
                let (mac, cidrs) = (vtep_mac(number), cidrs(number));
                let name = format!("node-{number}");
                builder = builder.peer(Peer {
                    name,
                    vtep,
                    mac,
                    cidrs,
                    mtu,
                });
            }
        }
        builder.build().expect("the tables are valid")
    }
}

fn cidrs(node: u8) -> Vec<Cidr> {
    let base = Station {
        node,
        host: 0,
        families: (true, true),
        mtu: 0,
    };
    let prefixes = [(IpAddr::V4(base.v4()), 24), (IpAddr::V6(base.v6()), 64)];
    prefixes
        .map(|(base, length)| Cidr::new(base, length).expect("a base address"))
        .into()
}

/// A worker's path and the connections it shares.
#[must_use]
pub fn path() -> (Path, Arc<Conntrack>) {
    let conntrack = Arc::new(Conntrack::new(Config {
        capacity: CONNECTIONS,
        quota_per_owner: 16,
        owners: 8,
        ..Config::default()
    }));
    let lanes = Lanes::new(LANES).expect("a power of two");
    let config = PathConfig {
        worker: 0,
        workers: 1,
        lanes,
        seed: 7,
    };
    (Path::new(config, Arc::clone(&conntrack)), conntrack)
}
