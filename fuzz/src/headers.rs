//! Do any bytes make a parser, or an accessor of what it returns, panic or lie?

use weft_wire::ethernet::EthernetFrame;
use weft_wire::icmp::IcmpMessage;
use weft_wire::ipv4::{self, Ipv4Packet};
use weft_wire::ipv6::{self, Ipv6Packet};
use weft_wire::ndp::{NeighborAdvert, NeighborSolicit};
use weft_wire::sctp::SctpPacket;
use weft_wire::tcp::TcpSegment;
use weft_wire::udp::UdpDatagram;
use weft_wire::{
    Arp, Fragment, Headers, IpProtocol, IpVersion, Parsed, Transport, VnetHeader, checksum,
    embedded, extension, parse,
};

use crate::oracle;

const ETHERNET: usize = 14;

/// The harness: `bytes` as a frame, as a frame behind a virtio-net header, and as every single
/// format.
///
/// # Panics
/// When a promise does not hold.
pub fn run(bytes: &[u8]) {
    vnet(bytes);
    views(bytes);
    frame(bytes);
    if let Some(repaired) = oracle::with_ipv4_checksum(bytes) {
        frame(&repaired);
    }
}

fn frame(bytes: &[u8]) {
    match parse(bytes) {
        Ok(Parsed::Ip(headers)) => ip(bytes, &headers),
        Ok(Parsed::Arp(arp)) => {
            assert_eq!(
                bytes.get(ETHERNET..ETHERNET + Arp::LEN),
                Some(&arp.to_bytes()[..])
            );
        }
        Ok(Parsed::Other(kind)) => {
            assert_eq!(bytes.get(12..14), Some(&kind.0.to_be_bytes()[..]));
        }
        Err(_) => {}
    }
}

/// What [`Headers`] promises about the frame it was read from.
fn ip(frame: &[u8], headers: &Headers) {
    assert_eq!(headers.l3, ETHERNET);
    assert!(headers.l3 < headers.l4 && headers.l4 <= headers.end && headers.end <= frame.len());
    assert_eq!(headers.ip_len(), headers.end - headers.l3);
    assert_eq!(headers.payload_len(), headers.end - headers.l4);
    let is_v4 = headers.version == IpVersion::V4;
    assert!(headers.flow.src.is_ipv4() == is_v4 && headers.flow.dst.is_ipv4() == is_v4);
    flow(headers);
    transport(frame, headers);

    // Padding is no part of a packet, and the Ethernet header none of its IP packet.
    let packet = frame.get(..headers.end).unwrap_or_default();
    assert_eq!(parse(packet), Ok(Parsed::Ip(*headers)));
    let bare = Headers::parse_ip(packet.get(ETHERNET..).unwrap_or_default());
    assert_eq!(
        bare.map(|bare| (bare.flow, bare.l4)),
        Ok((headers.flow, headers.l4 - ETHERNET))
    );

    let _ = embedded(frame, headers);
    let solicit = NeighborSolicit::parse(frame, headers).is_some();
    let advert = NeighborAdvert::parse(frame, headers).is_some();
    if solicit || advert {
        assert_eq!(
            (headers.hop_limit, headers.fragment),
            (255, Fragment::Whole)
        );
    }
    edits(frame, headers);
}

fn flow(headers: &Headers) {
    let key = headers.flow;
    assert_eq!(key.reversed().reversed(), key);
    assert_eq!(key.symmetric_hash(7), key.reversed().symmetric_hash(7));
    let answer = Headers {
        flow: key.reversed(),
        ..*headers
    };
    assert_eq!(headers.entropy(7), answer.entropy(7));
    let _ = key.to_string();
}

fn transport(frame: &[u8], headers: &Headers) {
    let payload = frame.get(headers.l4..headers.end).unwrap_or_default();
    let opaque = headers.transport == Transport::Opaque;
    assert_eq!(opaque, matches!(headers.fragment, Fragment::Later { .. }));
    match headers.transport {
        Transport::Tcp(info) => {
            let segment = TcpSegment::new_checked(payload).expect("parse has checked it");
            assert_eq!(segment.info(), info);
            assert_eq!(
                segment.header_len() + segment.payload().len(),
                payload.len()
            );
        }
        Transport::Udp => assert!(payload.len() >= 8),
        Transport::Sctp => assert!(payload.len() >= 12),
        Transport::Icmp { .. } => assert_eq!(headers.version, IpVersion::V4),
        Transport::Icmpv6 { .. } => assert_eq!(headers.version, IpVersion::V6),
        Transport::Other | Transport::Opaque => {
            assert_eq!((headers.flow.src_port, headers.flow.dst_port), (0, 0));
        }
    }
}

