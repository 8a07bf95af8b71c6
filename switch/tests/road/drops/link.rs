//! Below IP: bytes that are no packet, MACs, EtherTypes, ARP.

use super::*;

pub(super) fn malformed() -> Vec<Case> {
    let udp = || v4(REMOTE.v4()).udp(1, 2, b"x");
    let inner_udp = || inner().ipv4(REMOTE.v4(), POD.v4()).udp(1, 2, b"x");
    let later_tcp = || {
        v4(REMOTE.v4())
            .fragment(7, 8, false)
            .payload(IpProtocol::TCP, &[0; 16])
    };
    vec![
        pod("runt", vec![0; 13], R::Truncated),
        pod("cut IPv4 header", cut(udp(), 20), R::Truncated),
        pod(
            "IPv6 in an IPv4 frame",
            edited(udp(), 14, &[0x65]),
            R::BadVersion,
        ),
        pod(
            "header length below 20",
            edited(udp(), 14, &[0x44]),
            R::BadLength,
        ),
        pod(
            "wrong header checksum",
            edited(udp(), 24, &[0xde, 0xad]),
            R::BadChecksum,
        ),
        pod(
            "hop-by-hop not first",
            v6(REMOTE.v6())
                .extension(IpProtocol::DEST_OPTIONS, &[1, 4])
                .extension(IpProtocol::HOP_BY_HOP, &[1, 4])
                .udp(1, 2, b""),
            R::BadHeaderChain,
        ),
        pod(
            "first fragment without its TCP header",
            v4(REMOTE.v4())
                .fragment(7, 0, true)
                .payload(IpProtocol::TCP, &[0; 8]),
            R::TinyFragment,
        ),
        pod("TCP fragment at offset 8", later_tcp(), R::TinyFragment),
        peer("cut inner header", cut(inner_udp(), 20), R::Truncated),
        peer(
            "wrong inner checksum",
            edited(inner_udp(), 24, &[0xde, 0xad]),
            R::BadChecksum,
        ),
        peer(
            "inner length beyond the frame",
            edited(inner_udp(), 16, &[0xff, 0xff]),
            R::Truncated,
        ),
    ]
}

pub(super) fn link_layer() -> Vec<Case> {
    let arp = |operation, sender_mac, sender_ip, target_ip| {
        let arp = Arp {
            operation,
            sender_mac,
            sender_ip,
            target_mac: Mac::ZERO,
            target_ip,
        };
        build::ethernet(POD.mac(), Mac::BROADCAST).arp(arp)
    };
    let request = |mac, ip, target| arp(ArpOperation::Request, mac, ip, target);
    vec![
        pod(
            "VLAN tag",
            POD.says().raw(EtherType::VLAN, &[0; 64]),
            R::UnexpectedEthertype,
        ),
        pod(
            "802.3 length frame",
            POD.says().raw(EtherType(46), &[0; 46]),
            R::UnexpectedEthertype,
        ),
        pod(
            "another pod's MAC",
            build::ethernet(OTHER.mac(), GATEWAY_MAC)
                .ipv4(POD.v4(), REMOTE.v4())
                .udp(1, 2, b""),
            R::SpoofedMac,
        ),
        pod(
            "the gateway's MAC",
            build::ethernet(GATEWAY_MAC, GATEWAY_MAC)
                .ipv4(POD.v4(), REMOTE.v4())
                .udp(1, 2, b""),
            R::SpoofedMac,
        ),
        pod(
            "a group as source MAC",
            build::ethernet(Mac::BROADCAST, GATEWAY_MAC)
                .ipv4(POD.v4(), REMOTE.v4())
                .udp(1, 2, b""),
            R::SpoofedMac,
        ),
        pod(
            "straight to another pod's MAC",
            build::ethernet(POD.mac(), OTHER.mac())
                .ipv4(POD.v4(), OTHER.v4())
                .udp(1, 2, b""),
            R::ForeignDestinationMac,
        ),
        pod(
            "ARP with another's address",
            request(POD.mac(), OTHER.v4(), GATEWAY_V4),
            R::SpoofedArp,
        ),
        pod(
            "ARP with another's MAC inside",
            request(OTHER.mac(), POD.v4(), GATEWAY_V4),
            R::SpoofedArp,
        ),
        pod(
            "gratuitous ARP for the gateway",
            request(POD.mac(), GATEWAY_V4, GATEWAY_V4),
            R::SpoofedArp,
        ),
        pod(
            "ARP probe",
            request(POD.mac(), Ipv4Addr::UNSPECIFIED, POD.v4()),
            R::SpoofedArp,
        ),
        pod(
            "gratuitous ARP",
            request(POD.mac(), POD.v4(), POD.v4()),
            R::ForeignArp,
        ),
        pod(
            "ARP for another pod",
            request(POD.mac(), POD.v4(), OTHER.v4()),
            R::ForeignArp,
        ),
        pod(
            "ARP reply",
            arp(ArpOperation::Reply, POD.mac(), POD.v4(), GATEWAY_V4),
            R::ForeignArp,
        ),
        peer(
            "ARP in the tunnel",
            request(REMOTE.mac(), REMOTE.v4(), POD.v4()),
            R::UnexpectedEthertype,
        ),
        peer(
            "VLAN tag in the tunnel",
            inner().raw(EtherType::VLAN, &[0; 64]),
            R::UnexpectedEthertype,
        ),
    ]
}
