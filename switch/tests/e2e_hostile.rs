//! Can a pod, or somebody on the underlay, reach what it must not?
//!
//! Forges frames by packet sockets, listens with others wherever they could come out, compares what
//! the node believes before and after, and finds every frame in `weft drops` under its reason.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use weft_wire::{IpProtocol, Mac, Parsed, Transport};

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use common::clock::{wait_until, within};
use common::forged::{Forged, MARK, PORT, Party, pod, underlay};
use common::host::{Family, Host};
use common::lab::{Lab, Spec};
use common::link::{self, Forger, Sniffer};
use common::ping::{Answer, Ping};
use common::privileged;

const VXLAN_PORT: u16 = 8472;
/// Frames in one go: well below what a TAP or a socket queues.
const BATCH: usize = 300;
/// What is wrong with a frame that was cut.
const MALFORMED: [&str; 6] = [
    "truncated",
    "bad_length",
    "bad_version",
    "bad_checksum",
    "bad_header_chain",
    "tiny_fragment",
];
/// What kernels say on their own when they like: a count may be higher than what was sent.
const NOISY: [&str; 5] = [
    "multicast",
    "router_solicitation",
    "neighbor_solicitation",
    "address_probe",
    "link_local",
];

#[test]
fn hostile_frames_reach_nobody_over_ipv4() {
    attack(
        "hostile4",
        Family::V4,
        "hostile_frames_reach_nobody_over_ipv4",
    );
}

#[test]
fn hostile_frames_reach_nobody_over_ipv6() {
    attack(
        "hostile6",
        Family::V6,
        "hostile_frames_reach_nobody_over_ipv6",
    );
}

fn attack(tag: &'static str, underlay: Family, test: &str) {
    if !privileged(test) {
        return;
    }
    let lab = Lab::up(&Spec { tag, underlay });
    let watch = Watch::new(&lab);
    from_a_pod(&lab, &watch);
    from_the_underlay(&lab, &watch);
    watch.nothing_changed(&lab);
}

fn from_a_pod(lab: &Lab, watch: &Watch) {
    let a1 = lab.pod("a1");
    let forger = Forger::new(a1, "eth0");
    let scene = pod::Scene {
        me: party(a1, "eth0"),
        neighbour: party(lab.pod("a2"), "eth0"),
        remote: party(lab.pod("b1"), "eth0"),
        node: party(lab.node("node-a"), "weft0"),
        vtep: on_underlay(lab, "node-a").v4,
        vxlan_port: VXLAN_PORT,
    };
    for name in ["a2", "b1", "k1"] {
        let to = party(lab.pod(name), "eth0");
        for frame in scene.harmless(to) {
            forger.send(&frame);
            watch.of(name).must_hear("a harmless frame of a1");
        }
    }
    watch.forget();
    let mut ledger = Ledger::new(lab, "node-a");
    for (section, attacks) in [
        ("link-layer addresses", scene.macs()),
        ("source addresses", scene.sources()),
        ("destinations", scene.destinations()),
        ("ARP", scene.arp()),
        ("rogue messages", scene.rogues()),
    ] {
        ledger.play(section, &forger, &attacks);
        watch.heard_nothing(section);
    }
    let mut sweep = scene.ethertypes().peekable();
    while sweep.peek().is_some() {
        let some: Vec<Forged> = sweep.by_ref().take(BATCH).collect();
        ledger.play("EtherTypes", &forger, &some);
    }
    watch.heard_nothing("EtherTypes");
    ledger.play_malformed("runts of a pod", &forger, &scene.runts());
    watch.heard_nothing("runts of a pod");
}

fn from_the_underlay(lab: &Lab, watch: &Watch) {
    let outside = lab.outside();
    let interface = link::interface_with(&outside, IpAddr::V4(outside.v4));
    let forger = Forger::new(&outside, &interface);
    let scene = underlay::Scene {
        family: lab.underlay,
        attacker: party(&outside, &interface),
        target: on_underlay(lab, "node-a"),
        vtep_mac: vtep_mac(lab),
        peer: on_underlay(lab, "node-b"),
        victim: party(lab.pod("a1"), "eth0"),
        second: party(lab.pod("a2"), "eth0"),
        pod: party(lab.pod("b1"), "eth0"),
        third: party(lab.pod("k1"), "eth0"),
        vxlan_port: VXLAN_PORT,
    };
    for frame in scene.harmless() {
        forger.send(&frame);
        watch.of("a1").must_hear("what a peer may send");
    }
    for frame in scene.ignored_flags() {
        forger.send(&frame);
        watch.of("a1").must_hear("flags that mean nothing");
    }
    watch.forget();
    let mut ledger = Ledger::new(lab, "node-a");
    for (section, attacks) in [
        ("outer headers", scene.headers()),
        ("inner MACs", scene.inner_macs()),
        ("inner sources", scene.inner_sources()),
        ("inner destinations", scene.inner_destinations()),
        ("contents", scene.contents()),
    ] {
        ledger.play(section, &forger, &attacks);
        watch.heard_nothing(section);
    }
    let (tunnel, inside) = scene.truncations();
    let short: Vec<Forged> = tunnel.into_iter().map(short_tunnel).collect();
    ledger.play("truncated tunnels", &forger, &short);
    ledger.play_malformed("truncated inner frames", &forger, &inside);
    watch.heard_nothing("truncations");
}

