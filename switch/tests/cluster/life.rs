//! What happens as files come, change, break, move and go.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weft_policy::model::{Isolation, ObjectName};
use weft_policy::{Cluster, Moment};
use weft_switch::cluster::{self, ClusterState, Effects, Event, ManifestError};

use super::{local, read, step, synced, troubles};

fn gone(origin: &str) -> Event {
    Event::Gone {
        origin: origin.into(),
    }
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, \
         namespace: shop}}\nspec: {spec}\n"
    )
}

const OPEN: &str = "{podSelector: {matchLabels: {app: web}}, ingress: [{}]}";
const SHUT: &str = "{podSelector: {matchLabels: {app: web}}}";
const WRONG: &str = "{podSelector: {matchLabels: {app: web}}, ingres: [{}]}";

/// Policies by name, with the number of rules of each direction; `-` where not isolated.
fn policies(state: &ClusterState) -> Vec<String> {
    let way = |isolation: &Isolation| match isolation {
        Isolation::None => "-".to_owned(),
        Isolation::Only(rules) => rules.len().to_string(),
    };
    let policies = state.cluster().policies.values();
    let show = policies.map(|p| format!("{} {} {}", p.name, way(&p.ingress), way(&p.egress)));
    show.collect()
}

#[test]
fn a_wrong_policy_keeps_its_last_good_version_and_its_neighbours_go_on() {
    let text = policy("a", OPEN) + &policy("b", SHUT);
    let mut state = synced(&[("x.yaml", &text)]);
    assert_eq!(policies(&state), ["shop/a 1 -", "shop/b 0 -"]);

    let text = policy("a", WRONG) + &policy("b", OPEN);
    let effects = step(&mut state, read("x.yaml", &text));
    assert_eq!(policies(&state), ["shop/a 1 -", "shop/b 1 -"]);
    assert_eq!(effects.changes.len(), 1, "{:?}", effects.changes);
    assert_eq!(
        troubles(&state),
        [
            "x.yaml:5: NetworkPolicy shop/a: spec: ingres is not a field; did you mean ingress?; \
             the version read before stays in force"
        ]
    );
    // Corrected, it is the new version that counts.
    let effects = step(&mut state, read("x.yaml", &policy("a", SHUT)));
    assert_eq!(policies(&state), ["shop/a 0 -"]);
    assert_eq!(effects.resolved.len(), 1);
    assert!(troubles(&state).is_empty());
}

#[test]
fn a_wrong_policy_nobody_knows_isolates_what_it_would_select() {
    let mut state = synced(&[("x.yaml", &policy("a", WRONG))]);
    assert_eq!(policies(&state), ["shop/a 0 0"]);
    assert!(!state.is_closed());
    let held = state.cluster().policies.values().next().unwrap();
    assert_eq!(held.pods.requirements.len(), 1, "only the pods it selects");
    assert_eq!(
        troubles(&state),
        [
            "x.yaml:5: NetworkPolicy shop/a: spec: ingres is not a field; did you mean ingress?; \
             until that is corrected it allows nothing into and out of the pods it selects"
        ]
    );
    // What stands in is no good version.
    let worse = WRONG.replace("app: web", "app: []");
    step(&mut state, read("x.yaml", &policy("a", &worse)));
    let held = state.cluster().policies.values().next().unwrap();
    assert!(
        held.pods.requirements.is_empty(),
        "its selector is unreadable"
    );
    let all =
        "until that is corrected it allows nothing into and out of all pods of namespace shop";
    assert!(
        troubles(&state).iter().all(|t| t.ends_with(all)),
        "{:?}",
        troubles(&state)
    );

    let effects = step(&mut state, read("x.yaml", &policy("a", OPEN)));
    assert_eq!(policies(&state), ["shop/a 1 -"]);
    assert!(effects.publish && effects.appeared.is_empty());
    assert!(troubles(&state).is_empty());
    step(&mut state, read("x.yaml", &policy("b", WRONG)));
    step(&mut state, gone("x.yaml"));
    assert!(
        policies(&state).is_empty(),
        "a file that is gone closes nothing"
    );
}

