//! Does everybody reach everybody, at every size, over both families and both underlays?
//!
//! Three nodes, two of them weft's and one the Linux kernel's VXLAN, two pods on each. Every check
//! lists all pairs that fail, not only the first.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use weft_sys::netlink::{Netlink, link};
use weft_sys::sysctl;

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use common::host::{Family, Host};
use common::lab::{Lab, PODS, Spec, WEFT_NODES};
use common::ping::{Answer, Ping, traceroute};
use common::privileged;
use common::talk::{self, Fragments};

#[test]
fn over_an_ipv4_underlay() {
    if !privileged("over_an_ipv4_underlay") {
        return;
    }
    let lab = Lab::up(&Spec {
        tag: "mesh4",
        underlay: Family::V4,
    });
    mesh(&lab);
    an_outside_host_is_reached(&lab);
    up_again_changes_nothing(&lab);
    tcp_survives_loss_and_delay(&lab);
}

#[test]
fn over_an_ipv6_underlay() {
    if !privileged("over_an_ipv6_underlay") {
        return;
    }
    let lab = Lab::up(&Spec {
        tag: "mesh6",
        underlay: Family::V6,
    });
    mesh(&lab);
}

/// Everything that holds over any underlay.
fn mesh(lab: &Lab) {
    everybody_pings_everybody(lab);
    everybody_talks_to_everybody(lab);
    packets_of_exactly_the_mtu_pass(lab);
    the_way_is_what_the_design_says(lab);
    a_sender_above_the_mtu_learns_it(lab);
}

/// Runs a check for every ordered pair of different hosts and both families.
fn every_pair(
    lab: &Lab,
    section: &str,
    check: impl Fn(&Host, &Host, Family) -> Result<(), String>,
) {
    let mut failures = Vec::new();
    let mut pairs = 0;
    for from in lab.hosts() {
        for to in lab.hosts().filter(|to| to.name != from.name) {
            if is_the_kernels_own_affair(from, to) {
                continue;
            }
            for family in Family::BOTH {
                pairs += 1;
                if let Err(why) = check(from, to, family) {
                    failures.push(format!("{from} to {to} over {}: {why}", family.name()));
                }
            }
        }
    }
    let failed = failures.len();
    assert!(
        failures.is_empty(),
        "{section}: {failed} of {pairs} failed\n{}",
        failures.join("\n")
    );
}

/// The kernel node and its own pods: no packet of theirs meets weft, and the kernel talks to them
/// from its bridge's address instead of the node's.
fn is_the_kernels_own_affair(from: &Host, to: &Host) -> bool {
    let local = from.node == "node-k" && to.node == "node-k";
    local && (from.name == "node-k" || to.name == "node-k")
}

fn everybody_pings_everybody(lab: &Lab) {
    every_pair(lab, "ping", |from, to, family| {
        expect_reply(Ping::to(to.address(family)), from)
    });
}

fn everybody_talks_to_everybody(lab: &Lab) {
    every_pair(lab, "TCP and UDP of one byte", |from, to, family| {
        talk::tcp(from, to, family, 1, talk::PATIENCE).map_err(|e| format!("TCP: {e}"))?;
        talk::udp(from, to, family, 1).map_err(|e| format!("UDP: {e}"))
    });
}

fn packets_of_exactly_the_mtu_pass(lab: &Lab) {
    let mtu = lab.pod_mtu();
    every_pair(lab, "packets of exactly the MTU", |from, to, family| {
        let ping = Ping::to(to.address(family)).size(mtu);
        expect_reply(ping, from)?;
        let payload = usize::try_from(mtu).expect("fits") - family.ip_header() - UDP_HEADER;
        talk::udp(from, to, family, payload).map_err(|e| format!("UDP: {e}"))?;
        talk::tcp(from, to, family, 20_000, talk::PATIENCE).map_err(|e| format!("TCP: {e}"))?;
        Ok(())
    });
    for pod in PODS {
        for family in Family::BOTH {
            let to = lab.pod(if pod == "b1" { "b2" } else { "b1" });
            let answer = Ping::to(to.address(family))
                .size(mtu + 1)
                .from(lab.pod(pod));
            assert_eq!(
                answer,
                Answer::NotSent,
                "{pod} knows its MTU, over {}",
                family.name()
            );
        }
    }
}

const UDP_HEADER: usize = 8;

fn expect_reply(ping: Ping, from: &Host) -> Result<(), String> {
    match ping.from(from) {
        Answer::Reply(who) if who == ping.to => Ok(()),
        other => Err(format!("{} bytes: {other:?}", ping.size)),
    }
}

