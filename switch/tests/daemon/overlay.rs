//! Two real daemons: what crosses the tunnel arrives whole, and in order.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::rig::{Node, Pod, privileged, tcp};

/// Flows at once: more than there are queues and lanes.
const FLOWS: u16 = 40;
/// Datagrams of each flow.
const DATAGRAMS: u32 = 400;

/// One datagram in so many is answered.
const ANSWERED: u32 = 8;

/// Two nodes with a pod each.
fn two_nodes(underlay: &str) -> ([Node; 2], [Pod; 2]) {
    let mut nodes = Node::pair(underlay);
    for node in &mut nodes {
        node.start(&[]);
    }
    let a = nodes[0].pod("a", &["10.244.1.2", "fd00:10:244:1::2"]);
    let b = nodes[1].pod("b", &["10.244.2.2", "fd00:10:244:2::2"]);
    (nodes, [a, b])
}

fn everything_crosses(underlay: &str, mtu: u16) {
    let (nodes, [a, b]) = two_nodes(underlay);
    assert_eq!(a.attached.mtu, mtu);
    for to in [
        "10.244.2.2",
        "fd00:10:244:2::2",
        "10.244.2.0",
        "fd00:10:244:2::",
    ] {
        assert!(a.space.pings(to), "pod a to {to}");
        assert!(nodes[0].space.pings(to), "node a to {to}");
    }
    assert!(b.space.pings("10.244.1.2"));
    tcp(&a.space, &b.space, "10.244.2.2:80".parse().unwrap());
    tcp(&b.space, &a.space, "[fd00:10:244:1::2]:80".parse().unwrap());
    for node in &nodes {
        let status = node.status().unwrap();
        assert!(status.healthy, "{:?}", status.problems);
    }
}

#[test]
fn everything_crosses_an_ipv4_underlay() {
    if privileged("everything_crosses_an_ipv4_underlay") {
        everything_crosses("192.0.2.", 1450);
    }
}

#[test]
fn everything_crosses_an_ipv6_underlay() {
    if privileged("everything_crosses_an_ipv6_underlay") {
        everything_crosses("2001:db8::", 1430);
    }
}

/// The invariant: whatever queues and workers a flow meets, and though replies cross its way, what
/// arrives of it arrives in the order it was sent.
#[test]
fn flows_keep_their_order() {
    if !privileged("flows_keep_their_order") {
        return;
    }
    let (_nodes, [a, b]) = two_nodes("192.0.2.");
    let at: SocketAddr = "10.244.2.2:7000".parse().unwrap();
    let receiver = b.space.run(|| UdpSocket::bind(at).unwrap());
    receiver
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let counting = std::thread::spawn(move || count_in_order(&receiver));
    a.space.run(|| {
        let flows: Vec<UdpSocket> = (0..FLOWS)
            .map(|_| UdpSocket::bind("10.244.1.2:0").unwrap())
            .collect();
        for flow in &flows {
            flow.set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
        }
        for number in 0..DATAGRAMS {
            for flow in &flows {
                flow.send_to(&number.to_be_bytes(), at).unwrap();
            }
            if number % ANSWERED == 0 {
                // Answers cross the flows' way, and keep the sender from filling every queue.
                flows.iter().for_each(|flow| drop(flow.recv(&mut [0; 16])));
            }
        }
    });
    let received = counting.join().unwrap();
    assert_eq!(received.len(), usize::from(FLOWS), "every flow arrived");
    let all: u32 = received.values().sum();
    assert!(all > DATAGRAMS * u32::from(FLOWS) / 2, "only {all} arrived");
}

/// Counts the datagrams of each sender, answering some, until it is silent; panics where
/// a number does not grow.
fn count_in_order(receiver: &UdpSocket) -> BTreeMap<SocketAddr, u32> {
    let mut last: BTreeMap<SocketAddr, u32> = BTreeMap::new();
    let mut counts: BTreeMap<SocketAddr, u32> = BTreeMap::new();
    let mut bytes = [0; 4];
    while let Ok((_, from)) = receiver.recv_from(&mut bytes) {
        let number = u32::from_be_bytes(bytes);
        if let Some(before) = last.insert(from, number) {
            assert!(before < number, "{from}: {number} came after {before}");
        }
        *counts.entry(from).or_default() += 1;
        if number % ANSWERED == 0 {
            receiver.send_to(b"seen", from).unwrap();
        }
    }
    counts
}
