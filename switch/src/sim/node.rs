//! What is a node in the simulation? A [`Path`] with its tables, and no device.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weft_encap::{Lanes, Underlay, VXLAN_PORT, Vni};
use weft_policy::{Config, Conntrack, Epoch, PolicySetId, Table};
use weft_wire::{Mac, Pool};

use crate::path::{
    Cidr, Node, Out, Path, PathConfig, Peer, PodName, PortEntry, PortId, PortKind, TableError,
    Tables, TablesBuilder,
};

/// Frames a node has; each pod may have this many on their way through it at once.
const FRAMES: usize = 256;
/// Bytes of a frame: jumbo, so that a pod may send more than any MTU.
const FRAME: usize = 9216;
/// Connections a node remembers.
const CONNECTIONS: usize = 4096;
const LANES: Lanes = match Lanes::new(8) {
    Some(lanes) => lanes,
    None => panic!("eight is a power of two"),
};
const VNI: Vni = match Vni::new(1) {
    Some(vni) => vni,
    None => panic!("one is a VNI"),
};

/// A simulated node.
#[derive(Debug)]
pub(super) struct SimNode {
    pub(super) path: Path,
    pub(super) tables: Tables,
    /// What the next tables are published with.
    pub(super) policy: Table,
    pub(super) out: Out,
    pub(super) conntrack: Arc<Conntrack>,
}

/// The addresses of node `index`, counted from 0, and of what lives on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) underlay: Underlay,
    pub(super) pod_mtu: u16,
}

impl SimNode {
    pub(super) fn new(tables: Tables, seed: u64) -> Self {
        let config = Config {
            capacity: CONNECTIONS,
            seed: [seed, !seed],
            ..Config::default()
        };
        let conntrack = Arc::new(Conntrack::new(config));
        let config = PathConfig {
            worker: 0,
            workers: 1,
            lanes: LANES,
            seed,
        };
        Self {
            path: Path::new(config, Arc::clone(&conntrack)),
            tables,
            policy: Table::allow_all(),
            out: Out::new(Pool::new(FRAMES, FRAME)),
            conntrack,
        }
    }
}

impl Plan {
    pub(super) fn vtep(self, index: usize) -> IpAddr {
        let number = number(index);
        match self.underlay {
            Underlay::V4 => Ipv4Addr::new(192, 0, 2, number).into(),
            Underlay::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()).into(),
        }
    }

    fn cidrs(index: usize) -> Vec<Cidr> {
        let v4 = Cidr::new(pod_v4(index, 0).into(), 24);
        let v6 = Cidr::new(pod_v6(index, 0).into(), 64);
        v4.into_iter().chain(v6).collect()
    }

    /// What port `port` of a node is; port 0 is its host.
    pub(super) fn entry(self, index: usize, port: PortId, mtu: u16) -> PortEntry {
        let host = port == PortId::HOST;
        // The node has the base address, .1 stays free, pods begin at .2.
        let last = if host {
            0
        } else {
            u8::try_from(port.get() + 1).unwrap_or(u8::MAX)
        };
        let pod = PodName {
            namespace: "sim".to_owned(),
            name: format!("pod-{index}-{port}"),
        };
        PortEntry {
            kind: if host { PortKind::Host } else { PortKind::Pod },
            mac: Mac::new([0x02, 0x51, 0, number(index), 0, last]),
            ipv4: Some(pod_v4(index, last)),
            ipv6: Some(pod_v6(index, last)),
            mtu,
            policy: PolicySetId::UNSELECTED,
            pod: (!host).then(|| Arc::new(pod)),
            limits: None,
        }
    }

    /// The tables of node `index` of `nodes`, with these ports.
    pub(super) fn tables(
        self,
        (index, nodes): (usize, usize),
        (epoch, policy): (Epoch, Table),
        ports: impl Iterator<Item = (PortId, PortEntry)>,
    ) -> Result<Tables, TableError> {
        let node = Node {
            vni: VNI,
            vxlan_port: VXLAN_PORT,
            vtep_mac: vtep_mac(index),
            vtep: self.vtep(index),
            ipv4: Some(pod_v4(index, 0)),
            ipv6: Some(pod_v6(index, 0)),
            addresses: vec![self.vtep(index)],
            cidrs: Self::cidrs(index),
        };
        let builder = TablesBuilder::new(node).epoch(epoch).policy(policy);
        let builder = ports.fold(builder, |builder, (id, entry)| builder.port(id, entry));
        let others = (0..nodes).filter(|other| *other != index);
        others
            .fold(builder, |builder, other| builder.peer(self.peer(other)))
            .build()
    }

    fn peer(self, index: usize) -> Peer {
        Peer {
            name: format!("node-{index}"),
            vtep: self.vtep(index),
            mac: vtep_mac(index),
            cidrs: Self::cidrs(index),
            mtu: self.pod_mtu,
        }
    }
}

/// Nodes are numbered from 1 in addresses.
fn number(index: usize) -> u8 {
    u8::try_from(index + 1).unwrap_or(u8::MAX)
}

fn vtep_mac(index: usize) -> Mac {
    Mac::new([0x02, 0x5e, 0, 0, 0, number(index)])
}

fn pod_v4(index: usize, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, number(index), last)
}

fn pod_v6(index: usize, last: u8) -> Ipv6Addr {
    Ipv6Addr::new(
        0xfd00,
        0x10,
        0x244,
        number(index).into(),
        0,
        0,
        0,
        last.into(),
    )
}
