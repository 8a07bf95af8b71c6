//! How long does one change of a large cluster take, from the rename of its file until every
//! worker uses it? Prints it. `WEFT_PODS` says how large: so many pods, a tenth as many policies,
//! one object per file; twenty of the pods are this node's.

use std::fs;

use weft_policy::Span;
use weft_switch::api::{Attach, Client};
use weft_switch::runtime::Clock;

use super::busy::{say, times};
use super::rig::{Node, Space, privileged, request};

/// Pods of this node.
const OURS: u32 = 20;
/// Changes of each kind.
const CHANGES: u32 = 41;
const NAMESPACES: u32 = 20;

fn pod(number: u32, version: u32) -> String {
    let [_, _, high, low] = number.to_be_bytes();
    let (node, address) = match number {
        ours if ours < OURS => ("node-a", format!("10.244.1.{}", 10 + ours)),
        _ => ("node-x", format!("10.100.{high}.{low}")),
    };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}, namespace: n{}, labels: {{app: \
         a{}, version: v{version}}}}}\nspec: {{nodeName: {node}}}\nstatus: {{podIP: {address}}}\n",
        number % NAMESPACES,
        number % 100,
    )
}

/// Isolates the pods of an app for pods of a version and another app.
fn policy(number: u32, version: u32) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: q{number}, \
         namespace: n{}}}\nspec: {{podSelector: {{matchLabels: {{app: a{}}}}}, ingress: [{{from: \
         [{{podSelector: {{matchLabels: {{version: v{version}}}}}}}, {{podSelector: {{matchLabels: \
         {{app: a{}}}}}}}], ports: [{{port: {}}}]}}]}}\n",
        number % NAMESPACES,
        number % 100,
        (number + 1) % 100,
        1_000 + number,
    )
}

/// A daemon that knows so many pods, and the pods of its node.
fn large(pods: u32) -> (Node, Vec<Space>) {
    let mut node = Node::new();
    let file = |name: &str| node.path("cluster.d").join(name);
    for number in 0..NAMESPACES {
        let text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: n{number}}}\n");
        fs::write(file(&format!("n{number}.yaml")), text).unwrap();
    }
    for number in 0..pods {
        fs::write(file(&format!("p{number}.yaml")), pod(number, 0)).unwrap();
    }
    for number in 0..pods / 10 {
        fs::write(file(&format!("q{number}.yaml")), policy(number, 0)).unwrap();
    }
    node.start(&[]);
    let ours = (0..OURS).map(|number| {
        let address = format!("10.244.1.{}", 10 + number);
        let wanted = Attach {
            namespace: format!("n{}", number % NAMESPACES),
            ..request(&format!("p{number}"), &[&address])
        };
        let space = Space::new();
        node.client().attach(wanted, &space.0).unwrap();
        space
    });
    let ours = ours.collect();
    (node, ours)
}

/// Makes a change and waits until it is published; how long that took.
fn published(client: &mut Client, clock: Clock, change: impl FnOnce()) -> Span {
    let count = |client: &mut Client| client.status().unwrap().publications.count;
    let before = count(client);
    let begun = clock.now();
    change();
    loop {
        if count(client) > before {
            return clock.now().since(begun);
        }
        assert!(
            clock.now().since(begun) < Span::from_secs(20),
            "the change is not published"
        );
    }
}

/// Makes changes of one kind and says how long they took.
fn measure(kind: &str, pods: u32, mut change: impl FnMut(u32) -> Span) {
    let mut took: Vec<Span> = (1..=CHANGES).map(&mut change).collect();
    took.sort();
    let milliseconds = |span: Span| span.as_nanos() as f64 / 1e6;
    let [median, longest] = [took[took.len() / 2], took[took.len() - 1]].map(milliseconds);
    say(&format!(
        "{pods} pods, {kind}: {median:.1} ms to published, {longest:.1} at most of {CHANGES}"
    ));
}

#[test]
fn one_change_is_published_by_itself() {
    if !privileged("one_change_is_published_by_itself") {
        return;
    }
    let pods = times("WEFT_PODS", 500);
    let (node, _ours) = large(pods);
    let status = node.status().unwrap();
    assert!(status.healthy, "{:?}", status.problems);
    assert_eq!(status.policies, usize::try_from(pods / 10).unwrap());
    let (mut client, clock) = (node.client(), Clock::start());
    let path = |name: String| node.path("cluster.d").join(name);
    let mut rename = |name: String, text: String| {
        let (from, to) = (node.path("next"), path(name));
        // Written before the time counts.
        fs::write(&from, text).unwrap();
        published(&mut client, clock, || fs::rename(from, to).unwrap())
    };
    for (kind, number) in [("another node's pod", OURS + 7), ("a pod of this node", 7)] {
        measure(&format!("a label of {kind}"), pods, |version| {
            rename(format!("p{number}.yaml"), pod(number, version))
        });
    }
    measure("a policy", pods, |version| {
        rename("q7.yaml".to_owned(), policy(7, version))
    });
    measure("a new pod", pods, |version| {
        rename(format!("p{}.yaml", pods + version), pod(pods + version, 0))
    });
    measure("a pod that goes", pods, |version| {
        let file = path(format!("p{}.yaml", pods + version));
        published(&mut client, clock, || fs::remove_file(file).unwrap())
    });
    let after = node.status().unwrap().publications.count;
    let made = after - status.publications.count;
    assert_eq!(made, u64::from(5 * CHANGES), "one change, one publication");
}
