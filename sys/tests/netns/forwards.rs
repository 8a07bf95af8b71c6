//! Host ports lead to pods, for everybody who means this node and for nobody else.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use weft_sys::netlink::link;
use weft_sys::nft::{HostPort, NatTable, Transport};
use weft_sys::packet::{PacketConfig, PacketSocket};
use weft_sys::sysctl;

use crate::network::{Network, POD_INTERFACE};
use crate::support::{Namespace, PATIENCE, privileged};

pub(crate) const TABLE: &str = "weft-test";
/// The port of the node, and the one it leads to.
pub(crate) const HOST_PORT: u16 = 8053;
pub(crate) const POD_PORT: u16 = 53;

pub(crate) fn port(protocol: Transport, host_ip: Option<&str>, to: &str, to_port: u16) -> HostPort {
    HostPort {
        protocol,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port: HOST_PORT,
        to: (to.parse().unwrap(), to_port),
    }
}

pub(crate) fn table(forwards: Vec<HostPort>) -> NatTable {
    NatTable {
        name: TABLE.to_owned(),
        sources: vec![
            ("10.9.0.0".parse().unwrap(), 24),
            ("fd09::".parse().unwrap(), 64),
        ],
        exclude_interfaces: vec![POD_INTERFACE.to_owned()],
        forwards,
        pod_interface: Some(POD_INTERFACE.to_owned()),
        ..NatTable::default()
    }
}

pub(crate) fn both_families() -> Vec<HostPort> {
    let mut ports = Vec::new();
    for protocol in [Transport::Tcp, Transport::Udp, Transport::Sctp] {
        for pod in ["10.9.0.2", "fd09::2"] {
            ports.push(port(protocol, None, pod, POD_PORT));
        }
    }
    ports
}

pub(crate) fn udp(namespace: &Namespace, ip: &str, port: u16) -> UdpSocket {
    let local = SocketAddr::new(ip.parse().unwrap(), port);
    let socket = namespace.run(|| UdpSocket::bind(local)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends from `client` to `target`, answers from `server`, and returns the source it saw.
pub(crate) fn exchange(client: &UdpSocket, target: SocketAddr, server: &UdpSocket) -> IpAddr {
    client.send_to(b"question", target).unwrap();
    let mut buffer = [0; 16];
    let (len, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"question", "{target}");
    server.send_to(b"answer", from).unwrap();
    let (len, answered) = client.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..len], answered), (&b"answer"[..], target));
    from.ip()
}

/// The same over TCP.
fn connect(client: &Namespace, target: SocketAddr, server: &TcpListener) -> IpAddr {
    let stream = client.run(|| TcpStream::connect_timeout(&target, PATIENCE));
    let mut stream = stream.unwrap();
    let (mut accepted, from) = server.accept().unwrap();
    accepted.write_all(b"answer").unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 6];
    stream.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"answer");
    from.ip()
}

pub(crate) fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

#[test]
fn a_host_port_works_from_outside_node_localhost_and_pod() {
    if !privileged("a_host_port_works_from_outside_node_localhost_and_pod") {
        return;
    }
    let network = Network::new();
    let Network { pod, node, outside } = &network;
    let knob = format!("net/ipv4/conf/{POD_INTERFACE}/route_localnet");
    node.run(|| sysctl::set(&knob, "1")).unwrap();
    node.run(|| table(both_families()).install()).unwrap();
    for (pod_ip, cases) in [
        (
            "10.9.0.2",
            &[
                (outside, "192.0.2.1", "192.0.2.2"),
                (node, "192.0.2.1", "192.0.2.1"),
                (node, "127.0.0.1", "10.9.0.1"),
                (pod, "192.0.2.1", "10.9.0.1"),
                (pod, "10.9.0.1", "10.9.0.1"),
            ][..],
        ),
        (
            "fd09::2",
            &[
                (outside, "2001:db8::1", "2001:db8::2"),
                (node, "2001:db8::1", "2001:db8::1"),
                (pod, "2001:db8::1", "fd09::1"),
            ],
        ),
    ] {
        let server = udp(pod, pod_ip, POD_PORT);
        let listener = pod.run(|| TcpListener::bind(at(pod_ip, POD_PORT))).unwrap();
        let any = if pod_ip.contains(':') {
            "::"
        } else {
            "0.0.0.0"
        };
        for (client, target, seen) in cases {
            let target = at(target, HOST_PORT);
            let from = exchange(&udp(client, any, 0), target, &server);
            if *seen != "2001:db8::2" && *seen != "192.0.2.2" {
                assert_eq!(from.to_string(), *seen, "{target}");
            }
            assert_eq!(connect(client, target, &listener), from, "{target}");
        }
    }
}

