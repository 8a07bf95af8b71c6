//! Pods get interfaces, packets flow, and what is detached is gone.

use std::net::{Ipv4Addr, UdpSocket};

use weft_sys::netlink::{addr, link};

use super::PEER;
use super::rig::{NODE_V4, Node, Space, eventually, privileged, request, tcp};

/// Two pods and the node: everyone reaches everyone, in both families.
fn everyone_talks(arguments: &[&str], backend: &str) {
    let mut node = Node::new();
    node.start(arguments);
    let a = node.pod("a", &["10.244.1.2", "fd00:10:244:1::2"]);
    let b = node.pod("b", &["10.244.1.3", "fd00:10:244:1::3"]);
    assert_eq!(a.attached.backend, backend);
    assert_eq!(a.attached.mtu, 1450);
    assert_eq!(a.attached.mac, "0a:58:0a:f4:01:02");
    for to in [
        "10.244.1.3",
        "fd00:10:244:1::3",
        "169.254.1.1",
        "10.244.1.0",
        "fd00:10:244:1::",
        NODE_V4,
    ] {
        assert!(a.space.pings(to), "pod a to {to}");
    }
    for to in ["10.244.1.2", "fd00:10:244:1::2"] {
        assert!(b.space.pings(to), "pod b to {to}");
        assert!(node.space.pings(to), "node to {to}");
    }
    tcp(&a.space, &b.space, "10.244.1.3:80".parse().unwrap());
    tcp(
        &node.space,
        &b.space,
        "[fd00:10:244:1::3]:81".parse().unwrap(),
    );
    let status = node.status().unwrap();
    assert!(status.healthy, "{:?}", status.problems);
    assert_eq!((status.pods, status.backend.as_str()), (2, backend));
    let flows = node.client().flows(Some("default/a".to_owned())).unwrap();
    assert!(flows.iter().any(|flow| flow.protocol == "tcp"), "{flows:?}");
}

#[test]
fn pods_and_node_talk() {
    if privileged("pods_and_node_talk") {
        everyone_talks(&[], "fast");
    }
}

#[test]
fn pods_and_node_talk_through_plain_taps() {
    if privileged("pods_and_node_talk_through_plain_taps") {
        everyone_talks(&["--tap", "plain"], "plain");
    }
}

#[test]
fn attach_is_idempotent_and_detach_frees_everything() {
    if !privileged("attach_is_idempotent_and_detach_frees_everything") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let ips = ["10.244.1.2", "fd00:10:244:1::2"];
    let pod = node.pod("a", &ips);
    assert_eq!(node.attach("a", &ips, &pod.space).unwrap(), pod.attached);
    assert_eq!(node.status().unwrap().pods, 1);
    assert!(node.detach("a"));
    assert!(!node.detach("a"));
    assert_eq!(pod.space.links(), Vec::<String>::new());
    assert_eq!(node.status().unwrap().pods, 0);
    let again = node.attach("c", &ips, &pod.space).unwrap();
    assert_ne!(
        again.port, pod.attached.port,
        "numbers rest before they are used again"
    );
    assert!(node.space.pings("10.244.1.2"));
}

#[test]
fn what_cannot_be_attached_leaves_nothing() {
    if !privileged("what_cannot_be_attached_leaves_nothing") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let held = node.pod("held", &["10.244.1.2"]);
    let cases: &[(&[&str], &str)] = &[
        (
            &["10.244.1.2"],
            "10.244.1.2 is taken by pod default/held; detach that one, or choose another",
        ),
        (
            &["10.244.2.2"],
            "10.244.2.2 is outside the pod ranges of node node-a (10.244.1.0/24, fd00:10:244:1::/64); choose an address of this node's ranges",
        ),
        (
            &["10.244.1.0"],
            "10.244.1.0 is reserved in 10.244.1.0/24; pods start at the third address; choose an address of this node's ranges",
        ),
        (
            &["10.244.1.4", "10.244.1.5"],
            "10.244.1.5 is a second address of its family; give at most one of each family",
        ),
    ];
    let space = Space::new();
    for (ips, expected) in cases {
        let error = node.attach("b", ips, &space).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the weft daemon refused: {expected}")
        );
        assert_eq!(space.links(), Vec::<String>::new());
    }
    // The pod has an interface of that name already.
    let error = node
        .attach("other", &["10.244.1.9"], &held.space)
        .unwrap_err();
    assert!(
        error.to_string().contains("made by another plugin"),
        "{error}"
    );
    let mut odd = request("b", &["10.244.1.7"]);
    odd.container_id = "../x".to_owned();
    let error = node.client().attach(odd, &space.0).unwrap_err();
    assert!(
        error.to_string().contains("is not a container id"),
        "{error}"
    );
    assert_eq!(node.status().unwrap().pods, 1);
    assert!(
        node.space.pings("10.244.1.2"),
        "the pod that holds it is not disturbed"
    );
}

#[test]
fn a_deleted_interface_is_made_anew() {
    if !privileged("a_deleted_interface_is_made_anew") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let pod = node.pod("a", &["10.244.1.2"]);
    link::delete(&mut pod.space.netlink(), "eth0").unwrap();
    eventually("the port is closed", || {
        (node.status().ok()?.pods == 0).then_some(())
    });
    let error = node.check("a", &pod).unwrap_err();
    assert!(error.to_string().contains("is not attached"), "{error}");
    let taken = node.attach("b", &["10.244.1.2"], &Space::new());
    assert!(
        taken
            .unwrap_err()
            .to_string()
            .contains("taken by pod default/a"),
        "its address stays its own"
    );
    node.collect(&["a"]);
    assert_eq!(pod.space.links(), ["eth0"]);
    assert!(node.space.pings("10.244.1.2"));
    node.check("a", &pod).unwrap();
}

#[test]
fn a_pod_sends_to_a_peer_over_vxlan() {
    if !privileged("a_pod_sends_to_a_peer_over_vxlan") {
        return;
    }
    let mut node = Node::new();
    node.manifest("b.yaml", &PEER.replace("192.0.2.2", "192.0.2.77"));
    let mut netlink = node.space.netlink();
    let index = link::index_of(&mut netlink, "u0").unwrap();
    let other = addr::Address::new(index, Ipv4Addr::new(192, 0, 2, 77).into(), 24);
    addr::ensure(&mut netlink, &other).unwrap();
    let peer = node
        .space
        .run(|| UdpSocket::bind("192.0.2.77:8472").unwrap());
    peer.set_read_timeout(Some(std::time::Duration::from_secs(10)))
        .unwrap();
    node.start(&[]);
    let a = node.pod("a", &["10.244.1.2"]);
    a.space.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"hello", "10.244.2.9:5000").unwrap();
    });
    let mut datagram = [0; 2000];
    let (count, from) = peer.recv_from(&mut datagram).unwrap();
    assert_eq!(from.ip().to_string(), NODE_V4);
    assert!(from.port() >= 49152, "a lane");
    assert_eq!(count, 8 + 14 + 20 + 8 + 5);
    assert_eq!(&datagram[..8], &[8, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(&datagram[count - 5..count], b"hello");
}
