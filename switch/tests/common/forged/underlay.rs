//! What somebody on the underlay may try, with or without a peer's address.

use std::net::{Ipv4Addr, Ipv6Addr};

use weft_wire::{Arp, ArpOperation, EtherType, Mac, build};

use crate::common::host::Family;

use super::{Forged, MARK, PORT, Party, forged, rogue};

/// A valid VXLAN header of network 1.
const HEADER: [u8; 8] = [8, 0, 0, 0, 0, 0, 1, 0];

/// Bytes of headers.
const ETHERNET: usize = 14;
const UDP: usize = 8;

/// An address of nobody in the lab.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);

/// The parties of the attack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// The family of outer packets.
    pub(crate) family: Family,
    /// The attacker's own link.
    pub(crate) attacker: Party,
    /// The node attacked: its MAC and addresses on the underlay.
    pub(crate) target: Party,
    /// Its VTEP's MAC, which inner frames are addressed to.
    pub(crate) vtep_mac: Mac,
    /// The peer whose outer address is forged.
    pub(crate) peer: Party,
    /// A pod of the node attacked.
    pub(crate) victim: Party,
    /// Another one.
    pub(crate) second: Party,
    /// A pod of the peer: a believable inner source.
    pub(crate) pod: Party,
    /// A pod of a third node.
    pub(crate) third: Party,
    pub(crate) vxlan_port: u16,
}

impl Scene {
    /// A datagram from somebody's outer address to the node's VXLAN port.
    fn datagram(&self, outer: Party, payload: &[u8]) -> Vec<u8> {
        let ethernet = build::ethernet(self.attacker.mac, self.target.mac);
        match self.family {
            Family::V4 => {
                ethernet
                    .ipv4(outer.v4, self.target.v4)
                    .udp(50_000, self.vxlan_port, payload)
            }
            Family::V6 => {
                ethernet
                    .ipv6(outer.v6, self.target.v6)
                    .udp(50_000, self.vxlan_port, payload)
            }
        }
    }

    /// A tunnelled frame that claims to be the peer's.
    fn tunnelled(&self, inner: &[u8]) -> Vec<u8> {
        self.datagram(self.peer, &[&HEADER[..], inner].concat())
    }

    fn inner(&self) -> build::EthernetBuilder {
        build::ethernet(self.pod.mac, self.vtep_mac)
    }

    fn inner_v4(&self, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
        self.inner().ipv4(from, to).udp(PORT, PORT, MARK)
    }

    fn inner_v6(&self, from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
        self.inner().ipv6(from, to).udp(PORT, PORT, MARK)
    }

    fn good(&self) -> Vec<u8> {
        self.inner_v4(self.pod.v4, self.victim.v4)
    }

    /// What a peer may send and must arrive: the outer address alone is believed.
    pub(crate) fn harmless(&self) -> [Vec<u8>; 2] {
        let v6 = self.inner_v6(self.pod.v6, self.victim.v6);
        [self.tunnelled(&self.good()), self.tunnelled(&v6)]
    }

