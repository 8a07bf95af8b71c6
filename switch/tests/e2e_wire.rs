//! Would a network engineer with tshark find anything wrong with our packets?
//!
//! Records what the nodes of a lab send on the underlay while their pods exchange more than 10,000
//! packets of every kind, and lets tshark judge each: VXLAN (RFC 7348), outer and inner checksums,
//! source ports. The receivers meanwhile check that no flow is reordered.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_recv_buffer_size_force;

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use common::host::{Family, Host};
use common::lab::{Lab, Spec};
use common::lab::{NODES, WEFT_NODES};
use common::link::{self, Recorder};
use common::ping::{Answer, Ping};
use common::talk::{self, Fragments};
use common::tshark::{self, Packet};
use common::{privileged, tool};

/// Flows of one family between one pair of pods.
const FLOWS: usize = 64;
/// Echo requests of each flow.
const ROUNDS: u32 = 45;
/// The same where nothing is recorded.
const LONG: u32 = 120;
/// Datagrams of one flow in flight.
const WINDOW: u32 = 6;
/// Receive buffer of the end that all flows meet at.
const ROOM: usize = 4 << 20;

/// Source ports of a node with two workers (decision 0003): so many flows take them all.
const LANES: usize = 4;

#[test]
fn tshark_finds_nothing_wrong_over_ipv4() {
    judge(Family::V4, "wire4", "tshark_finds_nothing_wrong_over_ipv4");
}

#[test]
fn tshark_finds_nothing_wrong_over_ipv6() {
    judge(Family::V6, "wire6", "tshark_finds_nothing_wrong_over_ipv6");
}

fn judge(underlay: Family, tag: &'static str, test: &str) {
    let why = "it judges our packets";
    let (true, Some(program)) = (privileged(test), tool("tshark", test, why)) else {
        return;
    };
    let lab = Lab::up(&Spec { tag, underlay });
    order(&lab);
    let captures = record(&lab, || traffic(&lab));
    let mut verdict = Verdict::default();
    for (node, file) in &captures {
        for packet in tshark::dissect(&program, file) {
            verdict.judge(&lab, node, &packet);
        }
    }
    verdict.conclude();
}

/// Records what every node sends while `traffic` runs; answers the files by node.
fn record(lab: &Lab, traffic: impl FnOnce()) -> Vec<(&'static str, PathBuf)> {
    // A veth leaves checksums and segmentation to its peer, which a capture would show as wrong.
    let kernels = lab.hosts().filter(|host| host.node == "node-k");
    for host in kernels {
        for interface in link::interfaces(host) {
            link::offloads_off(host, &interface);
        }
    }
    let mut recorders = Vec::new();
    for name in NODES {
        let node = lab.node(name);
        let interface = link::interface_with(node, lab.vtep(name));
        link::offloads_off(node, &interface);
        let file = lab.folder().join(format!("{name}.pcap"));
        let sender = link::mac_of(node, &interface);
        recorders.push((
            name,
            file.clone(),
            Recorder::start(node, &interface, sender, &file),
        ));
    }
    traffic();
    let ended = recorders.into_iter().map(|(node, file, recorder)| {
        assert!(recorder.stop() > 0, "{node} sent nothing");
        (node, file)
    });
    ended.collect()
}

/// Longer than what is recorded, with all pairs at once: neighbours of a node, and over the tunnel
/// from both ends.
fn order(lab: &Lab) {
    thread::scope(|scope| {
        for (client, server) in [("a1", "a2"), ("a1", "b1"), ("b2", "a2")] {
            for family in Family::BOTH {
                let (client, server) = (lab.pod(client), lab.pod(server));
                scope.spawn(move || flows_stay_in_order(client, server, family, LONG));
            }
        }
    });
}