fn the_way_is_what_the_design_says(lab: &Lab) {
    for family in Family::BOTH {
        let gateway = Answer::TimeExceeded(family.gateway());
        let reply = |host: &Host| Answer::Reply(host.address(family));
        let hop = |host: &Host| Answer::TimeExceeded(host.address(family));
        let way = |from: &str, to: &Host| traceroute(lab.pod(from), to.address(family));
        let case = |from: &str, to: &Host, expected: &[Answer]| {
            let seen = way(from, to);
            assert_eq!(
                seen,
                expected,
                "the way from {from} to {to}, {}",
                family.name()
            );
        };
        let [a2, b1, k1] = ["a2", "b1", "k1"].map(|pod| lab.pod(pod));
        let [node_a, node_b] = ["node-a", "node-b"].map(|node| lab.node(node));
        case("a1", a2, &[gateway, reply(a2)]);
        case("a1", b1, &[gateway, hop(node_b), reply(b1)]);
        // The switch is a router in front of its node, too.
        case("a1", node_b, &[gateway, hop(node_b), reply(node_b)]);
        case("a1", node_a, &[gateway, reply(node_a)]);
        // The kernel node is a hop too; which of its addresses it uses is the kernel's choice.
        let seen = way("a1", k1);
        assert_eq!(seen.len(), 3, "the way from a1 to k1: {seen:?}");
        assert_eq!((seen[0], seen[2]), (gateway, reply(k1)));
        // And back: the weft node in front of the pod answers the kernel's pod.
        let seen = way("k1", b1);
        assert_eq!(seen.len(), 3, "the way from k1 to b1: {seen:?}");
        assert_eq!((seen[1], seen[2]), (hop(node_b), reply(b1)));
    }
}

/// Pods and nodes whose interface claims 1500 bytes send packets that no tunnel can carry.
fn a_sender_above_the_mtu_learns_it(lab: &Lab) {
    routers_fragment_where_they_may(lab);
    let node_k = lab.node("node-k");
    // The kernel tells a destination one error a second.
    for key in ["net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit"] {
        let set = node_k.run(|| sysctl::set(key, "0"));
        set.unwrap_or_else(|error| panic!("{node_k}: {error}"));
    }
    let interfaces = claiming_interfaces(lab);
    for (host, name) in &interfaces {
        set_mtu(host, name, common::lab::UNDERLAY_MTU);
    }
    every_pair(lab, "learning the MTU", |from, to, family| {
        learns_the_mtu(lab.pod_mtu(), from, to, family)
    });
    for (host, name) in &interfaces {
        set_mtu(host, name, lab.pod_mtu());
    }
}

/// The interfaces through which everybody reaches the pod network, with the ends of the kernel
/// pods' links on their node.
fn claiming_interfaces(lab: &Lab) -> Vec<(&Host, String)> {
    let of = |host: &Host| -> Vec<String> {
        let list = || link::list(&mut Netlink::open()?);
        let links = host.run(list).unwrap_or_else(|e| panic!("{host}: {e}"));
        links.into_iter().map(|link| link.name).collect()
    };
    let pods = lab.pods.iter().map(|pod| (pod, "eth0".to_owned()));
    let weft = WEFT_NODES.map(|name| (lab.node(name), "weft0".to_owned()));
    let node_k = lab.node("node-k");
    let others = of(node_k).into_iter().filter(|name| {
        let own = ["lo", "eth0"].contains(&name.as_str());
        !own && !name.starts_with("vxlan")
    });
    let ends = others.map(|name| (node_k, name));
    pods.chain(weft).chain(ends).collect()
}

/// Whether a sender whose interface claims more learns the MTU of the way, whatever it sends.
fn learns_the_mtu(mtu: u32, from: &Host, to: &Host, family: Family) -> Result<(), String> {
    if from.node == "node-k" && to.node == "node-k" {
        // No tunnel lies between them.
        return Ok(());
    }
    let address = to.address(family);
    let knows = |host: &Host| host.name == "node-k";
    // The switch speaks as the gateway; what the kernel speaks as is its choice.
    let tells = |host: &Host, who| host.node == "node-k" || who == family.gateway();
    // First, while the way is unknown: both ends announce what 1500 bytes allow.
    let (bytes, limit) = (100_000, Duration::from_secs(10));
    talk::tcp(from, to, family, bytes, limit).map_err(|e| format!("TCP above the MTU: {e}"))?;
    for (host, peer) in [(from, to), (to, from)] {
        let learned = talk::path_mtu(host, peer.address(family));
        // Nobody sends more than the kernel node announces, whose tunnel interface is its own.
        if learned != mtu && !knows(peer) {
            return Err(format!("after TCP {host} believes in {learned} bytes"));
        }
    }
    let size = usize::try_from(mtu).expect("fits") + 1 - family.ip_header() - UDP_HEADER;
    asked_again(|| talk::too_big(from, address, size)).map_err(|e| format!("UDP with DF: {e}"))?;
    let ping = Ping {
        patience: talk::ERROR_PATIENCE,
        ..Ping::to(address).size(mtu + 1)
    };
    asked_again(|| match ping.from(from) {
        Answer::TooBig(who, told) if told == mtu && tells(from, who) => Ok(()),
        Answer::NotSent if knows(from) => Ok(()),
        other => Err(format!("ping of {} bytes: {other:?}", mtu + 1)),
    })?;
    expect_reply(Ping::to(address).size(mtu), from)
}

