//! What a hostile pod with CAP_NET_RAW may try.

use std::net::{Ipv4Addr, Ipv6Addr};

use weft_wire::{Arp, ArpOperation, EtherType, IpProtocol, Mac, build};

use super::{Forged, GATEWAY, MARK, PORT, Party, forged, rogue};

/// The parties of the attack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// The attacker.
    pub(crate) me: Party,
    /// Another pod of the same node.
    pub(crate) neighbour: Party,
    /// A pod of another node.
    pub(crate) remote: Party,
    /// The node: its addresses on the pod network, and any MAC.
    pub(crate) node: Party,
    /// The node's address on the underlay.
    pub(crate) vtep: Ipv4Addr,
    pub(crate) vxlan_port: u16,
}

impl Scene {
    fn me_to_gateway(&self) -> build::EthernetBuilder {
        build::ethernet(self.me.mac, GATEWAY)
    }

    /// Frames that must arrive: they prove that the sniffers hear and that only what is hostile in
    /// the others keeps them out.
    pub(crate) fn harmless(&self, to: Party) -> [Vec<u8>; 2] {
        let frame = || self.me_to_gateway();
        [
            frame().ipv4(self.me.v4, to.v4).udp(PORT, PORT, MARK),
            frame().ipv6(self.me.v6, to.v6).udp(PORT, PORT, MARK),
        ]
    }

    /// Wrong link-layer addresses.
    pub(crate) fn macs(&self) -> Vec<Forged> {
        let mut all = Vec::new();
        let random = Mac::new([0x0e, 1, 2, 3, 4, 5]);
        let mut forgeries = vec![
            self.neighbour.mac,
            self.remote.mac,
            self.node.mac,
            GATEWAY,
            Mac::BROADCAST,
            Mac::ZERO,
            random,
        ];
        // Each bit of the own MAC flipped.
        forgeries.extend((0..48).map(|bit| {
            let mut octets = self.me.mac.octets();
            octets[bit / 8] ^= 1 << (bit % 8);
            Mac::new(octets)
        }));
        for mac in forgeries {
            let to = self.neighbour;
            let v4 = build::ethernet(mac, GATEWAY).ipv4(self.me.v4, to.v4);
            all.push(forged(
                "spoofed_mac",
                format!("{mac}, IPv4"),
                v4.udp(1, 2, MARK),
            ));
            let v6 = build::ethernet(mac, GATEWAY).ipv6(self.me.v6, to.v6);
            all.push(forged(
                "spoofed_mac",
                format!("{mac}, IPv6"),
                v6.udp(1, 2, MARK),
            ));
        }
        for mac in [self.neighbour.mac, self.remote.mac, self.node.mac, random] {
            let frame = build::ethernet(self.me.mac, mac)
                .ipv4(self.me.v4, self.neighbour.v4)
                .udp(1, 2, MARK);
            all.push(forged(
                "foreign_destination_mac",
                format!("to {mac}"),
                frame,
            ));
        }
        all
    }

