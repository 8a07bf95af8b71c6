//! Datagrams over real links: traffic class, path MTU, full buffers, ports that others hold.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;

use weft_sys::netlink::link::{self, Change, Vxlan};
use weft_sys::packet::{self, PacketConfig, PacketSocket};
use weft_sys::udp::{self, Buffers, RecvBatch, SendBatch, Target};

use crate::support::{Namespace, PATIENCE, privileged};

fn message(to: SocketAddr, tos: u8, payload: &[u8]) -> (Target, &[u8]) {
    let segment = None;
    (Target { to, tos, segment }, payload)
}

fn send<'a>(
    tx: &UdpSocket,
    messages: impl IntoIterator<Item = (Target, &'a [u8])>,
    on_failure: impl FnMut(usize, io::Error),
) -> usize {
    let mut batch = SendBatch::new(64, 64);
    let mut filling = batch.fill();
    for (target, payload) in messages {
        assert!(filling.begin(target) && filling.part(payload));
    }
    filling.send(tx, on_failure)
}

/// Sends segments one byte longer than `fits`, then ten that fit.
fn segments_over_the_mtu_fail_alone(tx: &UdpSocket, to: SocketAddr, fits: usize) {
    let payload = vec![9; 10 * fits];
    let messages = [fits + 1, fits].map(|size| {
        let segment = u16::try_from(size).ok().and_then(NonZeroU16::new);
        (
            Target {
                to,
                tos: 0,
                segment,
            },
            &payload[..],
        )
    });
    let mut failures = Vec::new();
    let sent = send(tx, messages, |index, error| {
        failures.push((index, error.raw_os_error()));
    });
    assert_eq!(sent, 1);
    let [(0, Some(libc::EINVAL | libc::EMSGSIZE))] = failures[..] else {
        panic!("{failures:?}");
    };
}

#[test]
fn the_path_mtu_is_what_a_datagram_may_have() {
    if !privileged("the_path_mtu_is_what_a_datagram_may_have") {
        return;
    }
    let (mut a, mut b) = (Namespace::new(), Namespace::new());
    a.join("v", &b, "v");
    for (own, peer, index) in [
        (
            "192.0.2.1",
            "192.0.2.2:9",
            a.address("v", &[("192.0.2.1", 24)]),
        ),
        ("fd00::1", "[fd00::2]:9", a.address("v", &[("fd00::1", 64)])),
    ] {
        b.address("v", &[]);
        let (own, peer) = (own.parse().unwrap(), peer.parse().unwrap());
        for mtu in [1500, 1400, 9000] {
            let change = Change {
                mtu: Some(mtu),
                ..Change::default()
            };
            link::change(&mut a.netlink, index, &change).unwrap();
            let known = a.run(|| udp::path_mtu(own, peer)).unwrap();
            assert_eq!(known, mtu, "{own} to {peer}");
        }
        let nowhere = a.run(|| udp::path_mtu(own, "203.0.113.1:9".parse().unwrap()));
        assert!(nowhere.is_err(), "no route leads there");
    }
}

#[test]
fn datagrams_cross_a_veth_with_their_traffic_class() {
    if !privileged("datagrams_cross_a_veth_with_their_traffic_class") {
        return;
    }
    let (mut a, mut b) = (Namespace::new(), Namespace::new());
    a.join("eth0", &b, "eth0");
    a.address("eth0", &[("10.9.0.1", 24), ("fd09::1", 64)]);
    b.address("eth0", &[("10.9.0.2", 24), ("fd09::2", 64)]);
    for (from, to) in [("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2")] {
        let (rx, tx) = (b.receiver(to), a.sender(from));
        let target = rx.local_addr().unwrap();
        let mut failed = Vec::new();
        let message = message(target, 0x2e << 2 | 1, b"over the wire");
        send(&tx, [message], |index, error| failed.push((index, error)));
        assert!(failed.is_empty(), "{failed:?}");
        let mut batch = RecvBatch::new(4);
        let mut buffer = [0; 64];
        assert_eq!(batch.recv(&rx, [&mut buffer[..]]).unwrap(), 1);
        let got = batch.received().next().unwrap();
        assert_eq!(&buffer[..got.len], b"over the wire");
        assert_eq!((got.source, got.tos), (tx.local_addr().unwrap(), 0xb9));
    }
}

