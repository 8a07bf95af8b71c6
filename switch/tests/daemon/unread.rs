//! Datagrams the kernel loses in front of a worker that does not read: each is counted once.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;

use super::rig::{NODE_V4, Node, eventually, privileged};

/// Datagrams of one flood; the receive buffer holds about a third of them.
const FLOOD: u64 = 60_000;

/// Stops the daemon, sends it a flood from an address that is no peer's, and lets it go on.
fn flood(node: &Node) {
    let stat = format!("/proc/{}/stat", node.pid());
    node.signal("STOP");
    eventually("the daemon stands still", || {
        let text = std::fs::read_to_string(&stat).unwrap();
        text.rsplit_once(") ")
            .filter(|(_, state)| state.starts_with('T'))
            .map(|_| ())
    });
    node.space.run(|| {
        let socket = UdpSocket::bind((NODE_V4, 0)).unwrap();
        socket.connect((NODE_V4, 8472)).unwrap();
        for _ in 0..FLOOD {
            assert_eq!(socket.send(b"x").unwrap(), 1);
        }
    });
    node.signal("CONT");
}

fn packets(node: &Node, reason: &str) -> u64 {
    let drops = node.client().drops(false).unwrap().drops;
    let found = drops.iter().find(|drop| drop.reason == reason);
    found.map_or(0, |drop| drop.packets)
}

fn metrics(node: &Node) -> String {
    let stream = node.space.run(|| TcpStream::connect((NODE_V4, 9568)));
    let mut stream = stream.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn what_no_worker_had_room_for_is_counted() {
    if !privileged("what_no_worker_had_room_for_is_counted") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    assert_eq!(packets(&node, "underlay_queue_full"), 0);
    for _ in 0..2 {
        flood(&node);
        let lost = eventually("every datagram is accounted for", || {
            let lost = packets(&node, "underlay_queue_full");
            (lost + packets(&node, "unknown_peer") == FLOOD).then_some(lost)
        });
        assert!((1..FLOOD).contains(&lost), "{lost} of {FLOOD}");

        let row = format!("reason=\"underlay_queue_full\",direction=\"ingress\"}} {lost}\n");
        let page = metrics(&node);
        assert!(page.contains(&row), "{page}");
        let workers = node.client().workers().unwrap();
        let by_workers: u64 = workers.iter().map(|worker| worker.drops).sum();
        assert!(by_workers >= FLOOD, "{workers:?}");
        let status = node.status().unwrap().drops;
        let top = status.iter().any(|drop| drop.packets == lost);
        assert!(top, "{status:?}");

        // The second flood is counted from zero, or it would not add up.
        let said = Command::new(env!("CARGO_BIN_EXE_weft"))
            .args(["drops", "--reset", "--socket"])
            .arg(node.socket())
            .output()
            .unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.contains("underlay_queue_full  ingress"), "{said}");
        assert_eq!(packets(&node, "underlay_queue_full"), 0);
    }
}
