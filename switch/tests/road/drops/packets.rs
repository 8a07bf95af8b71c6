//! What a packet must not say.

use super::*;

pub(super) fn hygiene() -> Vec<Case> {
    let quoted = |of: Vec<u8>| of[14..].to_vec();
    vec![
        pod(
            "DHCP offer",
            v4(OTHER.v4()).udp(67, 68, &[2; 240]),
            R::DhcpServerReply,
        ),
        pod(
            "DHCPv6 reply",
            v6(OTHER.v6()).udp(547, 546, &[7; 8]),
            R::DhcpServerReply,
        ),
        pod(
            "broadcast DHCP offer",
            build::ethernet(POD.mac(), Mac::BROADCAST)
                .ipv4(POD.v4(), Ipv4Addr::BROADCAST)
                .udp(67, 68, &[2; 240]),
            R::DhcpServerReply,
        ),
        peer(
            "DHCP offer through the tunnel",
            inner().ipv4(REMOTE.v4(), POD.v4()).udp(67, 68, &[2; 240]),
            R::DhcpServerReply,
        ),
        pod(
            "loose source route",
            v4(REMOTE.v4())
                .options(&[131, 7, 4, 10, 0, 0, 1])
                .udp(1, 2, b""),
            R::SourceRouted,
        ),
        pod(
            "strict source route behind a no-op",
            v4(REMOTE.v4())
                .options(&[1, 137, 7, 4, 10, 0, 0, 1])
                .udp(1, 2, b""),
            R::SourceRouted,
        ),
        pod(
            "routing header of type 0",
            v6(REMOTE.v6())
                .extension(IpProtocol::ROUTING, &[0, 1, 0, 0, 0, 0])
                .udp(1, 2, b""),
            R::SourceRouted,
        ),
        peer(
            "source route through the tunnel",
            inner()
                .ipv4(REMOTE.v4(), POD.v4())
                .options(&[131, 7, 4, 10, 0, 0, 1])
                .udp(1, 2, b""),
            R::SourceRouted,
        ),
        pod(
            "VXLAN to a peer's node",
            v4(PEERS[0].0).udp(5000, VXLAN_PORT, &tunnelled(VNI, &[0; 64])),
            R::NestedTunnel,
        ),
        pod(
            "VXLAN to a pod",
            v6(REMOTE.v6()).udp(5000, VXLAN_PORT, b""),
            R::NestedTunnel,
        ),
        host(
            "VXLAN from the host port",
            HOST.says()
                .ipv4(HOST.v4(), REMOTE.v4())
                .udp(5000, VXLAN_PORT, b""),
            R::NestedTunnel,
        ),
        peer(
            "VXLAN in VXLAN",
            inner()
                .ipv4(REMOTE.v4(), POD.v4())
                .udp(5000, VXLAN_PORT, &tunnelled(VNI, &[0; 64])),
            R::NestedTunnel,
        ),
        pod(
            "error about a packet of a third",
            v4(OTHER.v4()).icmp(
                3,
                1,
                [0; 4],
                &quoted(
                    build::ethernet(POD.mac(), POD.mac())
                        .ipv4(REMOTE.v4(), POD.v4())
                        .udp(1, 2, b""),
                ),
            ),
            R::ForgedIcmpError,
        ),
        peer(
            "error about a packet of a third, IPv6",
            inner().ipv6(REMOTE.v6(), POD.v6()).icmpv6(
                1,
                0,
                [0; 4],
                &quoted(OTHER.says().ipv6(OTHER.v6(), REMOTE.v6()).udp(1, 2, b"")),
            ),
            R::ForgedIcmpError,
        ),
    ]
}
