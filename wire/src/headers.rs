//! What is this frame, and which flow does it belong to? One walk over its headers.
//!
//! [`parse`] reads Ethernet, IP, extension headers and the transport header once, only
//! inside the IP packet's own length, and refuses whatever two readers could understand
//! differently (overlapping lengths, tiny fragments, cut chains). Owns [`Headers`]. Never
//! decides who may talk, and never changes a byte.

use crate::{
    Arp, EtherType, FlowKey, Fragment, IpProtocol, IpVersion, Mac, Malformed, TcpInfo,
    ethernet::{self, EthernetFrame},
    extension,
    ipv4::{self, Ipv4Packet},
    ipv6::{self, Ipv6Packet},
    transport,
};

/// An IP packet as one walk found it. Offsets count from the first byte that was parsed:
/// the Ethernet header for [`parse`], the IP header for [`Headers::parse_ip`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The receiving station; zero when there was no Ethernet header.
    pub dst_mac: Mac,
    /// The sending station; zero when there was no Ethernet header.
    pub src_mac: Mac,
    /// The IP version.
    pub version: IpVersion,
    /// Offset of the IP header.
    pub l3: usize,
    /// Offset of the transport header, or of a later fragment's payload.
    pub l4: usize,
    /// Offset of the first byte behind the IP packet; padding is beyond it.
    pub end: usize,
    /// The 5-tuple of this direction.
    pub flow: FlowKey,
    /// What the transport header said.
    pub transport: Transport,
    /// Which part of a packet this is.
    pub fragment: Fragment,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The sender chose the route: IPv4 LSRR or SSRR, an IPv6 routing header of type 0
    /// (RFC 5095) or of another type with segments left.
    pub source_routed: bool,
    /// IPv4's DF; always true for IPv6, which routers never fragment.
    pub dont_fragment: bool,
}

/// What the transport header says beyond ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A whole TCP header.
    Tcp(TcpInfo),
    /// A UDP header.
    Udp,
    /// An SCTP common header.
    Sctp,
    /// ICMP over IPv4.
    Icmp {
        /// The message type.
        kind: u8,
        /// The message code.
        code: u8,
    },
    /// ICMPv6 over IPv6.
    Icmpv6 {
        /// The message type.
        kind: u8,
        /// The message code.
        code: u8,
    },
    /// A protocol without ports we know; its payload was not looked at.
    Other,
    /// A later fragment: there is no transport header to see.
    Opaque,
}

/// A frame, as far as the switch understands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// IPv4 or IPv6.
    Ip(Headers),
    /// ARP for IPv4 over Ethernet.
    Arp(Arp),
    /// Anything else, VLAN tags and 802.3 length frames included; not looked into.
    Other(EtherType),
}

/// Parses an Ethernet frame.
///
/// # Errors
/// The [`Malformed`] reason when any header contradicts another, its packet or its format.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Parsed, Malformed> {
    let ethernet = EthernetFrame::new_checked(frame)?;
    let walk = Walk {
        bytes: frame,
        l3: ethernet::HEADER_LEN,
        dst_mac: ethernet.destination(),
        src_mac: ethernet.source(),
    };
    match ethernet.ether_type() {
        EtherType::IPV4 => walk.ipv4().map(Parsed::Ip),
        EtherType::IPV6 => walk.ipv6().map(Parsed::Ip),
        EtherType::ARP => Arp::parse(ethernet.payload()).map(Parsed::Arp),
        other => Ok(Parsed::Other(other)),
    }
}

/// One walk over the bytes of a packet whose IP header begins at `l3`. Inlined into
/// [`parse`], so that [`Headers`] is built where the caller wants it and not copied.
struct Walk<'a> {
    bytes: &'a [u8],
    l3: usize,
    dst_mac: Mac,
    src_mac: Mac,
}

