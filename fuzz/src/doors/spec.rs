//! Which frames are worth sending? Nearly right ones, and any bytes.
//!
//! Turns the fuzzer's choices into frames whose addresses and lengths mostly fit, with a few
//! bytes changed afterwards, so that it need not guess a MAC or a checksum to get far.

use std::net::IpAddr;

use arbitrary::Arbitrary;
use weft_switch::path::GATEWAY_MAC;
use weft_wire::build::{self, EthernetBuilder, IpBuilder, Network, TcpSpec};
use weft_wire::checksum::Sum;
use weft_wire::{
    Arp, EtherType, IpProtocol, IpVersion, Mac, Parsed, TcpFlags, Transport, VnetHeader, parse,
    vnet,
};

use super::who::{Port, Sender, Who, station, v4, v6};
use crate::node::{PEERS, VXLAN, vtep_mac};
use crate::oracle;

#[derive(Debug, Arbitrary)]
enum Layer4 {
    Udp {
        ports: (Port, Port),
    },
    Tcp {
        ports: (Port, Port),
        flags: u8,
        seq: u16,
        ack: u16,
    },
    EchoRequest {
        id: u8,
    },
    EchoReply {
        id: u8,
    },
    Icmp {
        kind: u8,
        code: u8,
        quote: Quote,
    },
    Solicit {
        target: Who,
        hops: bool,
    },
    Other {
        protocol: u8,
    },
}

/// What an ICMP error is about.
#[derive(Debug, Arbitrary)]
enum Quote {
    Nothing,
    Flow {
        src: Who,
        dst: Who,
        ports: (Port, Port),
        tcp: bool,
    },
}

#[derive(Debug, Arbitrary)]
enum Shape {
    V4 {
        fragment: Option<(u8, bool)>,
        dont_fragment: bool,
        options: u8,
    },
    V6 {
        fragment: Option<(u8, bool)>,
        extensions: u8,
    },
    Arp {
        operation: u8,
        target: Who,
        sender: Who,
    },
    Raw {
        ether_type: u16,
    },
}

/// A frame to build.
#[derive(Debug, Arbitrary)]
pub(crate) struct Spec {
    shape: Shape,
    src: Who,
    dst: Who,
    macs: Option<(u8, u8)>,
    hops: u8,
    class: u8,
    layer4: Layer4,
    len: u16,
    vnet: Option<(u8, u8, u8)>,
    changes: [Option<(u8, u8)>; 2],
    cut: Option<u8>,
}

impl Spec {
    /// The frame, as it comes from `sender`.
    pub(crate) fn frame(&self, sender: Sender) -> Vec<u8> {
        let mut frame = self.build(sender);
        for (at, byte) in self.changes.iter().flatten() {
            if let Some(old) = frame.get_mut(usize::from(*at)) {
                *old = *byte;
            }
        }
        if let Some(cut) = self.cut {
            frame.truncate(usize::from(cut));
        }
        match self.changes {
            [Some(_), _] => oracle::with_ipv4_checksum(&frame).unwrap_or(frame),
            _ => frame,
        }
    }

    /// The UDP payload that carries the frame from the node at `source`.
    pub(crate) fn payload(&self, source: IpAddr) -> Vec<u8> {
        let node = PEERS
            .iter()
            .find(|(_, vtep, _)| *vtep == source)
            .map_or(9, |peer| peer.0);
        let mut header = VXLAN;
        if let Some((at, byte, _)) = self.vnet {
            header[usize::from(at) % header.len()] ^= byte;
        }
        [&header[..], &self.frame(Sender::Node(node))].concat()
    }

