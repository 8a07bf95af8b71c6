//! Neighbour discovery and its rogues.

use super::*;

/// The body of a neighbour solicitation or advertisement behind its first 8 bytes.
fn target(address: Ipv6Addr) -> Vec<u8> {
    address.octets().to_vec()
}

pub(super) fn neighbor_discovery() -> Vec<Case> {
    let nd = |dst: Ipv6Addr| group().ipv6(POD.link_local(), dst).ttl(255);
    let solicit = |dst: Ipv6Addr, of: Ipv6Addr| nd(dst).icmpv6(135, 0, [0; 4], &target(of));
    let probe = |of: Ipv6Addr| {
        group()
            .ipv6(Ipv6Addr::UNSPECIFIED, solicited(of))
            .ttl(255)
            .icmpv6(135, 0, [0; 4], &target(of))
    };
    let ra = [0; 8];
    vec![
        pod(
            "solicitation for another pod",
            solicit(solicited(OTHER.v6()), OTHER.v6()),
            R::NeighborSolicitation,
        ),
        pod(
            "solicitation from afar",
            nd(GATEWAY_V6)
                .ttl(64)
                .icmpv6(135, 0, [0; 4], &target(GATEWAY_V6)),
            R::BadNeighbor,
        ),
        pod(
            "solicitation with an option of length 0",
            nd(GATEWAY_V6).icmpv6(
                135,
                0,
                [0; 4],
                &[&target(GATEWAY_V6)[..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat(),
            ),
            R::BadNeighbor,
        ),
        pod(
            "solicitation behind an atomic fragment header",
            nd(GATEWAY_V6)
                .fragment(7, 0, false)
                .icmpv6(135, 0, [0; 4], &target(GATEWAY_V6)),
            R::BadNeighbor,
        ),
        pod(
            "fragmented solicitation",
            nd(GATEWAY_V6)
                .fragment(7, 0, true)
                .icmpv6(135, 0, [0; 4], &target(GATEWAY_V6)),
            R::FragmentedNeighbor,
        ),
        pod("address probe", probe(POD.v6()), R::AddressProbe),
        pod(
            "link-local address probe",
            probe(POD.link_local()),
            R::AddressProbe,
        ),
        pod(
            "address probe for another's address",
            probe(OTHER.v6()),
            R::SpoofedIpv6,
        ),
        pod(
            "address probe for the gateway's",
            probe(GATEWAY_V6),
            R::SpoofedIpv6,
        ),
        pod(
            "own advertisement",
            nd(ALL_NODES).icmpv6(136, 0, [0x20, 0, 0, 0], &target(POD.v6())),
            R::NeighborAdvertisement,
        ),
        pod(
            "advertisement of the gateway",
            nd(OTHER.v6()).icmpv6(136, 0, [0x20, 0, 0, 0], &target(GATEWAY_V6)),
            R::NeighborAdvertisement,
        ),
        pod(
            "router solicitation",
            nd(ALL_NODES).icmpv6(133, 0, [0; 4], &[]),
            R::RouterSolicitation,
        ),
        pod(
            "router advertisement",
            nd(ALL_NODES).icmpv6(134, 0, [64, 0, 7, 8], &ra),
            R::RouterAdvertisement,
        ),
        pod(
            "router advertisement of a foreign link-local address",
            group()
                .ipv6("fe80::bad".parse().unwrap(), ALL_NODES)
                .ttl(255)
                .icmpv6(134, 0, [64, 0, 7, 8], &ra),
            R::RouterAdvertisement,
        ),
        pod(
            "router advertisement to one pod",
            v6(OTHER.v6()).icmpv6(134, 0, [64, 0, 7, 8], &ra),
            R::RouterAdvertisement,
        ),
        pod(
            "router advertisement behind hop-by-hop",
            nd(ALL_NODES)
                .extension(IpProtocol::HOP_BY_HOP, &[1, 4])
                .icmpv6(134, 0, [64, 0, 7, 8], &ra),
            R::RouterAdvertisement,
        ),
        pod(
            "router advertisement behind destination options",
            nd(ALL_NODES)
                .extension(IpProtocol::DEST_OPTIONS, &[1, 4])
                .icmpv6(134, 0, [64, 0, 7, 8], &ra),
            R::RouterAdvertisement,
        ),
        pod(
            "router advertisement behind all of them",
            nd(ALL_NODES)
                .extension(IpProtocol::HOP_BY_HOP, &[1, 4])
                .extension(IpProtocol::DEST_OPTIONS, &[1, 4])
                .fragment(7, 0, false)
                .icmpv6(134, 0, [64, 0, 7, 8], &ra),
            R::RouterAdvertisement,
        ),
        pod(
            "router advertisement in a first fragment",
            nd(ALL_NODES)
                .fragment(7, 0, true)
                .icmpv6(134, 0, [64, 0, 7, 8], &ra),
            R::RouterAdvertisement,
        ),
        pod(
            "router advertisement hidden in a later fragment",
            nd(ALL_NODES)
                .fragment(7, 0, true)
                .payload(IpProtocol::DEST_OPTIONS, &[58, 1, 1, 4, 0, 0, 0, 0]),
            R::TinyFragment,
        ),
        pod(
            "IPv4 router advertisement",
            v4(OTHER.v4()).icmp(9, 0, [0; 4], &[]),
            R::RouterAdvertisement,
        ),
        pod(
            "IPv4 router solicitation",
            v4(OTHER.v4()).icmp(10, 0, [0; 4], &[]),
            R::RouterSolicitation,
        ),
        pod(
            "redirect",
            v4(OTHER.v4()).icmp(5, 1, [10, 244, 1, 2], &v4(REMOTE.v4()).udp(1, 2, b"")[14..]),
            R::Redirect,
        ),
        pod(
            "redirect, IPv6",
            nd(OTHER.v6()).icmpv6(137, 0, [0; 4], &[0; 32]),
            R::Redirect,
        ),
        peer(
            "router advertisement through the tunnel",
            inner()
                .ipv6(REMOTE.v6(), POD.v6())
                .ttl(255)
                .icmpv6(134, 0, [64, 0, 7, 8], &ra),
            R::RouterAdvertisement,
        ),
        peer(
            "solicitation through the tunnel",
            inner().ipv6(REMOTE.v6(), POD.v6()).ttl(255).icmpv6(
                135,
                0,
                [0; 4],
                &target(GATEWAY_V6),
            ),
            R::NeighborSolicitation,
        ),
        peer(
            "advertisement through the tunnel",
            inner().ipv6(REMOTE.v6(), POD.v6()).ttl(255).icmpv6(
                136,
                0,
                [0; 4],
                &target(GATEWAY_V6),
            ),
            R::NeighborAdvertisement,
        ),
        peer(
            "redirect through the tunnel",
            inner()
                .ipv4(REMOTE.v4(), POD.v4())
                .icmp(5, 1, [10, 244, 1, 3], &[0; 28]),
            R::Redirect,
        ),
        peer(
            "fragmented solicitation through the tunnel",
            inner()
                .ipv6(REMOTE.v6(), POD.v6())
                .fragment(7, 0, true)
                .icmpv6(135, 0, [0; 4], &target(GATEWAY_V6)),
            R::FragmentedNeighbor,
        ),
    ]
}
