//! From where and to where no packet goes.

use super::*;

pub(super) fn addresses() -> Vec<Case> {
    let from4 = |source: [u8; 4]| POD.says().ipv4(source.into(), REMOTE.v4()).udp(1, 2, b"");
    let from6 = |source: &str| {
        POD.says()
            .ipv6(source.parse().unwrap(), REMOTE.v6())
            .udp(1, 2, b"")
    };
    let to6 = |dst: &str| v6(dst.parse().unwrap()).udp(1, 2, b"");
    vec![
        pod("from loopback", from4([127, 0, 0, 1]), R::Martian),
        pod("from 0/8", from4([0, 0, 0, 0]), R::Martian),
        pod("from class E", from4([240, 0, 0, 1]), R::Martian),
        pod("from a group", from4([224, 0, 0, 1]), R::Martian),
        pod("from broadcast", from4([255, 255, 255, 255]), R::Martian),
        pod("from ::1", from6("::1"), R::Martian),
        pod(
            "from a mapped address",
            from6("::ffff:10.244.1.2"),
            R::Martian,
        ),
        pod("from an IPv6 group", from6("ff02::1"), R::Martian),
        pod(
            "to loopback",
            v4(Ipv4Addr::LOCALHOST).udp(1, 2, b""),
            R::Martian,
        ),
        pod(
            "to 0.0.0.0",
            v4(Ipv4Addr::UNSPECIFIED).udp(1, 2, b""),
            R::Martian,
        ),
        pod(
            "to class E",
            v4(Ipv4Addr::new(250, 1, 2, 3)).udp(1, 2, b""),
            R::Martian,
        ),
        pod("to ::1", to6("::1"), R::Martian),
        pod("to a mapped address", to6("::ffff:10.244.2.5"), R::Martian),
        peer(
            "from loopback through the tunnel",
            inner().ipv4(Ipv4Addr::LOCALHOST, POD.v4()).udp(1, 2, b""),
            R::Martian,
        ),
        pod(
            "from another pod",
            from4(OTHER.v4().octets()),
            R::SpoofedIpv4,
        ),
        pod("from the node", from4(HOST.v4().octets()), R::SpoofedIpv4),
        pod(
            "from the gateway",
            from4(GATEWAY_V4.octets()),
            R::SpoofedIpv4,
        ),
        pod("from outside", from4(OUTSIDE.octets()), R::SpoofedIpv4),
        pod(
            "from another pod, IPv6",
            from6("fd00:10:244:1::3"),
            R::SpoofedIpv6,
        ),
        pod(
            "from another's link-local address",
            from6("fe80::1:2"),
            R::SpoofedIpv6,
        ),
        pod("from the gateway, IPv6", from6("fe80::1"), R::SpoofedIpv6),
        pod("from ::", from6("::"), R::SpoofedIpv6),
        host(
            "the host as a local pod",
            HOST.says().ipv4(POD.v4(), OTHER.v4()).udp(1, 2, b""),
            R::SpoofedHost,
        ),
        host(
            "the host as a vacant pod address",
            HOST.says()
                .ipv6("fd00:10:244:1::99".parse().unwrap(), OTHER.v6())
                .udp(1, 2, b""),
            R::SpoofedHost,
        ),
        host(
            "the host as a pod of a peer",
            HOST.says().ipv4(REMOTE.v4(), OTHER.v4()).udp(1, 2, b""),
            R::SpoofedHost,
        ),
        host(
            "outside to a peer without masquerade",
            HOST.says().ipv4(OUTSIDE, REMOTE.v4()).udp(1, 2, b""),
            R::SpoofedHost,
        ),
        host(
            "the underlay address to a peer",
            HOST.says().ipv4(OUR_VTEP, REMOTE.v4()).udp(1, 2, b""),
            R::SpoofedHost,
        ),
        pod(
            "multicast",
            group()
                .ipv4(POD.v4(), Ipv4Addr::new(224, 0, 0, 251))
                .udp(5353, 5353, b""),
            R::Multicast,
        ),
        pod(
            "limited broadcast",
            build::ethernet(POD.mac(), Mac::BROADCAST)
                .ipv4(POD.v4(), Ipv4Addr::BROADCAST)
                .udp(1, 2, b""),
            R::Multicast,
        ),
        pod(
            "a group address to the gateway's MAC",
            v4(Ipv4Addr::new(239, 1, 2, 3)).udp(1, 2, b""),
            R::Multicast,
        ),
        pod(
            "a pod's address in a broadcast frame",
            build::ethernet(POD.mac(), Mac::BROADCAST)
                .ipv4(POD.v4(), OTHER.v4())
                .udp(1, 2, b""),
            R::Multicast,
        ),
        pod(
            "multicast listener report",
            group()
                .ipv6(Ipv6Addr::UNSPECIFIED, "ff02::16".parse().unwrap())
                .ttl(1)
                .extension(IpProtocol::HOP_BY_HOP, &[5, 2, 0, 0])
                .icmpv6(143, 0, [0; 4], &[]),
            R::Multicast,
        ),
        peer(
            "multicast through the tunnel",
            inner()
                .ipv4(REMOTE.v4(), Ipv4Addr::new(224, 0, 0, 251))
                .udp(1, 2, b""),
            R::Multicast,
        ),
        pod(
            "link-local to a global address",
            POD.says()
                .ipv6(POD.link_local(), REMOTE.v6())
                .udp(1, 2, b""),
            R::LinkLocal,
        ),
        pod("to a link-local address", to6("fe80::2"), R::LinkLocal),
        peer(
            "from a link-local address through the tunnel",
            inner().ipv6(REMOTE.link_local(), POD.v6()).udp(1, 2, b""),
            R::LinkLocal,
        ),
        pod(
            "a TCP port of the gateway",
            v4(GATEWAY_V4).tcp(TcpSpec::default(), b""),
            R::GatewayService,
        ),
        pod(
            "a UDP port of the gateway, IPv6",
            v6(GATEWAY_V6).udp(1, 53, b""),
            R::GatewayService,
        ),
        pod(
            "a fragmented ping to the gateway",
            v4(GATEWAY_V4)
                .fragment(7, 0, true)
                .icmp_echo_request(1, 1, &[0; 8]),
            R::GatewayService,
        ),
    ]
}