    /// The virtio-net header in front of `frame`: one that agrees with it, whose checksum then
    /// becomes the pseudo-header's sum, or any.
    pub(crate) fn vnet(&self, frame: &mut [u8]) -> VnetHeader {
        let Some((flags, start, offset)) = self.vnet else {
            return VnetHeader::NONE;
        };
        if flags & 0b100 != 0
            && let Some(honest) = honest(frame, flags & 0b1000 != 0, u16::from(start) * 8 + 1)
        {
            return honest;
        }
        VnetHeader {
            flags: flags & 0b11,
            gso_type: flags >> 5,
            csum_start: start.into(),
            csum_offset: offset.into(),
            gso_size: u16::from(start) * 8,
            ..VnetHeader::NONE
        }
    }

    fn build(&self, sender: Sender) -> Vec<u8> {
        let ethernet = self.ethernet(sender);
        match &self.shape {
            Shape::V4 {
                fragment,
                dont_fragment,
                options,
            } => {
                let mut ip = ethernet
                    .ipv4(v4(self.src, sender), v4(self.dst, sender))
                    .dont_fragment(*dont_fragment)
                    .options(
                        [&[][..], &[1, 7, 7, 4], &[131, 3, 4], &[68, 9]][usize::from(options & 3)],
                    );
                if let Some((offset, more)) = *fragment {
                    ip = ip.fragment(7, u16::from(offset) * 8, more);
                }
                self.finish(ip, sender, false)
            }
            Shape::V6 {
                fragment,
                extensions,
            } => {
                let mut ip = ethernet.ipv6(v6(self.src, sender), v6(self.dst, sender));
                let kinds = [
                    IpProtocol::HOP_BY_HOP,
                    IpProtocol::DEST_OPTIONS,
                    IpProtocol::ROUTING,
                ];
                for (bit, kind) in kinds.into_iter().enumerate() {
                    if extensions & 1 << bit != 0 {
                        ip = ip.extension(kind, &[1, 4, 0, 0, 0, 0]);
                    }
                }
                if let Some((offset, more)) = *fragment {
                    ip = ip.fragment(7, u16::from(offset) * 8, more);
                }
                self.finish(ip, sender, true)
            }
            Shape::Arp {
                operation,
                target,
                sender: from,
            } => ethernet.arp(Arp {
                operation: u16::from(*operation).into(),
                sender_mac: station(sender).mac(),
                sender_ip: v4(*from, sender),
                target_mac: Mac::ZERO,
                target_ip: v4(*target, sender),
            }),
            Shape::Raw { ether_type } => ethernet.raw(EtherType(*ether_type), &self.body()),
        }
    }

    fn ethernet(&self, sender: Sender) -> EthernetBuilder {
        let (src, dst) = match sender {
            Sender::Port(_) => (station(sender).mac(), GATEWAY_MAC),
            Sender::Node(node) => (vtep_mac(node), vtep_mac(1)),
        };
        match self.macs {
            None => build::ethernet(src, dst),
            Some((0..=99, _)) => build::ethernet(src, Mac::BROADCAST),
            Some((100..=199, last)) => {
                build::ethernet(src, Mac::new([0x33, 0x33, 0xff, 0, 0, last]))
            }
            Some((_, last)) => build::ethernet(Mac::new([2, 0, 0, 0, 0, last]), dst),
        }
    }

    fn body(&self) -> Vec<u8> {
        vec![0x77; usize::from(self.len % 3000)]
    }

