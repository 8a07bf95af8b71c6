//! Which promises does the demo show, and how?

use std::net::IpAddr;
use std::time::Duration;

use weft_sys::netns::Netns;

use super::super::endpoint::{Endpoint, Protocol};
use super::super::error::{LabError, LabResult};
use super::super::file::Family;
use super::super::plan::Plan;
use super::super::probe::{self, Target};
use super::super::survey::{self, Question};
use super::super::throughput;
use super::super::time::Interrupt;
use super::policy;
use crate::text::say;

/// Echo requests per line; the median is shown.
const PINGS: usize = 7;
const LIMIT: Duration = Duration::from_secs(1);
const STREAM: Duration = Duration::from_secs(2);

/// What a line shows, or why it does not hold and what to look at.
pub(super) type Shown = Result<String, (String, String)>;

/// Prints one line.
pub(super) fn line(good: bool, what: &str, number: &str) {
    let sign = if good { '✓' } else { '✗' };
    say(&format!(
        "{sign} {what:<58} {number}
"
    ));
}

/// Who pings whom.
const PAIRS: [(&str, &str, &str); 8] = [
    ("pod to pod on one node", "shop/frontend", "shop/cart"),
    ("pod to pod across nodes", "shop/frontend", "shop/backend"),
    (
        "weft pod to a pod of the Linux VXLAN node",
        "shop/backend",
        "legacy/stock",
    ),
    (
        "pod of the Linux VXLAN node to a weft pod",
        "legacy/billing",
        "shop/cart",
    ),
    (
        "node to a pod of another node",
        "node:node-a",
        "shop/backend",
    ),
    ("node to its own pod", "node:node-b", "shop/backend"),
    ("pod to its own node", "shop/frontend", "node:node-a"),
    ("pod to another node", "shop/frontend", "node:node-b"),
];
pub(super) const FAMILIES: [(Family, &str); 2] = [(Family::Ipv4, "IPv4"), (Family::Ipv6, "IPv6")];

/// Shows every promise; answers whether all held.
pub(super) fn tell(plan: &Plan, interrupt: &Interrupt) -> LabResult<bool> {
    let mut story = Story {
        interrupt,
        all: true,
    };
    for (what, from, to) in PAIRS {
        for (family, label) in FAMILIES {
            story.show(&format!("{what}, {label}"), || ping(plan, from, to, family))?;
        }
    }
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for (family, label) in FAMILIES {
            let what = format!("every pod to every pod, {protocol} over {label}");
            story.show(&what, || everybody(plan, protocol, family))?;
        }
    }
    for (family, label) in FAMILIES {
        let what = format!("pod to outside, which sees the node, {label}");
        story.show(&what, || outside(plan, "shop/frontend", family))?;
    }
    story.show("TCP across nodes, one stream", || {
        stream(plan, "shop/frontend", "shop/backend")
    })?;
    story.show("TCP to the Linux VXLAN node, one stream", || {
        stream(plan, "shop/frontend", "legacy/stock")
    })?;
    policy::tell(plan, &mut story, interrupt)?;
    Ok(story.all)
}

/// The lines so far.
pub(super) struct Story<'i> {
    interrupt: &'i Interrupt,
    all: bool,
}

impl Story<'_> {
    pub(super) fn show(&mut self, what: &str, shown: impl FnOnce() -> Shown) -> LabResult<()> {
        self.interrupt.check()?;
        match shown() {
            Ok(number) => line(true, what, &number),
            Err((why, look)) => {
                self.all = false;
                say(&format!("✗ {what}: {why}; look at: {look}\n"));
            }
        }
        Ok(())
    }
}

/// A failure of the lab itself, as a line.
pub(super) fn broken(error: &LabError) -> (String, String) {
    (
        error.to_string().replace('\n', " "),
        "weft lab status".to_owned(),
    )
}

/// Names of the demo are right by construction; a wrong one is a line that does not hold.
fn endpoint(text: &str) -> Result<Endpoint, (String, String)> {
    text.parse()
        .map_err(|why| (why, "the demo's own names".to_owned()))
}

