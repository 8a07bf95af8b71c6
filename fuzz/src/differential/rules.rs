//! Where do we read a frame otherwise than etherparse, and why?
//!
//! Each rule recognises its frames by what etherparse saw and by the bytes, not by our parser's
//! result alone, so a mistake of ours is no rule. `tests/rules.rs` has a frame for each.

use etherparse::err::Layer;
use etherparse::err::packet::SliceError;
use etherparse::{Ipv4Slice, Ipv6ExtensionSlice, Ipv6Slice, NetSlice, UdpHeaderSlice};
use weft_wire::{Fragment, IpProtocol, IpVersion, Malformed, Parsed, Transport, extension};

use super::Readings;
use super::theirs::Refusal;
use crate::oracle;

/// One intended difference.
#[derive(Debug)]
pub struct Rule {
    /// What it is called.
    pub name: &'static str,
    /// Why we differ.
    pub why: &'static str,
    /// Whether two different readings are this difference.
    pub applies: fn(&Readings<'_>) -> bool,
}

/// Every intended difference.
pub const RULES: &[Rule] = &[
    Rule {
        name: "ipv4-checksum",
        why: "a router discards a packet with a wrong header checksum (RFC 1812, 5.2.2); \
              etherparse leaves the judgement to its caller",
        applies: |r| refused(r, Malformed::BadChecksum) && ipv4(r).is_some_and(wrong_checksum),
    },
    Rule {
        name: "ipv4-options",
        why: "options whose lengths contradict each other could hide a source route; etherparse \
              does not look into options",
        applies: |r| {
            refused(r, Malformed::BadLength)
                && ipv4(r).is_some_and(|p| oracle::ipv4_options(p.header().options()).is_none())
        },
    },
    Rule {
        name: "ipv4-authentication",
        why: "IPv4 has no extension headers: an Authentication Header is a protocol of its own \
              to us, etherparse looks behind it",
        applies: |r| {
            ours_ip(r).is_some_and(|h| {
                (h.version, h.flow.protocol) == (IpVersion::V4, IpProtocol::AH)
                    && matches!(h.transport, Transport::Other | Transport::Opaque)
            })
        },
    },
    Rule {
        name: "fragment-length",
        why: "a fragment with more to come is a multiple of 8 bytes and none ends beyond 65,535 \
              (RFC 791, RFC 8200); etherparse leaves that to reassembly",
        applies: |r| {
            refused(r, Malformed::BadLength) && fragment(r).is_some_and(|f| f.impossible_length())
        },
    },
    Rule {
        name: "first-fragment-headers",
        why: "the first fragment shows its whole header chain (RFC 7112, RFC 1858); etherparse \
              does not look into fragments",
        applies: |r| {
            refused(r, Malformed::BadLength)
                && fragment(r).is_some_and(|f| f.offset == 0 && f.more && udp_beyond(r))
        },
    },
    Rule {
        name: "tcp-fragment-at-8",
        why: "a TCP fragment at offset 8 could rewrite the flags (RFC 3128); etherparse does not \
              look into fragments",
        applies: |r| {
            refused(r, Malformed::TinyFragment)
                && fragment(r).is_some_and(|f| f.offset == 8 && f.protocol == IpProtocol::TCP)
        },
    },
    Rule {
        name: "udp-length",
        why: "a UDP length other than the IP payload's means two readers see two datagrams; \
              etherparse takes a shorter one as it is and 0 as the rest",
        applies: |r| refused(r, Malformed::BadLength) && udp_within(r),
    },
    Rule {
        name: "chain-limits",
        why: "at most 8 extension headers in 256 bytes with one fragment header (RFC 8504, 5.3, \
              lets a node limit them); etherparse walks any chain",
        applies: |r| refused(r, Malformed::HeaderChain) && ipv6(r).is_some_and(beyond_limits),
    },
    Rule {
        name: "jumbogram",
        why: "an IPv6 payload length of 0 in front of hop-by-hop options announces a jumbogram \
              (RFC 2675), which no link of ours carries; etherparse takes the rest of the buffer",
        applies: |r| {
            refused(r, Malformed::BadLength)
                && ipv6(r).is_some_and(|p| {
                    p.header().payload_length() == 0 && p.header().next_header().0 == 0
                })
        },
    },
    Rule {
        name: "arp-kind",
        why: "ARP is for IPv4 over Ethernet; etherparse reads ARP of any address lengths",
        applies: |r| match r
            .sliced
            .as_ref()
            .and_then(|theirs| theirs.packet.net.as_ref())
        {
            Some(NetSlice::Arp(arp)) => {
                r.ours.is_err() && (arp.hw_addr_type().0, arp.proto_addr_type().0) != (1, 0x0800)
                    || (arp.hw_addr_size(), arp.proto_addr_size()) != (6, 4)
            }
            _ => false,
        },
    },
    Rule {
        name: "link-extensions",
        why: "a tag is no part of a pod's frame, which is refused by its EtherType; etherparse \
              looks behind VLAN tags and MACsec",
        applies: |r| {
            matches!(r.ours, Ok(Parsed::Other(kind))
                if [0x8100, 0x88a8, 0x9100, 0x88e5].contains(&kind.0))
        },
    },
    Rule {
        name: "behind-a-later-fragment",
        why: "what follows the fragment header of a later IPv6 fragment is payload from the \
              middle of a packet; etherparse walks on as if it were headers",
        applies: |r| {
            ours_ip(r).is_some_and(|h| {
                h.version == IpVersion::V6
                    && matches!(h.fragment, Fragment::Later { .. })
                    && h.flow.protocol.is_extension()
            })
        },
    },
    Rule {
        name: "icmp-of-the-other-family",
        why: "ICMP in IPv6 and ICMPv6 in IPv4 are protocols like any other; etherparse reads a \
              header there",
        applies: |r| {
            let family = ours_ip(r).map(|h| (h.version, h.flow.protocol, h.transport));
            matches!(
                family,
                Some(
                    (IpVersion::V4, IpProtocol::ICMPV6, Transport::Other)
                        | (IpVersion::V6, IpProtocol::ICMP, Transport::Other)
                )
            ) && refused_at(
                r,
                &[
                    Layer::Icmpv4,
                    Layer::Icmpv6,
                    Layer::Icmpv4Timestamp,
                    Layer::Icmpv4TimestampReply,
                ],
            )
        },
    },
    Rule {
        name: "igmp",
        why: "IGMP is a protocol like any other to us; etherparse reads its header",
        applies: |r| {
            ours_ip(r).is_some_and(|h| h.flow.protocol == IpProtocol(2))
                && refused_at(r, &[Layer::Igmp])
        },
    },
    Rule {
        name: "icmp-timestamp-length",
        why: "the length of an ICMP timestamp message is the receiver's affair; etherparse \
              insists on 20 bytes",
        applies: |r| {
            let kind = ours_ip(r).map(|h| h.transport);
            matches!(
                kind,
                Some(Transport::Icmp {
                    kind: 13 | 14,
                    code: 0
                })
            ) && (refused_at(r, &[Layer::Icmpv4Timestamp, Layer::Icmpv4TimestampReply])
                || matches!(r.theirs, Err(Refusal::Transport)))
        },
    },
];

fn refused(readings: &Readings<'_>, reason: Malformed) -> bool {
    readings.ours == Err(reason) && readings.sliced.is_some()
}

fn refused_at(readings: &Readings<'_>, layers: &[Layer]) -> bool {
    match &readings.theirs {
        Err(Refusal::Packet(SliceError::Len(error))) => layers.contains(&error.layer),
        _ => false,
    }
}

fn ours_ip<'a>(readings: &'a Readings<'_>) -> Option<&'a weft_wire::Headers> {
    match &readings.ours {
        Ok(Parsed::Ip(headers)) => Some(headers),
        _ => None,
    }
}

fn ipv4<'a>(readings: &'a Readings<'_>) -> Option<&'a Ipv4Slice<'a>> {
    match readings.sliced.as_ref()?.packet.net.as_ref()? {
        NetSlice::Ipv4(packet) => Some(packet),
        _ => None,
    }
}

