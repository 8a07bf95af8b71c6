//! Who has the gateway's address?
//!
//! Answers ARP (RFC 826) and neighbour solicitations (RFC 4861) for the gateway and for
//! nobody else, from constants; never learns from what it reads. The question's frame
//! becomes the answer's.

use std::net::IpAddr;

use weft_wire::ethernet::HEADER_LEN as ETHERNET;
use weft_wire::ipv6::{HEADER_LEN as IPV6, Ipv6Repr};
use weft_wire::ndp::{NeighborAdvert, NeighborSolicit};
use weft_wire::{Arp, ArpOperation, Frame, Headers, IpProtocol, Transport, VnetHeader, icmp};

use super::drop::DropReason;
use super::fate::Exit;
use super::forward;
use super::ports::{PortEntry, PortId};
use super::tables::{GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6};

/// Whether the packet is a neighbour solicitation.
pub(super) const fn is_solicitation(packet: &Headers) -> bool {
    matches!(
        packet.transport,
        Transport::Icmpv6 {
            kind: icmp::V6_NEIGHBOR_SOLICIT,
            ..
        }
    )
}

/// Answers a request for the gateway whose sender fields are the port's own.
pub(super) fn answer_arp(
    frame: &mut Frame,
    question: &Arp,
    from: PortId,
    port: &PortEntry,
) -> Result<Exit, DropReason> {
    if question.sender_mac != port.mac || Some(question.sender_ip) != port.ipv4 {
        return Err(DropReason::SpoofedArp);
    }
    if question.operation != ArpOperation::Request || question.target_ip != GATEWAY_V4 {
        return Err(DropReason::ForeignArp);
    }
    let answer = Arp {
        operation: ArpOperation::Reply,
        sender_mac: GATEWAY_MAC,
        sender_ip: GATEWAY_V4,
        target_mac: question.sender_mac,
        target_ip: question.sender_ip,
    };
    frame.vnet = VnetHeader::NONE;
    frame.truncate(ETHERNET + Arp::LEN);
    answer.emit(frame.as_mut_slice().get_mut(ETHERNET..).unwrap_or_default());
    forward::address(frame, port.mac);
    Ok(Exit::Hairpin(from))
}

/// Answers a valid solicitation for the gateway (RFC 4861 §7.2.4).
pub(super) fn answer_solicitation(
    frame: &mut Frame,
    packet: &Headers,
    port: &PortEntry,
) -> Result<(), DropReason> {
    let question =
        NeighborSolicit::parse(frame.as_slice(), packet).ok_or(DropReason::BadNeighbor)?;
    let IpAddr::V6(asker) = packet.flow.src else {
        return Err(DropReason::BadNeighbor);
    };
    if question.target != GATEWAY_V6 {
        return Err(DropReason::NeighborSolicitation);
    }
    let answer = NeighborAdvert {
        target: GATEWAY_V6,
        target_lladdr: Some(GATEWAY_MAC),
        router: true,
        solicited: true,
        override_cached: true,
    };
    let header = Ipv6Repr {
        src: GATEWAY_V6,
        dst: asker,
        next_header: IpProtocol::ICMPV6,
        payload_len: ADVERT_LEN,
        hop_limit: 255,
        traffic_class: 0,
    };
    frame.set_len(ETHERNET + IPV6 + NeighborAdvert::MAX_LEN);
    let (ip, message) = frame
        .as_mut_slice()
        .get_mut(ETHERNET..)
        .and_then(|packet| packet.split_at_mut_checked(IPV6))
        .ok_or(DropReason::NoBuffer)?;
    ip.copy_from_slice(&header.to_bytes());
    answer
        .emit(GATEWAY_V6, asker, message)
        .ok_or(DropReason::NoBuffer)?;
    forward::address(frame, port.mac);
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "32 bytes")]
const ADVERT_LEN: u16 = NeighborAdvert::MAX_LEN as u16;
