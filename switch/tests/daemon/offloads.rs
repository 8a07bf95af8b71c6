//! Super-frames between real pods: they are used, and nobody's data can tell.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use weft_switch::api::WorkerReport;
use weft_sys::netlink::link;
use weft_sys::udp::{Buffers, SendBatch, Target, bind_rx};

use super::bulk;
use super::busy::{say, times};
use super::rig::{Node, Pod, Space, eventually, privileged};

/// Flows of UDP at once, and what each sends: messages that the pod's kernel leaves uncut.
const FLOWS: u16 = 32;
const MESSAGES: u32 = 20;
const SEGMENTS: u32 = 30;
const SEGMENT: u16 = 1000;

/// Megabytes of each transfer: `WEFT_BULK_MB`, or few.
fn megabytes() -> u64 {
    times("WEFT_BULK_MB", 48).into()
}

/// One connection that carries data both ways at once, whole; `meanwhile` is told how much left.
fn exchange(
    from: &Space,
    to: &Space,
    at: &str,
    megabytes: u64,
    meanwhile: impl FnOnce(&AtomicU64),
) {
    let at: SocketAddr = at.parse().unwrap();
    let listener = to.run(|| TcpListener::bind(at).unwrap());
    let client = from.run(|| TcpStream::connect(at).unwrap());
    let (server, _) = listener.accept().unwrap();
    bulk::both_ways(&client, &server, megabytes, meanwhile);
}

/// Messages that a kernel may cut, of many flows; what of each arrives is in order and whole.
fn segments(from: &Space, to: &Space, at: &str) {
    let at: SocketAddr = at.parse().unwrap();
    let buffers = Buffers::default();
    let receiver = to.run(|| bind_rx(at, false, buffers).unwrap());
    receiver.set_nonblocking(false).unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let counting = std::thread::spawn(move || count_whole(&receiver));
    let any = SocketAddr::new(
        if at.is_ipv4() { "0.0.0.0" } else { "::" }.parse().unwrap(),
        0,
    );
    let flows: Vec<_> = (0..FLOWS)
        .map(|_| from.run(|| UdpSocket::bind(any).unwrap()))
        .collect();
    for flow in &flows {
        let wait = Some(Duration::from_millis(50));
        flow.set_read_timeout(wait).unwrap();
    }
    let mut batch = SendBatch::new(1, 1);
    for message in 0..MESSAGES {
        for flow in &flows {
            let mut bytes = vec![0; usize::from(SEGMENT) * SEGMENTS as usize];
            for (n, segment) in bytes.chunks_exact_mut(SEGMENT.into()).enumerate() {
                let number = message * SEGMENTS + u32::try_from(n).unwrap();
                segment.fill(number.to_le_bytes()[0]);
                segment[..4].copy_from_slice(&number.to_be_bytes());
            }
            let target = Target {
                to: at,
                tos: 0,
                segment: NonZeroU16::new(SEGMENT),
            };
            let mut filling = batch.fill();
            assert!(filling.begin(target) && filling.part(&bytes));
            filling.send(flow, |_, error| panic!("{error}"));
        }
        // Answers keep the sender from filling every queue.
        flows.iter().for_each(|flow| drop(flow.recv(&mut [0; 16])));
    }
    let counts = counting.join().unwrap();
    let all: u32 = counts.values().sum();
    let sent = u32::from(FLOWS) * MESSAGES * SEGMENTS;
    assert_eq!(counts.len(), usize::from(FLOWS), "every flow arrived");
    assert!(all > sent / 2, "only {all} of {sent} arrived");
}

fn count_whole(receiver: &UdpSocket) -> BTreeMap<SocketAddr, u32> {
    let (mut last, mut counts) = (BTreeMap::new(), BTreeMap::<_, u32>::new());
    let mut bytes = [0; 2048];
    while let Ok((len, from)) = receiver.recv_from(&mut bytes) {
        assert_eq!(len, usize::from(SEGMENT));
        let (number, rest) = bytes[..len].split_first_chunk::<4>().unwrap();
        let number = u32::from_be_bytes(*number);
        assert!(rest.iter().all(|byte| *byte == number.to_le_bytes()[0]));
        if let Some(before) = last.insert(from, number) {
            assert!(before < number, "{from}: {number} came after {before}");
        }
        *counts.entry(from).or_default() += 1;
        if number % SEGMENTS == SEGMENTS - 1 {
            receiver.send_to(b"seen", from).unwrap();
        }
    }
    counts
}

