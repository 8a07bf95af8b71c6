//! Whole stacks over whole nodes in memory: TCP, UDP and ping through two paths and a link
//! that loses, delays and reorders, all from one seed.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use std::net::{IpAddr, SocketAddr};

use weft_encap::Underlay;
use weft_policy::{Moment, Span};
use weft_switch::path::{DropReason, Fate};
use weft_switch::sim::smoltcp::iface::SocketHandle;
use weft_switch::sim::smoltcp::phy::ChecksumCapabilities;
use weft_switch::sim::smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr};
use weft_switch::sim::{Link, PodId, Sim, What};

const LOSSY: Link = Link {
    loss: 500,
    ..Link::ETHERNET
};

fn address(sim: &mut Sim, pod: PodId, v6: bool) -> IpAddr {
    let mut addresses = sim.pod(pod).entry().addresses();
    addresses.find(|address| address.is_ipv6() == v6).unwrap()
}

/// The byte at a place of the stream: long period, so that a shift shows.
fn pattern(at: usize) -> u8 {
    u8::try_from((at ^ (at >> 8) ^ (at >> 16)) & 0xff).unwrap()
}

/// One direction of a connection.
struct Stream {
    from: (PodId, SocketHandle),
    to: (PodId, SocketHandle),
    len: usize,
    sent: usize,
    received: usize,
}

impl Stream {
    /// Moves what the sockets take; true once all has arrived intact.
    fn pump(&mut self, sim: &mut Sim) -> bool {
        let socket = sim.pod(self.from.0).tcp(self.from.1).unwrap();
        while self.sent < self.len && socket.can_send() {
            let sent = socket.send(|room| {
                let n = room.len().min(self.len - self.sent);
                room[..n]
                    .iter_mut()
                    .enumerate()
                    .for_each(|(at, byte)| *byte = pattern(self.sent + at));
                (n, n)
            });
            self.sent += sent.unwrap();
        }
        let socket = sim.pod(self.to.0).tcp(self.to.1).unwrap();
        while socket.can_recv() {
            let received = socket.recv(|bytes| {
                let expected = (self.received..).map(pattern);
                assert!(
                    bytes.iter().copied().eq(expected.take(bytes.len())),
                    "at {}",
                    self.received
                );
                (bytes.len(), bytes.len())
            });
            self.received += received.unwrap();
        }
        self.received == self.len
    }
}

/// Connects `client` to `server` and returns both ends' sockets once data may flow.
fn connect(sim: &mut Sim, client: PodId, server: PodId, v6: bool) -> [(PodId, SocketHandle); 2] {
    let to = SocketAddr::new(address(sim, server, v6), 80);
    let listener = sim.pod(server).tcp_listen(80).unwrap();
    let connection = sim.pod(client).tcp_connect(40_000, to).unwrap();
    let deadline = sim.now() + Span::from_secs(60);
    let connected = sim.run_until(deadline, |sim| {
        sim.pod(client).tcp(connection).unwrap().may_send()
            && sim.pod(server).tcp(listener).unwrap().may_send()
    });
    assert!(connected);
    [(client, connection), (server, listener)]
}

/// Sends so many bytes in both directions at once; when the last one arrived.
fn transfer(sim: &mut Sim, client: PodId, server: PodId, v6: bool, len: usize) -> Moment {
    let [client, server] = connect(sim, client, server, v6);
    let mut streams = [(client, server), (server, client)].map(|(from, to)| Stream {
        from,
        to,
        len,
        sent: 0,
        received: 0,
    });
    let deadline = sim.now() + Span::from_secs(7200);
    let done = sim.run_until(deadline, |sim| {
        let [up, down] = &mut streams;
        let up = up.pump(sim);
        down.pump(sim) && up
    });
    assert!(done, "received {:?}", streams.map(|stream| stream.received));
    sim.now()
}

fn two_nodes(seed: u64, link: Link) -> (Sim, PodId, PodId) {
    let mut sim = Sim::builder(seed).link(link).build();
    let (client, server) = (sim.add_pod(0), sim.add_pod(1));
    (sim, client, server)
}

#[test]
fn ten_megabytes_arrive_through_five_percent_loss() {
    let (mut sim, client, server) = two_nodes(1, LOSSY);
    transfer(&mut sim, client, server, false, 10 << 20);
    let lost = sim
        .trace()
        .events()
        .iter()
        .filter(|event| event.what == What::Lost)
        .count();
    assert!(lost > 100, "{lost} lost");
}

#[test]
fn the_seed_decides_everything() {
    let run = |seed| {
        let (mut sim, client, server) = two_nodes(seed, LOSSY);
        let end = transfer(&mut sim, client, server, true, 200_000);
        (end, sim.trace().digest(), sim.trace().events().to_vec())
    };
    let (first, again, other) = (run(7), run(7), run(8));
    assert!(first == again);
    assert_ne!(first.1, other.1);
    assert_ne!(first.2, other.2);
}