/// Errors come at a limited rate, and the TCP before may have used it up.
fn asked_again(ask: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let mut answers = (0..5).map(|_| ask());
    answers.find(Result::is_ok).unwrap_or_else(ask)
}

/// IPv4 without DF: one byte above the MTU, and as large as the interface lets through.
fn routers_fragment_where_they_may(lab: &Lab) {
    let mtu = usize::try_from(lab.pod_mtu()).expect("fits");
    // a2 has learned nothing about any path, so its own stack does not fragment first.
    let a2 = lab.pod("a2");
    set_mtu(a2, "eth0", common::lab::UNDERLAY_MTU);
    for to in ["b1", "b2", "k1"] {
        let receiver = lab.pod(to).udp(Family::V4, 0);
        let sender = a2.udp(Family::V4, 0);
        talk::fragments(&sender, Family::V4, Fragments::Allowed);
        for size in [mtu + 1, 1500] {
            let payload = size - Family::V4.ip_header() - UDP_HEADER;
            talk::one_way(&sender, &receiver, payload)
                .unwrap_or_else(|e| panic!("a2 to {to}, {size} bytes without DF: {e}"));
        }
    }
    let learned = talk::path_mtu(a2, IpAddr::V4(lab.pod("b2").v4));
    assert_eq!(
        learned,
        common::lab::UNDERLAY_MTU,
        "no error was sent to a2"
    );
    set_mtu(a2, "eth0", lab.pod_mtu());
}

fn set_mtu(host: &Host, interface: &str, mtu: u32) {
    let change = || {
        let mut netlink = Netlink::open()?;
        let index = link::index_of(&mut netlink, interface)?;
        let change = link::Change {
            mtu: Some(mtu),
            ..link::Change::default()
        };
        link::change(&mut netlink, index, &change)
    };
    host.run(change)
        .unwrap_or_else(|error| panic!("{host}: set the MTU of {interface} to {mtu}: {error}"));
}

fn an_outside_host_is_reached(lab: &Lab) {
    let outside = lab.outside();
    for pod in PODS {
        for family in Family::BOTH {
            let answer = Ping::to(outside.address(family)).from(lab.pod(pod));
            let expected = Answer::Reply(outside.address(family));
            assert_eq!(
                answer,
                expected,
                "{pod} to the outside over {}",
                family.name()
            );
        }
    }
}

fn up_again_changes_nothing(lab: &Lab) {
    let before: serde_json::Value = lab.ask("node-a", &["status"]);
    lab.weft_up().ok();
    let after: serde_json::Value = lab.ask("node-a", &["status"]);
    for field in ["pid", "epoch"] {
        assert_eq!(before[field], after[field], "{field} after a second lab up");
    }
    let a1 = lab.pod("a1");
    expect_reply(Ping::to(IpAddr::V4(lab.pod("b1").v4)), a1).expect("pods still talk");
}

fn tcp_survives_loss_and_delay(lab: &Lab) {
    let faults = ["netem", "node-a", "--delay", "20ms", "--loss", "1%"];
    lab.run(&[&faults[..], &["--lab", &lab.name]].concat()).ok();
    let transfers = [
        ("a1", "b1", Family::V4, 1_500_000),
        ("a2", "b2", Family::V6, 700_000),
        ("a2", "k1", Family::V4, 700_000),
    ];
    thread::scope(|scope| {
        for (from, to, family, bytes) in transfers {
            scope.spawn(move || {
                let (from, to) = (lab.pod(from), lab.pod(to));
                let took = talk::tcp(from, to, family, bytes, Duration::from_secs(20))
                    .unwrap_or_else(|e| panic!("TCP from {from} to {to}: {e}"));
                let least = Duration::from_millis(80);
                assert!(took > least, "{took:?} is too fast for this underlay");
            });
        }
    });
}