fn short_tunnel(frame: Vec<u8>) -> Forged {
    Forged {
        what: format!("{} bytes", frame.len()),
        reason: "truncated_tunnel",
        frame,
    }
}

fn party(host: &Host, interface: &str) -> Party {
    Party {
        mac: link::mac_of(host, interface),
        v4: host.v4,
        v6: host.v6,
    }
}

/// A node as the underlay sees it.
fn on_underlay(lab: &Lab, name: &str) -> Party {
    let node = lab.node(name);
    let [v4, v6] = Family::BOTH.map(|family| lab.underlay_address(name, family));
    let (IpAddr::V4(v4), IpAddr::V6(v6)) = (v4, v6) else {
        panic!("{name} has {v4} and {v6}");
    };
    let mac = link::mac_of(node, &link::interface_with(node, lab.vtep(name)));
    Party { mac, v4, v6 }
}

fn vtep_mac(lab: &Lab) -> Mac {
    let status: weft_switch::api::Status = lab.ask("node-a", &["status"]);
    status.vtep_mac.parse().expect("a MAC")
}

/// Compares what was sent with what was counted.
struct Ledger<'a> {
    lab: &'a Lab,
    node: &'static str,
    counted: BTreeMap<String, u64>,
}

impl<'a> Ledger<'a> {
    fn new(lab: &'a Lab, node: &'static str) -> Self {
        Self {
            lab,
            node,
            counted: lab.drops(node),
        }
    }

    /// Sends frames and finds each of them under its reason.
    fn play(&mut self, section: &str, forger: &Forger, attacks: &[Forged]) {
        for some in attacks.chunks(BATCH) {
            let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
            for attack in some {
                forger.send(&attack.frame);
                *expected.entry(attack.reason).or_default() += 1;
            }
            let counted = self.settle(some.len());
            let differs = |(reason, count): (&String, &u64)| {
                let expected = expected.get(reason.as_str()).copied().unwrap_or(0);
                let noisy = NOISY.contains(&reason.as_str());
                *count < expected || (*count > expected && !noisy)
            };
            let missing = expected.keys().any(|reason| !counted.contains_key(*reason));
            if missing || counted.iter().any(differs) {
                let list: Vec<String> = some
                    .iter()
                    .map(|a| format!("{}: {}", a.reason, a.what))
                    .collect();
                panic!(
                    "{section}: sent {expected:?}\ncounted {counted:?}\nthe frames:\n{}",
                    list.join("\n")
                );
            }
        }
    }

    /// Sends frames that are broken in one way or another and finds all of them.
    fn play_malformed(&mut self, section: &str, forger: &Forger, frames: &[Vec<u8>]) {
        for some in frames.chunks(BATCH) {
            some.iter().for_each(|frame| forger.send(frame));
            let counted = self.settle(some.len());
            let malformed: u64 = MALFORMED
                .iter()
                .filter_map(|reason| counted.get(*reason))
                .sum();
            let sent = u64::try_from(some.len()).expect("few");
            assert_eq!(malformed, sent, "{section}: counted {counted:?}");
        }
    }

    /// Waits until that many frames more are counted, and answers which.
    fn settle(&mut self, frames: usize) -> BTreeMap<String, u64> {
        let (lab, node) = (self.lab, self.node);
        let frames = u64::try_from(frames).expect("few");
        let before = &self.counted;
        let mut latest = BTreeMap::new();
        let all = within(Duration::from_secs(20), || {
            let now = lab.drops(node);
            latest = more(before, &now);
            (latest.values().sum::<u64>() >= frames).then_some(now)
        });
        self.counted = all
            .unwrap_or_else(|| panic!("{node}: of {frames} frames only these count: {latest:?}"));
        latest
    }
}

/// What was counted between two readings.
fn more(before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = now.iter().map(|(reason, count)| {
        let old = before.get(reason).copied().unwrap_or(0);
        (reason.clone(), count - old)
    });
    grown.filter(|(_, count)| *count > 0).collect()
}

