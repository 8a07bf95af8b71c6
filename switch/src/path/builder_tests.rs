use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weft_encap::Vni;
use weft_policy::PolicySetId;

use super::*;
use crate::path::{Location, PodName};

fn mac(last: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, last])
}

fn cidrs(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn node() -> Node {
    Node {
        vni: Vni::new(1).unwrap(),
        vxlan_port: 8472,
        vtep_mac: mac(0xa0),
        vtep: Ipv4Addr::new(192, 0, 2, 1).into(),
        ipv4: Some(Ipv4Addr::new(10, 244, 1, 0)),
        ipv6: Some("fd00:1::".parse().unwrap()),
        addresses: vec![Ipv4Addr::new(192, 0, 2, 1).into()],
        cidrs: cidrs(&["10.244.1.0/24", "fd00:1::/64"]),
    }
}

fn host() -> PortEntry {
    PortEntry {
        kind: PortKind::Host,
        mac: mac(0xa1),
        ipv4: Some(Ipv4Addr::new(10, 244, 1, 0)),
        ipv6: Some("fd00:1::".parse().unwrap()),
        mtu: 1450,
        policy: PolicySetId::UNSELECTED,
        pod: None,
        limits: None,
    }
}

fn pod(last: u8) -> PortEntry {
    let name = PodName {
        namespace: "default".to_owned(),
        name: format!("p{last}"),
    };
    PortEntry {
        kind: PortKind::Pod,
        mac: mac(last),
        ipv4: Some(Ipv4Addr::new(10, 244, 1, last)),
        ipv6: Some(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, last.into())),
        pod: Some(Arc::new(name)),
        ..host()
    }
}

fn peer(number: u8) -> Peer {
    Peer {
        name: format!("node-{number}"),
        vtep: Ipv4Addr::new(192, 0, 2, number).into(),
        mac: mac(0xb0 + number),
        cidrs: cidrs(&[
            &format!("10.244.{number}.0/24"),
            &format!("fd00:{number}::/64"),
        ]),
        mtu: 1450,
    }
}

fn id(number: u16) -> PortId {
    PortId::new(number).unwrap()
}

fn builder() -> TablesBuilder {
    let ports = TablesBuilder::new(node())
        .port(PortId::HOST, host())
        .port(id(1), pod(2))
        .port(id(7), pod(3));
    ports.peer(peer(2)).peer(peer(3))
}

#[test]
fn every_address_lives_where_it_was_put() {
    let tables = builder().epoch(Epoch(9)).build().unwrap();
    assert_eq!(tables.epoch, Epoch(9));
    let ports: Vec<u16> = tables.ports().map(|(id, _)| id.get()).collect();
    assert_eq!(ports, [0, 1, 7]);
    assert_eq!(tables.peers().len(), 2);
    for (address, expected) in [
        ("10.244.1.0", Location::Port(PortId::HOST)),
        ("192.0.2.1", Location::Port(PortId::HOST)),
        ("fd00:1::", Location::Port(PortId::HOST)),
        ("10.244.1.2", Location::Port(id(1))),
        ("fd00:1::3", Location::Port(id(7))),
        ("10.244.1.9", Location::Vacant),
        ("fd00:1::9", Location::Vacant),
        ("10.244.2.0", Location::Peer(PeerId::new(0))),
        ("10.244.3.255", Location::Peer(PeerId::new(1))),
        ("fd00:3::9", Location::Peer(PeerId::new(1))),
        ("10.244.4.1", Location::Outside),
        ("fd00:4::1", Location::Outside),
        ("192.0.2.2", Location::Outside),
    ] {
        assert_eq!(
            tables.forward().locate(address.parse().unwrap()),
            expected,
            "{address}"
        );
    }
    assert_eq!(
        tables.peer_at("192.0.2.3".parse().unwrap()).unwrap().name,
        "node-3"
    );
    assert!(tables.peer_at("192.0.2.4".parse().unwrap()).is_none());
}

#[test]
fn empty_tables_know_nothing() {
    let tables = Tables::empty();
    assert_eq!(tables.ports().count(), 0);
    assert!(tables.port(PortId::HOST).is_none());
    assert_eq!(
        tables.forward().locate("10.244.1.2".parse().unwrap()),
        Location::Outside
    );
}