#[test]
fn what_is_no_yaml_closes_its_namespace_or_everything() {
    let broken = "---\nkind: NetworkPolicy\nmetadata: {name: z, namespace: shop}\nspec: [\n";
    let mut state = synced(&[("x.yaml", &(policy("a", OPEN) + broken))]);
    assert_eq!(
        policies(&state),
        ["shop/a 1 -", "shop/unreadable:x.yaml:6 0 0"]
    );
    assert!(!state.is_closed());
    let closed = "nothing may pass into or out of the pods of namespace shop";
    assert!(
        troubles(&state)[0].ends_with(closed),
        "{:?}",
        troubles(&state)
    );

    let nameless = "---\nkind: NetworkPolicy\nspec: [\n";
    let effects = step(&mut state, read("y.yaml", nameless));
    assert!(effects.closed && effects.publish && state.is_closed());
    let everything = "nothing may pass into or out of any pod of this node";
    assert!(
        effects.appeared[0].what.ends_with(everything),
        "{:?}",
        effects.appeared
    );
    let effects = step(&mut state, read("y.yaml", &policy("y", OPEN)));
    assert!(!effects.closed && effects.publish);

    // y.yaml is known now: what cannot be read may be what was read before.
    let effects = step(&mut state, read("y.yaml", nameless));
    assert!(!effects.closed);
    assert!(
        policies(&state).contains(&"shop/y 1 -".to_owned()),
        "{:?}",
        policies(&state)
    );
    // One more than was there is new.
    let twice = format!("{nameless}{nameless}");
    let effects = step(&mut state, read("y.yaml", &twice));
    assert!(effects.closed);
    assert!(policies(&state).contains(&"shop/y 1 -".to_owned()));
    let effects = step(&mut state, gone("y.yaml"));
    assert!(!effects.closed);
}

#[test]
fn other_kinds_that_are_no_yaml_close_nothing() {
    for text in [
        "kind: Pod\nmetadata: {name: a}\nspec: [\n",
        "apiVersion: apps/v1\nkind: Deployment\nspec: [\n",
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a}\n",
    ] {
        let state = synced(&[("x.yaml", text)]);
        assert!(!state.is_closed() && policies(&state).is_empty(), "{text}");
        assert_eq!(troubles(&state).len(), 1, "{text}");
    }
}

#[test]
fn an_unreadable_file_closes_everything_unless_it_was_read_before() {
    let unreadable = |origin: &str| Event::Rejected {
        origin: origin.into(),
        errors: vec![ManifestError::of_file("cannot be read: Permission denied")],
    };
    let mut state = synced(&[("x.yaml", &policy("a", OPEN))]);
    let effects = step(&mut state, unreadable("x.yaml"));
    assert!(!effects.closed && effects.changes.is_empty());
    assert_eq!(
        troubles(&state),
        ["x.yaml:1: cannot be read: Permission denied; the version read before stays in force"]
    );
    let effects = step(&mut state, unreadable("y.yaml"));
    assert!(effects.closed && effects.publish);
    let effects = step(&mut state, unreadable("y.yaml"));
    assert!(effects.closed && !effects.publish, "nothing new");
    let effects = step(&mut state, read("y.yaml", ""));
    assert!(!effects.closed && effects.publish);
    let effects = step(&mut state, unreadable("y.yaml"));
    assert!(!effects.closed, "it was empty when it could be read");
}

#[test]
fn a_node_that_begins_anew_has_no_last_good_version() {
    // The same file as a daemon that knew better: it closes.
    let text = policy("a", WRONG);
    let mut knew = synced(&[("x.yaml", &policy("a", OPEN))]);
    step(&mut knew, read("x.yaml", &text));
    assert_eq!(policies(&knew), ["shop/a 1 -"]);
    assert_eq!(policies(&synced(&[("x.yaml", &text)])), ["shop/a 0 0"]);
}