/// Ears at every place where a hostile frame could come out.
struct Watch {
    /// In pods and on `weft0`: whatever comes in there came through the switch.
    ears: Vec<(&'static str, Sniffer)>,
    /// On the underlay of the node attacked, both ways.
    underlay: Sniffer,
    node: IpAddr,
    believed: Vec<(&'static str, BTreeSet<String>)>,
    /// Where harmless datagrams end, so that no host answers them with an error.
    _sinks: Vec<UdpSocket>,
}

/// Hosts whose tables are compared.
const BELIEVERS: [&str; 5] = ["a1", "a2", "b1", "k1", "node-a"];

impl Watch {
    fn new(lab: &Lab) -> Self {
        let pods = ["a1", "a2", "b1", "k1"];
        let mut ears: Vec<_> = pods
            .map(|pod| (pod, Sniffer::new(lab.pod(pod), "eth0")))
            .into_iter()
            .collect();
        let node = lab.node("node-a");
        ears.push(("weft0", Sniffer::new(node, "weft0")));
        let interface = link::interface_with(node, lab.vtep("node-a"));
        Self {
            ears,
            underlay: Sniffer::both_ways(node, &interface),
            node: lab.vtep("node-a"),
            believed: BELIEVERS.map(|name| (name, beliefs(lab, name))).into(),
            _sinks: pods
                .iter()
                .flat_map(|pod| Family::BOTH.map(|family| lab.pod(pod).udp(family, PORT)))
                .collect(),
        }
    }

    fn of(&self, name: &str) -> Ear<'_> {
        let (_, sniffer) = self
            .ears
            .iter()
            .find(|(ear, _)| *ear == name)
            .expect("an ear there");
        Ear(sniffer)
    }

    /// Leaves out what was heard so far.
    fn forget(&self) {
        self.ears.iter().for_each(|(_, sniffer)| {
            sniffer.heard();
        });
        self.underlay.heard();
    }

    fn heard_nothing(&self, section: &str) {
        for (name, sniffer) in &self.ears {
            let mut heard = sniffer.heard();
            if *name == "k1" {
                // Its kernel node speaks to it on its own; what came from the overlay has the mark
                // or claims to be a router, a server or a neighbour.
                heard.retain(|frame| is_marked(frame) || !is_kernel_noise(frame));
            }
            assert!(
                heard.is_empty(),
                "{section}: {} heard {heard:02x?}",
                sniffer.name
            );
        }
        let leaves = |frame: &Vec<u8>| tunnelled_by(self.node, frame);
        let left: Vec<_> = self.underlay.heard().into_iter().filter(leaves).collect();
        assert!(left.is_empty(), "{section}: the node sent {left:02x?}");
    }

    /// Addresses, routes and neighbours are as they were, and everybody still talks.
    fn nothing_changed(&self, lab: &Lab) {
        for (name, before) in &self.believed {
            let after = beliefs(lab, name);
            let lost: Vec<_> = before.difference(&after).collect();
            let new: Vec<_> = after.difference(before).collect();
            assert!(
                lost.is_empty() && new.is_empty(),
                "{name} lost {lost:#?}\nand believes now {new:#?}"
            );
        }
        for (from, to) in [("a1", "a2"), ("a2", "b1"), ("b1", "a1"), ("k1", "a1")] {
            for family in Family::BOTH {
                let to = lab.pod(to).address(family);
                let answer = Ping::to(to).from(lab.pod(from));
                assert_eq!(answer, Answer::Reply(to), "{from} to {to} afterwards");
            }
        }
    }
}

fn beliefs(lab: &Lab, name: &str) -> BTreeSet<String> {
    match name {
        "node-a" => {
            let node = lab.node(name);
            let underlay = link::interface_with(node, lab.vtep(name));
            link::tables(node, &underlay)
        }
        // A pod of a kernel node resolves its gateway as any host does.
        "k1" => link::tables(lab.pod(name), "eth0"),
        pod => link::tables(lab.pod(pod), "none"),
    }
}

struct Ear<'a>(&'a Sniffer);

impl Ear<'_> {
    /// Waits for a marked frame.
    fn must_hear(&self, what: &str) {
        let patience = Duration::from_secs(20);
        wait_until(what, patience, || {
            let frame = self.0.next(patience)?;
            is_marked(&frame).then_some(())
        });
    }
}

fn is_marked(frame: &[u8]) -> bool {
    frame.windows(MARK.len()).any(|window| window == MARK)
}

/// ARP, neighbour discovery and group membership between a pod and its kernel node.
fn is_kernel_noise(frame: &[u8]) -> bool {
    const IGMP: IpProtocol = IpProtocol(2);
    match weft_wire::parse(frame) {
        Ok(Parsed::Arp(_)) => true,
        Ok(Parsed::Ip(packet)) => match packet.transport {
            Transport::Icmpv6 { kind, .. } => {
                matches!(kind, 130..=133 | 135 | 136 | 143)
            }
            _ => packet.flow.protocol == IGMP,
        },
        _ => false,
    }
}

/// Whether a frame on the underlay is a tunnel packet of this node.
fn tunnelled_by(node: IpAddr, frame: &[u8]) -> bool {
    let Ok(Parsed::Ip(packet)) = weft_wire::parse(frame) else {
        return false;
    };
    let flow = packet.flow;
    flow.src == node && flow.protocol == IpProtocol::UDP && flow.dst_port == VXLAN_PORT
}
