//! The first instant of a pod: nothing that policy forbids leaves or enters it, though everybody
//! sends before, while and after it is attached. `WEFT_ATTACHMENTS` says how often.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weft_switch::api::Attach;

use super::busy::{Busy, denied, say, socket, times};
use super::policies::{pod_yaml, policy_yaml};
use super::rig::{Node, Space, eventually, privileged, request};

const PEER: &str = "10.244.1.9";
const NEW: &str = "10.244.1.2";

/// A node whose namespace `default` denies everything, and a pod elsewhere that denies nothing.
fn node_and_peer() -> (Node, Space) {
    let mut node = Node::new();
    let deny = "{podSelector: {}, policyTypes: [Ingress, Egress]}";
    let deny = policy_yaml("default", "deny-all", deny);
    let pods = pod_yaml("default", "known") + &pod_yaml("other", "peer");
    node.manifest("all.yaml", &(deny + &pods));
    node.start(&[]);
    let peer = Space::new();
    let asks = Attach {
        namespace: "other".to_owned(),
        ..request("peer", &[PEER])
    };
    node.client().attach(asks, &peer.0).unwrap();
    (node, peer)
}

/// Attaches a pod that sends all the while, and takes it away once frames of it and for it were
/// refused. How many it sent, and how many were refused out of it and into it.
fn newcomer(node: &Node, name: &str, sink: &UdpSocket) -> [u64; 3] {
    let space = Space::new();
    let inside = socket(&space, "0.0.0.0:7000");
    inside.set_nonblocking(true).unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let to = sink.local_addr().unwrap();
    let sender = Busy::sending(socket(&space, "0.0.0.0:0"), to, Arc::clone(&sent));
    node.attach(name, &[NEW], &space).unwrap();
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
    assert!(node.detach(name));
    [sent.load(Ordering::Relaxed), out, into]
}

#[test]
fn nothing_passes_in_a_pod_s_first_instant() {
    if !privileged("nothing_passes_in_a_pod_s_first_instant") {
        return;
    }
    let attachments = times("WEFT_ATTACHMENTS", 40);
    let (node, peer) = node_and_peer();
    let sink = socket(&peer, &format!("{PEER}:7000"));
    sink.set_nonblocking(true).unwrap();
    let to: SocketAddr = format!("{NEW}:7000").parse().unwrap();
    let talks = socket(&peer, &format!("{PEER}:7001"));
    let _talker = Busy::sending(talks, to, Arc::default());
    // Every second newcomer is a pod nobody has told of.
    let names = ["known", "unknown"].into_iter().cycle();
    let mut sums = [0; 3];
    for name in names.take(attachments as usize) {
        let counts = newcomer(&node, name, &sink);
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    let [sent, out, into] = sums;
    say(&format!(
        "first instant: {attachments} attachments; {sent} datagrams sent by the pods; refused, as \
         counted when the first of both was: {out} out, {into} in; arrived: 0"
    ));
}