    /// Wrong outer addresses, networks and flags.
    pub(crate) fn headers(&self) -> Vec<Forged> {
        let mut all = Vec::new();
        let good = [&HEADER[..], &self.good()].concat();
        let stranger = Party {
            v4: Ipv4Addr::new(192, 0, 2, 77),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77),
            ..self.attacker
        };
        for outer in [self.attacker, stranger, self.pod] {
            let what = format!("outer source {} or {}", outer.v4, outer.v6);
            all.push(forged("unknown_peer", what, self.datagram(outer, &good)));
        }
        for vni in [2_u32, 0x10_0000, 0xff_ffff, 0x01_0001] {
            let mut payload = good.clone();
            payload[4..7].copy_from_slice(&vni.to_be_bytes()[1..]);
            let frame = self.datagram(self.peer, &payload);
            all.push(forged("unknown_vni", format!("VNI {vni}"), frame));
        }
        for (what, flags, vni) in (0..=u8::MAX)
            .filter(|flags| flags & 8 == 0)
            .map(|flags| (format!("flags {flags:#04x}"), flags, 1))
            .chain([("VNI 0".to_owned(), 8, 0)])
        {
            let mut payload = good.clone();
            (payload[0], payload[6]) = (flags, vni);
            all.push(forged("no_vni", what, self.datagram(self.peer, &payload)));
        }
        all
    }

    /// Every flag byte that holds the I flag: the other bits mean nothing (RFC 7348 §5).
    pub(crate) fn ignored_flags(&self) -> Vec<Vec<u8>> {
        let good = [&HEADER[..], &self.good()].concat();
        let with = |flags: u8| {
            let mut payload = good.clone();
            (payload[0], payload[1], payload[2], payload[3]) = (flags, 0xff, 0xff, 0xff);
            payload[7] = 0xff;
            self.datagram(self.peer, &payload)
        };
        (0..=u8::MAX)
            .filter(|flags| flags & 8 != 0)
            .map(with)
            .collect()
    }

    /// Inner MACs that are not this VTEP's.
    pub(crate) fn inner_macs(&self) -> Vec<Forged> {
        let macs = [self.victim.mac, self.target.mac, Mac::BROADCAST, Mac::ZERO];
        let frame = |mac| {
            let inner = build::ethernet(self.pod.mac, mac)
                .ipv4(self.pod.v4, self.victim.v4)
                .udp(1, 2, MARK);
            let frame = self.tunnelled(&inner);
            forged("foreign_inner_mac", format!("inner MAC {mac}"), frame)
        };
        macs.map(frame).into()
    }

    /// Inner sources that are not the peer's to use.
    pub(crate) fn inner_sources(&self) -> Vec<Forged> {
        let v4 = [
            (self.third.v4, "foreign_inner_source"),
            (self.second.v4, "foreign_inner_source"),
            (self.victim.v4, "foreign_inner_source"),
            (self.target.v4, "foreign_inner_source"),
            (self.peer.v4, "foreign_inner_source"),
            (ELSEWHERE, "foreign_inner_source"),
            (Ipv4Addr::LOCALHOST, "martian"),
            (Ipv4Addr::BROADCAST, "martian"),
        ];
        let v6 = [
            (self.third.v6, "foreign_inner_source"),
            (self.second.v6, "foreign_inner_source"),
            (self.target.v6, "foreign_inner_source"),
            (self.peer.v6, "foreign_inner_source"),
            (self.pod.link_local(), "link_local"),
            (Ipv6Addr::LOCALHOST, "martian"),
            (Ipv6Addr::UNSPECIFIED, "martian"),
        ];
        let v4 = v4.map(|(source, reason)| {
            let inner = self.inner_v4(source, self.victim.v4);
            let what = format!("inner source {source}");
            forged(reason, what, self.tunnelled(&inner))
        });
        let v6 = v6.map(|(source, reason)| {
            let inner = self.inner_v6(source, self.victim.v6);
            let what = format!("inner source {source}");
            forged(reason, what, self.tunnelled(&inner))
        });
        v4.into_iter().chain(v6).collect()
    }

    /// Inner destinations that are not the node's to take.
    pub(crate) fn inner_destinations(&self) -> Vec<Forged> {
        let v4 = [
            (self.pod.v4, "transit"),
            (self.third.v4, "transit"),
            (self.target.v4, "transit"),
            (self.attacker.v4, "transit"),
            (ELSEWHERE, "transit"),
            (Ipv4Addr::new(169, 254, 1, 1), "transit"),
            (Ipv4Addr::new(224, 0, 0, 1), "multicast"),
            (Ipv4Addr::LOCALHOST, "martian"),
        ];
        let v6 = [
            (self.third.v6, "transit"),
            (self.target.v6, "transit"),
            (self.attacker.v6, "transit"),
            (self.victim.link_local(), "link_local"),
            (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), "multicast"),
        ];
        let v4 = v4.map(|(to, reason)| {
            let inner = self.inner_v4(self.pod.v4, to);
            forged(
                reason,
                format!("inner destination {to}"),
                self.tunnelled(&inner),
            )
        });
        let v6 = v6.map(|(to, reason)| {
            let inner = self.inner_v6(self.pod.v6, to);
            forged(
                reason,
                format!("inner destination {to}"),
                self.tunnelled(&inner),
            )
        });
        v4.into_iter().chain(v6).collect()
    }

    /// What a peer's pod could not have sent.
    pub(crate) fn contents(&self) -> Vec<Forged> {
        let through = |message: Forged| Forged {
            frame: self.tunnelled(&message.frame),
            ..message
        };
        // Addressed to the VTEP they are judged as messages; to a group, already as foreign.
        let messages = rogue::messages(self.pod, self.vtep_mac, self.victim);
        let mut all: Vec<Forged> = messages
            .into_iter()
            .filter(|message| message.frame[0] & 1 == 0)
            .map(through)
            .collect();
        let mut nested = self.good();
        for depth in 1..=8 {
            let payload = [&HEADER[..], &nested].concat();
            nested = self.inner().ipv4(self.pod.v4, self.victim.v4).udp(
                50_000,
                self.vxlan_port,
                &payload,
            );
            let what = format!("VXLAN in VXLAN, {depth} deep");
            all.push(forged("nested_tunnel", what, self.tunnelled(&nested)));
        }
        let arp = self.inner().arp(Arp {
            operation: ArpOperation::Request,
            sender_mac: self.pod.mac,
            sender_ip: self.pod.v4,
            target_mac: Mac::ZERO,
            target_ip: self.victim.v4,
        });
        all.push(forged("unexpected_ethertype", "ARP", self.tunnelled(&arp)));
        for kind in [
            EtherType::VLAN,
            EtherType::QINQ,
            EtherType(0x88cc),
            EtherType(46),
        ] {
            let inner = self.inner().raw(kind, MARK);
            let what = format!("inner EtherType {kind:?}");
            all.push(forged("unexpected_ethertype", what, self.tunnelled(&inner)));
        }
        all
    }

    /// Good packets cut at every length of the UDP payload, outer headers intact.
    pub(crate) fn truncations(&self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let mut tunnel = Vec::new();
        let mut inside = Vec::new();
        let outer = ETHERNET + self.family.ip_header() + UDP;
        for whole in self.harmless() {
            let payload = &whole[outer..];
            for length in 0..payload.len() {
                let cut = self.datagram(self.peer, &payload[..length]);
                // A VXLAN header and an inner Ethernet header are the least.
                if length < HEADER.len() + 14 {
                    tunnel.push(cut);
                } else {
                    inside.push(cut);
                }
            }
        }
        (tunnel, inside)
    }
}
