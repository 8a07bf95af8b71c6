//! How does a test say "a TCP SYN from here to there"? A typed packet builder.
//!
//! For tests, benches, the lab, fuzzing and explanations; it allocates, so the packet path
//! never calls it. Lengths and checksums are right by default. What is not (cut packets,
//! wrong fields) the caller makes by editing the bytes.
//!
//! ```
//! use weft_wire::{Mac, build, parse};
//! let frame = build::ethernet(Mac::new([2, 0, 0, 0, 0, 1]), Mac::new([2, 0, 0, 0, 0, 2]))
//!     .ipv4([10, 0, 0, 2].into(), [10, 0, 1, 2].into())
//!     .ttl(3)
//!     .udp(5000, 53, b"hello");
//! assert!(parse(&frame).is_ok());
//! ```

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    Arp, EtherType, IpProtocol, Mac, TcpFlags,
    bytes::{put, put_u16},
    checksum::Sum,
    icmp, tcp, udp,
};

mod network;

use network::length;
pub use network::{Network, V4, V6};

/// Begins a frame from `src` to `dst`.
#[must_use]
pub const fn ethernet(src: Mac, dst: Mac) -> EthernetBuilder {
    EthernetBuilder { src, dst }
}

/// A frame whose payload is still to be chosen.
#[derive(Clone, Copy, Debug)]
pub struct EthernetBuilder {
    src: Mac,
    dst: Mac,
}

impl EthernetBuilder {
    /// An IPv4 packet: TTL 64, don't-fragment set, no options.
    #[must_use]
    pub fn ipv4(self, src: Ipv4Addr, dst: Ipv4Addr) -> IpBuilder<V4> {
        let network = V4 {
            src,
            dst,
            identification: 0,
            dont_fragment: true,
            options: vec![],
            fragment: None,
        };
        IpBuilder {
            ethernet: self,
            network,
            ttl: 64,
            traffic_class: 0,
        }
    }

    /// An IPv6 packet: hop limit 64, no extension headers.
    #[must_use]
    pub fn ipv6(self, src: Ipv6Addr, dst: Ipv6Addr) -> IpBuilder<V6> {
        let network = V6 {
            src,
            dst,
            extensions: vec![],
        };
        IpBuilder {
            ethernet: self,
            network,
            ttl: 64,
            traffic_class: 0,
        }
    }

    /// An ARP message.
    #[must_use]
    pub fn arp(self, arp: Arp) -> Vec<u8> {
        self.raw(EtherType::ARP, &arp.to_bytes())
    }

    /// Any payload.
    #[must_use]
    pub fn raw(self, ether_type: EtherType, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(14 + payload.len());
        frame.extend(self.dst.octets());
        frame.extend(self.src.octets());
        frame.extend(ether_type.0.to_be_bytes());
        frame.extend(payload);
        frame
    }
}

/// An IP packet whose payload is still to be chosen; `N` is [`V4`] or [`V6`].
#[derive(Clone, Debug)]
pub struct IpBuilder<N> {
    ethernet: EthernetBuilder,
    network: N,
    ttl: u8,
    traffic_class: u8,
}

impl IpBuilder<V4> {
    /// Sets the identification.
    #[must_use]
    pub const fn id(mut self, identification: u16) -> Self {
        self.network.identification = identification;
        self
    }

    /// Sets or clears DF.
    #[must_use]
    pub const fn dont_fragment(mut self, dont_fragment: bool) -> Self {
        self.network.dont_fragment = dont_fragment;
        self
    }

    /// Sets the options; padded with end-of-options to 4 bytes, cut at 40.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        self.network.options = options.iter().copied().take(40).collect();
        let padded = self.network.options.len().next_multiple_of(4);
        self.network.options.resize(padded, 0);
        self
    }

    /// Makes this a fragment at `offset` bytes (a multiple of 8) and clears DF.
    #[must_use]
    pub const fn fragment(mut self, id: u16, offset: u16, more: bool) -> Self {
        self.network.identification = id;
        self.network.dont_fragment = false;
        self.network.fragment = Some((offset, more));
        self
    }
}

impl IpBuilder<V6> {
    /// Appends an extension header. `body` is what follows its two bytes of next header
    /// and length, padded with zero bytes to a multiple of 8.
    #[must_use]
    pub fn extension(mut self, kind: IpProtocol, body: &[u8]) -> Self {
        let mut header = vec![0, 0];
        header.extend(body);
        header.resize(header.len().next_multiple_of(8), 0);
        let units = match kind {
            IpProtocol::FRAGMENT => 0,
            IpProtocol::AH => header.len() / 4 - 2,
            _ => header.len() / 8 - 1,
        };
        put(&mut header, 1, &[u8::try_from(units).unwrap_or(u8::MAX)]);
        self.network.extensions.push((kind, header));
        self
    }

