//! Links, addresses, routes and neighbours: made, asked for, made again, removed.

use weft_sys::ethtool::{self, Offload};
use weft_sys::netlink::addr::{self, Address};
use weft_sys::netlink::link::{self, Change, Vxlan};
use weft_sys::netlink::neigh::{self, FdbEntry, Neighbor};
use weft_sys::netlink::route::{self, Hop, Route};

use crate::support::{Namespace, privileged};

#[test]
fn a_link_becomes_what_it_was_asked_to_be() {
    if !privileged("a_link_becomes_what_it_was_asked_to_be") {
        return;
    }
    let (mut a, mut b) = (Namespace::new(), Namespace::new());
    assert!(link::ensure_veth(&mut a.netlink, "eth0", "peer0", None).unwrap());
    assert!(!link::ensure_veth(&mut a.netlink, "eth0", "peer0", None).unwrap());
    let bridge = link::ensure_bridge(&mut a.netlink, "br0").unwrap();
    assert_eq!(link::ensure_bridge(&mut a.netlink, "br0").unwrap(), bridge);
    let taken = link::ensure_veth(&mut a.netlink, "br0", "peer1", None);
    assert!(taken.unwrap_err().is_exists());
    let index = link::index_of(&mut a.netlink, "eth0").unwrap();
    let change = Change {
        up: Some(true),
        mtu: Some(1450),
        mac: Some([2, 0, 0, 0, 0, 9]),
        master: Some(bridge),
        tx_queue_len: Some(2000),
        name: Some("port0"),
        netns: None,
    };
    link::change(&mut a.netlink, index, &change).unwrap();
    let found = link::get(&mut a.netlink, "port0").unwrap().unwrap();
    assert_eq!((found.index, found.mtu, found.up), (index, 1450, true));
    assert_eq!(found.mac, Some([2, 0, 0, 0, 0, 9]));
    assert_eq!(
        (found.master, found.kind.as_deref()),
        (Some(bridge), Some("veth"))
    );
    let moved = Change {
        netns: Some(std::os::fd::AsFd::as_fd(&b.netns)),
        ..Change::default()
    };
    link::change(&mut a.netlink, index, &moved).unwrap();
    assert_eq!(link::get(&mut a.netlink, "port0").unwrap(), None);
    let inside = &mut b.netlink;
    assert!(
        link::list(inside)
            .unwrap()
            .iter()
            .any(|l| l.name == "port0")
    );
    assert!(link::delete(inside, "port0").unwrap());
    assert!(!link::delete(inside, "port0").unwrap());
    assert!(link::index_of(inside, "port0").unwrap_err().is_not_found());
}

#[test]
fn the_kernels_words_reach_the_error() {
    if !privileged("the_kernels_words_reach_the_error") {
        return;
    }
    let mut a = Namespace::new();
    let index = link::ensure_bridge(&mut a.netlink, "br0").unwrap();
    let absurd = Change {
        mtu: Some(1_000_000),
        ..Change::default()
    };
    let error = link::change(&mut a.netlink, index, &absurd).unwrap_err();
    assert!(
        error.to_string().contains("the kernel says: mtu"),
        "{error}"
    );
}

#[test]
fn a_vxlan_device_is_made_once_and_remade_when_it_differs() {
    if !privileged("a_vxlan_device_is_made_once_and_remade_when_it_differs") {
        return;
    }
    let mut a = Namespace::new();
    for (local, remote) in [("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2")] {
        let vxlan = Vxlan {
            vni: 0x0077_6566,
            local: local.parse().unwrap(),
            port: 8472,
            ttl: 64,
            dont_fragment: local.contains('.'),
        };
        let index = link::ensure_vxlan(&mut a.netlink, "vx0", &vxlan).unwrap();
        assert_eq!(
            link::ensure_vxlan(&mut a.netlink, "vx0", &vxlan).unwrap(),
            index
        );
        let found = link::get(&mut a.netlink, "vx0").unwrap().unwrap();
        assert_eq!(found.vxlan, Some(vxlan));
        let entry = FdbEntry {
            index,
            mac: [2, 0, 0, 0, 0, 2],
            remote: remote.parse().unwrap(),
        };
        for _ in 0..2 {
            neigh::ensure_fdb(&mut a.netlink, &entry).unwrap();
            assert_eq!(neigh::list_fdb(&mut a.netlink, index).unwrap(), [entry]);
        }
        assert!(neigh::delete_fdb(&mut a.netlink, &entry).unwrap());
        assert!(!neigh::delete_fdb(&mut a.netlink, &entry).unwrap());
        let other = Vxlan { vni: 1, ..vxlan };
        assert_ne!(
            link::ensure_vxlan(&mut a.netlink, "vx0", &other).unwrap(),
            index
        );
    }
}

