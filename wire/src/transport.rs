//! What does the header behind IP say, and may it be believed?
//!
//! The bridge between the IP walk and the transport views: the one place that says how
//! strict each transport header is judged in a whole packet and in a first fragment.

use core::net::IpAddr;

use crate::{
    FlowKey, Fragment, IpProtocol, IpVersion, Malformed, Transport,
    bytes::{u16_at, u32_at},
    icmp::{self, IcmpMessage},
    sctp::SctpPacket,
    tcp::{self, TcpSegment},
    udp::{self, UdpDatagram},
};

/// Ports as [`crate::FlowKey`] wants them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) src: u16,
    pub(crate) dst: u16,
}

impl Ports {
    #[inline]
    pub(crate) const fn flow(self, src: IpAddr, dst: IpAddr, protocol: IpProtocol) -> FlowKey {
        FlowKey {
            src,
            dst,
            protocol,
            src_port: self.src,
            dst_port: self.dst,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) transport: Transport,
    pub(crate) ports: Ports,
}

const NO_PORTS: Ports = Ports { src: 0, dst: 0 };

/// Reads the transport header at the start of `payload`.
#[inline(always)]
pub(crate) fn read(
    payload: &[u8],
    version: IpVersion,
    protocol: IpProtocol,
    fragment: Fragment,
) -> Result<Segment, Malformed> {
    match fragment {
        Fragment::Whole => read_header(payload, version, protocol, true),
        Fragment::First { .. } => {
            read_header(payload, version, protocol, false).map_err(|malformed| match malformed {
                // RFC 7112 §5, RFC 1858 §3: the first fragment shows all headers.
                Malformed::Truncated => Malformed::TinyFragment,
                other => other,
            })
        }
        // RFC 3128 §4: a TCP fragment at offset 8 could rewrite the flags.
        Fragment::Later { offset: 8, .. } if protocol == IpProtocol::TCP => {
            Err(Malformed::TinyFragment)
        }
        Fragment::Later { .. } => Ok(Segment {
            transport: Transport::Opaque,
            ports: NO_PORTS,
        }),
    }
}

#[inline(always)]
fn read_header(
    payload: &[u8],
    version: IpVersion,
    protocol: IpProtocol,
    whole: bool,
) -> Result<Segment, Malformed> {
    let (transport, src, dst) = match (protocol, version) {
        (IpProtocol::TCP, _) => {
            let tcp = TcpSegment::new_checked(payload)?;
            (
                Transport::Tcp(tcp.info()),
                tcp.source_port(),
                tcp.destination_port(),
            )
        }
        (IpProtocol::UDP, _) => {
            let udp = if whole {
                UdpDatagram::new_checked(payload)?
            } else {
                UdpDatagram::new_first_fragment(payload)?
            };
            (Transport::Udp, udp.source_port(), udp.destination_port())
        }
        (IpProtocol::SCTP, _) => {
            let sctp = SctpPacket::new_checked(payload)?;
            (Transport::Sctp, sctp.source_port(), sctp.destination_port())
        }
        (IpProtocol::ICMP, IpVersion::V4) | (IpProtocol::ICMPV6, IpVersion::V6) => {
            let icmp = IcmpMessage::new_checked(payload)?;
            let (kind, code) = (icmp.kind(), icmp.code());
            let Ports { src, dst } = echo_ports(kind, icmp.identifier(), version);
            let transport = match version {
                IpVersion::V4 => Transport::Icmp { kind, code },
                IpVersion::V6 => Transport::Icmpv6 { kind, code },
            };
            (transport, src, dst)
        }
        _ => (Transport::Other, 0, 0),
    };
    Ok(Segment {
        transport,
        ports: Ports { src, dst },
    })
}

/// The identifier on the side that asks; see [`crate::FlowKey`].
#[inline]
const fn echo_ports(kind: u8, identifier: u16, version: IpVersion) -> Ports {
    match (version, kind) {
        (IpVersion::V4, icmp::ECHO_REQUEST) | (IpVersion::V6, icmp::V6_ECHO_REQUEST) => Ports {
            src: identifier,
            dst: 0,
        },
        (IpVersion::V4, icmp::ECHO_REPLY) | (IpVersion::V6, icmp::V6_ECHO_REPLY) => Ports {
            src: 0,
            dst: identifier,
        },
        _ => NO_PORTS,
    }
}

/// What is read of a quoted packet's transport header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted {
    pub(crate) ports: Ports,
    pub(crate) tcp_seq: u32,
}

/// Reads a quoted packet's transport header, of which 8 bytes are enough.
pub(crate) fn quoted(payload: &[u8], version: IpVersion, protocol: IpProtocol) -> Option<Quoted> {
    let header: &[u8; 8] = payload.first_chunk()?;
    let tcp_seq = match protocol {
        IpProtocol::TCP => u32_at(header, tcp::SEQUENCE),
        _ => 0,
    };
    let ports = match (protocol, version) {
        (IpProtocol::TCP | IpProtocol::UDP | IpProtocol::SCTP, _) => Ports {
            src: u16_at(header, tcp::SOURCE_PORT),
            dst: u16_at(header, udp::DESTINATION_PORT),
        },
        (IpProtocol::ICMP, IpVersion::V4) | (IpProtocol::ICMPV6, IpVersion::V6) => {
            echo_ports(header[0], u16_at(header, icmp::IDENTIFIER), version)
        }
        _ => NO_PORTS,
    };
    Some(Quoted { ports, tcp_seq })
}