/// What the workers of a node did, summed up.
fn work(node: &Node) -> WorkerReport {
    let reports = node.client().workers().unwrap();
    let mut sum = WorkerReport::default();
    for report in reports {
        sum.frames_from_ports += report.frames_from_ports;
        sum.datagrams += report.datagrams;
        sum.datagrams_sent += report.datagrams_sent;
        sum.sends += report.sends;
        sum.receives += report.receives;
        sum.super_frames_from_ports += report.super_frames_from_ports;
        sum.super_frames_to_ports += report.super_frames_to_ports;
        sum.super_frames_sent += report.super_frames_sent;
        sum.super_frames_merged += report.super_frames_merged;
        sum.offloads_off.extend(report.offloads_off);
    }
    sum
}

/// Two nodes with these arguments, and a pod on each.
fn two_nodes(arguments: [&[&str]; 2]) -> ([Node; 2], [Pod; 2]) {
    let mut nodes = Node::pair("192.0.2.");
    for (node, arguments) in nodes.iter_mut().zip(arguments) {
        node.start(arguments);
    }
    let a = nodes[0].pod("a", &["10.244.1.2", "fd00:10:244:1::2"]);
    let b = nodes[1].pod("b", &["10.244.2.2", "fd00:10:244:2::2"]);
    (nodes, [a, b])
}

fn whole_across_nodes(arguments: [&[&str]; 2]) -> [WorkerReport; 2] {
    let (nodes, [a, b]) = two_nodes(arguments);
    exchange(&a.space, &b.space, "10.244.2.2:80", megabytes(), |_| {});
    exchange(
        &b.space,
        &a.space,
        "[fd00:10:244:1::2]:80",
        megabytes(),
        |_| {},
    );
    let between = nodes.each_ref().map(work);
    segments(&a.space, &b.space, "10.244.2.2:90");
    segments(&b.space, &a.space, "[fd00:10:244:1::2]:90");
    let after = nodes.each_ref().map(work);
    for (node, (before, after)) in nodes.iter().zip(between.iter().zip(&after)) {
        say(&format!("{arguments:?}: {before:?}"));
        assert_eq!(after.offloads_off, [""; 0]);
        assert!(node.status().unwrap().healthy);
        assert!(
            before.datagrams > 2 * before.receives,
            "the kernel joins: {before:?}"
        );
        if after.super_frames_from_ports > 0 {
            let more = after.super_frames_from_ports > before.super_frames_from_ports;
            assert!(more, "datagrams come uncut too: {before:?} {after:?}");
        }
    }
    between
}

#[test]
fn super_frames_carry_transfers_between_nodes() {
    if !privileged("super_frames_carry_transfers_between_nodes") {
        return;
    }
    for work in whole_across_nodes([&[], &[]]) {
        let bulk = megabytes() * (2 << 20);
        assert!(
            work.super_frames_from_ports > 0 && work.super_frames_sent > 0,
            "{work:?}"
        );
        assert!(
            work.super_frames_merged > 0 && work.super_frames_to_ports > 0,
            "{work:?}"
        );
        assert!(work.datagrams_sent > bulk / 1500, "{work:?}");
        assert!(
            work.datagrams_sent > 4 * work.sends,
            "the kernel cuts: {work:?}"
        );
    }
}

#[test]
fn a_plain_node_and_a_fast_one_understand_each_other() {
    if !privileged("a_plain_node_and_a_fast_one_understand_each_other") {
        return;
    }
    let [plain, fast] = whole_across_nodes([&["--tap", "plain"], &[]]);
    assert_eq!(
        (plain.super_frames_from_ports, plain.super_frames_to_ports),
        (0, 0)
    );
    assert!(
        plain.super_frames_merged > 0,
        "they are cut for the pod: {plain:?}"
    );
    assert!(
        fast.super_frames_sent > 0 && fast.super_frames_to_ports > 0,
        "{fast:?}"
    );
}

#[test]
fn super_frames_pass_uncut_between_pods_of_a_node() {
    if !privileged("super_frames_pass_uncut_between_pods_of_a_node") {
        return;
    }
    for backend in ["fast", "plain"] {
        let mut node = Node::new();
        node.start(&["--tap", backend]);
        let a = node.pod("a", &["10.244.1.2"]);
        let b = node.pod("b", &["10.244.1.3"]);
        exchange(&a.space, &b.space, "10.244.1.3:80", megabytes(), |_| {});
        segments(&a.space, &b.space, "10.244.1.3:90");
        let work = work(&node);
        let whole = work.super_frames_from_ports > 0 && work.super_frames_to_ports > 0;
        assert_eq!(whole, backend == "fast", "{work:?}");
        assert_eq!((work.sends, work.super_frames_sent), (0, 0), "{work:?}");
    }
}