#[test]
fn nothing_is_let_through_before_all_is_read() {
    let mut state = ClusterState::new(local());
    assert!(state.is_closed());
    let effects = step(&mut state, read("x.yaml", &policy("a", OPEN)));
    assert!(effects.closed && effects.changes.is_empty() && !effects.publish);
    let effects = step(&mut state, Event::Synced);
    assert!(!effects.closed && effects.publish);
    assert_eq!(effects.changes.len(), 1);
}

#[test]
fn a_file_that_moves_is_never_absent() {
    let text = policy("a", SHUT);
    let mut state = synced(&[("x.yaml", &text)]);
    let effects = step(
        &mut state,
        Event::Batch(vec![gone("x.yaml"), read("y.yaml", &text)]),
    );
    assert_eq!(effects, Effects::default(), "nothing happened");
    // Even where both names are seen for a while.
    let effects = step(&mut state, read("z.yaml", &text));
    assert!(effects.changes.is_empty());
    assert_eq!(
        troubles(&state),
        ["z.yaml:3: NetworkPolicy shop/a: is already defined at y.yaml:3"]
    );
    let effects = step(&mut state, gone("y.yaml"));
    assert!(effects.changes.is_empty());
    assert!(troubles(&state).is_empty());
}

#[test]
fn who_defined_an_object_first_keeps_it() {
    let mut state = synced(&[
        ("m.yaml", &policy("a", SHUT)),
        ("n.yaml", &policy("a", OPEN)),
    ]);
    assert_eq!(policies(&state), ["shop/a 0 -"]);
    step(&mut state, read("b.yaml", &policy("a", OPEN)));
    assert_eq!(
        policies(&state),
        ["shop/a 0 -"],
        "a name before it changes nothing"
    );
    // Saving the first again does not put it behind the others.
    let shut = SHUT.replace("web", "other");
    step(&mut state, read("m.yaml", &policy("a", &shut)));
    assert_eq!(policies(&state), ["shop/a 0 -"]);
    assert_eq!(troubles(&state).len(), 2);
    step(&mut state, gone("m.yaml"));
    assert_eq!(policies(&state), ["shop/a 1 -"]);
}

#[test]
fn pods_of_a_namespace_whose_labels_are_unknown_are_nobodys_peers() {
    let namespace =
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: b}}\n";
    let wrong = namespace.replace("a: b", "a: 1");
    let pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nstatus: \
               {podIP: 10.244.9.9}\n";
    let names = |state: &ClusterState| state.cluster().pods.keys().cloned().collect::<Vec<_>>();
    let mut state = synced(&[("x.yaml", &format!("{wrong}{pod}"))]);
    assert!(names(&state).is_empty());
    let expected = "no selector of a policy matches the pods of shop";
    assert!(
        troubles(&state)[0].ends_with(expected),
        "{:?}",
        troubles(&state)
    );
    step(&mut state, read("x.yaml", &format!("{namespace}{pod}")));
    assert_eq!(names(&state), [ObjectName::new("shop", "web")]);
    step(&mut state, read("x.yaml", &format!("{wrong}{pod}")));
    assert_eq!(
        names(&state),
        [ObjectName::new("shop", "web")],
        "the labels are known"
    );
    // A namespace without an object has the label of its name alone.
    step(&mut state, read("x.yaml", pod));
    assert_eq!(names(&state), [ObjectName::new("shop", "web")]);
}

#[test]
fn the_label_of_a_namespaces_name_cannot_be_another() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: \
                {kubernetes.io/metadata.name: b}}\n";
    let manifest = cluster::parse(text);
    assert_eq!(manifest.notices.len(), 1);
    let state = synced(&[("x.yaml", text)]);
    let labels = state.cluster().namespace_labels("a");
    assert_eq!(labels["kubernetes.io/metadata.name"], "a");
}