impl Walk<'_> {
    #[inline(always)]
    fn ipv4(&self) -> Result<Headers, Malformed> {
        let packet = Ipv4Packet::new_checked(self.bytes.get(self.l3..).unwrap_or_default())?;
        if !packet.verify_checksum() {
            return Err(Malformed::BadChecksum);
        }
        let payload = packet.payload();
        let fragment = Fragment::new(
            u32::from(packet.identification()),
            packet.fragment_offset(),
            packet.more_fragments(),
            payload.len(),
        )?;
        let protocol = packet.protocol();
        let segment = transport::read(payload, IpVersion::V4, protocol, fragment)?;
        let (src, dst) = (packet.source().into(), packet.destination().into());
        Ok(Headers {
            dst_mac: self.dst_mac,
            src_mac: self.src_mac,
            version: IpVersion::V4,
            l3: self.l3,
            l4: self.l3 + packet.header_len(),
            end: self.l3 + packet.total_len(),
            flow: segment.ports.flow(src, dst, protocol),
            transport: segment.transport,
            fragment,
            hop_limit: packet.ttl(),
            traffic_class: packet.traffic_class(),
            source_routed: ipv4::source_routed(packet.options())?,
            dont_fragment: packet.dont_fragment(),
        })
    }

    #[inline(always)]
    fn ipv6(&self) -> Result<Headers, Malformed> {
        let packet = Ipv6Packet::new_checked(self.bytes.get(self.l3..).unwrap_or_default())?;
        let chain = extension::walk(packet.payload(), packet.next_header())?;
        let payload = packet.payload().get(chain.len..).unwrap_or_default();
        let segment = transport::read(payload, IpVersion::V6, chain.protocol, chain.fragment)?;
        let (src, dst) = (packet.source().into(), packet.destination().into());
        Ok(Headers {
            dst_mac: self.dst_mac,
            src_mac: self.src_mac,
            version: IpVersion::V6,
            l3: self.l3,
            l4: self.l3 + ipv6::HEADER_LEN + chain.len,
            end: self.l3 + packet.total_len(),
            flow: segment.ports.flow(src, dst, chain.protocol),
            transport: segment.transport,
            fragment: chain.fragment,
            hop_limit: packet.hop_limit(),
            traffic_class: packet.traffic_class(),
            source_routed: chain.source_routed,
            dont_fragment: true,
        })
    }
}

impl Headers {
    /// Parses an IP packet that no Ethernet header precedes, of the version its first
    /// nibble names; offsets count from its first byte.
    ///
    /// # Errors
    /// As [`parse`]; `BadVersion` when the nibble is neither 4 nor 6.
    pub fn parse_ip(packet: &[u8]) -> Result<Self, Malformed> {
        let walk = Walk {
            bytes: packet,
            l3: 0,
            dst_mac: Mac::ZERO,
            src_mac: Mac::ZERO,
        };
        match packet.first().ok_or(Malformed::Truncated)? >> 4 {
            4 => walk.ipv4(),
            6 => walk.ipv6(),
            _ => Err(Malformed::BadVersion),
        }
    }

    /// Bytes of the IP packet.
    #[inline]
    #[must_use]
    pub const fn ip_len(&self) -> usize {
        self.end.saturating_sub(self.l3)
    }

    /// Bytes behind the IP header and extension headers: transport header and its payload.
    #[inline]
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        self.end.saturating_sub(self.l4)
    }

    /// The two ECN bits (RFC 3168 §5).
    #[inline]
    #[must_use]
    pub const fn ecn(&self) -> u8 {
        self.traffic_class & 0b11
    }

    /// A hash by which to spread packets without reordering a flow: the symmetric hash of
    /// the 5-tuple, and of the addresses alone for every fragment, the first too, so that
    /// all fragments between two addresses go one way. (A later IPv6 fragment cannot tell
    /// its transport protocol: its Next Header may name a destination options header.)
    #[inline]
    #[must_use]
    pub fn entropy(&self, seed: u64) -> u64 {
        match self.fragment {
            Fragment::Whole => self.flow.symmetric_hash(seed),
            Fragment::First { .. } | Fragment::Later { .. } => FlowKey {
                protocol: IpProtocol(0),
                src_port: 0,
                dst_port: 0,
                ..self.flow
            }
            .symmetric_hash(seed),
        }
    }
}
