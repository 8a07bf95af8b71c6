//! Plan and reality compared: what is done, in which order, and when nothing is.

use super::super::reconcile::{Seen, Step, steps};
use super::{PODS, TWO_NODES, documents, plan};
use crate::lab::plan::Plan;

fn all_seen(plan: &Plan) -> Seen {
    let weft = ["node-a", "node-b"].map(str::to_owned);
    Seen {
        fabric: true,
        members: ["node-a", "node-b", "node-k", "outside"]
            .map(str::to_owned)
            .into(),
        files: weft.clone().into(),
        daemons: weft.into(),
        overlays: ["node-k".to_owned()].into(),
        pods: plan.pods.iter().map(|p| p.name.clone()).collect(),
        agent: true,
    }
}

fn pod(text: &str) -> Step {
    Step::Pod(text.parse().unwrap())
}

fn one(step: impl Fn(String) -> Step, name: &str) -> Step {
    step(name.to_owned())
}

#[test]
fn a_lab_that_is_up_needs_nothing() {
    let plan = plan(TWO_NODES, PODS).unwrap();
    assert_eq!(steps(Some(&plan), &plan, &all_seen(&plan)), []);
}

#[test]
fn a_new_lab_is_made_from_the_ground_up() {
    let plan = plan(TWO_NODES, PODS).unwrap();
    assert_eq!(
        steps(None, &plan, &Seen::default()),
        [
            Step::Fabric,
            one(Step::Member, "node-a"),
            one(Step::Member, "node-b"),
            one(Step::Member, "node-k"),
            one(Step::Member, "outside"),
            one(Step::Files, "node-a"),
            one(Step::Start, "node-a"),
            one(Step::Files, "node-b"),
            one(Step::Start, "node-b"),
            one(Step::Await, "node-a"),
            one(Step::Await, "node-b"),
            one(Step::Overlay, "node-k"),
            pod("default/a"),
            pod("default/b"),
            pod("x/c"),
            pod("x/d"),
            Step::Agent,
        ]
    );
}

#[test]
fn a_dead_daemon_is_started_and_its_pods_rejoin() {
    let plan = plan(TWO_NODES, PODS).unwrap();
    let mut seen = all_seen(&plan);
    seen.daemons.remove("node-b");
    assert_eq!(
        steps(Some(&plan), &plan, &seen),
        [
            one(Step::Start, "node-b"),
            one(Step::Await, "node-b"),
            pod("default/a"),
            pod("x/d"),
            Step::Agent,
        ]
    );
    seen = all_seen(&plan);
    seen.agent = false;
    assert_eq!(steps(Some(&plan), &plan, &seen), [Step::Agent]);
}

#[test]
fn a_lost_pod_comes_back_alone() {
    let plan = plan(TWO_NODES, PODS).unwrap();
    let mut seen = all_seen(&plan);
    seen.pods.remove(&"x/c".parse().unwrap());
    assert_eq!(steps(Some(&plan), &plan, &seen), [pod("x/c"), Step::Agent]);
}

#[test]
fn removed_and_moved_pods_go_first() {
    let old = plan(TWO_NODES, PODS).unwrap();
    let text = PODS.replace("nodeName: node-b", "nodeName: node-a");
    let text = text.rsplit_once("---\n").unwrap().0;
    let new = old.with_manifests(&documents(text)).unwrap();
    let mut seen = all_seen(&old);
    seen.files.clear();
    assert_eq!(
        steps(Some(&old), &new, &seen),
        [
            Step::RemovePod("x/d".parse().unwrap()),
            Step::RemovePod("default/a".parse().unwrap()),
            one(Step::Files, "node-a"),
            one(Step::Files, "node-b"),
            one(Step::Sync, "node-a"),
            one(Step::Sync, "node-b"),
            pod("default/a"),
            Step::Agent,
        ]
    );
}

#[test]
fn another_underlay_rebuilds_every_member_but_no_fabric() {
    let old = plan(TWO_NODES, PODS).unwrap();
    let new = plan(&TWO_NODES.replace("mtu: 1500", "mtu: 9000"), PODS).unwrap();
    let all = steps(Some(&old), &new, &all_seen(&old));
    let removed: Vec<_> = all
        .iter()
        .filter(|s| matches!(s, Step::RemoveMember(_)))
        .collect();
    assert_eq!(removed.len(), 4);
    assert!(!all.contains(&Step::Fabric));
    assert!(all.contains(&one(Step::Await, "node-a")));
    assert_eq!(all.iter().filter(|s| matches!(s, Step::Pod(_))).count(), 4);
}
