//! Which packet is an ICMP error about? The 5-tuple it quotes, and TCP's sequence number.
//!
//! Owns how far a quote is believed: addresses, protocol, ports and sequence number, nothing
//! else. Never decides whether such a flow exists.

use crate::{
    FlowKey, Fragment, Headers, IpVersion, extension, icmp, ipv4::Ipv4Packet, ipv6::Ipv6Packet,
    transport,
};

/// What an ICMP error tells of the packet it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// The 5-tuple, as the quoted packet writes it.
    pub flow: FlowKey,
    /// TCP's sequence number; 0 for other protocols.
    pub tcp_seq: u32,
}

/// The packet an ICMP error is about, as written inside it.
///
/// The packet is quoted and may be cut: 8 bytes of its transport header are enough
/// (RFC 792; RFC 4443 §2.4 c). Its lengths and checksums are not judged. `None` when
/// `headers` is no ICMP error, is a fragment, or the quote shows no transport header.
#[must_use]
pub fn embedded(frame: &[u8], headers: &Headers) -> Option<Embedded> {
    if !matches!(headers.fragment, Fragment::Whole) || !icmp::is_error(headers.transport) {
        return None;
    }
    let quote = frame.get(headers.l4 + icmp::HEADER_LEN..headers.end)?;
    match headers.version {
        IpVersion::V4 => embedded_ipv4(quote),
        IpVersion::V6 => embedded_ipv6(quote),
    }
}

fn embedded_ipv4(quote: &[u8]) -> Option<Embedded> {
    let packet = Ipv4Packet::new_quoted(quote)?;
    if packet.fragment_offset() != 0 {
        return None;
    }
    let (src, dst) = (packet.source().into(), packet.destination().into());
    let quoted = transport::quoted(packet.payload(), IpVersion::V4, packet.protocol())?;
    Some(Embedded {
        flow: quoted.ports.flow(src, dst, packet.protocol()),
        tcp_seq: quoted.tcp_seq,
    })
}

fn embedded_ipv6(quote: &[u8]) -> Option<Embedded> {
    let packet = Ipv6Packet::new_quoted(quote)?;
    let chain = extension::walk_quoted(packet.payload(), packet.next_header()).ok()?;
    if matches!(chain.fragment, Fragment::Later { .. }) {
        return None;
    }
    let payload = packet.payload().get(chain.len..)?;
    let (src, dst) = (packet.source().into(), packet.destination().into());
    let quoted = transport::quoted(payload, IpVersion::V6, chain.protocol)?;
    Some(Embedded {
        flow: quoted.ports.flow(src, dst, chain.protocol),
        tcp_seq: quoted.tcp_seq,
    })
}
