//! Bandwidth through the plugin: the rate asked for is the rate there is, in either direction.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;
use weft_policy::{Moment, Span};
use weft_switch::runtime::Clock;

use super::busy::{Busy, say, socket};
use super::plugin::Sandbox;
use super::rig::{Node, Space, eventually, privileged};

/// Bits a second.
const RATE: u64 = 20_000_000;
/// Bytes of a datagram, and of its Ethernet frame, which is what counts.
const DATAGRAM: usize = 1000;
const FRAME: u64 = 1000 + 8 + 20 + 14;
/// How long is measured.
const LONG: Span = Span::from_secs(3);
/// What a runtime gives for a pod that asks for a rate alone.
const NO_BURST: u64 = u32::MAX as u64;

/// Sends more than the rate, and counts in bits a second what arrives once any burst is spent.
fn measured(from: &Space, to: &Space, at: &str) -> u64 {
    let clock = Clock::start();
    let at: SocketAddr = at.parse().unwrap();
    let (received, listener) = (Arc::new(AtomicU64::new(0)), socket(to, &at.to_string()));
    listener
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let counted = Arc::clone(&received);
    let _listening = Busy::new(listener, move |socket| {
        if socket.recv(&mut [0; DATAGRAM]).is_ok() {
            counted.fetch_add(1, Relaxed);
        }
    });
    // Three times the rate.
    let pace = Duration::from_nanos(FRAME * 8 * 1_000_000_000 / RATE / 3);
    let mut next = clock.now();
    let _sending = Busy::new(socket(from, "0.0.0.0:0"), move |socket| {
        let _ = socket.send_to(&[0; DATAGRAM], at);
        next = next + Span::from_nanos(pace.as_nanos().try_into().unwrap());
        std::thread::park_timeout(until(clock, next));
    });
    let before = |moment: Moment| clock.now() < moment;
    let wait = |span: Span| {
        let end = clock.now() + span;
        eventually("time passes", || (!before(end)).then_some(()));
    };
    wait(Span::from_secs(1));
    let (begun, count) = (clock.now(), received.load(Relaxed));
    wait(LONG);
    let (took, count) = (clock.now().since(begun), received.load(Relaxed) - count);
    count * FRAME * 8 * 1_000_000_000 / took.as_nanos()
}

fn until(clock: Clock, moment: Moment) -> Duration {
    Duration::from_nanos(moment.since(clock.now()).as_nanos())
}

/// Frames dropped because a pod used its bandwidth up.
fn limited(node: &Node) -> u64 {
    let drops = node.client().drops(false).unwrap().drops;
    let limited = drops.iter().filter(|drop| drop.reason == "rate_limited");
    limited.map(|drop| drop.packets).sum()
}

#[test]
fn a_pod_has_the_rate_it_was_given() {
    if !privileged("a_pod_has_the_rate_it_was_given") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let mut free = Sandbox::new(&node, "free");
    let free_ip = Sandbox::addresses(&free.add()).remove(0);
    for (name, burst) in [("asked", 4_000_000), ("usual", NO_BURST)] {
        for direction in ["ingress", "egress"] {
            let limits = json!({
                format!("{direction}Rate"): RATE,
                format!("{direction}Burst"): burst,
            });
            let pod = format!("{name}-{direction}");
            let mut pod = Sandbox::new(&node, &pod).with("bandwidth", limits);
            let ip = Sandbox::addresses(&pod.add()).remove(0);
            let before = limited(&node);
            let [into, out] = [
                measured(&free.space, &pod.space, &format!("{ip}:7")),
                measured(&pod.space, &free.space, &format!("{free_ip}:7")),
            ];
            say(&format!(
                "{name} burst, {direction} limited to {RATE} b/s: {into} in, {out} out"
            ));
            let (held, unheld) = if direction == "ingress" {
                (into, out)
            } else {
                (out, into)
            };
            let off = held.abs_diff(RATE);
            assert!(off <= RATE / 10, "{direction}: {held} b/s");
            assert!(unheld > RATE * 3 / 2, "the other direction: {unheld} b/s");
            assert!(limited(&node) > before + 1000, "{direction}");
            pod.del();
        }
    }
}