#[test]
fn kinds_that_do_not_matter_are_named_once() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n";
    let mut state = ClusterState::new(local());
    let effects = step(&mut state, read("x.yaml", text));
    assert_eq!(effects.notices.len(), 1);
    assert!(effects.notices[0].what.starts_with("Deployment objects"));
    let effects = step(&mut state, read("y.yaml", text));
    assert!(effects.notices.is_empty());
    let told = "{podSelector: {}, ingress: [{from: []}]}";
    let effects = step(&mut state, read("z.yaml", &policy("a", told)));
    assert_eq!(effects.notices.len(), 1);
    let effects = step(&mut state, read("z.yaml", &policy("a", told)));
    assert!(effects.notices.is_empty(), "told already");
}

#[test]
fn host_network_pods_are_none_and_finished_pods_have_no_address() {
    let pod = |name: &str, spec: &str, status: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {spec}\nstatus: \
             {status}\n"
        )
    };
    let text = pod("a", "{hostNetwork: true}", "{podIP: 192.0.2.1}")
        + &pod("b", "{}", "{podIP: 10.244.9.2, phase: Failed}")
        + &pod("c", "{}", "{podIP: 10.244.9.2, phase: Running}")
        + &pod("d", "{}", "{podIP: 10.244.9.2}")
        + &pod("e", "{nodeName: node-a}", "{podIP: 10.244.9.3}");
    let mut state = synced(&[("x.yaml", &text)]);
    let addresses = |state: &ClusterState| {
        let pods = state.cluster().pods.values();
        let show = pods.map(|p| format!("{} {:?}", p.name.name, p.addresses));
        show.collect::<Vec<_>>()
    };
    assert_eq!(
        addresses(&state),
        ["b []", "c [10.244.9.2]", "d []", "e []"]
    );
    assert_eq!(troubles(&state).len(), 2, "{:?}", troubles(&state));
    let text = text.replace("Running", "Succeeded");
    step(&mut state, read("x.yaml", &text));
    assert_eq!(
        addresses(&state),
        ["b []", "c []", "d [10.244.9.2]", "e []"]
    );
}

#[test]
fn what_weft_does_not_enforce_keeps_nothing_alive() {
    let foreign = "---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: x}\n";
    let broken = "---\nkind: Deployment\nspec: [\n";
    let text = policy("a", SHUT) + foreign + broken;
    let mut state = synced(&[("x.yaml", &text)]);
    assert_eq!(policies(&state), ["shop/a 0 -"]);
    step(&mut state, read("x.yaml", &(foreign.to_owned() + broken)));
    assert!(policies(&state).is_empty());
    assert_eq!(troubles(&state).len(), 2);
    // Nor does a nameless pod.
    step(&mut state, read("x.yaml", &policy("a", SHUT)));
    step(&mut state, read("x.yaml", "apiVersion: v1\nkind: Pod\n"));
    assert!(policies(&state).is_empty());
}

/// A document of a file: which object, which version of it, and whether it can be read.
#[derive(Clone, Debug)]
struct Doc {
    kind: u8,
    name: u8,
    version: u8,
    good: bool,
}

#[derive(Clone, Debug)]
enum Act {
    Write(u8, Vec<Doc>),
    Remove(u8),
    Unreadable(u8),
    Move(u8, u8),
}

fn render(doc: &Doc) -> String {
    let Doc {
        kind,
        name,
        version,
        good,
    } = doc;
    let wrong = if *good { "" } else { ", lables: {}" };
    match kind % 3 {
        0 => {
            let rules = "{}, ".repeat(usize::from(*version));
            let wrong = if *good { "" } else { ", ingres: []" };
            format!(
                "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: \
                 p{name}, namespace: n0}}\nspec: {{podSelector: {{}}, ingress: [{rules}]{wrong}}}\n"
            )
        }
        1 => format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: q{name}, namespace: n0{wrong}}}\n\
             status: {{podIP: 10.9.0.{version}}}\n"
        ),
        _ => format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: n{name}, labels: {{v: \
             v{version}}}{wrong}}}\n"
        ),
    }
}