/// Each case breaks good tables in one way; the text is what an operator reads.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn ambiguous_tables_are_refused() {
    let wrong_mtu = PortEntry {
        mtu: 1279,
        ..pod(4)
    };
    let ipv4_only = PortEntry {
        ipv6: None,
        mtu: 575,
        ..pod(4)
    };
    let foreign = PortEntry {
        ipv4: Some(Ipv4Addr::new(10, 244, 2, 9)),
        ..pod(4)
    };
    let same_ip = PortEntry {
        mac: mac(4),
        ..pod(3)
    };
    let same_mac = PortEntry {
        mac: mac(3),
        ..pod(4)
    };
    let group_mac = PortEntry {
        mac: Mac::BROADCAST,
        ..pod(4)
    };
    let gateway_mac = PortEntry {
        mac: GATEWAY_MAC,
        ..pod(4)
    };
    let overlapping = Peer {
        cidrs: cidrs(&["10.244.2.128/25"]),
        ..peer(4)
    };
    let inside_own = Peer {
        cidrs: cidrs(&["10.244.0.0/16"]),
        ..peer(4)
    };
    let reserved = Peer {
        cidrs: cidrs(&["127.0.0.0/24"]),
        ..peer(4)
    };
    let same_vtep = Peer {
        vtep: Ipv4Addr::new(192, 0, 2, 2).into(),
        ..peer(4)
    };
    let our_vtep = Peer {
        vtep: Ipv4Addr::new(192, 0, 2, 1).into(),
        ..peer(4)
    };
    let our_mac = Peer {
        mac: mac(0xa0),
        ..peer(4)
    };
    let small_peer = Peer {
        mtu: 1279,
        ..peer(4)
    };
    for (broken, expected) in [
        (
            builder().port(id(4), wrong_mtu),
            "MTU 1279 of pod default/p4 is below 1280",
        ),
        (
            builder().port(id(4), ipv4_only),
            "MTU 575 of pod default/p4 is below 576",
        ),
        (
            builder().port(id(4), foreign),
            "address 10.244.2.9 of pod default/p4 is outside this node's podCIDRs",
        ),
        (
            builder().port(id(4), same_ip),
            "address 10.244.1.3 belongs to both pod default/p3 and pod default/p3",
        ),
        (
            builder().port(id(4), same_mac),
            "MAC 02:00:00:00:00:03 belongs to both pod default/p3 and pod default/p4",
        ),
        (
            builder().port(id(4), group_mac),
            "ff:ff:ff:ff:ff:ff cannot be the MAC of pod default/p4",
        ),
        (
            builder().port(id(4), gateway_mac),
            "02:77:65:66:74:01 cannot be the MAC of pod default/p4",
        ),
        (builder().port(id(1), pod(4)), "port 1 is given twice"),
        (
            builder().port(
                id(4),
                PortEntry {
                    kind: PortKind::Host,
                    ..pod(4)
                },
            ),
            "port 4 is of the wrong kind: port 0 is the host, all others are pods",
        ),
        (
            builder().peer(overlapping),
            "podCIDR 10.244.2.0/24 of node-2 overlaps 10.244.2.128/25 of node-4",
        ),
        (
            builder().peer(inside_own),
            "podCIDR 10.244.0.0/16 of node-4 overlaps 10.244.1.0/24 of this node",
        ),
        (
            builder().peer(reserved),
            "podCIDR 127.0.0.0/24 of node-4 is not unicast address space",
        ),
        (
            builder().peer(same_vtep),
            "underlay address 192.0.2.2 belongs to both node-2 and node-4",
        ),
        (
            builder().peer(our_vtep),
            "underlay address 192.0.2.1 belongs to both this node and node-4",
        ),
        (
            builder().peer(our_mac),
            "MAC 02:00:00:00:00:a0 belongs to both node-4 and this node",
        ),
        (
            builder().peer(small_peer),
            "MTU 1279 of node-4 is below 1280",
        ),
    ] {
        assert_eq!(
            broken
                .build()
                .map(|_| ())
                .map_err(|error| error.to_string()),
            Err(expected.to_owned())
        );
    }
}
