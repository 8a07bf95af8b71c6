//! Where does a packet go next?
//!
//! Owns the forwarding table (exact local addresses, this node's podCIDRs, the peers'
//! podCIDRs by prefix length), the rule that chooses the next hop from it, and what a hop
//! changes in a packet: TTL and MACs. [`TablesBuilder`](super::TablesBuilder) refuses
//! overlaps, so no order of lookup matters; lookup cost grows with the number of distinct
//! prefix lengths (one or two in a cluster), not with peers or pods.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::ops::BitAnd;

use foldhash::fast::FixedState;
use weft_wire::ethernet::EthernetFrame;
use weft_wire::{FlowKey, Frame, Headers, IpVersion, Mac, ipv4, ipv6};

use super::drop::DropReason;
use super::icmp::Tell;
use super::ports::{PortEntry, PortId, PortKind};
use super::refusal::Refusal;
use super::tables::{GATEWAY_MAC, PeerId, Tables};
use weft_policy::Cidr;

/// Keyed by addresses that only the control plane chooses, hence the fixed state.
type ByBits<A, V> = HashMap<A, V, FixedState>;

/// One map for each family: a key is one integer, cheaper to hash than an [`IpAddr`].
#[derive(Debug, Clone)]
struct ByAddress<V> {
    ipv4: ByBits<u32, V>,
    ipv6: ByBits<u128, V>,
}

/// Where an address lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// At a port of this node.
    Port(PortId),
    /// In a peer's podCIDRs.
    Peer(PeerId),
    /// In this node's podCIDRs, but at no port.
    Vacant,
    /// Outside the pod network.
    Outside,
}

/// The forwarding table of a node.
#[derive(Debug, Clone, Default)]
pub struct Forward {
    local: ByAddress<PortId>,
    own: Vec<Cidr>,
    peers_ipv4: Vec<PrefixLength<u32>>,
    peers_ipv6: Vec<PrefixLength<u128>>,
    vteps: ByAddress<PeerId>,
}

/// The peers' podCIDRs of one length.
#[derive(Debug, Clone)]
struct PrefixLength<A> {
    mask: A,
    bases: ByBits<A, PeerId>,
}

impl<V> Default for ByAddress<V> {
    fn default() -> Self {
        Self {
            ipv4: ByBits::default(),
            ipv6: ByBits::default(),
        }
    }
}

impl<V: Copy> ByAddress<V> {
    #[inline]
    fn get(&self, address: IpAddr) -> Option<V> {
        match address {
            IpAddr::V4(v4) => self.ipv4.get(&v4.to_bits()),
            IpAddr::V6(v6) => self.ipv6.get(&v6.to_bits()),
        }
        .copied()
    }

    fn insert(&mut self, address: IpAddr, value: V) -> Option<V> {
        match address {
            IpAddr::V4(v4) => self.ipv4.insert(v4.to_bits(), value),
            IpAddr::V6(v6) => self.ipv6.insert(v6.to_bits(), value),
        }
    }
}

impl<A: Copy + Eq + Hash + BitAnd<Output = A>> PrefixLength<A> {
    #[inline]
    fn peer_of(lengths: &[Self], address: A) -> Option<PeerId> {
        lengths
            .iter()
            .find_map(|prefix| prefix.bases.get(&(address & prefix.mask)).copied())
    }

    fn add(lengths: &mut Vec<Self>, mask: A, base: A, peer: PeerId) {
        if let Some(prefix) = lengths.iter_mut().find(|prefix| prefix.mask == mask) {
            prefix.bases.insert(base, peer);
        } else {
            let bases = ByBits::from_iter([(base, peer)]);
            lengths.push(Self { mask, bases });
        }
    }
}

impl Forward {
    /// Where the address lives.
    pub fn locate(&self, address: IpAddr) -> Location {
        if let Some(port) = self.local.get(address) {
            return Location::Port(port);
        }
        if self.is_own(address) {
            return Location::Vacant;
        }
        self.peer_of(address)
            .map_or(Location::Outside, Location::Peer)
    }