/// What there should be, by going through all files again each time.
#[derive(Default)]
struct Naive {
    /// What each file holds, as far as it is good or was; a policy without a good version is 99.
    files: BTreeMap<u8, BTreeMap<(u8, u8), u8>>,
    /// Namespaces whose object is wrong in a file that never had a good one.
    wrong: BTreeMap<u8, Vec<u8>>,
    /// Files in the order in which they first spoke of an object.
    claims: BTreeMap<(u8, u8), Vec<u8>>,
    /// Pods in the order in which they claimed an address.
    addresses: BTreeMap<u8, Vec<u8>>,
    /// Pods in the order in which they were first seen.
    seen: Vec<u8>,
    unreadable: Vec<u8>,
}

impl Naive {
    fn write(&mut self, file: u8, docs: &[Doc]) {
        let before = self.files.remove(&file).unwrap_or_default();
        let (mut after, mut wrong) = (BTreeMap::new(), Vec::new());
        for doc in docs.iter().filter(|doc| doc.good) {
            after.insert((doc.kind, doc.name), doc.version);
        }
        for doc in docs.iter().filter(|doc| !doc.good) {
            let key = (doc.kind, doc.name);
            match (before.get(&key), doc.kind) {
                (Some(version), _) if *version != 99 => drop(after.insert(key, *version)),
                (_, 0) => drop(after.insert(key, 99)),
                (_, 2) => wrong.push(doc.name),
                _ => {}
            }
        }
        self.wrong.insert(file, wrong);
        self.unreadable.retain(|other| *other != file);
        self.files.insert(file, after);
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Write(file, docs) => self.write(*file, docs),
            Act::Remove(file) => {
                self.files.remove(file);
                self.wrong.remove(file);
                self.unreadable.retain(|other| other != file);
            }
            Act::Unreadable(file) => {
                if !self.files.contains_key(file) && !self.unreadable.contains(file) {
                    self.unreadable.push(*file);
                }
            }
            Act::Move(from, to) => {
                let Some(moved) = self.files.remove(from) else {
                    return;
                };
                self.files.insert(*to, moved);
                let wrong = self.wrong.remove(from).unwrap_or_default();
                self.wrong.insert(*to, wrong);
                self.unreadable.retain(|other| other != to);
            }
        }
    }

    /// The version of every object that counts.
    fn objects(&mut self) -> BTreeMap<(u8, u8), u8> {
        for (key, claims) in &mut self.claims {
            claims.retain(|file| self.files.get(file).is_some_and(|f| f.contains_key(key)));
        }
        let mut objects = BTreeMap::new();
        for (file, held) in &self.files {
            for key in held.keys() {
                let claims = self.claims.entry(*key).or_default();
                if !claims.contains(file) {
                    claims.push(*file);
                }
            }
        }
        for (key, claims) in &self.claims {
            if let Some(first) = claims.first() {
                objects.insert(*key, self.files[first][key]);
            }
        }
        objects
    }

    /// Policies with their rules, pods with their address, namespaces with their version.
    fn expected(&mut self) -> Vec<String> {
        let objects = self.objects();
        let pods: BTreeMap<u8, u8> = objects
            .iter()
            .filter(|((kind, _), _)| *kind == 1)
            .map(|((_, name), version)| (*name, *version))
            .collect();
        for (address, claims) in &mut self.addresses {
            claims.retain(|pod| pods.get(pod) == Some(address));
        }
        self.seen.retain(|pod| pods.contains_key(pod));
        for pod in pods.keys() {
            if !self.seen.contains(pod) {
                self.seen.push(*pod);
            }
        }
        for pod in &self.seen {
            let claims = self.addresses.entry(pods[pod]).or_default();
            if !claims.contains(pod) {
                claims.push(*pod);
            }
        }
        let unlabelled =
            self.wrong.values().any(|all| all.contains(&0)) && !objects.contains_key(&(2, 0));
        let mut shown = Vec::new();
        for ((kind, name), version) in &objects {
            shown.push(match kind {
                0 if *version == 99 => format!("p{name} closed"),
                0 => format!("p{name} {version}"),
                1 if unlabelled => continue,
                1 if self.addresses[version].first() == Some(name) => format!("q{name} {version}"),
                1 => format!("q{name} none"),
                _ => format!("n{name} v{version}"),
            });
        }
        shown.sort();
        shown
    }
}

