//! Policies that change under load: whole stacks over two nodes in memory. Flows that stay
//! allowed lose nothing, others stop and go on exactly when they may.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weft_policy::model::{Isolation, Labels, ObjectName, Operator, Requirement, Selector};
use weft_policy::model::{Pod, Policy};
use weft_policy::{Change, Direction, Engine, Moment, Span};
use weft_switch::path::{PodName, PortId};
use weft_switch::sim::smoltcp::iface::SocketHandle;
use weft_switch::sim::{PodId, Sim};

/// Between two changes.
const BETWEEN: Span = Span::from_millis(2);
const CHANGES: usize = 100;

/// A simulation whose nodes are all under one cluster's policies.
struct World {
    sim: Sim,
    engines: Vec<Engine>,
}

fn object(pod: &PodName) -> ObjectName {
    ObjectName::new(&pod.namespace, &pod.name)
}

impl World {
    fn new(seed: u64) -> Self {
        let sim = Sim::builder(seed).build();
        let engines = vec![Engine::new(seed), Engine::new(!seed)];
        Self { sim, engines }
    }

    fn add_pod(&mut self, node: usize) -> PodId {
        let id = self.sim.add_pod(node);
        let entry = self.sim.pod(id).entry();
        let name = object(entry.pod.as_ref().unwrap());
        let pod = Arc::new(Pod {
            labels: Labels::from([("name".to_owned(), name.name.clone())]),
            addresses: entry.addresses().collect(),
            ports: vec![],
            name,
        });
        self.engines[node].enforce(&pod.name);
        self.apply(&Change::Pod(pod));
        id
    }

    fn apply(&mut self, change: &Change) {
        for engine in &mut self.engines {
            engine.apply(change.clone());
        }
        self.publish();
    }

    /// All nodes at one moment.
    fn publish(&mut self) {
        for (node, engine) in self.engines.iter_mut().enumerate() {
            let table = engine.table();
            self.sim
                .enforce(node, table, |pod| engine.set_of(&object(pod)));
        }
    }

    /// A policy that lets nothing pass a pod in one direction.
    fn shut(&mut self, id: PodId, direction: Direction) -> ObjectName {
        let pod = object(self.sim.pod(id).entry().pod.as_ref().unwrap());
        let requirement = Requirement {
            key: "name".to_owned(),
            operator: Operator::In([pod.name.clone()].into()),
        };
        let nothing = Isolation::Only(vec![]);
        let (ingress, egress) = match direction {
            Direction::Egress => (Isolation::None, nothing),
            Direction::Ingress => (nothing, Isolation::None),
        };
        let policy = Policy {
            name: ObjectName::new(pod.namespace, format!("shut-{}-{direction:?}", pod.name)),
            pods: Selector {
                requirements: vec![requirement],
            },
            ingress,
            egress,
        };
        let name = policy.name.clone();
        self.apply(&Change::Policy(Arc::new(policy)));
        name
    }

    fn open(&mut self, policy: ObjectName) {
        self.apply(&Change::PolicyGone(policy));
    }

    fn address(&mut self, pod: PodId, v6: bool) -> IpAddr {
        let mut addresses = self.sim.pod(pod).entry().addresses();
        addresses.find(|address| address.is_ipv6() == v6).unwrap()
    }

    /// Lets what is under way arrive.
    fn settle(&mut self) {
        let until = self.sim.now() + Span::from_millis(3);
        self.sim.run_until(until, |_| false);
    }

    /// The port of a pod.
    fn port(&mut self, node: usize, pod: PodId) -> PortId {
        let mac = self.sim.pod(pod).entry().mac;
        let mut ports = self.sim.tables(node).unwrap().ports();
        ports.find(|(_, entry)| entry.mac == mac).unwrap().0
    }

    fn connect(&mut self, client: PodId, server: PodId, v6: bool) -> [(PodId, SocketHandle); 2] {
        let to = SocketAddr::new(self.address(server, v6), 80);
        let listener = self.sim.pod(server).tcp_listen(80).unwrap();
        let connection = self.sim.pod(client).tcp_connect(40_000, to).unwrap();
        let deadline = self.sim.now() + Span::from_secs(60);
        let connected = self.sim.run_until(deadline, |sim| {
            sim.pod(server).tcp(listener).unwrap().may_send()
        });
        assert!(connected);
        [(client, connection), (server, listener)]
    }
}

/// Sends up to `len` bytes; how many bytes the other end has got meanwhile.
fn pump(sim: &mut Sim, [from, to]: [(PodId, SocketHandle); 2], len: usize) -> usize {
    let socket = sim.pod(from.0).tcp(from.1).unwrap();
    if len > 0 && socket.can_send() {
        socket.send_slice(&vec![7; len]).unwrap();
    }
    let socket = sim.pod(to.0).tcp(to.1).unwrap();
    let mut received = 0;
    while socket.can_recv() {
        received += socket.recv(|bytes| (bytes.len(), bytes.len())).unwrap();
    }
    received
}