#[test]
fn a_datagram_over_the_mtu_or_without_a_route_fails_alone() {
    if !privileged("a_datagram_over_the_mtu_or_without_a_route_fails_alone") {
        return;
    }
    let (mut a, mut b) = (Namespace::new(), Namespace::new());
    a.join("eth0", &b, "eth0");
    for (index, netlink) in [
        (
            a.address("eth0", &[("10.9.0.1", 24), ("fd09::1", 64)]),
            &mut a.netlink,
        ),
        (
            b.address("eth0", &[("10.9.0.2", 24), ("fd09::2", 64)]),
            &mut b.netlink,
        ),
    ] {
        let mtu = Change {
            mtu: Some(1400),
            ..Change::default()
        };
        link::change(netlink, index, &mtu).unwrap();
    }
    for (from, to, nowhere, fits) in [
        ("10.9.0.1", "10.9.0.2", "192.0.2.1:9", 1400 - 28),
        ("fd09::1", "fd09::2", "[2001:db8::1]:9", 1400 - 48),
    ] {
        let (rx, tx) = (b.receiver(to), a.sender(from));
        let target = rx.local_addr().unwrap();
        let nowhere: SocketAddr = nowhere.parse().unwrap();
        let payload = vec![7; fits + 1];
        let messages = [
            message(target, 0, &payload[..fits]),
            message(target, 0, &payload),
            message(nowhere, 0, &payload[..1]),
            message(target, 0, &payload[..2]),
        ];
        let mut failures = Vec::new();
        let sent = send(&tx, messages, |index, error| {
            failures.push((index, error.raw_os_error().unwrap()));
        });
        assert_eq!(sent, 2);
        assert_eq!(failures, [(1, libc::EMSGSIZE), (2, libc::ENETUNREACH)]);
        segments_over_the_mtu_fail_alone(&tx, target, fits);
        for expected in [fits, 2].into_iter().chain([fits; 10]) {
            let mut buffer = [0; 2048];
            assert_eq!(rx.recv(&mut buffer).unwrap(), expected);
        }
    }
}

#[test]
fn a_full_send_buffer_refuses_the_rest_at_once() {
    if !privileged("a_full_send_buffer_refuses_the_rest_at_once") {
        return;
    }
    let (mut a, mut b) = (Namespace::new(), Namespace::new());
    a.join("eth0", &b, "eth0");
    a.address("eth0", &[("10.9.0.1", 24)]);
    b.address("eth0", &[]);
    let tiny = Buffers {
        receive: 0,
        send: 0,
    };
    let tx = a
        .run(|| udp::bind_tx(Ipv4Addr::new(10, 9, 0, 1).into(), tiny))
        .unwrap();
    // Nobody has this address: datagrams stay in the send buffer until ARP gives up.
    let nobody: SocketAddr = "10.9.0.99:9".parse().unwrap();
    let messages = (0..64).map(|_| message(nobody, 0, &[0; 1000]));
    let mut refused = Vec::new();
    let sent = send(&tx, messages, |index, error| {
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        refused.push(index);
    });
    assert!((1..64).contains(&sent), "{sent}");
    assert_eq!(refused, (sent..64).collect::<Vec<_>>());
}

#[test]
fn a_kernel_tunnel_on_the_port_is_seen() {
    if !privileged("a_kernel_tunnel_on_the_port_is_seen") {
        return;
    }
    let mut a = Namespace::new();
    let vxlan = Vxlan {
        vni: 1,
        local: Ipv4Addr::LOCALHOST.into(),
        port: 8472,
        ttl: 0,
        dont_fragment: false,
    };
    let index = link::ensure_vxlan(&mut a.netlink, "vx0", &vxlan).unwrap();
    let port = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8472);
    assert!(a.run(|| udp::port_is_free(port)).unwrap(), "it is down");
    link::set_up(&mut a.netlink, index).unwrap();
    assert!(!a.run(|| udp::port_is_free(port)).unwrap());
    let bound = a.run(|| udp::bind_rx(port, true, Buffers::default()));
    assert!(bound.unwrap_err().is_busy());
}

#[test]
fn a_packet_socket_sees_what_was_left_to_the_driver() {
    if !privileged("a_packet_socket_sees_what_was_left_to_the_driver") {
        return;
    }
    const NEEDS_CHECKSUM: u8 = 1;
    let (mut a, mut b) = (Namespace::new(), Namespace::new());
    a.join("eth0", &b, "eth0");
    a.address("eth0", &[("10.9.0.1", 24)]);
    b.address("eth0", &[("10.9.0.2", 24)]);
    let config = PacketConfig {
        vnet: true,
        ignore_outgoing: true,
        promiscuous: false,
    };
    let socket = b.run(|| PacketSocket::open("eth0", config)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    a.sender("10.9.0.1")
        .send_to(b"marked", "10.9.0.2:9")
        .unwrap();
    let mut buffer = [0; 256];
    loop {
        let len = socket.recv(&mut buffer).unwrap();
        let frame = &buffer[packet::VNET_HEADER..len];
        if frame.ends_with(b"marked") {
            break;
        }
    }
    assert_eq!(buffer[0] & NEEDS_CHECKSUM, NEEDS_CHECKSUM);
}
