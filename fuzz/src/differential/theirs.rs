//! What does etherparse say, in our words?
//!
//! Translates etherparse's slices to [`Parsed`]. First fragments, into which etherparse does not
//! look, go through its transport parsers one by one. Never uses our parser.

use std::net::IpAddr;

use etherparse::err::packet::SliceError;
use etherparse::{
    ArpPacketSlice, Icmpv4Slice, Icmpv6Slice, Ipv4Slice, Ipv6ExtensionSlice, Ipv6Slice, LinkSlice,
    NetSlice, SlicedPacket, TcpSlice, UdpHeaderSlice,
};
use weft_wire::{
    Arp, EtherType, FlowKey, Fragment, Headers, IpProtocol, IpVersion, Mac, Parsed, TcpFlags,
    TcpInfo, Transport,
};

const ETHERNET: usize = 14;
const IPV6: usize = 40;

/// Why etherparse makes nothing of a frame.
#[derive(Debug)]
pub enum Refusal {
    /// The packet itself.
    Packet(SliceError),
    /// The transport header of a first fragment or of SCTP.
    Transport,
}

/// A frame as etherparse sliced it.
#[derive(Debug)]
pub struct Theirs<'a> {
    /// All layers.
    pub packet: SlicedPacket<'a>,
    /// The frame, cut behind a fixed IPv6 header that declares no payload: etherparse would read
    /// on to the end of the buffer, in hope of a jumbogram.
    pub frame: &'a [u8],
}

/// Slices a frame.
///
/// # Errors
/// When etherparse refuses it.
pub fn slice(frame: &[u8]) -> Result<Theirs<'_>, Refusal> {
    let field = |range| frame.get(range).unwrap_or_default();
    let is_empty_ipv6 = field(12..14) == [0x86, 0xdd] && field(18..20) == [0, 0];
    let announces_jumbogram = field(20..21) == [0];
    let frame = match frame.get(..ETHERNET + IPV6) {
        Some(cut) if is_empty_ipv6 && !announces_jumbogram => cut,
        _ => frame,
    };
    let packet = SlicedPacket::from_ethernet(frame).map_err(Refusal::Packet)?;
    Ok(Theirs { packet, frame })
}

/// Translates a sliced frame.
///
/// # Errors
/// When the transport header of a first fragment or of SCTP is not all there.
pub fn parsed(theirs: &Theirs<'_>) -> Result<Parsed, Refusal> {
    let Some(LinkSlice::Ethernet2(ethernet)) = &theirs.packet.link else {
        return Ok(Parsed::Other(EtherType(0)));
    };
    let macs = (
        Mac::new(ethernet.destination()),
        Mac::new(ethernet.source()),
    );
    match &theirs.packet.net {
        Some(NetSlice::Ipv4(packet)) => ipv4(theirs, macs, packet).map(Parsed::Ip),
        Some(NetSlice::Ipv6(packet)) => ipv6(theirs, macs, packet).map(Parsed::Ip),
        Some(NetSlice::Arp(packet)) => Ok(arp(packet)),
        None => Ok(Parsed::Other(EtherType(ethernet.ether_type().0))),
    }
}

fn arp(packet: &ArpPacketSlice<'_>) -> Parsed {
    let mac = |bytes: &[u8]| bytes.try_into().map_or(Mac::ZERO, Mac::new);
    let ip = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).unwrap_or_default().into();
    Parsed::Arp(Arp {
        operation: packet.operation().0.into(),
        sender_mac: mac(packet.sender_hw_addr()),
        sender_ip: ip(packet.sender_protocol_addr()),
        target_mac: mac(packet.target_hw_addr()),
        target_ip: ip(packet.target_protocol_addr()),
    })
}

fn ipv4(
    theirs: &Theirs<'_>,
    (dst_mac, src_mac): (Mac, Mac),
    packet: &Ipv4Slice<'_>,
) -> Result<Headers, Refusal> {
    let header = packet.header();
    let payload = packet.payload();
    let fragment = fragment(
        u32::from(header.identification()),
        header.fragments_offset().byte_offset(),
        header.more_fragments(),
        payload.payload.len(),
    );
    let protocol = IpProtocol(payload.ip_number.0);
    let (transport, ports) =
        transport(payload.payload, IpVersion::V4, protocol, fragment).ok_or(Refusal::Transport)?;
    let l4 = offset(theirs.frame, payload.payload);
    Ok(Headers {
        dst_mac,
        src_mac,
        version: IpVersion::V4,
        l3: ETHERNET,
        l4,
        end: l4 + payload.payload.len(),
        flow: flow(
            header.source_addr(),
            header.destination_addr(),
            protocol,
            ports,
        ),
        transport,
        fragment,
        hop_limit: header.ttl(),
        traffic_class: header.dcp().value() << 2 | header.ecn().value(),
        source_routed: crate::oracle::ipv4_options(header.options())
            .is_some_and(|kinds| kinds.contains(&131) || kinds.contains(&137)),
        dont_fragment: header.dont_fragment(),
    })
}

