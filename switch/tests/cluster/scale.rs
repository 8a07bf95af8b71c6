//! One event costs what it touches, not what there is.

#![expect(
    clippy::disallowed_methods,
    reason = "a bound on time is what is tested"
)]

use std::time::{Duration, Instant};

use weft_policy::Moment;
use weft_switch::cluster::{self, ClusterState, Event};

use super::local;

const PODS: usize = 10_000;
const POLICIES: usize = 1_000;

fn pod(index: usize, version: usize) -> Event {
    let (a, b) = (index / 250, index % 250);
    read(
        format!("pod-{index}.yaml"),
        &format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{index}, namespace: n{}, labels: \
             {{app: a{}, version: v{version}}}}}\nspec: {{nodeName: node-{}}}\nstatus: {{podIP: \
             10.200.{a}.{b}}}\n",
            index % 100,
            index % 10,
            index % 50,
        ),
    )
}

fn policy(index: usize, port: usize) -> Event {
    read(
        format!("policy-{index}.yaml"),
        &format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{index}, \
             namespace: n{}}}\nspec: {{podSelector: {{matchLabels: {{app: a{}}}}}, ingress: \
             [{{from: [{{podSelector: {{}}}}], ports: [{{port: {port}}}]}}]}}\n",
            index % 100,
            index % 10,
        ),
    )
}

fn read(origin: String, text: &str) -> Event {
    let manifest = cluster::parse(text);
    assert_eq!(manifest.errors, []);
    Event::Read {
        origin: origin.into(),
        manifest,
    }
}

/// The median of what single events cost.
fn median(state: &mut ClusterState, events: Vec<Event>) -> Duration {
    let mut spent: Vec<_> = events
        .into_iter()
        .map(|event| {
            let before = Instant::now();
            let effects = state.step(event, Moment::default());
            assert_eq!(effects.changes.len(), 1);
            before.elapsed()
        })
        .collect();
    spent.sort();
    spent[spent.len() / 2]
}

#[test]
fn one_file_among_eleven_thousand() {
    let mut state = ClusterState::new(local());
    let mut events: Vec<_> = (0..PODS).map(|index| pod(index, 0)).collect();
    events.extend((0..POLICIES).map(|index| policy(index, 80)));
    events.push(Event::Synced);
    let before = Instant::now();
    let effects = state.step(Event::Batch(events), Moment::default());
    let all = before.elapsed();
    assert_eq!(effects.changes.len(), PODS + POLICIES);
    assert_eq!(state.troubles().count(), 0);

    let pods = median(&mut state, (0..50).map(|n| pod(n * 190, 1)).collect());
    let policies = median(&mut state, (0..50).map(|n| policy(n * 19, 81)).collect());
    println!("all: {all:?}, a pod: {pods:?}, a policy: {policies:?}");
    // Unoptimized, on a busy machine.
    assert!(pods < Duration::from_millis(5), "{pods:?}");
    assert!(policies < Duration::from_millis(5), "{policies:?}");
}