/// Packets of every kind between pods of all nodes.
fn traffic(lab: &Lab) {
    let pod = |name| lab.pod(name);
    thread::scope(|scope| {
        for family in Family::BOTH {
            scope.spawn(move || flows_stay_in_order(pod("a1"), pod("b1"), family, ROUNDS));
        }
    });
    for family in Family::BOTH {
        flows_stay_in_order(pod("k1"), pod("b2"), family, 8);
        for (from, to) in [("a1", "b2"), ("b1", "a2"), ("k1", "a1"), ("a2", "k2")] {
            let (from, to) = (pod(from), pod(to));
            let what = format!("{from} to {to} over {}", family.name());
            talk::tcp(from, to, family, 200_000, Duration::from_secs(10))
                .unwrap_or_else(|e| panic!("TCP from {what}: {e}"));
            for size in (64..lab.pod_mtu()).step_by(97) {
                let answer = Ping::to(to.address(family)).size(size).from(from);
                let expected = Answer::Reply(to.address(family));
                assert_eq!(answer, expected, "{size} bytes from {what}");
            }
            // Where the kernel reassembles for conntrack and fragments again, it writes its new
            // headers into buffers that the recorder still holds: the fast path of its
            // ip_do_fragment() minds shared buffers, not cloned ones.
            if to.node != "node-k" {
                fragments(from, to, family);
            }
        }
    }
}

/// Datagrams that the sending pod's own stack fragments.
fn fragments(from: &Host, to: &Host, family: Family) {
    let (sender, receiver) = (from.udp(family, 0), to.udp(family, 0));
    talk::fragments(&sender, family, Fragments::Allowed);
    for bytes in [1500, 3000, 8000] {
        talk::one_way(&sender, &receiver, bytes)
            .unwrap_or_else(|e| panic!("{bytes} bytes from {from} to {to}: {e}"));
    }
}

/// Echoes over many flows at once, many packets in flight: each end must see each flow's sequence
/// numbers rise.
fn flows_stay_in_order(client: &Host, server: &Host, family: Family, rounds: u32) {
    let what = format!("{client} to {server} over {}", family.name());
    let echo = server.udp(family, 0);
    set_socket_recv_buffer_size_force(&echo, ROOM).expect("root");
    let address = echo.local_addr().expect("bound");
    let done = AtomicBool::new(false);
    let mut asker = Asker::new(client, family);
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(&echo, &done));
        asker.ask(address, rounds);
        done.store(true, Ordering::Relaxed);
        let reordered = server.join().expect("the echo server does not panic");
        assert_eq!(reordered, 0, "requests out of order, {what}");
    });
    let sent = FLOWS * usize::try_from(rounds).expect("few");
    assert_eq!(asker.reordered, 0, "answers out of order, {what}");
    assert_eq!(asker.answers, sent, "answers, {what}");
}

/// The asking end of [`FLOWS`] flows.
struct Asker {
    flows: Vec<UdpSocket>,
    /// The latest number that came back, by flow.
    last: Vec<Option<u32>>,
    answers: usize,
    reordered: usize,
}

impl Asker {
    fn new(client: &Host, family: Family) -> Self {
        Self {
            flows: (0..FLOWS).map(|_| client.udp(family, 0)).collect(),
            last: vec![None; FLOWS],
            answers: 0,
            reordered: 0,
        }
    }

    /// Sends `rounds` numbered datagrams on every flow and waits for their echoes.
    fn ask(&mut self, server: SocketAddr, rounds: u32) {
        for round in 0..rounds {
            for (flow, socket) in self.flows.iter().enumerate() {
                let mut datagram = round.to_be_bytes().to_vec();
                let size = (flow * 37 + usize::try_from(round).expect("few") * 101) % 1300;
                datagram.extend(talk::pattern(flow, size));
                socket.send_to(&datagram, server).expect("a send");
            }
            // A window stays in flight, so that neighbours within a flow meet on the way.
            if round % WINDOW == WINDOW - 1 {
                self.collect(round + 1 - WINDOW / 2);
            }
        }
        self.collect(rounds);
    }

