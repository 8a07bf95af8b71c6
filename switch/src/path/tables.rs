//! What does this node know of the network?
//!
//! One immutable value: the control thread builds a whole new [`Tables`] and publishes
//! it, a worker picks it up once per turn. Never changed in place, never holds a file
//! descriptor. What may not be published is refused in [`TablesBuilder`](super::TablesBuilder).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_encap::Vni;
use weft_policy::{Direction, Epoch, RuleId, Table, Verdict};
use weft_wire::{FlowKey, Mac};

use super::forward::{Forward, Location};
use super::ports::{PortEntry, PortId};
use weft_policy::Cidr;

/// The MAC of the gateway, the same at every port of every node: locally administered,
/// then "weft" in ASCII.
pub const GATEWAY_MAC: Mac = Mac::new([0x02, 0x77, 0x65, 0x66, 0x74, 0x01]);
/// The pods' IPv4 gateway (RFC 3927 link-local, so that it collides with no podCIDR).
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The pods' IPv6 gateway.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

const FIRST_VNI: Vni = match Vni::new(1) {
    Some(vni) => vni,
    None => Vni::MAX,
};

/// The number of a peer within one [`Tables`] value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(u16);

impl PeerId {
    pub(super) const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The position in [`Tables::peers`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Another node of the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The node's name.
    pub name: String,
    /// Its underlay address: where we send, and the only source we accept from it.
    pub vtep: IpAddr,
    /// Its VTEP MAC, the inner destination of what we send.
    pub mac: Mac,
    /// Its podCIDRs: what we send to it, and the only inner sources we accept from it.
    pub cidrs: Vec<Cidr>,
    /// The largest inner IP packet that reaches it unfragmented, in bytes.
    pub mtu: u16,
}

/// This node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The overlay's VXLAN network identifier.
    pub vni: Vni,
    /// The UDP port of the overlay.
    pub vxlan_port: u16,
    /// Our VTEP MAC, the only inner destination MAC we accept.
    pub vtep_mac: Mac,
    /// Our underlay address.
    pub vtep: IpAddr,
    /// The node's IPv4 address in the pod network: the base of its podCIDR.
    pub ipv4: Option<Ipv4Addr>,
    /// The node's IPv6 address in the pod network.
    pub ipv6: Option<Ipv6Addr>,
    /// All addresses of the node, underlay included: pods reach them through the host port.
    pub addresses: Vec<IpAddr>,
    /// The node's podCIDRs.
    pub cidrs: Vec<Cidr>,
}

impl Node {
    /// Whether the address is one of the node's own.
    pub fn has(&self, address: IpAddr) -> bool {
        let own = [self.ipv4.map(IpAddr::V4), self.ipv6.map(IpAddr::V6)];
        own.contains(&Some(address)) || self.addresses.contains(&address)
    }
}

/// Everything a worker needs to know to forward; immutable.
#[derive(Debug, Clone)]
pub struct Tables {
    /// Grows with every publication; a verdict remembered under an older one is decided anew.
    pub epoch: Epoch,
    /// This node.
    pub node: Node,
    pub(super) ports: Vec<Option<PortEntry>>,
    pub(super) peers: Vec<Peer>,
    pub(super) forward: Forward,
    pub(super) policy: Table,
}

impl Tables {
    /// Tables without ports and peers: every frame is dropped.
    pub fn empty() -> Self {
        Self {
            epoch: Epoch::default(),
            node: Node {
                vni: FIRST_VNI,
                vxlan_port: weft_encap::VXLAN_PORT,
                vtep_mac: Mac::ZERO,
                vtep: Ipv4Addr::UNSPECIFIED.into(),
                ipv4: None,
                ipv6: None,
                addresses: Vec::new(),
                cidrs: Vec::new(),
            },
            ports: Vec::new(),
            peers: Vec::new(),
            forward: Forward::default(),
            policy: Table::allow_all(),
        }
    }

    /// The entry of a port; `None` while the port is closed.
    pub fn port(&self, id: PortId) -> Option<&PortEntry> {
        self.ports.get(id.index())?.as_ref()
    }

    /// All open ports, by number.
    pub fn ports(&self) -> impl Iterator<Item = (PortId, &PortEntry)> {
        (0u16..)
            .zip(&self.ports)
            .filter_map(|(number, entry)| Some((PortId::new(number)?, entry.as_ref()?)))
    }

    /// A peer of these tables.
    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(id.index())
    }

    /// The peer that sends from this underlay address.
    pub fn peer_at(&self, vtep: IpAddr) -> Option<&Peer> {
        self.peer(self.forward.peer_at(vtep)?)
    }

    /// All peers; [`PeerId::index`] is the position.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Where addresses live.
    pub const fn forward(&self) -> &Forward {
        &self.forward
    }

    /// Who may talk to whom.
    pub const fn policy(&self) -> &Table {
        &self.policy
    }

    /// Policy's answer for a flow, as its initiator writes it, at the port of one of its ends:
    /// egress is asked of the initiator's, ingress of the responder's. A pod's own node always
    /// reaches it (NetworkPolicy); only the node can send from the node's addresses, except
    /// from one that lies in a peer's podCIDRs.
    pub(super) fn decide(&self, side: Direction, port: &PortEntry, flow: &FlowKey) -> Verdict {
        let own = |source| self.node.has(source) && self.forward.peer_of(source).is_none();
        if side == Direction::Ingress && own(flow.src) {
            return Verdict::Allow(RuleId::DEFAULT);
        }
        self.policy.decide(side, port.policy, flow)
    }

    /// Whether the address can only be a pod's: in a podCIDR, and not a node's own in it.
    pub(super) fn is_pods(&self, address: IpAddr) -> bool {
        match self.forward.locate(address) {
            Location::Port(port) => port != PortId::HOST,
            Location::Vacant => true,
            Location::Peer(id) => {
                let cidrs = self.peer(id).map_or(&[][..], |peer| &peer.cidrs);
                cidrs.iter().all(|cidr| cidr.base() != address)
            }
            Location::Outside => false,
        }
    }
}
