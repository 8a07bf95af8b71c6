//! Pod traffic leaves with the router's address, except where it is excluded.

use std::net::{IpAddr, SocketAddr};

use weft_sys::netlink::link;
use weft_sys::netlink::route::{self, Route};
use weft_sys::nft::MasqueradeTable;
use weft_sys::sysctl;

use crate::support::{Namespace, privileged};

/// A pod, its node and a host outside: 10.9.0.2 - 10.9.0.1, 192.0.2.1 - 192.0.2.2 and .3.
struct Network {
    pod: Namespace,
    node: Namespace,
    outside: Namespace,
}

impl Network {
    fn new() -> Self {
        let (mut pod, mut node) = (Namespace::new(), Namespace::new());
        let mut outside = Namespace::new();
        node.join("pod0", &pod, "eth0");
        node.join("up0", &outside, "eth0");
        node.address("pod0", &[("10.9.0.1", 24), ("fd09::1", 64)]);
        node.address("up0", &[("192.0.2.1", 24), ("2001:db8::1", 64)]);
        node.run(|| {
            sysctl::set("net/ipv4/ip_forward", "1").unwrap();
            sysctl::set("net/ipv6/conf/all/forwarding", "1").unwrap();
        });
        let in_pod = pod.address("eth0", &[("10.9.0.2", 24), ("fd09::2", 64)]);
        let addresses = [
            ("192.0.2.2", 24),
            ("192.0.2.3", 24),
            ("2001:db8::2", 64),
            ("2001:db8::3", 64),
        ];
        let in_outside = outside.address("eth0", &addresses);
        for (namespace, index, gateways) in [
            (&mut pod, in_pod, ["10.9.0.1", "fd09::1"]),
            (&mut outside, in_outside, ["192.0.2.1", "2001:db8::1"]),
        ] {
            for gateway in gateways {
                let default = Route::default_via(gateway.parse().unwrap(), index, false);
                route::ensure(&mut namespace.netlink, &default).unwrap();
            }
        }
        Self { pod, node, outside }
    }

    /// The address that `to` sees when the pod sends to it; every call is a new flow.
    fn source_seen(&self, from: &str, to: &str) -> IpAddr {
        let (rx, tx) = (self.outside.receiver(to), self.pod.sender(from));
        let target = SocketAddr::new(to.parse().unwrap(), rx.local_addr().unwrap().port());
        tx.send_to(b"x", target).unwrap();
        rx.recv_from(&mut [0; 8]).unwrap().1.ip()
    }

    fn assert_seen(&self, from: &str, to: &str, expected: &str) {
        assert_eq!(
            self.source_seen(from, to).to_string(),
            expected,
            "{from} to {to}"
        );
    }
}

fn table(exclude_interfaces: &[&str]) -> MasqueradeTable {
    let prefix = |text: &str, bits| (text.parse().unwrap(), bits);
    MasqueradeTable {
        name: "weft-test".to_owned(),
        sources: vec![prefix("10.9.0.0", 24), prefix("fd09::", 64)],
        exclude_destinations: vec![prefix("192.0.2.3", 32), prefix("2001:db8::3", 128)],
        exclude_interfaces: exclude_interfaces
            .iter()
            .map(|&name| name.to_owned())
            .collect(),
    }
}

#[test]
fn sources_are_rewritten_unless_destination_or_interface_is_excluded() {
    if !privileged("sources_are_rewritten_unless_destination_or_interface_is_excluded") {
        return;
    }
    let network = Network::new();
    network.assert_seen("10.9.0.2", "192.0.2.2", "10.9.0.2");
    network.node.run(|| table(&["pod0"]).install()).unwrap();
    network.assert_seen("10.9.0.2", "192.0.2.2", "192.0.2.1");
    network.assert_seen("10.9.0.2", "192.0.2.3", "10.9.0.2");
    network.assert_seen("fd09::2", "2001:db8::2", "2001:db8::1");
    network.assert_seen("fd09::2", "2001:db8::3", "fd09::2");
    network.node.run(|| table(&["up0"]).install()).unwrap();
    network.assert_seen("10.9.0.2", "192.0.2.2", "10.9.0.2");
    network.assert_seen("fd09::2", "2001:db8::2", "fd09::2");
}

#[test]
fn other_sources_keep_their_address() {
    if !privileged("other_sources_keep_their_address") {
        return;
    }
    let mut network = Network::new();
    network.pod.address("eth0", &[("10.9.1.2", 24)]);
    let back = link::index_of(&mut network.node.netlink, "pod0").unwrap();
    let hop = route::Hop::Link { index: back };
    let back = Route::new("10.9.1.0".parse().unwrap(), 24, hop);
    route::ensure(&mut network.node.netlink, &back).unwrap();
    network.node.run(|| table(&[]).install()).unwrap();
    network.assert_seen("10.9.1.2", "192.0.2.2", "10.9.1.2");
    network.assert_seen("10.9.0.2", "192.0.2.2", "192.0.2.1");
}

#[test]
fn a_table_is_replaced_and_deleted_any_number_of_times() {
    if !privileged("a_table_is_replaced_and_deleted_any_number_of_times") {
        return;
    }
    let namespace = Namespace::new();
    namespace.run(|| {
        let name = "weft-test";
        assert!(!MasqueradeTable::exists(name).unwrap());
        for _ in 0..3 {
            table(&["a", "b"]).install().unwrap();
            assert!(MasqueradeTable::exists(name).unwrap());
        }
        assert!(!MasqueradeTable::exists("weft").unwrap());
        assert!(MasqueradeTable::delete(name).unwrap());
        assert!(!MasqueradeTable::delete(name).unwrap());
        assert!(!MasqueradeTable::exists(name).unwrap());
        let unnamed = MasqueradeTable {
            name: "x".repeat(300),
            ..table(&[])
        };
        assert!(unnamed.install().is_err());
    });
}
