//! Does a packet ask the gateway itself?
//!
//! The gateway is no host: it answers neighbour discovery and echo (ping), and nothing
//! else. Errors that it sends about packets are made in [`icmp`](super::icmp).

use std::net::IpAddr;

use weft_wire::{Fragment, Frame, Headers, Transport, icmp};

use super::drop::DropReason;
use super::fate::Exit;
use super::ports::{PortEntry, PortId};
use super::tables::{GATEWAY_V4, GATEWAY_V6};
use super::{forward, neighbor};

/// Whether the packet is for the gateway.
pub(super) fn is_asked(packet: &Headers) -> bool {
    is_gateway(packet.flow.dst) || neighbor::is_solicitation(packet)
}

/// Whether the address is the gateway's.
pub(super) fn is_gateway(address: IpAddr) -> bool {
    address == IpAddr::V4(GATEWAY_V4) || address == IpAddr::V6(GATEWAY_V6)
}

/// Turns the frame into its answer.
pub(super) fn answer(
    frame: &mut Frame,
    packet: &Headers,
    from: PortId,
    port: &PortEntry,
) -> Result<Exit, DropReason> {
    match packet.transport {
        _ if neighbor::is_solicitation(packet) => {
            neighbor::answer_solicitation(frame, packet, port)?
        }
        Transport::Icmp {
            kind: icmp::ECHO_REQUEST,
            code: 0,
        }
        | Transport::Icmpv6 {
            kind: icmp::V6_ECHO_REQUEST,
            code: 0,
        } if packet.fragment == Fragment::Whole && packet.dst_mac.is_unicast() => {
            // Only a raw socket sends more than the link's MTU; what comes back fits it.
            if packet.ip_len() > usize::from(port.mtu) {
                return Err(DropReason::TooBig);
            }
            super::icmp::answer_echo(frame, packet);
            forward::address(frame, port.mac);
        }
        _ => return Err(DropReason::GatewayService),
    }
    Ok(Exit::Hairpin(from))
}