    /// Source addresses that are not the port's, to every kind of destination.
    pub(crate) fn sources(&self) -> Vec<Forged> {
        let mut all = Vec::new();
        let v4 = [
            (self.neighbour.v4, "spoofed_ipv4"),
            (self.remote.v4, "spoofed_ipv4"),
            (self.node.v4, "spoofed_ipv4"),
            (self.vtep, "spoofed_ipv4"),
            (Ipv4Addr::new(169, 254, 1, 1), "spoofed_ipv4"),
            (Ipv4Addr::new(8, 8, 8, 8), "spoofed_ipv4"),
            (Ipv4Addr::UNSPECIFIED, "martian"),
            (Ipv4Addr::new(0, 1, 2, 3), "martian"),
            (Ipv4Addr::LOCALHOST, "martian"),
            (Ipv4Addr::new(224, 0, 0, 1), "martian"),
            (Ipv4Addr::new(240, 0, 0, 1), "martian"),
            (Ipv4Addr::BROADCAST, "martian"),
        ];
        let mapped = self.neighbour.v4.to_ipv6_mapped();
        let v6 = [
            (self.neighbour.v6, "spoofed_ipv6"),
            (self.remote.v6, "spoofed_ipv6"),
            (self.node.v6, "spoofed_ipv6"),
            (self.neighbour.link_local(), "spoofed_ipv6"),
            (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), "spoofed_ipv6"),
            (
                Ipv6Addr::new(0x2001, 0xdb8, 9, 9, 9, 9, 9, 9),
                "spoofed_ipv6",
            ),
            (Ipv6Addr::UNSPECIFIED, "spoofed_ipv6"),
            (Ipv6Addr::LOCALHOST, "martian"),
            (mapped, "martian"),
            (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), "martian"),
        ];
        for to in [self.neighbour, self.remote, self.node] {
            for (source, reason) in v4 {
                let packet = || self.me_to_gateway().ipv4(source, to.v4);
                let what = format!("{source} to {}", to.v4);
                all.push(forged(reason, what.clone(), packet().udp(1, 2, MARK)));
                all.push(forged(reason, what, packet().icmp_echo_request(1, 1, MARK)));
            }
            for (source, reason) in v6 {
                let packet = || self.me_to_gateway().ipv6(source, to.v6);
                let what = format!("{source} to {}", to.v6);
                all.push(forged(reason, what.clone(), packet().udp(1, 2, MARK)));
                all.push(forged(reason, what, packet().icmp_echo_request(1, 1, MARK)));
            }
        }
        all
    }

    /// Destinations that nothing is forwarded to.
    pub(crate) fn destinations(&self) -> Vec<Forged> {
        let v4 = |to: Ipv4Addr| self.me_to_gateway().ipv4(self.me.v4, to).udp(1, 2, MARK);
        let v6 = |to: Ipv6Addr| self.me_to_gateway().ipv6(self.me.v6, to).udp(1, 2, MARK);
        let link_local = self.neighbour.link_local();
        let broadcast = build::ethernet(self.me.mac, Mac::BROADCAST)
            .ipv4(self.me.v4, self.neighbour.v4)
            .udp(1, 2, MARK);
        vec![
            forged("martian", "to loopback", v4(Ipv4Addr::LOCALHOST)),
            forged("martian", "to class E", v4(Ipv4Addr::new(240, 0, 0, 1))),
            forged("martian", "to IPv6 loopback", v6(Ipv6Addr::LOCALHOST)),
            forged(
                "martian",
                "to a mapped address",
                v6(self.neighbour.v4.to_ipv6_mapped()),
            ),
            forged("multicast", "to mDNS", v4(Ipv4Addr::new(224, 0, 0, 251))),
            forged("multicast", "to everybody", v4(Ipv4Addr::BROADCAST)),
            forged(
                "multicast",
                "unicast packet in a broadcast frame",
                broadcast,
            ),
            forged(
                "link_local",
                "to the neighbour's link-local address",
                v6(link_local),
            ),
            forged(
                "gateway_service",
                "UDP to the gateway",
                v4(Ipv4Addr::new(169, 254, 1, 1)),
            ),
        ]
    }

    /// ARP in other pods' names, and in one's own where nobody asked.
    pub(crate) fn arp(&self) -> Vec<Forged> {
        let (me, neighbour) = (self.me, self.neighbour);
        let gateway = Ipv4Addr::new(169, 254, 1, 1);
        let own = Arp {
            operation: ArpOperation::Request,
            sender_mac: me.mac,
            sender_ip: me.v4,
            target_mac: Mac::ZERO,
            target_ip: me.v4,
        };
        let asks = |target_ip| Arp { target_ip, ..own };
        let says = |operation, arp: Arp| Arp { operation, ..arp };
        let claims = |ip| Arp {
            sender_ip: ip,
            target_ip: ip,
            ..own
        };
        let replies = |ip| Arp {
            operation: ArpOperation::Reply,
            target_mac: neighbour.mac,
            target_ip: neighbour.v4,
            ..claims(ip)
        };
        let hidden = Arp {
            sender_mac: neighbour.mac,
            ..asks(gateway)
        };
        let foreign = [
            ("announcement of its own address", own),
            ("reply for its own address", replies(me.v4)),
            ("request for the neighbour", asks(neighbour.v4)),
            ("request for the node", asks(self.node.v4)),
            ("RARP", says(ArpOperation::Other(3), own)),
        ];
        let spoofed = [
            ("announcement of the neighbour's", claims(neighbour.v4)),
            ("announcement of the gateway's", claims(gateway)),
            ("announcement of the node's", claims(self.node.v4)),
            ("reply for the neighbour", replies(neighbour.v4)),
            ("reply for the gateway", replies(gateway)),
            ("probe", claims(Ipv4Addr::UNSPECIFIED)),
            ("another's MAC inside", hidden),
        ];
        let foreign = foreign.map(|(what, arp)| ("foreign_arp", what, arp));
        let cases = foreign
            .into_iter()
            .chain(spoofed.map(|(what, arp)| ("spoofed_arp", what, arp)));
        cases
            .flat_map(|(reason, what, arp)| {
                [GATEWAY, Mac::BROADCAST].map(|to| {
                    let frame = build::ethernet(me.mac, to).arp(arp);
                    forged(reason, format!("{what}, to {to}"), frame)
                })
            })
            .collect()
    }

    /// What only routers, servers and neighbours say, and what hides one packet in another.
    pub(crate) fn rogues(&self) -> Vec<Forged> {
        let mut all = rogue::messages(self.me, GATEWAY, self.neighbour);
        all.extend(rogue::messages(self.me, GATEWAY, self.remote));
        let gateway = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        all.extend(rogue::bad_solicitations(self.me, GATEWAY, gateway));
        for to in [self.neighbour.v4, self.remote.v4, self.node.v4, self.vtep] {
            let inner = self.harmless(self.neighbour)[0].clone();
            let tunnel = [&[8, 0, 0, 0, 0, 0, 1, 0][..], &inner].concat();
            let frame =
                self.me_to_gateway()
                    .ipv4(self.me.v4, to)
                    .udp(50_000, self.vxlan_port, &tunnel);
            all.push(forged("nested_tunnel", format!("VXLAN to {to}"), frame));
        }
        let source_route = |kind: u8| {
            let [a, b, c, d] = self.remote.v4.octets();
            self.me_to_gateway()
                .ipv4(self.me.v4, self.neighbour.v4)
                .options(&[kind, 7, 4, a, b, c, d])
                .udp(1, 2, MARK)
        };
        all.push(forged(
            "source_routed",
            "loose source route",
            source_route(131),
        ));
        all.push(forged(
            "source_routed",
            "strict source route",
            source_route(137),
        ));
        let body = [&[0, 1, 0, 0, 0, 0][..], &self.remote.v6.octets()].concat();
        let routing = self
            .me_to_gateway()
            .ipv6(self.me.v6, self.neighbour.v6)
            .extension(IpProtocol::ROUTING, &body)
            .udp(1, 2, MARK);
        all.push(forged("source_routed", "routing header of type 0", routing));
        // An error about a packet that the neighbour never sent.
        let quoted = build::ethernet(GATEWAY, GATEWAY)
            .ipv4(self.remote.v4, self.me.v4)
            .udp(1, 2, MARK);
        let error = self
            .me_to_gateway()
            .ipv4(self.me.v4, self.neighbour.v4)
            .icmp(3, 1, [0; 4], &quoted[14..14 + 28]);
        all.push(forged(
            "forged_icmp_error",
            "unreachable for another's packet",
            error,
        ));
        all
    }

    /// Frames of every EtherType but the three that exist, and every 802.3 length.
    pub(crate) fn ethertypes(&self) -> impl Iterator<Item = Forged> + '_ {
        const KNOWN: [EtherType; 3] = [EtherType::IPV4, EtherType::ARP, EtherType::IPV6];
        let payload = [MARK, &[0; 16]].concat();
        (0..=u16::MAX)
            .filter(|kind| !KNOWN.contains(&EtherType(*kind)))
            .map(move |kind| {
                let to = if kind % 2 == 0 {
                    GATEWAY
                } else {
                    Mac::BROADCAST
                };
                let frame = build::ethernet(self.me.mac, to).raw(EtherType(kind), &payload);
                forged(
                    "unexpected_ethertype",
                    format!("EtherType {kind:#06x}"),
                    frame,
                )
            })
    }

    /// Good frames cut at every length; the reason depends on what is cut.
    pub(crate) fn runts(&self) -> Vec<Vec<u8>> {
        let arp = self.me_to_gateway().arp(Arp {
            operation: ArpOperation::Request,
            sender_mac: self.me.mac,
            sender_ip: self.me.v4,
            target_mac: Mac::ZERO,
            target_ip: Ipv4Addr::new(169, 254, 1, 1),
        });
        let [v4, v6] = self.harmless(self.neighbour);
        let whole = [arp, v4, v6];
        let cut = whole
            .iter()
            .flat_map(|frame| (14..frame.len()).map(|length| frame[..length].to_vec()));
        cut.collect()
    }
}
