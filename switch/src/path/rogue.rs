//! Does a packet say what only a router, a DHCP server or a node may say?
//!
//! One list for pods, the host and peers, judged on parsed headers, so that extension
//! headers hide nothing (RFC 7113); what would hide in a later fragment was refused by the
//! parser (RFC 7112). Owns no state and changes no byte.

use std::net::IpAddr;

use weft_policy::Direction;
use weft_wire::{Fragment, Headers, Transport, embedded, icmp};

use super::drop::DropReason;
use super::martian::{self, Kind};
use super::tables::Node;

const DHCP: (u16, u16) = (67, 68);
const DHCPV6: (u16, u16) = (547, 546);

/// ICMP router advertisement and solicitation (RFC 1256).
const ROUTER_ADVERT: u8 = 9;
const ROUTER_SOLICIT: u8 = 10;
/// Multicast listener discovery (RFC 2710, RFC 3810): query, report, done, report version 2.
const MLD: [u8; 4] = [130, 131, 132, 143];

/// Refuses source routes, rogue messages, forged errors and tunnels inside the tunnel.
pub(super) fn check(
    frame: &[u8],
    packet: &Headers,
    node: &Node,
    direction: Direction,
) -> Result<(), DropReason> {
    if packet.source_routed {
        return Err(DropReason::SourceRouted);
    }
    match packet.transport {
        Transport::Udp => check_udp(packet, node),
        Transport::Icmp { kind, .. } => check_icmp(kind),
        Transport::Icmpv6 { kind, .. } => check_icmpv6(kind, packet.fragment, direction),
        Transport::Tcp(_) | Transport::Sctp | Transport::Other | Transport::Opaque => return Ok(()),
    }?;
    check_error(frame, packet)
}

/// Refuses destinations that are never forwarded to.
pub(super) fn check_destination(packet: &Headers) -> Result<(), DropReason> {
    if packet.dst_mac.is_multicast() {
        return Err(DropReason::Multicast);
    }
    match martian::kind(packet.flow.dst) {
        Kind::Martian => Err(DropReason::Martian),
        Kind::Multicast => Err(DropReason::Multicast),
        Kind::LinkLocal => Err(DropReason::LinkLocal),
        Kind::Unicast if martian::kind(packet.flow.src) == Kind::LinkLocal => {
            Err(DropReason::LinkLocal)
        }
        Kind::Unicast => Ok(()),
    }
}

fn check_udp(packet: &Headers, node: &Node) -> Result<(), DropReason> {
    let flow = &packet.flow;
    if flow.dst_port == node.vxlan_port {
        return Err(DropReason::NestedTunnel);
    }
    let server_to_client = if flow.src.is_ipv4() { DHCP } else { DHCPV6 };
    if (flow.src_port, flow.dst_port) == server_to_client {
        return Err(DropReason::DhcpServerReply);
    }
    Ok(())
}

const fn check_icmp(kind: u8) -> Result<(), DropReason> {
    match kind {
        icmp::REDIRECT => Err(DropReason::Redirect),
        ROUTER_ADVERT => Err(DropReason::RouterAdvertisement),
        ROUTER_SOLICIT => Err(DropReason::RouterSolicitation),
        _ => Ok(()),
    }
}

/// A solicitation passes on the road out only: the gateway answers it there.
fn check_icmpv6(kind: u8, fragment: Fragment, direction: Direction) -> Result<(), DropReason> {
    match kind {
        icmp::V6_ROUTER_ADVERT => Err(DropReason::RouterAdvertisement),
        icmp::V6_REDIRECT => Err(DropReason::Redirect),
        icmp::V6_ROUTER_SOLICIT..=icmp::V6_NEIGHBOR_ADVERT if fragment != Fragment::Whole => {
            Err(DropReason::FragmentedNeighbor)
        }
        icmp::V6_ROUTER_SOLICIT => Err(DropReason::RouterSolicitation),
        icmp::V6_NEIGHBOR_ADVERT => Err(DropReason::NeighborAdvertisement),
        icmp::V6_NEIGHBOR_SOLICIT if direction == Direction::Ingress => {
            Err(DropReason::NeighborSolicitation)
        }
        kind if MLD.contains(&kind) => Err(DropReason::Multicast),
        _ => Ok(()),
    }
}

/// An error quotes a packet that its receiver sent; anything else tries to borrow another
/// flow's state.
fn check_error(frame: &[u8], packet: &Headers) -> Result<(), DropReason> {
    match embedded(frame, packet) {
        Some(quoted) if quoted.flow.src != packet.flow.dst => Err(DropReason::ForgedIcmpError),
        _ => Ok(()),
    }
}

/// Whether an ICMP error may be sent about a packet (RFC 1122 §3.2.2, RFC 4443 §2.4 e): not
/// about another error, a later fragment, a group, or to a sender that is not one station.
pub(super) fn deserves_error(packet: &Headers) -> bool {
    let single = |address: IpAddr| martian::kind(address) == Kind::Unicast;
    !icmp::is_error(packet.transport)
        && packet.transport != Transport::Opaque
        && !packet.dst_mac.is_multicast()
        && single(packet.flow.src)
        && single(packet.flow.dst)
}