    /// Appends a fragment header at `offset` bytes (a multiple of 8).
    #[must_use]
    pub fn fragment(self, id: u32, offset: u16, more: bool) -> Self {
        let mut body = [0; 6];
        put_u16(&mut body, 0, (offset & !0b111) | u16::from(more));
        put(&mut body, 2, &id.to_be_bytes());
        self.extension(IpProtocol::FRAGMENT, &body)
    }
}

/// The fields of a TCP header; `..TcpSpec::default()` gives a bare ACK between ports 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSpec {
    /// The sender's port.
    pub src_port: u16,
    /// The receiver's port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Control bits.
    pub flags: TcpFlags,
    /// Receive window.
    pub window: u16,
    /// Options; padded with end-of-options to 4 bytes, cut at 40.
    pub options: Vec<u8>,
}

impl Default for TcpSpec {
    fn default() -> Self {
        Self {
            src_port: 0,
            dst_port: 0,
            seq: 0,
            ack: 0,
            flags: TcpFlags::ACK,
            window: u16::MAX,
            options: vec![],
        }
    }
}

impl TcpSpec {
    fn segment(&self, payload: &[u8]) -> Vec<u8> {
        let mut segment = Vec::with_capacity(tcp::HEADER_LEN + payload.len());
        segment.extend(self.src_port.to_be_bytes());
        segment.extend(self.dst_port.to_be_bytes());
        segment.extend(self.seq.to_be_bytes());
        segment.extend(self.ack.to_be_bytes());
        segment.extend([0, self.flags.0]);
        segment.extend(self.window.to_be_bytes());
        segment.extend([0; 4]);
        segment.extend(self.options.iter().take(40));
        segment.resize(segment.len().next_multiple_of(4), 0);
        let words = u8::try_from(segment.len() / 4).unwrap_or(15);
        put(&mut segment, 12, &[words << 4]);
        segment.extend(payload);
        segment
    }
}

impl<N: Network> IpBuilder<N> {
    /// Sets TTL or hop limit.
    #[must_use]
    pub const fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets the whole traffic class: DSCP and ECN.
    #[must_use]
    pub const fn dscp_ecn(mut self, traffic_class: u8) -> Self {
        self.traffic_class = traffic_class;
        self
    }

    /// Finishes with any payload.
    #[must_use]
    pub fn payload(self, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let packet = self
            .network
            .packet(self.ttl, self.traffic_class, protocol, payload);
        self.ethernet.raw(self.network.ether_type(), &packet)
    }

    /// Finishes with a segment whose checksum over the pseudo-header goes to `at`.
    fn checksummed(self, protocol: IpProtocol, mut segment: Vec<u8>, at: usize) -> Vec<u8> {
        let mut sum = Sum::new();
        if protocol != IpProtocol::ICMP {
            self.network
                .add_pseudo(&mut sum, protocol, length(segment.len()));
        }
        sum.add_bytes(&segment);
        let checksum = match sum.finish() {
            0 if protocol == IpProtocol::UDP => 0xffff,
            checksum => checksum,
        };
        put_u16(&mut segment, at, checksum);
        self.payload(protocol, &segment)
    }

    /// Finishes with a UDP datagram.
    #[must_use]
    pub fn udp(self, src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
        let header = udp::header(src_port, dst_port, length(payload.len()));
        self.checksummed(IpProtocol::UDP, [&header, payload].concat(), udp::CHECKSUM)
    }

    /// Finishes with a TCP segment.
    #[must_use]
    pub fn tcp(self, spec: TcpSpec, payload: &[u8]) -> Vec<u8> {
        self.checksummed(IpProtocol::TCP, spec.segment(payload), tcp::CHECKSUM)
    }

    /// Finishes with an echo request of this IP version.
    #[must_use]
    pub fn icmp_echo_request(self, id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let (protocol, request, _) = self.network.echo_kinds();
        self.echo(protocol, request, (id, sequence), payload)
    }

    /// Finishes with an echo reply of this IP version.
    #[must_use]
    pub fn icmp_echo_reply(self, id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let (protocol, _, reply) = self.network.echo_kinds();
        self.echo(protocol, reply, (id, sequence), payload)
    }

    fn echo(
        self,
        protocol: IpProtocol,
        kind: u8,
        (id, sequence): (u16, u16),
        payload: &[u8],
    ) -> Vec<u8> {
        let [a, b] = id.to_be_bytes();
        let [c, d] = sequence.to_be_bytes();
        let header = icmp::header(kind, 0, [a, b, c, d]);
        self.checksummed(protocol, [&header, payload].concat(), icmp::CHECKSUM)
    }

    /// Finishes with an ICMP message; `rest` are the four bytes behind the checksum.
    #[must_use]
    pub fn icmp(self, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let message = [&icmp::header(kind, code, rest), payload].concat();
        self.checksummed(IpProtocol::ICMP, message, icmp::CHECKSUM)
    }

    /// Finishes with an ICMPv6 message; `rest` are the four bytes behind the checksum.
    #[must_use]
    pub fn icmpv6(self, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let message = [&icmp::header(kind, code, rest), payload].concat();
        self.checksummed(IpProtocol::ICMPV6, message, icmp::CHECKSUM)
    }
}