fn ipv6<'a>(readings: &'a Readings<'_>) -> Option<&'a Ipv6Slice<'a>> {
    match readings.sliced.as_ref()?.packet.net.as_ref()? {
        NetSlice::Ipv6(packet) => Some(packet),
        _ => None,
    }
}

fn wrong_checksum(packet: &Ipv4Slice<'_>) -> bool {
    oracle::checksum(packet.header().slice()) != 0
}

/// What etherparse says of a fragment.
struct Split {
    /// Bytes behind the IP header, or behind the fragment header of IPv6.
    len: usize,
    offset: u16,
    more: bool,
    protocol: IpProtocol,
}

impl Split {
    fn impossible_length(&self) -> bool {
        self.more && !self.len.is_multiple_of(8) || usize::from(self.offset) + self.len > 0xffff
    }
}

fn fragment(readings: &Readings<'_>) -> Option<Split> {
    if let Some(packet) = ipv4(readings) {
        let header = packet.header();
        return packet.is_payload_fragmented().then(|| Split {
            len: usize::from(header.total_len()) - header.slice().len(),
            offset: header.fragments_offset().byte_offset(),
            more: header.more_fragments(),
            protocol: IpProtocol(header.protocol().0),
        });
    }
    let packet = ipv6(readings)?;
    let mut rest = packet.extensions().slice().len() + packet.payload().payload.len();
    for extension in packet.extensions().clone() {
        rest -= length(&extension);
        if let Ipv6ExtensionSlice::Fragment(header) = extension {
            return header.is_fragmenting_payload().then(|| Split {
                len: rest,
                offset: header.fragment_offset().byte_offset(),
                more: header.more_fragments(),
                protocol: IpProtocol(header.next_header().0),
            });
        }
    }
    None
}