#[test]
fn a_port_of_one_address_goes_before_that_of_all() {
    if !privileged("a_port_of_one_address_goes_before_that_of_all") {
        return;
    }
    let Network { pod, node, outside } = &Network::new();
    let mut forwards = both_families();
    forwards.extend([
        port(Transport::Udp, Some("192.0.2.1"), "10.9.0.2", 1053),
        port(Transport::Udp, Some("2001:db8::1"), "fd09::2", 1053),
    ]);
    node.run(|| table(forwards).install()).unwrap();
    for (pod_ip, own, other, any) in [
        ("10.9.0.2", "192.0.2.1", "10.9.0.1", "0.0.0.0"),
        ("fd09::2", "2001:db8::1", "fd09::1", "::"),
    ] {
        let (all, one) = (udp(pod, pod_ip, POD_PORT), udp(pod, pod_ip, 1053));
        exchange(&udp(outside, any, 0), at(own, HOST_PORT), &one);
        exchange(&udp(outside, any, 0), at(other, HOST_PORT), &all);
    }
}

#[test]
fn what_is_for_somebody_else_passes_untouched() {
    if !privileged("what_is_for_somebody_else_passes_untouched") {
        return;
    }
    let Network { pod, node, outside } = &Network::new();
    node.run(|| table(both_families()).install()).unwrap();
    for (pod_ip, host, any, node_ip, loopback) in [
        ("10.9.0.2", "192.0.2.2", "0.0.0.0", "10.9.0.1", None),
        ("fd09::2", "2001:db8::2", "::", "fd09::1", Some("::1")),
    ] {
        let abroad = udp(outside, host, HOST_PORT);
        exchange(&udp(pod, any, 0), abroad.local_addr().unwrap(), &abroad);
        exchange(&udp(node, any, 0), abroad.local_addr().unwrap(), &abroad);
        let inside = udp(pod, pod_ip, HOST_PORT);
        exchange(&udp(outside, host, 0), at(pod_ip, HOST_PORT), &inside);
        let direct = udp(pod, pod_ip, POD_PORT);
        let seen = exchange(&udp(node, node_ip, 0), at(pod_ip, POD_PORT), &direct);
        assert_eq!(seen.to_string(), node_ip);
        if let Some(loopback) = loopback {
            let local = udp(node, loopback, HOST_PORT);
            exchange(&udp(node, loopback, 0), at(loopback, HOST_PORT), &local);
        }
    }
}

#[test]
fn only_who_came_by_a_host_port_loses_its_source() {
    if !privileged("only_who_came_by_a_host_port_loses_its_source") {
        return;
    }
    let Network { pod, node, outside } = &Network::new();
    let service = NatTable {
        name: "service".to_owned(),
        pod_interface: None,
        ..table(vec![HostPort {
            host_port: 9090,
            ..port(Transport::Udp, None, "10.9.0.2", POD_PORT)
        }])
    };
    let ours = NatTable {
        sources: vec![("192.0.2.0".parse().unwrap(), 24)],
        ..table(both_families())
    };
    node.run(|| service.install().and_then(|_| ours.install()))
        .unwrap();
    let server = udp(pod, "10.9.0.2", POD_PORT);
    for (target, seen) in [
        (at("192.0.2.1", HOST_PORT), "10.9.0.1"),
        (at("192.0.2.1", 9090), "192.0.2.2"),
        (at("10.9.0.2", POD_PORT), "192.0.2.2"),
    ] {
        let from = exchange(&udp(outside, "192.0.2.2", 0), target, &server);
        assert_eq!(from.to_string(), seen, "{target}");
    }
}