pub(super) fn look_at(plan: &Plan, name: &str) -> String {
    let node = match name.strip_prefix("node:") {
        Some(node) => Some(node),
        None => plan
            .pods
            .iter()
            .find(|p| p.name.to_string() == name)
            .map(|p| p.node.as_str()),
    };
    let node = node.unwrap_or("node-a");
    format!(
        "weft lab demo --keep, then weft drops --lab {} --node {node}",
        plan.name
    )
}

/// From where to which address.
fn pair(
    plan: &Plan,
    from: &str,
    to: &str,
    family: Family,
) -> Result<(Netns, IpAddr), (String, String)> {
    let wrong = |why: String| (why, "the demo's own names".to_owned());
    let from = plan.member_of(&endpoint(from)?).map_err(wrong)?;
    let to = plan.member_of(&endpoint(to)?).map_err(wrong)?;
    let netns = from.netns.ok_or_else(|| wrong("no namespace".to_owned()))?;
    let address = to
        .address(family)
        .ok_or_else(|| wrong("no address".to_owned()))?;
    let netns = Netns::open(&netns).map_err(|e| broken(&e.into()))?;
    Ok((netns, address))
}

fn ping(plan: &Plan, from: &str, to: &str, family: Family) -> Shown {
    let (netns, address) = pair(plan, from, to, family)?;
    let target = Target {
        address,
        port: 0,
        protocol: Protocol::Icmp,
        size: None,
        limit: LIMIT,
    };
    let mut times = Vec::new();
    for _ in 0..PINGS {
        let outcome = probe::run(&netns, &[target]).map_err(|e| broken(&e))?.pop();
        match outcome.map(|o| (o.rtt, o.answer)) {
            Some((Some(rtt), _)) => times.push(rtt),
            Some((None, why)) => return Err((format!("ping {address}: {why}"), look_at(plan, to))),
            None => {}
        }
    }
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(format!("{} µs", median.as_micros()))
}

pub(super) fn everybody(plan: &Plan, protocol: Protocol, family: Family) -> Shown {
    let question = Question {
        port: 80,
        protocol,
        family: Some(family),
        size: None,
        limit: LIMIT,
    };
    let matrix = survey::matrix(plan, question).map_err(|e| broken(&e))?;
    let denied = matrix
        .verdicts
        .iter()
        .find(|p| p.verdict == super::super::endpoint::Verdict::Deny);
    match denied {
        None => Ok(format!(
            "{} of {} pairs",
            matrix.verdicts.len(),
            matrix.verdicts.len()
        )),
        Some(pair) => {
            let count = matrix
                .verdicts
                .iter()
                .filter(|p| p.verdict == pair.verdict)
                .count();
            let why = format!(
                "{count} of {} pairs fail, {} → {} for one",
                matrix.verdicts.len(),
                pair.from,
                pair.to
            );
            Err((why, look_at(plan, &pair.to.to_string())))
        }
    }
}

/// The outside host has no route to pods: it must see the node's address.
fn outside(plan: &Plan, from: &str, family: Family) -> Shown {
    let (netns, address) = pair(plan, from, "outside", family)?;
    let target = Target {
        address,
        port: 80,
        protocol: Protocol::Tcp,
        size: None,
        limit: LIMIT,
    };
    let outcome = probe::run(&netns, &[target]).map_err(|e| broken(&e))?.pop();
    let Some(outcome) = outcome.filter(|o| o.allowed()) else {
        return Err((format!("TCP to {address}: no answer"), look_at(plan, from)));
    };
    let pod = plan.pods.iter().find(|pod| pod.name.to_string() == from);
    let node = pod.and_then(|pod| plan.node(&pod.node));
    let expected = node.map(|node| format!("outside {}", node.member.address(family)));
    if Some(&outcome.answer) == expected.as_ref() {
        Ok(outcome.answer.trim_start_matches("outside ").to_owned())
    } else {
        Err((
            format!("the outside host answered \"{}\"", outcome.answer),
            "nft list ruleset on the node".to_owned(),
        ))
    }
}

fn stream(plan: &Plan, from: &str, to: &str) -> Shown {
    let (source, address) = pair(plan, from, to, Family::Ipv4)?;
    let (target, _) = pair(plan, to, to, Family::Ipv4)?;
    let bits = throughput::measure(&source, &target, address, STREAM)
        .map_err(|e| (e.to_string().replace('\n', " "), look_at(plan, to)))?;
    Ok(format!("{:.2} Gb/s", bits / 1e9))
}
