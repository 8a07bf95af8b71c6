//! Which flow is an ICMP error about? The 5-tuple of the packet it quotes.
//!
//! Owns how far a quote is believed: addresses, protocol and ports, nothing else. Never
//! decides whether such a flow exists.

use crate::{
    FlowKey, Fragment, Headers, IpVersion, extension, icmp, ipv4::Ipv4Packet, ipv6::Ipv6Packet,
    transport,
};

/// The tuple of the packet an ICMP error is about, as written inside it.
///
/// The packet is quoted and may be cut: 8 bytes of its transport header are enough
/// (RFC 792; RFC 4443 §2.4 c). Its lengths and checksums are not judged. `None` when
/// `headers` is no ICMP error, is a fragment, or the quote shows no transport header.
#[must_use]
pub fn embedded_flow(frame: &[u8], headers: &Headers) -> Option<FlowKey> {
    if !matches!(headers.fragment, Fragment::Whole) || !icmp::is_error(headers.transport) {
        return None;
    }
    let quote = frame.get(headers.l4 + icmp::HEADER_LEN..headers.end)?;
    match headers.version {
        IpVersion::V4 => embedded_ipv4(quote),
        IpVersion::V6 => embedded_ipv6(quote),
    }
}

fn embedded_ipv4(quote: &[u8]) -> Option<FlowKey> {
    let packet = Ipv4Packet::new_quoted(quote)?;
    if packet.fragment_offset() != 0 {
        return None;
    }
    let ports = transport::quoted_ports(packet.payload(), IpVersion::V4, packet.protocol())?;
    Some(ports.flow(
        packet.source().into(),
        packet.destination().into(),
        packet.protocol(),
    ))
}

fn embedded_ipv6(quote: &[u8]) -> Option<FlowKey> {
    let packet = Ipv6Packet::new_quoted(quote)?;
    let chain = extension::walk_quoted(packet.payload(), packet.next_header()).ok()?;
    if matches!(chain.fragment, Fragment::Later { .. }) {
        return None;
    }
    let payload = packet.payload().get(chain.len..)?;
    let ports = transport::quoted_ports(payload, IpVersion::V6, chain.protocol)?;
    Some(ports.flow(
        packet.source().into(),
        packet.destination().into(),
        chain.protocol,
    ))
}