    /// Whether the address lies in this node's podCIDRs.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.iter().any(|cidr| cidr.contains(address))
    }

    /// The peer whose podCIDRs hold the address.
    pub fn peer_of(&self, address: IpAddr) -> Option<PeerId> {
        match address {
            IpAddr::V4(v4) => PrefixLength::peer_of(&self.peers_ipv4, v4.to_bits()),
            IpAddr::V6(v6) => PrefixLength::peer_of(&self.peers_ipv6, v6.to_bits()),
        }
    }

    /// The peer that sends from this underlay address.
    pub fn peer_at(&self, vtep: IpAddr) -> Option<PeerId> {
        self.vteps.get(vtep)
    }

    pub(super) fn add_local(&mut self, address: IpAddr, port: PortId) -> Option<PortId> {
        self.local.insert(address, port)
    }

    pub(super) fn add_own(&mut self, cidr: Cidr) {
        self.own.push(cidr);
    }

    pub(super) fn add_vtep(&mut self, vtep: IpAddr, peer: PeerId) -> Option<PeerId> {
        self.vteps.insert(vtep, peer)
    }

    pub(super) fn add_peer_cidr(&mut self, cidr: Cidr, peer: PeerId) {
        // A length is at most the address's bits; that of /0 shifts all of them out.
        let length = u32::from(cidr.length());
        match cidr.base() {
            IpAddr::V4(base) => {
                let mask = u32::MAX.checked_shl(u32::BITS.saturating_sub(length));
                let mask = mask.unwrap_or(0);
                PrefixLength::add(&mut self.peers_ipv4, mask, base.to_bits(), peer);
            }
            IpAddr::V6(base) => {
                let mask = u128::MAX.checked_shl(u128::BITS.saturating_sub(length));
                let mask = mask.unwrap_or(0);
                PrefixLength::add(&mut self.peers_ipv6, mask, base.to_bits(), peer);
            }
        }
    }
}

/// Where a packet goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    Port(PortId),
    Peer(PeerId),
}

/// The next hop of a packet that left `port`. What is outside the pod network goes to the
/// host, which routes and masquerades; what the host sends here must be for the pod network.
pub(super) fn next_hop_out(
    tables: &Tables,
    port: &PortEntry,
    flow: &FlowKey,
) -> Result<Hop, Refusal> {
    match (tables.forward().locate(flow.dst), port.kind) {
        (Location::Vacant, _) => Err(Refusal::telling(
            DropReason::NoSuchPod,
            Tell::HostUnreachable,
        )),
        (Location::Port(PortId::HOST) | Location::Outside, PortKind::Host) => {
            Err(DropReason::NoRoute.into())
        }
        (Location::Port(to), _) => Ok(Hop::Port(to)),
        (Location::Peer(_), PortKind::Host) if !tables.forward().is_own(flow.src) => {
            Err(DropReason::SpoofedHost.into())
        }
        (Location::Peer(peer), _) => Ok(Hop::Peer(peer)),
        (Location::Outside, PortKind::Pod) => Ok(Hop::Port(PortId::HOST)),
    }
}

/// The port of a packet that came through the tunnel: a pod of this node, or the node by
/// its pod-network address. Peers are never served as a router (split horizon).
pub(super) fn next_hop_in(tables: &Tables, flow: &FlowKey) -> Result<PortId, Refusal> {
    let forward = tables.forward();
    if !forward.is_own(flow.dst) {
        return Err(DropReason::Transit.into());
    }
    // In this node's own podCIDRs nothing but a port can be.
    let port = forward.local.get(flow.dst);
    port.ok_or_else(|| Refusal::telling(DropReason::NoSuchPod, Tell::HostUnreachable))
}

/// Takes one from the TTL or hop limit; a packet that would leave with 0 stays here.
#[inline]
pub(super) fn age(frame: &mut Frame, packet: &Headers) -> Result<(), Refusal> {
    if packet.hop_limit <= 1 {
        return Err(Refusal::telling(DropReason::TtlExpired, Tell::TimeExceeded));
    }
    let ip = frame
        .as_mut_slice()
        .get_mut(packet.l3..)
        .unwrap_or_default();
    match packet.version {
        IpVersion::V4 => ipv4::decrement_ttl(ip),
        IpVersion::V6 => ipv6::decrement_hop_limit(ip),
    };
    Ok(())
}

/// Writes the MACs of a frame from the gateway to a port.
pub(super) fn address(frame: &mut Frame, port: Mac) {
    if let Ok(mut ethernet) = EthernetFrame::new_checked(frame.as_mut_slice()) {
        ethernet.set_destination(port);
        ethernet.set_source(GATEWAY_MAC);
    }
}
