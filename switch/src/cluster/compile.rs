//! How does the desired state become the tables workers forward by?

use std::collections::BTreeMap;
use std::net::IpAddr;

use weft_encap::Vni;
use weft_policy::{Epoch, Table};

use super::{Desired, vtep_mac};
use crate::path::{Cidr, Node, Peer, PortEntry, PortId, TableError, Tables, TablesBuilder};

/// What a node knows of itself without any source of state.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// The overlay's network identifier.
    pub vni: Vni,
    /// The overlay's UDP port.
    pub vxlan_port: u16,
    /// Its underlay address.
    pub vtep: IpAddr,
    /// The largest IP packet that fits the tunnel, in bytes.
    pub pod_mtu: u16,
    /// Its pod ranges.
    pub cidrs: Vec<Cidr>,
    /// Underlay addresses of peers that less fits the way to: the largest IP packet of a pod that
    /// does, in bytes.
    pub narrow: BTreeMap<IpAddr, u16>,
}

impl NodeFacts {
    /// The node's own addresses in the pod network: the base of each range (decision 0004).
    pub fn pod_network_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.cidrs.iter().map(Cidr::base)
    }

    /// The largest IP packet of a pod that reaches the peer with this underlay address.
    pub fn mtu_to(&self, vtep: IpAddr) -> u16 {
        let narrow = self.narrow.get(&vtep).copied();
        narrow.map_or(self.pod_mtu, |mtu| mtu.min(self.pod_mtu))
    }
}

/// Compiles tables: the node's `facts` and current `addresses`, the peers of `desired`, the
/// `ports` that are attached, and the `policy` whose sets those ports name.
///
/// # Errors
/// What would make forwarding ambiguous.
pub fn compile(
    facts: &NodeFacts,
    addresses: Vec<IpAddr>,
    desired: &Desired,
    ports: impl IntoIterator<Item = (PortId, PortEntry)>,
    (epoch, policy): (Epoch, Table),
) -> Result<Tables, TableError> {
    let own = || facts.pod_network_addresses();
    let node = Node {
        vni: facts.vni,
        vxlan_port: facts.vxlan_port,
        vtep_mac: desired.own_mac.unwrap_or_else(|| vtep_mac(&facts.name)),
        vtep: facts.vtep,
        ipv4: own().find_map(|ip| {
            if let IpAddr::V4(v4) = ip {
                Some(v4)
            } else {
                None
            }
        }),
        ipv6: own().find_map(|ip| {
            if let IpAddr::V6(v6) = ip {
                Some(v6)
            } else {
                None
            }
        }),
        addresses,
        cidrs: facts.cidrs.clone(),
    };
    let mut builder = TablesBuilder::new(node).epoch(epoch).policy(policy);
    for (id, entry) in ports {
        builder = builder.port(id, entry);
    }
    for peer in &desired.peers {
        // Ranges were checked when they were read: they have no host bits.
        let cidrs = peer
            .pod_cidrs
            .iter()
            .filter_map(|cidr| Cidr::try_from(*cidr).ok());
        builder = builder.peer(Peer {
            name: peer.name.clone(),
            vtep: peer.vtep,
            mac: peer.mac,
            cidrs: cidrs.collect(),
            mtu: facts.mtu_to(peer.vtep),
        });
    }
    builder.build()
}
