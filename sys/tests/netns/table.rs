//! The one table is replaced whole, grows with little, and tells when others meddle with it.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use weft_sys::nft::{HostPort, NatTable, Transport};

use crate::forwards::{HOST_PORT, POD_PORT, TABLE, at, both_families, exchange, port, table, udp};
use crate::network::Network;
use crate::support::{Namespace, privileged};

#[test]
fn a_thousand_ports_are_one_lookup_and_a_thousand_prefixes_one_transaction() {
    if !privileged("a_thousand_ports_are_one_lookup_and_a_thousand_prefixes_one_transaction") {
        return;
    }
    let Network { pod, node, outside } = &Network::new();
    let mut many = table(both_families());
    let before = node.run(|| many.install()).unwrap();
    many.forwards.extend((0..1000).map(|number| HostPort {
        host_port: 20_000 + number,
        ..port(Transport::Udp, None, "10.9.0.2", 1000 + number)
    }));
    let after = node.run(|| many.install()).unwrap();
    assert_eq!(after.rules(), before.rules());
    assert_eq!(after.elements(), before.elements() + 2 * 1000);
    let server = udp(pod, "10.9.0.2", 1777);
    exchange(
        &udp(outside, "0.0.0.0", 0),
        at("192.0.2.1", 20_777),
        &server,
    );

    many.exclude_destinations = (0..2000_u16)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            (IpAddr::from([10, high, low, 0]), 24)
        })
        .collect();
    let longer = node.run(|| many.install()).unwrap();
    assert_eq!(longer.rules(), after.rules() + 2000);
}

#[test]
fn a_deleted_or_replaced_table_is_noticed() {
    if !privileged("a_deleted_or_replaced_table_is_noticed") {
        return;
    }
    let namespace = Namespace::new();
    namespace.run(|| {
        assert_eq!(NatTable::fingerprint(TABLE).unwrap(), None);
        let installed = table(both_families()).install().unwrap();
        let now = || NatTable::fingerprint(TABLE).unwrap();
        assert_eq!(now(), Some(installed));
        let other = NatTable {
            name: "other".to_owned(),
            ..table(both_families())
        };
        other.install().unwrap();
        assert_eq!(now(), Some(installed), "another table changes nothing");
        let again = table(both_families()).install().unwrap();
        assert_ne!(again, installed, "it is not the same table");
        assert!(NatTable::delete(TABLE).unwrap());
        assert_eq!(now(), None);
        let foreign = NatTable::fingerprint("other").unwrap().unwrap();
        assert_eq!(foreign.rules(), installed.rules());
    });
}

/// Runs nft(8) inside `namespace`; whether there is such a program.
fn nft(namespace: &Namespace, script: &str) -> bool {
    let mut command = Command::new("nft");
    command.arg("-f").arg("-").stdin(Stdio::piped());
    let mut child = match namespace.netns.spawn(command) {
        Ok(child) => child,
        Err(error) if error.is_not_found() => return false,
        Err(error) => panic!("{error}"),
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(script.as_bytes()).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success(), "{script}");
    true
}

#[test]
fn other_tools_keep_their_tables_and_their_meddling_is_noticed() {
    let test = "other_tools_keep_their_tables_and_their_meddling_is_noticed";
    if !privileged(test) {
        return;
    }
    let Network { pod, node, outside } = &Network::new();
    let theirs = "table inet theirs {
        chain forward {
            type filter hook forward priority 0; policy accept;
            counter
        }
        chain ports {
            type nat hook prerouting priority -90;
            udp dport 7000 dnat ip to 10.9.0.2:7001
        }
    }\n";
    if !nft(node, theirs) {
        let line = format!("SKIPPED (needs nft): {test}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    }
    let foreign = || {
        node.run(|| NatTable::fingerprint("theirs"))
            .unwrap()
            .unwrap()
    };
    let rules = foreign().rules();
    let ours = || node.run(|| NatTable::fingerprint(TABLE)).unwrap();
    for meddling in [
        "flush chain inet weft-test prerouting",
        "flush map inet weft-test ports4",
        "delete element inet weft-test ports6 { tcp . 8053 }",
        "add chain inet weft-test postrouting { policy drop; }",
        "add table inet weft-test { flags dormant; }",
        "insert rule inet weft-test output accept",
        "flush ruleset",
    ] {
        let installed = node.run(|| table(both_families()).install()).unwrap();
        assert_eq!(ours(), Some(installed));
        let server = udp(pod, "10.9.0.2", POD_PORT);
        exchange(
            &udp(outside, "0.0.0.0", 0),
            at("192.0.2.1", HOST_PORT),
            &server,
        );
        if !meddling.starts_with("flush ruleset") {
            let server = udp(pod, "10.9.0.2", 7001);
            exchange(&udp(outside, "0.0.0.0", 0), at("192.0.2.1", 7000), &server);
            assert_eq!(foreign().rules(), rules);
        }
        assert!(nft(node, &format!("{meddling}\n")));
        assert_ne!(ours(), Some(installed), "{meddling}");
    }
}