fn ipv6(
    theirs: &Theirs<'_>,
    (dst_mac, src_mac): (Mac, Mac),
    packet: &Ipv6Slice<'_>,
) -> Result<Headers, Refusal> {
    let header = packet.header();
    let payload = packet.payload();
    let end = offset(theirs.frame, payload.payload) + payload.payload.len();
    let mut split = Fragment::Whole;
    let mut source_routed = false;
    for extension in packet.extensions().clone() {
        match extension {
            Ipv6ExtensionSlice::Fragment(header) if split == Fragment::Whole => {
                split = fragment(
                    header.identification(),
                    header.fragment_offset().byte_offset(),
                    header.more_fragments(),
                    end - offset(theirs.frame, header.slice()) - header.slice().len(),
                );
            }
            Ipv6ExtensionSlice::Routing(header) => {
                // Routing type and segments left (RFC 8200, section 4.4).
                source_routed |=
                    matches!(header.payload(), [kind, left, ..] if *kind == 0 || *left != 0);
            }
            _ => {}
        }
    }
    let protocol = IpProtocol(payload.ip_number.0);
    let (transport, ports) =
        transport(payload.payload, IpVersion::V6, protocol, split).ok_or(Refusal::Transport)?;
    let l4 = offset(theirs.frame, payload.payload);
    Ok(Headers {
        dst_mac,
        src_mac,
        version: IpVersion::V6,
        l3: ETHERNET,
        l4,
        end: l4 + payload.payload.len(),
        flow: flow(
            header.source_addr(),
            header.destination_addr(),
            protocol,
            ports,
        ),
        transport,
        fragment: split,
        hop_limit: header.hop_limit(),
        traffic_class: header.traffic_class(),
        source_routed,
        dont_fragment: true,
    })
}

fn fragment(id: u32, offset: u16, more: bool, len: usize) -> Fragment {
    match (offset, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First {
            id,
            len: u16::try_from(len).expect("a fragment is shorter than an IP packet"),
        },
        _ => Fragment::Later { id, offset, more },
    }
}

fn flow(
    src: impl Into<IpAddr>,
    dst: impl Into<IpAddr>,
    protocol: IpProtocol,
    (src_port, dst_port): (u16, u16),
) -> FlowKey {
    FlowKey {
        src: src.into(),
        dst: dst.into(),
        protocol,
        src_port,
        dst_port,
    }
}

/// Where `part`, a slice of `frame`, begins.
fn offset(frame: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - frame.as_ptr().addr()
}

/// The transport header and the ports; `None` when it is not all there.
fn transport(
    payload: &[u8],
    version: IpVersion,
    protocol: IpProtocol,
    fragment: Fragment,
) -> Option<(Transport, (u16, u16))> {
    if matches!(fragment, Fragment::Later { .. }) {
        return Some((Transport::Opaque, (0, 0)));
    }
    match (protocol, version) {
        (IpProtocol::TCP, _) => {
            let tcp = TcpSlice::from_slice(payload).ok()?;
            let ports = (tcp.source_port(), tcp.destination_port());
            Some((Transport::Tcp(tcp_info(&tcp)), ports))
        }
        (IpProtocol::UDP, _) => {
            let udp = UdpHeaderSlice::from_slice(payload).ok()?;
            Some((Transport::Udp, (udp.source_port(), udp.destination_port())))
        }
        (IpProtocol::SCTP, _) => match *payload {
            [a, b, c, d, _, _, _, _, _, _, _, _, ..] => Some((
                Transport::Sctp,
                (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            )),
            _ => None,
        },
        (IpProtocol::ICMP, IpVersion::V4) => {
            let icmp = Icmpv4Slice::from_slice(payload).ok()?;
            let (kind, code) = (icmp.type_u8(), icmp.code_u8());
            Some((
                Transport::Icmp { kind, code },
                echo(kind, (8, 0), icmp.bytes5to8()),
            ))
        }
        (IpProtocol::ICMPV6, IpVersion::V6) => {
            let icmp = Icmpv6Slice::from_slice(payload).ok()?;
            let (kind, code) = (icmp.type_u8(), icmp.code_u8());
            Some((
                Transport::Icmpv6 { kind, code },
                echo(kind, (128, 129), icmp.bytes5to8()),
            ))
        }
        _ => Some((Transport::Other, (0, 0))),
    }
}

/// The identifier as the port of the side that asks.
fn echo(kind: u8, (request, reply): (u8, u8), [a, b, _, _]: [u8; 4]) -> (u16, u16) {
    let identifier = u16::from_be_bytes([a, b]);
    match kind {
        kind if kind == request => (identifier, 0),
        kind if kind == reply => (0, identifier),
        _ => (0, 0),
    }
}

fn tcp_info(tcp: &TcpSlice<'_>) -> TcpInfo {
    let bits = [
        tcp.fin(),
        tcp.syn(),
        tcp.rst(),
        tcp.psh(),
        tcp.ack(),
        tcp.urg(),
        tcp.ece(),
        tcp.cwr(),
    ];
    let flags = bits
        .iter()
        .rev()
        .fold(0, |flags, &bit| flags << 1 | u8::from(bit));
    TcpInfo {
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        payload_len: u32::try_from(tcp.payload().len()).unwrap_or(u32::MAX),
        window: tcp.window_size(),
        flags: TcpFlags(flags),
    }
}
