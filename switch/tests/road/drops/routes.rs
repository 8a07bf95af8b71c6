//! Packets that nobody can forward, and tunnel packets that are not ours.

use super::*;

pub(super) fn routes() -> Vec<Case> {
    let too_big = |n| vec![0x55; n];
    vec![
        host(
            "to the outside",
            HOST.says().ipv4(HOST.v4(), OUTSIDE).udp(1, 2, b""),
            R::NoRoute,
        ),
        host(
            "to itself",
            HOST.says().ipv4(HOST.v4(), HOST.v4()).udp(1, 2, b""),
            R::NoRoute,
        ),
        host(
            "to the outside, IPv6",
            HOST.says().ipv6(HOST.v6(), outside6()).udp(1, 2, b""),
            R::NoRoute,
        ),
        pod(
            "to a vacant address",
            v4(Ipv4Addr::new(10, 244, 1, 200)).udp(1, 2, b""),
            R::NoSuchPod,
        ),
        host(
            "from the host to a vacant address",
            HOST.says()
                .ipv6(HOST.v6(), "fd00:10:244:1::99".parse().unwrap())
                .udp(1, 2, b""),
            R::NoSuchPod,
        ),
        peer(
            "through the tunnel to a vacant address",
            inner()
                .ipv4(REMOTE.v4(), Ipv4Addr::new(10, 244, 1, 200))
                .udp(1, 2, b""),
            R::NoSuchPod,
        ),
        peer(
            "to another peer's pod",
            inner().ipv4(REMOTE.v4(), FAR.v4()).udp(1, 2, b""),
            R::Transit,
        ),
        peer(
            "back to the peer's own pod",
            inner().ipv6(REMOTE.v6(), REMOTE.v6()).udp(1, 2, b""),
            R::Transit,
        ),
        peer(
            "to the outside",
            inner().ipv4(REMOTE.v4(), OUTSIDE).udp(1, 2, b""),
            R::Transit,
        ),
        peer(
            "to the node's underlay address",
            inner().ipv4(REMOTE.v4(), OUR_VTEP).udp(1, 2, b""),
            R::Transit,
        ),
        peer(
            "to the gateway",
            inner()
                .ipv4(REMOTE.v4(), GATEWAY_V4)
                .icmp_echo_request(1, 1, b""),
            R::Transit,
        ),
        pod(
            "with TTL 1",
            v4(REMOTE.v4()).ttl(1).udp(1, 2, b""),
            R::TtlExpired,
        ),
        pod(
            "with TTL 0",
            v4(OTHER.v4()).ttl(0).udp(1, 2, b""),
            R::TtlExpired,
        ),
        pod(
            "with hop limit 1",
            v6(REMOTE.v6()).ttl(1).udp(1, 2, b""),
            R::TtlExpired,
        ),
        peer(
            "through the tunnel with TTL 1",
            inner().ipv4(REMOTE.v4(), POD.v4()).ttl(1).udp(1, 2, b""),
            R::TtlExpired,
        ),
        pod(
            "one byte beyond the peer's MTU, DF",
            v4(REMOTE.v4()).udp(1, 2, &too_big(1450 - 28 + 1)),
            R::TooBig,
        ),
        pod(
            "one byte beyond the peer's MTU, IPv6",
            v6(REMOTE.v6()).udp(1, 2, &too_big(1450 - 48 + 1)),
            R::TooBig,
        ),
        pod(
            "one byte beyond the other peer's MTU",
            v4(FAR.v4()).udp(1, 2, &too_big(1400 - 28 + 1)),
            R::TooBig,
        ),
        pod(
            "one byte beyond a port's MTU",
            v4(NARROW.v4()).udp(1, 2, &too_big(1300 - 28 + 1)),
            R::TooBig,
        ),
        peer(
            "through the tunnel beyond a port's MTU",
            inner()
                .ipv6(REMOTE.v6(), NARROW.v6())
                .udp(1, 2, &too_big(1300 - 48 + 1)),
            R::TooBig,
        ),
    ]
}

pub(super) fn tunnel() -> Vec<Case> {
    let packet = |vni| tunnelled(vni, &inner().ipv4(REMOTE.v4(), POD.v4()).udp(1, 2, b"x"));
    let from = |name, source: [u8; 4], reason| Case {
        name,
        door: Door::Underlay(source.into(), Ecn::NotEct),
        bytes: packet(VNI),
        reason,
    };
    let raw = |name, bytes, reason| Case {
        name,
        door: PEER_DOOR,
        bytes,
        reason,
    };
    let ce = Door::Underlay(PEERS[0].0.into(), Ecn::Ce);
    vec![
        from("from a stranger", [192, 0, 2, 99], R::UnknownPeer),
        from("from our own address", OUR_VTEP.octets(), R::UnknownPeer),
        from(
            "from a peer, of another's pod",
            PEERS[1].0.octets(),
            R::ForeignInnerSource,
        ),
        Case {
            name: "from an IPv6 stranger",
            door: Door::Underlay("2001:db8::2".parse().unwrap(), Ecn::NotEct),
            bytes: packet(VNI),
            reason: R::UnknownPeer,
        },
        raw("empty datagram", vec![], R::TruncatedTunnel),
        raw(
            "one byte too short",
            cut(packet(VNI), 21),
            R::TruncatedTunnel,
        ),
        raw("I flag clear", edited(packet(VNI), 0, &[0xf7]), R::NoVni),
        raw("VNI 0", packet(0), R::NoVni),
        raw("VNI off by one", packet(VNI + 1), R::UnknownVni),
        peer(
            "inner MAC of a pod",
            build::ethernet(PEERS[0].1, POD.mac())
                .ipv4(REMOTE.v4(), POD.v4())
                .udp(1, 2, b"x"),
            R::ForeignInnerMac,
        ),
        peer(
            "inner MAC broadcast",
            build::ethernet(PEERS[0].1, Mac::BROADCAST)
                .ipv4(REMOTE.v4(), POD.v4())
                .udp(1, 2, b"x"),
            R::ForeignInnerMac,
        ),
        peer(
            "inner source of this node",
            inner().ipv4(OTHER.v4(), POD.v4()).udp(1, 2, b"x"),
            R::ForeignInnerSource,
        ),
        peer(
            "inner source outside",
            inner().ipv6(outside6(), POD.v6()).udp(1, 2, b"x"),
            R::ForeignInnerSource,
        ),
        Case {
            name: "congestion on a deaf flow",
            door: ce,
            bytes: packet(VNI),
            reason: R::EcnMismatch,
        },
    ]
}