/// A datagram of each flow every 200 µs until then; how many of each.
fn datagrams(
    sim: &mut Sim,
    flows: [((PodId, SocketHandle), SocketAddr); 2],
    until: Moment,
) -> usize {
    let mut sent = 0;
    while sim.now() < until {
        for ((pod, socket), to) in flows {
            sim.pod(pod)
                .udp(socket)
                .unwrap()
                .send_slice(b"tick", to)
                .unwrap();
        }
        sent += 1;
        let next = (sim.now() + Span::from_micros(200)).min(until);
        sim.run_until(next, |_| false);
    }
    sent
}

fn received(sim: &mut Sim, at: (PodId, SocketHandle)) -> usize {
    let socket = sim.pod(at.0).udp(at.1).unwrap();
    let mut count = 0;
    while socket.recv().is_ok() {
        count += 1;
    }
    count
}

/// 10,000 datagrams a second under 100 changes: what is sent while it is allowed arrives, all
/// of it and nothing else; of another pod's flow, over the same nodes, everything.
#[test]
fn datagrams_pass_exactly_while_they_may() {
    for (v6, [here, there]) in [(false, [0, 1]), (true, [0, 1]), (true, [0, 0])] {
        let mut world = World::new(3);
        let (client, server) = (world.add_pod(here), world.add_pod(there));
        let (steady, sink) = (world.add_pod(here), world.add_pod(there));
        let mut bind = |pod, port| (pod, world.sim.pod(pod).udp_bind(port).unwrap());
        let asks = [bind(client, 5000), bind(steady, 5000)];
        let gets = [bind(server, 53), bind(sink, 53)];
        let to = [server, sink].map(|pod| SocketAddr::new(world.address(pod, v6), 53));
        let [first, second] = asks;
        let flows = [(first, to[0]), (second, to[1])];
        let (mut sent, mut arrived) = ([0; 2], [0; 2]);
        for _ in 0..CHANGES / 2 {
            for denied in [false, true] {
                let policy = denied.then(|| world.shut(client, Direction::Egress));
                let until = world.sim.now() + BETWEEN;
                let each = datagrams(&mut world.sim, flows, until);
                sent = [sent[0] + if denied { 0 } else { each }, sent[1] + each];
                arrived[0] += received(&mut world.sim, gets[0]);
                arrived[1] += received(&mut world.sim, gets[1]);
                policy.into_iter().for_each(|policy| world.open(policy));
            }
        }
        world.settle();
        arrived[0] += received(&mut world.sim, gets[0]);
        arrived[1] += received(&mut world.sim, gets[1]);
        assert_eq!(arrived, sent, "v6 {v6}, nodes {here} and {there}");
    }
}

/// A connection that is denied stands still at once, and goes on when it may; one that stays
/// allowed runs through all of it without a frame dropped.
#[test]
fn a_connection_stands_still_while_it_is_denied() {
    for (direction, [here, there]) in [
        (Direction::Egress, [0, 1]),
        (Direction::Ingress, [0, 1]),
        (Direction::Ingress, [0, 0]),
    ] {
        let mut world = World::new(4);
        let (client, server) = (world.add_pod(here), world.add_pod(there));
        let (steady, sink) = (world.add_pod(here), world.add_pod(there));
        let cut = world.connect(client, server, false);
        let kept = world.connect(steady, sink, true);
        let of = if direction == Direction::Egress {
            client
        } else {
            server
        };
        let mut steadily = 0;
        for change in 0..6 {
            let policy = world.shut(of, direction);
            world.settle();
            pump(&mut world.sim, cut, 0);
            for _ in 0..10 {
                let next = world.sim.now() + Span::from_millis(2);
                steadily += pump(&mut world.sim, kept, 3000);
                let passed = pump(&mut world.sim, cut, 3000);
                assert_eq!(passed, 0, "{direction:?} {here} {there}, change {change}");
                world.sim.run_until(next, |_| false);
            }
            world.open(policy);
            // The sender's timer runs on from the denial.
            let allowed = world.sim.now() + Span::from_secs(60);
            let moves = world.sim.run_until(allowed, |sim| pump(sim, cut, 0) > 0);
            assert!(
                moves,
                "{direction:?} {here} {there}: it goes on after change {change}"
            );
        }
        world.settle();
        steadily += pump(&mut world.sim, kept, 0);
        assert_eq!(steadily, 6 * 10 * 3000);
        for (pod, node) in [(steady, here), (sink, there)] {
            let port = world.port(node, pod);
            let drops = world.sim.counters(node).unwrap().port(port).egress_drops;
            assert_eq!(drops, 0, "of a flow that stays allowed");
            let denials = world.sim.denials(node).unwrap();
            for way in [Direction::Egress, Direction::Ingress] {
                assert_eq!(denials.packets(port, way), 0);
            }
        }
    }
}