/// Rewritten fields leave a packet that reads the same but for them.
fn edits(frame: &[u8], headers: &Headers) {
    let mut edited = frame.to_vec();
    checksum::fill_transport(&mut edited, headers);
    assert!(
        checksum::verify_transport(&edited, headers),
        "the checksum we wrote is wrong"
    );

    let packet = edited.get_mut(headers.l3..).unwrap_or_default();
    let left = match headers.version {
        IpVersion::V4 => {
            ipv4::set_ecn(packet, 0b11);
            ipv4::decrement_ttl(packet)
        }
        IpVersion::V6 => {
            ipv6::set_ecn(packet, 0b11);
            ipv6::decrement_hop_limit(packet)
        }
    };
    let hop_limit = headers.hop_limit.saturating_sub(1);
    assert_eq!(left, Some(hop_limit), "hops left");
    let Ok(Parsed::Ip(now)) = parse(&edited) else {
        panic!("an edit made the packet unreadable: {:?}", parse(&edited));
    };
    let traffic_class = headers.traffic_class | 0b11;
    assert_eq!(
        now,
        Headers {
            hop_limit,
            traffic_class,
            ..*headers
        }
    );
}

/// A hostile virtio-net header changes no more than the two bytes of a checksum.
fn vnet(bytes: &[u8]) {
    let Some((prefix, frame)) = bytes.split_at_checked(VnetHeader::LEN) else {
        return;
    };
    let Ok(header) = VnetHeader::parse(prefix) else {
        panic!("{} bytes are a virtio-net header", VnetHeader::LEN);
    };
    let mut emitted = [0; VnetHeader::LEN];
    assert!(header.emit(&mut emitted) && emitted == *prefix);
    let mut finished = frame.to_vec();
    let outcome = header.complete_checksum(&mut finished);
    let at = usize::from(header.csum_start) + usize::from(header.csum_offset);
    let changed = |&(i, (old, new)): &(usize, (&u8, &u8))| old != new && !(at..at + 2).contains(&i);
    assert_eq!(frame.iter().zip(&finished).enumerate().find(changed), None);
    if outcome.is_err() || !header.needs_checksum() {
        assert_eq!(finished, frame);
    } else {
        let summed = frame
            .get(usize::from(header.csum_start)..)
            .unwrap_or_default();
        let expected = match oracle::checksum(summed) {
            0 => 0xffff,
            sum => sum,
        };
        assert_eq!(finished.get(at..at + 2), Some(&expected.to_be_bytes()[..]));
    }
}

/// Every view on the bare bytes: whatever it accepts, its accessors can read.
fn views(bytes: &[u8]) {
    let whole = bytes.len();
    if let Ok(frame) = EthernetFrame::new_checked(bytes) {
        assert_eq!(frame.payload().len() + ETHERNET, whole);
    }
    if let Ok(packet) = Ipv4Packet::new_checked(bytes) {
        assert_eq!(
            packet.header_len() + packet.payload().len(),
            packet.total_len()
        );
        assert_eq!(packet.options().len() + 20, packet.header_len());
        assert_eq!(
            packet.verify_checksum(),
            oracle::checksum(&bytes[..packet.header_len()]) == 0
        );
    }
    if let Ok(packet) = Ipv6Packet::new_checked(bytes) {
        assert_eq!(packet.payload().len() + 40, packet.total_len());
        let _ = (packet.flow_label(), packet.source(), packet.destination());
    }
    if let Ok(segment) = TcpSegment::new_checked(bytes) {
        assert_eq!(
            20 + segment.options().len() + segment.payload().len(),
            whole
        );
    }
    if let Ok(datagram) = UdpDatagram::new_checked(bytes) {
        assert_eq!(datagram.payload().len() + 8, whole);
    }
    if let Ok(message) = IcmpMessage::new_checked(bytes) {
        assert_eq!(message.payload().len() + 8, whole);
    }
    if let Ok(packet) = SctpPacket::new_checked(bytes) {
        assert_eq!(packet.payload().len() + 12, whole);
    }
    let routed = oracle::ipv4_options(bytes);
    let routed = routed.map(|kinds| kinds.iter().any(|kind| [131, 137].contains(kind)));
    assert_eq!(ipv4::source_routed(bytes).ok(), routed);
    if let Some((&kind, chain)) = bytes.split_first()
        && let Ok(walked) = extension::walk(chain, IpProtocol(kind))
    {
        assert!(walked.len <= chain.len().min(extension::MAX_BYTES));
    }
    let mut sum = checksum::Sum::new();
    sum.add_bytes(bytes);
    assert_eq!(sum.finish(), oracle::checksum(bytes));
}
