//! Which bytes has the first packet of a flow?

use std::net::IpAddr;

use weft_wire::build::{self, IpBuilder, Network, TcpSpec};
use weft_wire::{FlowKey, IpProtocol, Mac, TcpFlags};

use super::Query;

/// The sender's port, or its echo identifier.
const SOURCE_PORT: u16 = 49_152;
/// An INIT chunk of SCTP: one stream each way.
const INIT: [u8; 20] = [1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1];

/// The flow of the packet.
pub(super) fn flow(source: IpAddr, query: &Query) -> FlowKey {
    let echo = is_echo(query.protocol);
    let has_ports = matches!(
        query.protocol,
        IpProtocol::TCP | IpProtocol::UDP | IpProtocol::SCTP
    );
    FlowKey {
        src: source,
        dst: query.to,
        protocol: match (echo, query.to) {
            (true, IpAddr::V4(_)) => IpProtocol::ICMP,
            (true, IpAddr::V6(_)) => IpProtocol::ICMPV6,
            (false, _) => query.protocol,
        },
        src_port: if has_ports || echo { SOURCE_PORT } else { 0 },
        dst_port: if has_ports { query.port } else { 0 },
    }
}

/// The Ethernet frame; `None` where the addresses are of two families.
pub(super) fn make((src, dst): (Mac, Mac), source: IpAddr, query: &Query) -> Option<Vec<u8>> {
    let ethernet = build::ethernet(src, dst);
    match (source, query.to) {
        (IpAddr::V4(source), IpAddr::V4(to)) => Some(finish(ethernet.ipv4(source, to), query)),
        (IpAddr::V6(source), IpAddr::V6(to)) => Some(finish(ethernet.ipv6(source, to), query)),
        _ => None,
    }
}

fn finish<N: Network>(ip: IpBuilder<N>, query: &Query) -> Vec<u8> {
    match query.protocol {
        IpProtocol::TCP => {
            let syn = TcpSpec {
                src_port: SOURCE_PORT,
                dst_port: query.port,
                flags: TcpFlags::SYN,
                ..TcpSpec::default()
            };
            ip.tcp(syn, &[])
        }
        IpProtocol::UDP => ip.udp(SOURCE_PORT, query.port, &[]),
        IpProtocol::SCTP => {
            let [a, b] = SOURCE_PORT.to_be_bytes();
            let [c, d] = query.port.to_be_bytes();
            let header = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0];
            ip.payload(IpProtocol::SCTP, &[&header[..], &INIT].concat())
        }
        protocol if is_echo(protocol) => ip.icmp_echo_request(SOURCE_PORT, 1, &[]),
        protocol => ip.payload(protocol, &[0; 8]),
    }
}

const fn is_echo(protocol: IpProtocol) -> bool {
    matches!(protocol, IpProtocol::ICMP | IpProtocol::ICMPV6)
}