#[test]
fn every_kind_of_link_carries_a_transfer() {
    let jitter = Link {
        jitter: Span::from_micros(400),
        ..Link::ETHERNET
    };
    let reorder = Link {
        reorder: 2000,
        ..Link::ETHERNET
    };
    let double = Link {
        duplicate: 2000,
        ..Link::ETHERNET
    };
    let small = Link {
        mtu: 1350,
        ..Link::ETHERNET
    };
    let jumbo = Link {
        mtu: 9000,
        ..Link::ETHERNET
    };
    for (name, link) in [
        ("jitter", jitter),
        ("reorder", reorder),
        ("double", double),
        ("small", small),
        ("jumbo", jumbo),
    ] {
        for underlay in [Underlay::V4, Underlay::V6] {
            for v6 in [false, true] {
                let mut sim = Sim::builder(3).underlay(underlay).link(link).build();
                let (client, server) = (sim.add_pod(0), sim.add_pod(1));
                transfer(&mut sim, client, server, v6, 100_000);
                let too_big = sim
                    .trace()
                    .events()
                    .iter()
                    .any(|event| event.what == What::TooBig);
                assert!(
                    !too_big,
                    "{name} over {underlay:?}: the pods' MTU fits the links"
                );
            }
        }
    }
}

#[test]
fn pods_of_one_node_talk_without_a_link() {
    let mut sim = Sim::builder(1).nodes(1).build();
    let (client, server) = (sim.add_pod(0), sim.add_pod(0));
    for v6 in [false, true] {
        let [client, server] = connect(&mut sim, client, server, v6);
        let mut stream = Stream {
            from: client,
            to: server,
            len: 500_000,
            sent: 0,
            received: 0,
        };
        let deadline = sim.now() + Span::from_secs(60);
        assert!(sim.run_until(deadline, |sim| stream.pump(sim)));
        for (pod, socket) in [client, server] {
            sim.pod(pod).tcp(socket).unwrap().abort();
        }
        let settled = sim.now() + Span::from_secs(1);
        sim.run_until(settled, |_| false);
    }
    let counters = sim.counters(0).unwrap();
    assert_eq!(counters.to_peer, 0);
    assert_eq!(counters.dropped(), 0);
}

/// A pod whose interface has too large an MTU is told by its own node, and goes on.
#[test]
fn a_sender_learns_the_path_mtu() {
    for v6 in [false, true] {
        let mut sim = Sim::builder(1).build();
        let (client, server) = (sim.add_pod_with_mtu(0, 9000), sim.add_pod_with_mtu(1, 9000));
        transfer(&mut sim, client, server, v6, 100_000);
        assert_eq!((sim.pod(client).mtu(), sim.pod(server).mtu()), (1450, 1450));
        let counters = sim.counters(0).unwrap();
        assert!(counters.drops(DropReason::TooBig) > 0);
        assert!(counters.icmp_sent > 0);
    }
}

#[test]
fn a_link_smaller_than_promised_loses_big_packets_only() {
    let (mut sim, client, server) = two_nodes(1, Link::ETHERNET);
    let narrow = Link {
        mtu: 1400,
        ..Link::ETHERNET
    };
    sim.set_link(0, 1, narrow);
    let to = SocketAddr::new(address(&mut sim, server, false), 53);
    let (from, inbox) = (
        sim.pod(client).udp_bind(5000).unwrap(),
        sim.pod(server).udp_bind(53).unwrap(),
    );
    for len in [1322, 1323] {
        sim.pod(client)
            .udp(from)
            .unwrap()
            .send_slice(&vec![7; len], to)
            .unwrap();
    }
    sim.run_until(Moment::from_secs(1), |_| false);
    let socket = sim.pod(server).udp(inbox).unwrap();
    assert_eq!(socket.recv().unwrap().0.len(), 1322);
    assert!(!socket.can_recv());
}

#[test]
fn udp_is_answered_across_nodes() {
    for underlay in [Underlay::V4, Underlay::V6] {
        let mut sim = Sim::builder(1).nodes(3).underlay(underlay).build();
        let (client, server) = (sim.add_pod(0), sim.add_pod(2));
        for v6 in [false, true] {
            let to = SocketAddr::new(address(&mut sim, server, v6), 53);
            let (asks, answers) = (
                sim.pod(client).udp_bind(5000).unwrap(),
                sim.pod(server).udp_bind(53).unwrap(),
            );
            sim.pod(client)
                .udp(asks)
                .unwrap()
                .send_slice(b"who", to)
                .unwrap();
            let deadline = sim.now() + Span::from_secs(5);
            let answered = sim.run_until(deadline, |sim| {
                if let Ok((_, sender)) = sim.pod(server).udp(answers).unwrap().recv() {
                    sim.pod(server)
                        .udp(answers)
                        .unwrap()
                        .send_slice(b"me", sender)
                        .unwrap();
                }
                sim.pod(client).udp(asks).unwrap().can_recv()
            });
            assert!(answered);
            assert_eq!(sim.pod(client).udp(asks).unwrap().recv().unwrap().0, b"me");
            sim.pod(client).udp(asks).unwrap().close();
            sim.pod(server).udp(answers).unwrap().close();
        }
        assert_eq!(
            sim.counters(1).unwrap().frames(),
            0,
            "the third node sees nothing of it"
        );
    }
}

