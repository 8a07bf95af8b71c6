//! What differs between the IP versions a packet is built for.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    EtherType, IpProtocol,
    bytes::{put, put_u16},
    checksum::{self, Sum},
    icmp,
    ipv4::{Ipv4Packet, Ipv4Repr},
    ipv6::Ipv6Repr,
};

/// What an IPv4 header has and IPv6's has not.
#[derive(Clone, Debug)]
pub struct V4 {
    pub(super) src: Ipv4Addr,
    pub(super) dst: Ipv4Addr,
    pub(super) identification: u16,
    pub(super) dont_fragment: bool,
    pub(super) options: Vec<u8>,
    pub(super) fragment: Option<(u16, bool)>,
}

/// What an IPv6 header has and IPv4's has not.
#[derive(Clone, Debug)]
pub struct V6 {
    pub(super) src: Ipv6Addr,
    pub(super) dst: Ipv6Addr,
    pub(super) extensions: Vec<(IpProtocol, Vec<u8>)>,
}

/// An IP version the builder can finish; implemented by [`V4`] and [`V6`] only.
pub trait Network: sealed::Network {}
impl Network for V4 {}
impl Network for V6 {}

mod sealed {
    use super::{EtherType, IpProtocol, Sum};

    pub trait Network {
        fn add_pseudo(&self, sum: &mut Sum, protocol: IpProtocol, len: u16);
        fn packet(&self, ttl: u8, class: u8, protocol: IpProtocol, payload: &[u8]) -> Vec<u8>;
        fn ether_type(&self) -> EtherType;
        fn echo_kinds(&self) -> (IpProtocol, u8, u8);
    }
}

/// A length field's value; what does not fit saturates.
pub(super) fn length(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

impl sealed::Network for V4 {
    fn add_pseudo(&self, sum: &mut Sum, protocol: IpProtocol, len: u16) {
        sum.add_pseudo_ipv4(self.src, self.dst, protocol, len);
    }

    fn packet(&self, ttl: u8, class: u8, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let header = Ipv4Repr {
            src: self.src,
            dst: self.dst,
            protocol,
            payload_len: length(self.options.len() + payload.len()),
            ttl,
            traffic_class: class,
            identification: self.identification,
            dont_fragment: self.dont_fragment,
        };
        let mut packet = header.to_bytes().to_vec();
        packet.extend(&self.options);
        let words = u8::try_from(packet.len() / 4).unwrap_or(15);
        put(&mut packet, 0, &[0x40 | words]);
        put_u16(&mut packet, 10, 0);
        let sum = checksum::ipv4_header(&packet);
        put_u16(&mut packet, 10, sum);
        packet.extend(payload);
        if let (Some((offset, more)), Ok(mut view)) =
            (self.fragment, Ipv4Packet::new_checked(&mut packet))
        {
            view.set_fragment(offset, more);
        }
        packet
    }

    fn ether_type(&self) -> EtherType {
        EtherType::IPV4
    }

    fn echo_kinds(&self) -> (IpProtocol, u8, u8) {
        (IpProtocol::ICMP, icmp::ECHO_REQUEST, icmp::ECHO_REPLY)
    }
}

impl sealed::Network for V6 {
    fn add_pseudo(&self, sum: &mut Sum, protocol: IpProtocol, len: u16) {
        sum.add_pseudo_ipv6(self.src, self.dst, protocol, len.into());
    }

    fn packet(&self, ttl: u8, class: u8, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let mut body = vec![];
        let mut next = self
            .extensions
            .iter()
            .map(|(kind, _)| *kind)
            .skip(1)
            .chain([protocol]);
        for (_, header) in &self.extensions {
            let at = body.len();
            body.extend(header);
            put(&mut body, at, &[next.next().unwrap_or(protocol).0]);
        }
        body.extend(payload);
        let header = Ipv6Repr {
            src: self.src,
            dst: self.dst,
            next_header: self.extensions.first().map_or(protocol, |(kind, _)| *kind),
            payload_len: length(body.len()),
            hop_limit: ttl,
            traffic_class: class,
        };
        [&header.to_bytes(), body.as_slice()].concat()
    }

    fn ether_type(&self) -> EtherType {
        EtherType::IPV6
    }

    fn echo_kinds(&self) -> (IpProtocol, u8, u8) {
        (
            IpProtocol::ICMPV6,
            icmp::V6_ECHO_REQUEST,
            icmp::V6_ECHO_REPLY,
        )
    }
}