/// The MTU of the path falls below what pods were told, and rises again: pods are told, data goes
/// on meanwhile, and no offload is lost for it.
#[test]
fn a_smaller_mtu_under_load_is_followed() {
    if !privileged("a_smaller_mtu_under_load_is_followed") {
        return;
    }
    let (nodes, [a, b]) = two_nodes([&[], &[]]);
    let set = |mtu: u16| {
        for node in &nodes {
            let mut netlink = node.space.netlink();
            let index = link::index_of(&mut netlink, "u0").unwrap();
            let change = link::Change {
                mtu: Some(mtu.into()),
                ..link::Change::default()
            };
            link::change(&mut netlink, index, &change).unwrap();
        }
        let followed = |node: &Node| node.client().peers().unwrap()[0].mtu == mtu - 50;
        eventually("the peers' MTU follows", || {
            nodes.iter().all(followed).then_some(())
        });
    };
    // Enough to last until the path is as wide as before.
    let megabytes = megabytes().max(400);
    exchange(&a.space, &b.space, "10.244.2.2:80", megabytes, |sent| {
        let flows = |more| {
            let before = sent.load(Relaxed);
            eventually("data flows", || {
                (sent.load(Relaxed) > before + more).then_some(())
            });
        };
        flows(1 << 20);
        set(1400);
        flows(4 << 20);
        let drops = nodes[0].client().drops(false).unwrap();
        let told = drops.drops.iter().find(|drop| drop.reason == "too_big");
        assert!(told.is_some(), "{drops:?}");
        set(1500);
        flows(1 << 20);
    });
    for node in &nodes {
        assert_eq!(work(node).offloads_off, [""; 0]);
        assert!(node.status().unwrap().healthy);
    }
}

/// IPv6 needs 1,280 bytes, and the tunnel 50 more: pods keep what IP needs, and the node says what
/// is wrong until it is mended.
#[test]
fn a_path_too_narrow_for_ip_is_a_problem() {
    if !privileged("a_path_too_narrow_for_ip_is_a_problem") {
        return;
    }
    let (nodes, [_a, _b]) = two_nodes([&[], &[]]);
    let [node, _] = &nodes;
    let set = |mtu| {
        let mut netlink = node.space.netlink();
        let index = link::index_of(&mut netlink, "u0").unwrap();
        let change = link::Change {
            mtu: Some(mtu),
            ..link::Change::default()
        };
        link::change(&mut netlink, index, &change).unwrap();
    };
    set(1329);
    let named = || {
        let status = node.status().unwrap();
        let mut problems = status.problems.into_iter();
        problems.find(|problem| problem.place == "path-mtu")
    };
    let problem = eventually("the path's MTU is looked at", named);
    assert!(problem.what.contains("1329"), "{problem:?}");
    assert_eq!(node.client().peers().unwrap()[0].mtu, 1280);
    set(1330);
    eventually("the problem is gone", || named().is_none().then_some(()));
    assert_eq!(node.client().peers().unwrap()[0].mtu, 1280);
    set(1500);
    eventually("pods may send as before", || {
        (node.client().peers().unwrap()[0].mtu == 1450).then_some(())
    });
}

/// Nanoseconds of processor time of all threads of a process.
fn processor_time(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .flatten();
    let spent = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    spent.sum()
}

/// Nanoseconds in two seconds: a hundredth of a core; twice that for code that is not optimised,
/// which looks after its flows as often.
const MOST_IDLE: u64 = if cfg!(debug_assertions) {
    40_000_000
} else {
    20_000_000
};

#[test]
fn an_idle_node_uses_no_processor() {
    if !privileged("an_idle_node_uses_no_processor") {
        return;
    }
    let (nodes, [a, b]) = two_nodes([&[], &[]]);
    exchange(&a.space, &b.space, "10.244.2.2:80", 1, |_| {});
    // What was begun may end first: the best of some spans of two seconds counts.
    let quiet = |_| {
        let before = processor_time(nodes[0].pid());
        super::rig::pause(Duration::from_secs(2));
        let spent = processor_time(nodes[0].pid()) - before;
        say(&format!("an idle daemon: {spent} ns in 2 s"));
        (spent < MOST_IDLE).then_some(())
    };
    assert!((0..5).find_map(quiet).is_some(), "more than {MOST_IDLE} ns");
}
