//! What does the switch say about a packet, and how?
//!
//! Owns the ICMP and ICMPv6 errors a router sends (RFC 792, RFC 1191, RFC 4443) and the
//! answer to echo requests. An error is made in the refused frame itself: headers are
//! written in front of the packet, which becomes the quote, so no buffer is needed.
//! Whether one may be sent, and how often, is decided in [`rogue`](super::rogue) and
//! [`limiter`](super::limiter).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_wire::checksum::{self, Sum};
use weft_wire::ethernet::{EtherType, EthernetFrame, HEADER_LEN as ETHERNET};
use weft_wire::icmp::{self, HEADER_LEN as ICMP, IcmpMessage};
use weft_wire::ipv4::{HEADER_LEN as IPV4, Ipv4Packet, Ipv4Repr};
use weft_wire::ipv6::{HEADER_LEN as IPV6, Ipv6Packet, Ipv6Repr};
use weft_wire::{Frame, Headers, IpProtocol, IpVersion, VnetHeader};

/// The TTL and hop limit of what the switch itself sends.
const TTL: u8 = 64;
/// Precedence "internetwork control", as RFC 1812 §4.3.2.5 has it for errors.
const ERROR_CLASS: u8 = 0xc0;
/// The longest ICMP error, IP header included (RFC 1812 §4.3.2.3).
const LONGEST_V4: usize = 576;
/// The longest ICMPv6 error, IP header included (RFC 4443 §2.4 c).
const LONGEST_V6: usize = 1280;

/// What to tell the sender of a packet that is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// The TTL or hop limit ran out.
    TimeExceeded,
    /// Nobody has the address.
    HostUnreachable,
    /// The next hop takes packets of this many bytes.
    TooBig { mtu: u16 },
}

/// Turns a refused packet into the error about it, from `from`, of the packet's family, to
/// its sender. The MACs are the caller's to write. `None`: the frame has too little
/// headroom, or the families differ.
pub(super) fn make_error(
    frame: &mut Frame,
    packet: &Headers,
    tell: Tell,
    from: IpAddr,
) -> Option<()> {
    let (header_len, longest) = match packet.version {
        IpVersion::V4 => (IPV4 + ICMP, LONGEST_V4),
        IpVersion::V6 => (IPV6 + ICMP, LONGEST_V6),
    };
    frame.vnet = VnetHeader::NONE;
    frame.truncate(packet.end);
    frame.trim_front(packet.l3);
    frame.truncate(longest - header_len);
    frame.prepend(ETHERNET + header_len)?;
    let (ethernet, ip) = frame.as_mut_slice().split_at_mut_checked(ETHERNET)?;
    let mut ethernet = EthernetFrame::new_checked(ethernet).ok()?;
    match (from, packet.flow.src) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            ethernet.set_ether_type(EtherType::IPV4);
            write_error_v4(ip, tell, from, to)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            ethernet.set_ether_type(EtherType::IPV6);
            write_error_v6(ip, tell, from, to)
        }
        _ => None,
    }
}

fn write_error_v4(ip: &mut [u8], tell: Tell, src: Ipv4Addr, dst: Ipv4Addr) -> Option<()> {
    let (header, message) = ip.split_at_mut_checked(IPV4)?;
    let repr = Ipv4Repr {
        src,
        dst,
        protocol: IpProtocol::ICMP,
        payload_len: u16::try_from(message.len()).ok()?,
        ttl: TTL,
        traffic_class: ERROR_CLASS,
        identification: 0,
        dont_fragment: true,
    };
    header.copy_from_slice(&repr.to_bytes());
    let first = match tell {
        Tell::TimeExceeded => icmp::header(icmp::TIME_EXCEEDED, 0, [0; 4]),
        Tell::HostUnreachable => icmp::header(icmp::DESTINATION_UNREACHABLE, CODE_HOST, [0; 4]),
        Tell::TooBig { mtu } => {
            let [high, low] = mtu.to_be_bytes();
            let code = icmp::CODE_FRAGMENTATION_NEEDED;
            icmp::header(icmp::DESTINATION_UNREACHABLE, code, [0, 0, high, low])
        }
    };
    write_message(message, first, Sum::new())
}

fn write_error_v6(ip: &mut [u8], tell: Tell, src: Ipv6Addr, dst: Ipv6Addr) -> Option<()> {
    let (header, message) = ip.split_at_mut_checked(IPV6)?;
    let payload_len = u16::try_from(message.len()).ok()?;
    let repr = Ipv6Repr {
        src,
        dst,
        next_header: IpProtocol::ICMPV6,
        payload_len,
        hop_limit: TTL,
        traffic_class: ERROR_CLASS,
    };
    header.copy_from_slice(&repr.to_bytes());
    let first = match tell {
        Tell::TimeExceeded => icmp::header(icmp::V6_TIME_EXCEEDED, 0, [0; 4]),
        Tell::HostUnreachable => {
            icmp::header(icmp::V6_DESTINATION_UNREACHABLE, V6_CODE_ADDRESS, [0; 4])
        }
        Tell::TooBig { mtu } => {
            icmp::header(icmp::V6_PACKET_TOO_BIG, 0, u32::from(mtu).to_be_bytes())
        }
    };
    let mut sum = Sum::new();
    sum.add_pseudo_ipv6(src, dst, IpProtocol::ICMPV6, payload_len.into());
    write_message(message, first, sum)
}

/// Code "host unreachable" (RFC 792).
const CODE_HOST: u8 = 1;
/// Code "address unreachable" (RFC 4443 §3.1).
const V6_CODE_ADDRESS: u8 = 3;

fn write_message(message: &mut [u8], first: [u8; ICMP], mut sum: Sum) -> Option<()> {
    *message.first_chunk_mut()? = first;
    sum.add_bytes(message);
    IcmpMessage::new_checked(message)
        .ok()?
        .set_checksum(sum.finish());
    Some(())
}

/// Turns an echo request into its reply: addresses swapped, type changed, a fresh TTL.
/// The MACs are the caller's to write.
pub(super) fn answer_echo(frame: &mut Frame, packet: &Headers) -> Option<()> {
    let ip = frame.as_mut_slice().get_mut(packet.l3..packet.end)?;
    let (old, new) = match packet.version {
        IpVersion::V4 => (icmp::ECHO_REQUEST, icmp::ECHO_REPLY),
        IpVersion::V6 => (icmp::V6_ECHO_REQUEST, icmp::V6_ECHO_REPLY),
    };
    // Swapping two addresses changes neither the header's nor the pseudo-header's sum.
    match packet.version {
        IpVersion::V4 => {
            swap::<4>(ip.get_mut(12..20)?)?;
            Ipv4Packet::new_checked(&mut *ip).ok()?.set_ttl(TTL);
        }
        IpVersion::V6 => {
            swap::<16>(ip.get_mut(8..40)?)?;
            Ipv6Packet::new_checked(&mut *ip).ok()?.set_hop_limit(TTL);
        }
    }
    let mut message = IcmpMessage::new_checked(ip.get_mut(packet.l4 - packet.l3..)?).ok()?;
    let word = |kind| u16::from_be_bytes([kind, 0]);
    let checksum = checksum::update_u16(message.checksum(), word(old), word(new));
    message.set_kind(new);
    message.set_checksum(checksum);
    Some(())
}

/// Swaps two neighbouring arrays of `N` bytes.
fn swap<const N: usize>(pair: &mut [u8]) -> Option<()> {
    let (first, second) = pair.split_at_mut_checked(N)?;
    first.swap_with_slice(second.first_chunk_mut::<N>()?);
    Some(())
}
