//! The first instant of a pod: nothing that policy forbids leaves or enters it, though everybody
//! sends before, while and after it is attached. Every second pod is one nobody has told of; IPv4
//! and IPv6 take turns. `WEFT_ATTACHMENTS` says how many pods there are (200).

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weft_switch::api::Attach;

use super::busy::{Busy, TICK, denied, say, socket, times};
use super::policies::{pod_yaml, policy_yaml};
use super::rig::{Node, Space, eventually, privileged, request};

/// How many pods come and go at the same time: most of a pod's life is waiting for the kernel.
const LANES: u32 = 4;

/// A family: the pods' network, and the wildcard address.
struct Family {
    network: &'static str,
    any: &'static str,
}

const V4: Family = Family {
    network: "10.244.1.",
    any: "0.0.0.0",
};
const V6: Family = Family {
    network: "fd00:10:244:1::",
    any: "::",
};

impl Family {
    const BOTH: [Self; 2] = [V4, V6];

    /// The address of the pods of a lane.
    fn of(&self, lane: u32) -> String {
        format!("{}{}", self.network, lane + 2)
    }

    /// The address of the pod that may talk.
    fn peer(&self) -> String {
        format!("{}99", self.network)
    }
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// A node whose namespace `default` denies everything, and a pod elsewhere that denies nothing.
struct World {
    node: Node,
    peer: Space,
    /// Where the newcomers send to, by family.
    sinks: [UdpSocket; 2],
}

impl World {
    /// So many newcomers will come.
    fn new(attachments: u32) -> Self {
        let mut node = Node::new();
        let deny = "{podSelector: {}, policyTypes: [Ingress, Egress]}";
        let mut manifests = policy_yaml("default", "deny-all", deny) + &pod_yaml("other", "peer");
        let known = (0..attachments).step_by(2);
        manifests.extend(known.map(|number| pod_yaml("default", &name(number))));
        node.manifest("all.yaml", &manifests);
        node.start(&[]);
        let peer = Space::new();
        let ips = Family::BOTH.map(|family| family.peer());
        let asks = Attach {
            namespace: "other".to_owned(),
            ..request("peer", &[&ips[0], &ips[1]])
        };
        node.client().attach(asks, &peer.0).unwrap();
        let sinks = ips.map(|ip| socket(&peer, &at(&ip, 7000).to_string()));
        for sink in &sinks {
            sink.set_nonblocking(true).unwrap();
        }
        Self { node, peer, sinks }
    }

    /// Sends to all lanes, over both families.
    fn talker(&self) -> Busy {
        let [v4, v6] = Family::BOTH.map(|family| {
            let lanes = (0..LANES).map(|lane| at(&family.of(lane), 7000));
            let socket = socket(&self.peer, &at(&family.peer(), 7001).to_string());
            (socket, lanes.collect::<Vec<_>>())
        });
        Busy::new(v4.0, move |socket| {
            std::thread::park_timeout(TICK);
            for (v4, v6_to) in v4.1.iter().zip(&v6.1) {
                // There is no way to a pod that is not there.
                let _ = socket.send_to(b"datagram", v4);
                let _ = v6.0.send_to(b"datagram", v6_to);
            }
        })
    }

    /// Attaches a pod that sends all the while, and takes it away once frames of it and for it
    /// were refused. How many it sent, and how many were refused out of it and into it.
    fn newcomer(&self, lane: u32, number: u32) -> [u64; 3] {
        let (node, name, space) = (&self.node, name(number), Space::new());
        let which = usize::from((number / LANES) % 2 == 1);
        let (family, sink) = (&Family::BOTH[which], &self.sinks[which]);
        let inside = socket(&space, &at(family.any, 7000).to_string());
        inside.set_nonblocking(true).unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let from = socket(&space, &at(family.any, 0).to_string());
        let sender = Busy::sending(from, sink.local_addr().unwrap(), Arc::clone(&sent));
        node.attach(&name, &[&family.of(lane)], &space).unwrap();
        let pod = format!("default/{name}");
        let [out, into] = eventually("both ways were refused", || {
            let drops = node.client().drops(false).unwrap();
            let both = ["egress", "ingress"].map(|direction| denied(&drops, &pod, direction));
            both.iter().all(|count| *count > 0).then_some(both)
        });
        drop(sender);
        let mut bytes = [0; 16];
        assert!(inside.recv(&mut bytes).is_err(), "something came in");
        assert!(sink.recv(&mut bytes).is_err(), "something got out");
        assert!(node.detach(&name));
        [sent.load(Ordering::Relaxed), out, into]
    }
}

/// The name of a pod, which no other has: even ones are known before they come.
fn name(number: u32) -> String {
    format!("pod{number}")
}

#[test]
fn nothing_passes_in_a_pod_s_first_instant() {
    if !privileged("nothing_passes_in_a_pod_s_first_instant") {
        return;
    }
    let attachments = times("WEFT_ATTACHMENTS", 200);
    let world = World::new(attachments);
    let talker = world.talker();
    let lane = |lane: u32| {
        let numbers = (lane..attachments).step_by(LANES as usize);
        numbers.map(|number| world.newcomer(lane, number)).collect()
    };
    let lanes: Vec<Vec<[u64; 3]>> = std::thread::scope(|scope| {
        let lane = &lane;
        let threads = Vec::from_iter((0..LANES).map(|number| scope.spawn(move || lane(number))));
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    drop(talker);
    let sum = |which: usize| {
        lanes
            .iter()
            .flatten()
            .map(|counts| counts[which])
            .sum::<u64>()
    };
    say(&format!(
        "first instant: {attachments} attachments, half of them over IPv6; {} datagrams sent by the \
         pods; refused, as counted when the first of both was: {} out, {} in; arrived: 0",
        sum(0),
        sum(1),
        sum(2),
    ));
}