fn length(extension: &Ipv6ExtensionSlice<'_>) -> usize {
    match extension {
        Ipv6ExtensionSlice::HopByHop(header)
        | Ipv6ExtensionSlice::Routing(header)
        | Ipv6ExtensionSlice::DestinationOptions(header) => header.slice().len(),
        Ipv6ExtensionSlice::Fragment(header) => header.slice().len(),
        Ipv6ExtensionSlice::Authentication(header) => header.slice().len(),
    }
}

fn beyond_limits(packet: &Ipv6Slice<'_>) -> bool {
    let extensions = packet.extensions().clone();
    let is_fragment = |e: &Ipv6ExtensionSlice<'_>| matches!(e, Ipv6ExtensionSlice::Fragment(_));
    extensions.clone().into_iter().count() > extension::MAX_HEADERS
        || extensions.slice().len() > extension::MAX_BYTES
        || extensions.into_iter().filter(is_fragment).count() > 1
}

/// The IP payload and the UDP length in front of it, where the packet is UDP.
fn udp_lengths(readings: &Readings<'_>) -> Option<(usize, usize)> {
    let payload = match readings.sliced.as_ref()?.packet.net.as_ref()? {
        NetSlice::Ipv4(packet) => packet.payload(),
        NetSlice::Ipv6(packet) => packet.payload(),
        NetSlice::Arp(_) => return None,
    };
    if IpProtocol(payload.ip_number.0) != IpProtocol::UDP {
        return None;
    }
    let udp = UdpHeaderSlice::from_slice(payload.payload).ok()?;
    Some((payload.payload.len(), usize::from(udp.length())))
}

/// A whole datagram's length field is not the payload's length.
fn udp_within(readings: &Readings<'_>) -> bool {
    fragment(readings).is_none() && udp_lengths(readings).is_some_and(|(ip, udp)| udp != ip)
}

/// A first fragment already holds more than the datagram, or the length is below a header's.
fn udp_beyond(readings: &Readings<'_>) -> bool {
    udp_lengths(readings).is_some_and(|(ip, udp)| udp < ip)
}
