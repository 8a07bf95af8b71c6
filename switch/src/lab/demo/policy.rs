//! Who may still talk once policies are applied, and who refused whom?
//!
//! Owns the demo's policy lines: "deny all" and "frontend may reach backend" for the namespace
//! shop, every pair tried with real packets, and one refusal named by the daemon that made it.

use std::path::Path;
use std::time::Duration;

use super::super::daemon;
use super::super::endpoint::{Endpoint, Protocol, Verdict};
use super::super::error::LabResult;
use super::super::expect::Expectation;
use super::super::file::Family;
use super::super::manifest;
use super::super::plan::{Plan, Pod};
use super::super::survey::{self, Limits};
use super::super::time::{Interrupt, Stopwatch};
use super::super::up;
use super::PODS;
use super::story::{FAMILIES, Shown, Story, broken, everybody, look_at};

const POLICIES: &str = include_str!("policies.yaml");

/// Silence that proves a refusal; other probes are answered meanwhile.
const LIMITS: Limits = Limits {
    answer: Duration::from_secs(3),
    silence: Duration::from_millis(250),
};

/// The pair whose refusal is explained: cart may not send, and so never reaches backend.
const REFUSED: (&str, &str) = ("shop/cart", "shop/backend");

/// Applies the policies, shows what they do, and removes them again.
pub(super) fn tell(plan: &Plan, story: &mut Story<'_>, interrupt: &Interrupt) -> LabResult<()> {
    let rules = "apply deny-all, and: frontend may reach backend, TCP";
    story.show(rules, || apply(plan, &[PODS, POLICIES], interrupt))?;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for (family, label) in FAMILIES {
            let what = format!("who may still talk, {protocol} over {label}");
            story.show(&what, || still(plan, protocol, family))?;
        }
    }
    let what = format!("{} to {} is refused by", REFUSED.0, REFUSED.1);
    story.show(&what, || refused_by(plan))?;
    story.show("remove the policies", || apply(plan, &[PODS], interrupt))?;
    story.show("everybody talks again, TCP over IPv4", || {
        everybody(plan, Protocol::Tcp, Family::Ipv4)
    })
}

/// Replaces the lab's manifests; every daemon enforces them when this returns.
fn apply(plan: &Plan, manifests: &[&str], interrupt: &Interrupt) -> Shown {
    let watch = Stopwatch::start();
    let text = manifests.join("---\n");
    let done = up::apply(&plan.name, interrupt, |before| {
        before.with_manifests(&manifest::parse(Path::new("demo/manifests.yaml"), &text)?)
    });
    done.map_err(|error| broken(&error))?;
    Ok(format!("{:.2} s", watch.elapsed().as_secs_f64()))
}

/// Whether the policies let this pair talk on port 80.
fn may(from: &Pod, to: &Pod, protocol: Protocol) -> bool {
    let [a, b] = [from, to].map(|pod| pod.name.to_string());
    let outside_shop = [from, to].iter().all(|pod| pod.name.namespace != "shop");
    let allowed = (a.as_str(), b.as_str()) == ("shop/frontend", "shop/backend");
    a == b || outside_shop || (allowed && protocol == Protocol::Tcp)
}

fn still(plan: &Plan, protocol: Protocol, family: Family) -> Shown {
    let pairs = plan.pods.iter();
    let pairs = pairs.flat_map(|from| plan.pods.iter().map(move |to| (from, to)));
    let expected: Vec<Expectation> = pairs
        .map(|(from, to)| expectation(from, to, protocol, family))
        .collect();
    check(plan, &expected)?;
    let allowed = expected.iter().filter(|e| e.verdict == Verdict::Allow);
    Ok(format!("{} of {} pairs", allowed.count(), expected.len()))
}

fn expectation(from: &Pod, to: &Pod, protocol: Protocol, family: Family) -> Expectation {
    Expectation {
        from: Endpoint::Pod(from.name.clone()),
        to: Endpoint::Pod(to.name.clone()),
        port: 80,
        protocol,
        verdict: if may(from, to, protocol) {
            Verdict::Allow
        } else {
            Verdict::Deny
        },
        family: Some(family),
        size: None,
    }
}

/// Real packets for every expectation.
fn check(plan: &Plan, expected: &[Expectation]) -> Result<(), (String, String)> {
    let checked = survey::check(plan, expected, LIMITS).map_err(|error| broken(&error))?;
    let wrong: Vec<_> = checked.iter().filter(|one| !one.holds()).collect();
    let Some(first) = wrong.first() else {
        return Ok(());
    };
    let why = format!(
        "{} of {} pairs differ; {}: expected {}",
        wrong.len(),
        checked.len(),
        first.expectation.label(),
        first.expectation.verdict,
    );
    Err((why, look_at(plan, &first.expectation.to.to_string())))
}

/// The policy that the daemon of the sender's node names for the refusal.
fn refused_by(plan: &Plan) -> Shown {
    let (sender, receiver) = REFUSED;
    let wrong = |why: String| (why, look_at(plan, sender));
    let pod = |name: &str| {
        let found = plan.pods.iter().find(|pod| pod.name.to_string() == name);
        found.ok_or_else(|| wrong(format!("there is no pod {name}")))
    };
    let (from, to) = (pod(sender)?, pod(receiver)?);
    check(plan, &[expectation(from, to, Protocol::Tcp, Family::Ipv4)])?;
    let node = plan.node(&from.node);
    let node = node.ok_or_else(|| wrong(format!("{sender} has no node")))?;
    let drops = daemon::connect(plan, node)
        .and_then(|mut client| client.drops(false))
        .map_err(|error| wrong(error.to_string()))?;
    let refused = drops.denials.into_iter().find(|denial| {
        denial.pod == sender
            && denial.direction == "egress"
            && denial.example.to.as_deref() == Some(receiver)
    });
    let tells_nothing = || wrong(format!("{} tells of no such refusal", node.name));
    match refused.ok_or_else(tells_nothing)?.example.policy {
        Some(policy) if policy == "shop/deny-all" => Ok(policy),
        other => Err(wrong(format!("{} names {other:?}", node.name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::name::LabName;

    #[test]
    fn the_policies_are_read_and_leave_what_is_said() {
        let plan = super::super::plan(&LabName::new("demo").unwrap()).unwrap();
        let text = [PODS, POLICIES].join("---\n");
        let documents = manifest::parse(Path::new("m.yaml"), &text).unwrap();
        let plan = plan.with_manifests(&documents).unwrap();
        assert_eq!((plan.pods.len(), plan.others.len()), (6, 3));
        let count = |protocol| {
            let pairs = plan.pods.iter();
            let pairs = pairs.flat_map(|from| plan.pods.iter().map(move |to| (from, to)));
            pairs.filter(|(from, to)| may(from, to, protocol)).count()
        };
        assert_eq!((count(Protocol::Tcp), count(Protocol::Udp)), (9, 8));
    }
}