fn show(cluster: &Cluster) -> Vec<String> {
    let policies = cluster
        .policies
        .values()
        .map(|p| match p.egress.isolates() {
            true => format!("{} closed", p.name.name),
            false => format!("{} {}", p.name.name, p.ingress.rules().len()),
        });
    let pods = cluster
        .pods
        .values()
        .map(|pod| match pod.addresses.first() {
            Some(ip) => format!(
                "{} {}",
                pod.name.name,
                ip.to_string().rsplit('.').next().unwrap()
            ),
            None => format!("{} none", pod.name.name),
        });
    let namespaces = cluster.namespaces.iter();
    let namespaces = namespaces.map(|(name, labels)| format!("{name} {}", labels["v"]));
    let mut shown: Vec<_> = policies.chain(pods).chain(namespaces).collect();
    shown.sort();
    shown
}

fn docs() -> impl Strategy<Value = Vec<Doc>> {
    let doc = (0..3u8, 0..3u8, 1..4u8, prop::bool::weighted(0.8));
    let docs = prop::collection::vec(doc, 0..5);
    docs.prop_map(|docs| {
        // One version of an object in one file.
        let by_key: BTreeMap<_, _> = docs.into_iter().map(|d| ((d.0, d.1), (d.2, d.3))).collect();
        let doc = |((kind, name), (version, good))| Doc {
            kind,
            name,
            version,
            good,
        };
        by_key.into_iter().map(doc).collect()
    })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..4u8, docs()).prop_map(|(file, docs)| Act::Write(file, docs)),
        1 => (0..4u8).prop_map(Act::Remove),
        1 => (0..4u8).prop_map(Act::Unreadable),
        1 => (0..4u8, 4..6u8).prop_map(|(from, to)| Act::Move(from, to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changes_add_up_to_what_there_is(acts in prop::collection::vec(act(), 1..24)) {
        let mut state = ClusterState::new(local());
        state.step(Event::Synced, Moment::default());
        let (mut naive, mut sum) = (Naive::default(), Cluster::default());
        let mut texts: BTreeMap<u8, String> = BTreeMap::new();
        let origin = |file: u8| format!("{file}.yaml");
        for act in acts {
            let event = match &act {
                Act::Write(file, docs) => {
                    let text: String = docs.iter().map(render).collect();
                    texts.insert(*file, text.clone());
                    read(&origin(*file), &text)
                }
                Act::Remove(file) => {
                    texts.remove(file);
                    gone(&origin(*file))
                }
                Act::Unreadable(file) => Event::Rejected {
                    origin: origin(*file).into(),
                    errors: vec![ManifestError::of_file("cannot be read")],
                },
                Act::Move(from, to) => match texts.get(from) {
                    // What was kept for an older version cannot move along.
                    Some(text) if cluster::parse(text).errors.is_empty() && !texts.contains_key(to) => {
                        let text = texts.remove(from).unwrap();
                        texts.insert(*to, text.clone());
                        Event::Batch(vec![gone(&origin(*from)), read(&origin(*to), &text)])
                    }
                    _ => continue,
                },
            };
            naive.act(&act);
            let effects = state.step(event, Moment::default());
            prop_assert_eq!(effects.closed, !naive.unreadable.is_empty());
            for change in effects.changes {
                prop_assert!(sum.apply(change), "a change that changes nothing");
            }
            prop_assert_eq!(&sum, state.cluster());
            prop_assert_eq!(show(&sum), naive.expected());
        }
    }
}