#[test]
fn addresses_and_neighbours_can_be_ensured_twice() {
    if !privileged("addresses_and_neighbours_can_be_ensured_twice") {
        return;
    }
    let mut a = Namespace::new();
    let netlink = &mut a.netlink;
    let index = link::ensure_bridge(netlink, "br0").unwrap();
    link::set_up(netlink, index).unwrap();
    for (ip, gateway, bits) in [("10.9.0.1", "169.254.1.1", 32), ("fd09::1", "fe80::1", 128)] {
        let address = Address {
            no_prefix_route: true,
            ..Address::new(index, ip.parse().unwrap(), bits)
        };
        let neighbor = Neighbor {
            index,
            ip: gateway.parse().unwrap(),
            mac: [2, 0x77, 0x65, 0x66, 0x74, 1],
        };
        for _ in 0..2 {
            addr::ensure(netlink, &address).unwrap();
            neigh::ensure(netlink, &neighbor).unwrap();
        }
        let found = addr::list(netlink, Some(index)).unwrap();
        let found: Vec<_> = found.iter().filter(|a| a.ip == address.ip).collect();
        assert_eq!(found.len(), 1);
        assert!(found[0].no_prefix_route);
        assert!(neigh::list(netlink).unwrap().contains(&neighbor));
        assert!(neigh::delete(netlink, &neighbor).unwrap());
        assert!(!neigh::delete(netlink, &neighbor).unwrap());
        assert!(addr::delete(netlink, &address).unwrap());
        assert!(!addr::delete(netlink, &address).unwrap());
    }
}

#[test]
fn a_pods_default_route_goes_to_a_router_on_no_prefix() {
    if !privileged("a_pods_default_route_goes_to_a_router_on_no_prefix") {
        return;
    }
    let mut a = Namespace::new();
    link::ensure_veth(&mut a.netlink, "eth0", "peer0", None).unwrap();
    a.address("peer0", &[]);
    let index = a.address("eth0", &[("10.9.0.2", 32), ("fd09::2", 128)]);
    let netlink = &mut a.netlink;
    for (gateway, source, bits) in [("169.254.1.1", "10.9.0.2", 32), ("fe80::1", "fd09::2", 128)] {
        let gateway = gateway.parse().unwrap();
        let default = Route {
            source: Some(source.parse().unwrap()),
            metric: Some(100),
            ..Route::default_via(gateway, index, true)
        };
        for _ in 0..2 {
            route::ensure(netlink, &default).unwrap();
        }
        let found = route::list_default(netlink).unwrap();
        assert_eq!(
            found.iter().filter(|r| **r == default).count(),
            1,
            "{found:?}"
        );
        let direct = Route {
            metric: Some(7),
            ..Route::new(gateway, bits, Hop::Link { index })
        };
        route::ensure(netlink, &direct).unwrap();
        let listed = route::list(netlink, route::MAIN_TABLE).unwrap();
        assert!(listed.contains(&direct), "{listed:?}");
        for route in [default, direct] {
            assert!(route::delete(netlink, &route).unwrap());
            assert!(!route::delete(netlink, &route).unwrap());
        }
    }
    let refuse = Route::new("10.9.0.0".parse().unwrap(), 16, Hop::Unreachable);
    route::ensure(netlink, &refuse).unwrap();
    assert!(
        route::list(netlink, route::MAIN_TABLE)
            .unwrap()
            .contains(&refuse)
    );
    let offlink = Route::default_via("192.0.2.1".parse().unwrap(), index, false);
    let error = route::ensure(netlink, &offlink).unwrap_err();
    assert_eq!(error.errno(), Some(libc::ENETUNREACH), "{error}");
}

#[test]
fn offloads_can_be_switched_off() {
    if !privileged("offloads_can_be_switched_off") {
        return;
    }
    let mut a = Namespace::new();
    link::ensure_veth(&mut a.netlink, "eth0", "eth1", None).unwrap();
    a.run(|| {
        assert!(ethtool::get("eth0", Offload::TxChecksum).unwrap());
        ethtool::disable_all("eth0").unwrap();
        for offload in Offload::ALL {
            assert!(!ethtool::get("eth0", offload).unwrap(), "{offload:?}");
        }
        ethtool::set("eth0", Offload::TxChecksum, true).unwrap();
        assert!(ethtool::get("eth0", Offload::TxChecksum).unwrap());
        assert!(
            ethtool::get("none0", Offload::TxChecksum)
                .unwrap_err()
                .is_not_found()
        );
    });
}

#[test]
fn features_are_switched_by_name() {
    if !privileged("features_are_switched_by_name") {
        return;
    }
    let (mut a, b) = (Namespace::new(), Namespace::new());
    a.join("eth0", &b, "eth0");
    a.run(|| {
        for name in ["tx-udp-segmentation", "tx-tcp-segmentation", "rx-gro"] {
            for on in [false, true, false] {
                ethtool::set_feature("eth0", name, on).unwrap();
                assert_eq!(ethtool::feature("eth0", name).unwrap(), on, "{name}");
            }
        }
        let fixed = ethtool::set_feature("lo", "tx-vlan-hw-insert", true).unwrap_err();
        assert_eq!(fixed.errno(), Some(95), "EOPNOTSUPP");
        let unknown = ethtool::feature("eth0", "no-such-feature").unwrap_err();
        assert_eq!(unknown.errno(), Some(2), "ENOENT");
        assert!(
            ethtool::feature("none0", "rx-gro")
                .unwrap_err()
                .is_not_found()
        );
    });
}
