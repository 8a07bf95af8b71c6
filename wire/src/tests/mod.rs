//! Tests of the whole walk: tables of cases, properties, and a second parser's opinion.

mod chains;
mod differential;
mod embedded;
mod fragments;
mod generate;
mod malformed;
mod neighbors;
mod properties;
mod walk;

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    Headers, Mac, Malformed, Parsed,
    build::{self, EthernetBuilder, IpBuilder, V4, V6},
    parse,
};

const MAC_A: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
const MAC_B: Mac = Mac::new([2, 0, 0, 0, 0, 2]);
const V4_A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const V4_B: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 3);
const V6_A: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2);
const V6_B: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 3);

fn ethernet() -> EthernetBuilder {
    build::ethernet(MAC_A, MAC_B)
}

fn v4() -> IpBuilder<V4> {
    ethernet().ipv4(V4_A, V4_B)
}

fn v6() -> IpBuilder<V6> {
    ethernet().ipv6(V6_A, V6_B)
}

fn headers(frame: &[u8]) -> Headers {
    match parse(frame) {
        Ok(Parsed::Ip(headers)) => headers,
        other => panic!("an IP packet was expected: {other:?} of {frame:02x?}"),
    }
}

fn malformed(frame: &[u8]) -> Option<Malformed> {
    parse(frame).err()
}

/// Makes the IPv4 header checksum right again after bytes were edited.
fn fix_ipv4(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(14..) else {
        return;
    };
    let len = packet
        .first()
        .map_or(0, |first| usize::from(first & 0x0f) * 4);
    if len >= 20 && packet.len() >= len {
        packet[10..12].fill(0);
        let checksum = crate::checksum::ipv4_header(&packet[..len]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}
