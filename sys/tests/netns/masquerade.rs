//! Pod traffic leaves with the router's address, except where it is excluded.

use std::net::{IpAddr, SocketAddr};

use weft_sys::netlink::link;
use weft_sys::netlink::route::{self, Route};
use weft_sys::nft::NatTable;

use crate::network::{Network, POD_INTERFACE};
use crate::support::{Namespace, privileged};

/// The address that `to` sees when the pod sends to it; every call is a new flow.
fn source_seen(network: &Network, from: &str, to: &str) -> IpAddr {
    let (rx, tx) = (network.outside.receiver(to), network.pod.sender(from));
    let target = SocketAddr::new(to.parse().unwrap(), rx.local_addr().unwrap().port());
    tx.send_to(b"x", target).unwrap();
    rx.recv_from(&mut [0; 8]).unwrap().1.ip()
}

fn assert_seen(network: &Network, from: &str, to: &str, expected: &str) {
    assert_eq!(
        source_seen(network, from, to).to_string(),
        expected,
        "{from} to {to}"
    );
}

fn table(exclude_interfaces: &[&str]) -> NatTable {
    let prefix = |text: &str, bits| (text.parse().unwrap(), bits);
    NatTable {
        name: "weft-test".to_owned(),
        sources: vec![prefix("10.9.0.0", 24), prefix("fd09::", 64)],
        exclude_destinations: vec![prefix("192.0.2.3", 32), prefix("2001:db8::3", 128)],
        exclude_interfaces: exclude_interfaces
            .iter()
            .map(|&name| name.to_owned())
            .collect(),
        ..NatTable::default()
    }
}

#[test]
fn sources_are_rewritten_unless_destination_or_interface_is_excluded() {
    if !privileged("sources_are_rewritten_unless_destination_or_interface_is_excluded") {
        return;
    }
    let network = Network::new();
    assert_seen(&network, "10.9.0.2", "192.0.2.2", "10.9.0.2");
    network
        .node
        .run(|| table(&[POD_INTERFACE]).install())
        .unwrap();
    assert_seen(&network, "10.9.0.2", "192.0.2.2", "192.0.2.1");
    assert_seen(&network, "10.9.0.2", "192.0.2.3", "10.9.0.2");
    assert_seen(&network, "fd09::2", "2001:db8::2", "2001:db8::1");
    assert_seen(&network, "fd09::2", "2001:db8::3", "fd09::2");
    network.node.run(|| table(&["up0"]).install()).unwrap();
    assert_seen(&network, "10.9.0.2", "192.0.2.2", "10.9.0.2");
    assert_seen(&network, "fd09::2", "2001:db8::2", "fd09::2");
}

#[test]
fn other_sources_keep_their_address() {
    if !privileged("other_sources_keep_their_address") {
        return;
    }
    let mut network = Network::new();
    network.pod.address("eth0", &[("10.9.1.2", 24)]);
    let back = link::index_of(&mut network.node.netlink, POD_INTERFACE).unwrap();
    let hop = route::Hop::Link { index: back };
    let back = Route::new("10.9.1.0".parse().unwrap(), 24, hop);
    route::ensure(&mut network.node.netlink, &back).unwrap();
    network.node.run(|| table(&[]).install()).unwrap();
    assert_seen(&network, "10.9.1.2", "192.0.2.2", "10.9.1.2");
    assert_seen(&network, "10.9.0.2", "192.0.2.2", "192.0.2.1");
}

#[test]
fn a_table_is_replaced_and_deleted_any_number_of_times() {
    if !privileged("a_table_is_replaced_and_deleted_any_number_of_times") {
        return;
    }
    let namespace = Namespace::new();
    namespace.run(|| {
        let name = "weft-test";
        assert!(!NatTable::exists(name).unwrap());
        for _ in 0..3 {
            table(&["a", "b"]).install().unwrap();
            assert!(NatTable::exists(name).unwrap());
        }
        assert!(!NatTable::exists("weft").unwrap());
        assert!(NatTable::delete(name).unwrap());
        assert!(!NatTable::delete(name).unwrap());
        assert!(!NatTable::exists(name).unwrap());
        let unnamed = NatTable {
            name: "x".repeat(300),
            ..table(&[])
        };
        assert!(unnamed.install().is_err());
    });
}
