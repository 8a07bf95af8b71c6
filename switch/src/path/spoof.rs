//! Is the sender who it says it is?
//!
//! Exact comparison with the tables; nothing is learned from frames. The same question for
//! the tunnel: does the inner source belong to the peer that sent it?

use std::net::{IpAddr, Ipv6Addr};

use weft_wire::ethernet::EthernetFrame;
use weft_wire::{Headers, ndp::NeighborSolicit};

use super::drop::DropReason;
use super::forward::Location;
use super::martian::{self, Kind};
use super::neighbor;
use super::ports::{PortEntry, PortId, PortKind};
use super::tables::{GATEWAY_MAC, Node, Peer, Tables};

/// The source MAC is the port's, the destination the gateway's or a group's (of which only
/// ARP and neighbour discovery get further).
pub(super) fn check_macs(frame: &[u8], port: &PortEntry) -> Result<(), DropReason> {
    let ethernet = EthernetFrame::new_checked(frame)?;
    if ethernet.source() != port.mac {
        return Err(DropReason::SpoofedMac);
    }
    let destination = ethernet.destination();
    if destination != GATEWAY_MAC && !destination.is_multicast() {
        return Err(DropReason::ForeignDestinationMac);
    }
    Ok(())
}

/// The source address is the port's own, global or link-local; the host may speak for
/// anybody outside the pod network. Pods never send through the host's routing: a packet that
/// comes from there with a pod's address was let in from outside.
pub(super) fn check_source(
    frame: &[u8],
    packet: &Headers,
    port: &PortEntry,
    tables: &Tables,
) -> Result<(), DropReason> {
    let source = packet.flow.src;
    if source == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        return Err(judge_unspecified(frame, packet, port));
    }
    if matches!(martian::kind(source), Kind::Martian | Kind::Multicast) {
        return Err(DropReason::Martian);
    }
    if port.addresses().any(|own| own == source) || source == IpAddr::V6(port.link_local()) {
        return Ok(());
    }
    match port.kind {
        PortKind::Pod if source.is_ipv4() => Err(DropReason::SpoofedIpv4),
        PortKind::Pod => Err(DropReason::SpoofedIpv6),
        PortKind::Host => match tables.forward().locate(source) {
            Location::Outside | Location::Port(PortId::HOST) => Ok(()),
            Location::Port(_) | Location::Vacant | Location::Peer(_) => {
                Err(DropReason::SpoofedHost)
            }
        },
    }
}

/// `::` may only ask whether the port's own address is taken (RFC 4862 §5.4.2), and never
/// gets an answer.
fn judge_unspecified(frame: &[u8], packet: &Headers, port: &PortEntry) -> DropReason {
    if !neighbor::is_solicitation(packet) {
        return DropReason::SpoofedIpv6;
    }
    match NeighborSolicit::parse(frame, packet) {
        None => DropReason::BadNeighbor,
        Some(NeighborSolicit { target, .. })
            if Some(target) == port.ipv6 || target == port.link_local() =>
        {
            DropReason::AddressProbe
        }
        Some(_) => DropReason::SpoofedIpv6,
    }
}

/// The inner frame is addressed to this node's VTEP.
pub(super) fn check_inner_macs(packet: &Headers, node: &Node) -> Result<(), DropReason> {
    if packet.dst_mac == node.vtep_mac {
        Ok(())
    } else {
        Err(DropReason::ForeignInnerMac)
    }
}

/// The inner source lies in the podCIDRs of the peer that sent it.
pub(super) fn check_inner_source(packet: &Headers, peer: &Peer) -> Result<(), DropReason> {
    let source = packet.flow.src;
    match martian::kind(source) {
        Kind::Martian | Kind::Multicast => Err(DropReason::Martian),
        Kind::LinkLocal => Err(DropReason::LinkLocal),
        Kind::Unicast if peer.cidrs.iter().any(|cidr| cidr.contains(source)) => Ok(()),
        Kind::Unicast => Err(DropReason::ForeignInnerSource),
    }
}