    fn finish<N: Network>(&self, ip: IpBuilder<N>, sender: Sender, is_v6: bool) -> Vec<u8> {
        let hops = match &self.layer4 {
            Layer4::Solicit { hops: true, .. } => 255,
            _ => self.hops % 66,
        };
        let ip = ip.ttl(hops).dscp_ecn(self.class);
        let body = self.body();
        match &self.layer4 {
            Layer4::Udp { ports: (src, dst) } => ip.udp(src.number(), dst.number(), &body),
            Layer4::Tcp {
                ports: (src, dst),
                flags,
                seq,
                ack,
            } => {
                let spec = TcpSpec {
                    src_port: src.number(),
                    dst_port: dst.number(),
                    flags: TcpFlags(*flags),
                    seq: (*seq).into(),
                    ack: (*ack).into(),
                    ..TcpSpec::default()
                };
                ip.tcp(spec, &body)
            }
            Layer4::EchoRequest { id } => ip.icmp_echo_request((*id).into(), 1, &body),
            Layer4::EchoReply { id } => ip.icmp_echo_reply((*id).into(), 1, &body),
            Layer4::Icmp { kind, code, quote } => {
                let quote = quote.bytes(sender, is_v6);
                if is_v6 {
                    ip.icmpv6(*kind, *code, [0; 4], &quote)
                } else {
                    ip.icmp(*kind % 20, *code, [0; 4], &quote)
                }
            }
            Layer4::Solicit { target, .. } => {
                let mac = station(sender).mac().octets();
                let option = [&[1, 1][..], &mac].concat();
                ip.icmpv6(
                    135,
                    0,
                    [0; 4],
                    &[&v6(*target, sender).octets()[..], &option].concat(),
                )
            }
            Layer4::Other { protocol } => ip.payload(IpProtocol(*protocol), &body),
        }
    }
}

/// What a kernel says of such a frame when it leaves the checksum, or the segmentation, to us.
fn honest(frame: &mut [u8], segmented: bool, size: u16) -> Option<VnetHeader> {
    let Ok(Parsed::Ip(headers)) = parse(frame) else {
        return None;
    };
    let (csum_offset, gso_type) = match (headers.transport, headers.version) {
        (Transport::Tcp(_), IpVersion::V4) => (16, vnet::GSO_TCPV4),
        (Transport::Tcp(_), IpVersion::V6) => (16, vnet::GSO_TCPV6),
        (Transport::Udp, _) => (6, vnet::GSO_UDP_L4),
        _ => return None,
    };
    let length = u32::try_from(headers.payload_len()).ok()?;
    let mut pseudo = Sum::new();
    match (headers.flow.src, headers.flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            pseudo.add_pseudo_ipv4(src, dst, headers.flow.protocol, u16::try_from(length).ok()?);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            pseudo.add_pseudo_ipv6(src, dst, headers.flow.protocol, length);
        }
        _ => return None,
    }
    let at = headers.l4 + usize::from(csum_offset);
    let field = frame.get_mut(at..at + 2)?;
    field.copy_from_slice(&(!pseudo.finish()).to_be_bytes());
    Some(VnetHeader {
        flags: vnet::FLAG_NEEDS_CHECKSUM,
        gso_type: if segmented { gso_type } else { vnet::GSO_NONE },
        gso_size: if segmented { size } else { 0 },
        csum_start: u16::try_from(headers.l4).ok()?,
        csum_offset,
        hdr_len: 0,
    })
}

impl Quote {
    fn bytes(&self, sender: Sender, is_v6: bool) -> Vec<u8> {
        let Self::Flow {
            src,
            dst,
            ports: (from, to),
            tcp,
        } = self
        else {
            return Vec::new();
        };
        let ethernet = build::ethernet(Mac::ZERO, Mac::ZERO);
        let tcp = tcp.then(|| TcpSpec {
            src_port: from.number(),
            dst_port: to.number(),
            ..TcpSpec::default()
        });
        let frame = match (is_v6, tcp) {
            (false, None) => ethernet.ipv4(v4(*src, sender), v4(*dst, sender)).udp(
                from.number(),
                to.number(),
                b"",
            ),
            (false, Some(tcp)) => ethernet
                .ipv4(v4(*src, sender), v4(*dst, sender))
                .tcp(tcp, b""),
            (true, None) => ethernet.ipv6(v6(*src, sender), v6(*dst, sender)).udp(
                from.number(),
                to.number(),
                b"",
            ),
            (true, Some(tcp)) => ethernet
                .ipv6(v6(*src, sender), v6(*dst, sender))
                .tcp(tcp, b""),
        };
        frame[14..].to_vec()
    }
}