/// An IPv4 packet with a right checksum of the header, in a frame to `mac`.
fn frame(mac: [u8; 6], protocol: u8, [source, target]: [&str; 2], payload: &[u8]) -> Vec<u8> {
    let [source, target] = [source, target].map(|ip| ip.parse::<std::net::Ipv4Addr>().unwrap());
    let len = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut ip = vec![0x45, 0, len[0], len[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
    ip.extend(source.octets());
    ip.extend(target.octets());
    let words = ip
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let sum = words.sum::<u32>();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = mac.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1, 8, 0]);
    frame.extend(ip);
    frame.extend(payload);
    frame
}

fn ports(source: u16, target: u16) -> Vec<u8> {
    [source.to_be_bytes(), target.to_be_bytes()].concat()
}

fn mac(namespace: &mut Namespace, interface: &str) -> [u8; 6] {
    let link = link::get(&mut namespace.netlink, interface).unwrap();
    link.unwrap().mac.unwrap()
}

fn packet_socket(namespace: &Namespace, interface: &str) -> PacketSocket {
    let config = PacketConfig {
        ignore_outgoing: true,
        promiscuous: false,
        vnet: false,
    };
    let socket = namespace.run(|| PacketSocket::open(interface, config));
    let socket = socket.unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn sctp_is_led_to_the_pod_too() {
    if !privileged("sctp_is_led_to_the_pod_too") {
        return;
    }
    const SCTP: u8 = 132;
    let mut network = Network::new();
    network.node.run(|| {
        table(both_families()).install().unwrap();
        // The frame below has no CRC.
        sysctl::set("net/netfilter/nf_conntrack_checksum", "0").unwrap();
    });
    let mut init = ports(40_000, HOST_PORT);
    init.extend([0; 8]);
    // INIT, 20 bytes: tag 1, window, one stream each way, TSN (RFC 9260 section 3.3.2).
    init.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let node = mac(&mut network.node, "up0");
    let (tx, rx) = (
        packet_socket(&network.outside, "eth0"),
        packet_socket(&network.pod, "eth0"),
    );
    tx.send(&frame(node, SCTP, ["192.0.2.2", "192.0.2.1"], &init))
        .unwrap();
    let mut buffer = [0; 256];
    loop {
        let len = rx.recv(&mut buffer).unwrap();
        if len > 37 && buffer[12..14] == [8, 0] && buffer[23] == SCTP {
            break;
        }
    }
    assert_eq!(buffer[30..34], [10, 9, 0, 2]);
    assert_eq!(buffer[36..38], POD_PORT.to_be_bytes());
}

#[test]
fn a_pod_does_not_reach_the_nodes_loopback() {
    if !privileged("a_pod_does_not_reach_the_nodes_loopback") {
        return;
    }
    const UDP: u8 = 17;
    let mut network = Network::new();
    let knob = format!("net/ipv4/conf/{POD_INTERFACE}/route_localnet");
    let node_mac = mac(&mut network.node, POD_INTERFACE);
    let Network { pod, node, .. } = &network;
    node.run(|| sysctl::set(&knob, "1")).unwrap();
    let server = udp(node, "0.0.0.0", 9000);
    let socket = packet_socket(pod, "eth0");
    let send = |ips: [&str; 2], mark: u8| {
        let mut datagram = ports(9001, 9000);
        datagram.extend([0, 9, 0, 0, mark]);
        socket.send(&frame(node_mac, UDP, ips, &datagram)).unwrap();
    };
    let first_mark = || {
        let mut mark = [0];
        server.recv(&mut mark).unwrap();
        mark[0]
    };
    let (pod_ip, node_ip, loopback) = ("10.9.0.2", "10.9.0.1", "127.0.0.1");
    send([pod_ip, loopback], 1);
    assert_eq!(first_mark(), 1, "route_localnet lets it pass");
    node.run(|| table(Vec::new()).install()).unwrap();
    send([pod_ip, loopback], 2);
    send([loopback, node_ip], 3);
    send([pod_ip, node_ip], 4);
    assert_eq!(first_mark(), 4);
}