/// Pings an address; whether a reply came. Three times, because a smoltcp stack drops what
/// it would answer while it still looks for its gateway.
fn ping(sim: &mut Sim, from: PodId, to: IpAddr) -> bool {
    let socket = sim.pod(from).icmp_bind(IDENTIFIER).unwrap();
    let request = echo_request(sim.pod(from).address(to).unwrap(), to);
    let answered = (0..3).any(|_| {
        sim.pod(from)
            .icmp(socket)
            .unwrap()
            .send_slice(&request, to.into())
            .unwrap();
        let deadline = sim.now() + Span::from_secs(1);
        sim.run_until(deadline, |sim| {
            sim.pod(from).icmp(socket).unwrap().can_recv()
        })
    });
    if answered {
        let (reply, sender) = sim.pod(from).icmp(socket).unwrap().recv().unwrap();
        assert_eq!((&reply[8..], IpAddr::from(sender)), (&b"ping"[..], to));
    }
    sim.pod(from).close(socket);
    answered
}

const IDENTIFIER: u16 = 77;

fn echo_request(from: IpAddr, to: IpAddr) -> Vec<u8> {
    let caps = ChecksumCapabilities::default();
    let mut request = vec![0; 8 + 4];
    if let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) {
        let echo = Icmpv6Repr::EchoRequest {
            ident: IDENTIFIER,
            seq_no: 1,
            data: b"ping",
        };
        echo.emit(
            &from,
            &to,
            &mut Icmpv6Packet::new_unchecked(&mut request),
            &caps,
        );
    } else {
        let echo = Icmpv4Repr::EchoRequest {
            ident: IDENTIFIER,
            seq_no: 1,
            data: b"ping",
        };
        echo.emit(&mut Icmpv4Packet::new_unchecked(&mut request), &caps);
    }
    request
}

#[test]
fn everybody_pings_everybody() {
    let mut sim = Sim::builder(1).nodes(3).build();
    let pods: Vec<PodId> = (0..6).map(|index| sim.add_pod(index % 3)).collect();
    let hosts: Vec<PodId> = (0..3).map(|node| sim.host(node)).collect();
    let all = [hosts, pods].concat();
    for v6 in [false, true] {
        for from in &all {
            for to in all.iter().filter(|to| *to != from) {
                let to = address(&mut sim, *to, v6);
                assert!(ping(&mut sim, *from, to), "{from:?} to {to}");
            }
        }
    }
    assert!(ping(&mut sim, all[3], weft_switch::path::GATEWAY_V6.into()));
    let vacant = "10.244.1.77".parse().unwrap();
    assert!(!ping(&mut sim, all[3], vacant));
}

/// What a pod without a stack sends and receives is the test's business.
#[test]
fn bare_pods_exchange_frames() {
    let mut sim = Sim::builder(1).build();
    let (from, to) = (sim.add_bare_pod(0), sim.add_bare_pod(1));
    let (sender, receiver) = (sim.pod(from).entry().clone(), sim.pod(to).entry().clone());
    let frame = weft_wire::build::ethernet(sender.mac, weft_switch::path::GATEWAY_MAC)
        .ipv4(sender.ipv4.unwrap(), receiver.ipv4.unwrap())
        .udp(1, 2, b"raw");
    sim.pod(from).send(frame.clone());
    sim.run_until(Moment::from_secs(1), |_| false);
    let received = sim.pod(to).receive().unwrap();
    assert_eq!(received[26..], frame[26..]);
    assert_eq!(received[22], 62, "two nodes, two hops");
    assert_eq!(sim.pod(to).receive(), None);
    let fates: Vec<What> = sim
        .trace()
        .events()
        .iter()
        .map(|event| event.what)
        .collect();
    assert!(
        matches!(
            fates[..],
            [
                What::Decided(Fate::ToPeer(_)),
                What::Sent,
                What::Decided(Fate::ToPod(_))
            ]
        ),
        "{fates:?}"
    );
}

/// Datagrams that are not delayed arrive in the order in which they were sent.
#[test]
fn a_calm_link_keeps_the_order_of_a_flow() {
    let mut sim = Sim::builder(1).build();
    let (from, to) = (sim.add_bare_pod(0), sim.add_bare_pod(1));
    let (sender, receiver) = (sim.pod(from).entry().clone(), sim.pod(to).entry().clone());
    for number in 0u16..200 {
        let frame = weft_wire::build::ethernet(sender.mac, weft_switch::path::GATEWAY_MAC)
            .ipv6(sender.ipv6.unwrap(), receiver.ipv6.unwrap())
            .udp(1, 2, &number.to_be_bytes());
        sim.pod(from).send(frame);
    }
    sim.run_until(Moment::from_secs(1), |_| false);
    let numbers: Vec<u16> = std::iter::from_fn(|| sim.pod(to).receive())
        .map(|frame| u16::from_be_bytes(*frame.last_chunk().unwrap()))
        .collect();
    assert_eq!(numbers, (0..200).collect::<Vec<u16>>());
}