    /// Reads answers until every flow has had the one before `end`.
    fn collect(&mut self, end: u32) {
        for flow in 0..FLOWS {
            self.flows[flow]
                .set_read_timeout(Some(talk::PATIENCE))
                .expect("not zero");
            while self.last[flow].is_none_or(|last| last + 1 < end) {
                let mut buffer = [0; 2048];
                let Ok(length) = self.flows[flow].recv(&mut buffer) else {
                    return;
                };
                let number = number(&buffer[..length]);
                self.answers += 1;
                self.reordered += usize::from(self.last[flow] >= number);
                self.last[flow] = number;
            }
        }
    }
}

/// Echoes until told to stop and nothing is left; answers how many datagrams came out of order.
fn serve(socket: &UdpSocket, done: &AtomicBool) -> usize {
    let patience = Some(Duration::from_millis(50));
    socket.set_read_timeout(patience).expect("not zero");
    let mut last: BTreeMap<SocketAddr, u32> = BTreeMap::new();
    let mut reordered = 0;
    let mut buffer = [0; 2048];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            if done.load(Ordering::Relaxed) {
                return reordered;
            }
            continue;
        };
        let number = number(&buffer[..length]).expect("a numbered datagram");
        let before = last.insert(from, number);
        reordered += usize::from(before >= Some(number));
        socket.send_to(&buffer[..length], from).expect("a send");
    }
}

fn number(datagram: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*datagram.first_chunk()?))
}

/// What was found so far.
#[derive(Default)]
struct Verdict {
    vxlan: usize,
    faults: Vec<String>,
    /// Outer source ports, by sending node and inner flow.
    ports: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Verdict {
    fn judge(&mut self, lab: &Lab, node: &str, packet: &Packet) {
        let number = packet.first("frame.number");
        if !packet.is_vxlan() {
            let protocols = packet.first("frame.protocols");
            if !["eth:ethertype:arp", "eth:ethertype:ipv6:icmpv6"]
                .iter()
                .any(|usual| protocols.starts_with(usual))
                && !protocols.contains("icmpv6")
            {
                self.faults
                    .push(format!("{node} #{number}: not VXLAN but {protocols}"));
            }
            return;
        }
        self.vxlan += 1;
        let from_weft = WEFT_NODES.contains(&node);
        let source: Option<IpAddr> = packet.outer_source(lab.underlay).parse().ok();
        if source != Some(lab.vtep(node)) {
            self.faults
                .push(format!("{node} #{number}: outer source {source:?}"));
        }
        if let Some(fault) = packet.fault(lab.underlay, from_weft) {
            let flow = packet.flow(lab.underlay);
            self.faults
                .push(format!("{node} #{number} ({flow}): {fault}"));
        }
        if from_weft && packet.has_ports() {
            let key = (node.to_owned(), packet.flow(lab.underlay));
            let port = packet.first("udp.srcport").to_owned();
            self.ports.entry(key).or_default().insert(port);
        }
    }

    fn conclude(self) {
        let Self {
            vxlan,
            faults,
            ports,
        } = self;
        let shown = faults
            .iter()
            .take(20)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n");
        let count = faults.len();
        assert!(
            faults.is_empty(),
            "{count} of {vxlan} packets have a fault\n{shown}"
        );
        assert!(vxlan >= 10_000, "only {vxlan} packets were judged");
        for ((node, flow), ports) in &ports {
            assert_eq!(
                ports.len(),
                1,
                "{node} moved a flow between ports {ports:?}: {flow}"
            );
        }
        for node in WEFT_NODES {
            let of_node = ports.iter().filter(|((sender, _), _)| sender == node);
            let (flows, distinct) =
                of_node.fold((0, BTreeSet::new()), |(n, mut all), (_, ports)| {
                    all.extend(ports.iter().cloned());
                    (n + 1, all)
                });
            assert!(flows >= FLOWS, "{node} sent only {flows} flows");
            let spread = distinct.len();
            assert_eq!(
                spread, LANES,
                "{node} used {spread} source ports for {flows} flows"
            );
        }
    }
}
