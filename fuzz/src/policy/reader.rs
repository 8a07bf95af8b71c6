//! Does the reader of manifests understand what is written?
//!
//! Every change of a scenario is written to a file of its own and read again; what the reader
//! then knows must be what the scenario says, so that tables made of it are right as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::Unstructured;
use weft_policy::model::{
    Isolation, Labels, NAMESPACE_NAME, Peer, Peers, Pod, Policy, Rule, Scope, Selector,
};
use weft_policy::{Change, Cidr, Cluster, Moment};
use weft_switch::cluster::{self, Closes, ClusterState, Event, Trouble};

use super::paper;
use super::scenario::{self, Step};
use super::things;

/// The harness: behind a first byte of 0 choices for a scenario, behind any other a manifest.
///
/// # Panics
/// When something else is read than was written, or a broken policy closes nothing.
pub fn run(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, choices)) => {
            let steps = scenario::draw(&mut Unstructured::new(choices));
            write_and_read(&mut Unstructured::new(choices), &steps);
        }
        Some((_, text)) => read(&String::from_utf8_lossy(text)),
        None => {}
    }
}

/// Any text: every object that is broken has an error, and a policy among them closes something.
fn read(text: &str) {
    let manifest = cluster::parse(text);
    for broken in &manifest.broken {
        assert!(!broken.errors.is_empty(), "{broken:?}");
        assert!(manifest.errors.get(broken.errors.clone()).is_some());
        if broken
            .key
            .as_ref()
            .is_some_and(|key| key.kind == "NetworkPolicy")
        {
            assert_ne!(broken.closes, Closes::Nothing, "{text}");
        }
        if let Closes::Policy(policy) = &broken.closes {
            assert!(policy.ingress.isolates() || policy.egress.isolates());
            assert!(policy.ingress.rules().is_empty() && policy.egress.rules().is_empty());
        }
    }
}

/// Writes and reads the changes among these steps.
///
/// # Panics
/// When something else is read than was written.
pub fn write_and_read(u: &mut Unstructured<'_>, steps: &[Step]) {
    let mut desk = Desk::default();
    desk.state.step(Event::Synced, Moment::ZERO);
    for step in steps {
        if let Step::Change(change) = step {
            desk.take(u, change);
        }
    }
}

struct Desk {
    state: ClusterState,
    /// What was written.
    written: Cluster,
    /// What the reader told.
    told: Cluster,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            state: ClusterState::of_no_node(),
            written: Cluster::default(),
            told: Cluster::default(),
        }
    }
}

impl Desk {
    fn take(&mut self, u: &mut Unstructured<'_>, change: &Change) {
        let change = writable(change);
        let (origin, text) = file(u, &change);
        let event = match &text {
            Some(text) => Event::Read {
                origin,
                manifest: cluster::parse(text),
            },
            None => Event::Gone { origin },
        };
        self.written.apply(change);
        let effects = self.state.step(event, Moment::ZERO);
        for change in effects.changes {
            self.told.apply(change);
        }
        let troubles: Vec<&Trouble> = self.state.troubles().collect();
        let text = text.unwrap_or_default();
        assert!(troubles.is_empty(), "{text}\n{troubles:?}");
        assert!(!self.state.is_closed());
        for told in [&self.told, self.state.cluster()] {
            assert_eq!(normal(told), normal(&self.written), "\n{text}");
        }
    }
}

/// Where a change is written; none for what is gone.
fn file(u: &mut Unstructured<'_>, change: &Change) -> (Arc<str>, Option<String>) {
    match change {
        Change::Namespace(name, labels) => {
            (origin("ns", name), Some(paper::namespace(u, name, labels)))
        }
        Change::NamespaceGone(name) => (origin("ns", name), None),
        Change::Pod(pod) => {
            let had = index_of(pod).map(things::addresses_of);
            let had = had.as_ref().map_or(&[][..], |had| had.as_slice());
            (origin("pod", &pod.name), Some(paper::pod(u, pod, had)))
        }
        Change::PodGone(name) => (origin("pod", name), None),
        Change::Policy(policy) => (
            origin("policy", &policy.name),
            Some(paper::policy(u, policy)),
        ),
        Change::PolicyGone(name) => (origin("policy", name), None),
    }
}

fn origin(kind: &str, name: &impl ToString) -> Arc<str> {
    format!("{kind}-{}.yaml", name.to_string().replace('/', "-")).into()
}

fn index_of(pod: &Pod) -> Option<u8> {
    (0..things::PODS).find(|index| things::pod_name(*index) == pod.name)
}

/// The change without what a manifest may not say: an address that is another pod's, a hole that
/// leaves nothing of its block, a block of IPv4 addresses written as IPv6.
fn writable(change: &Change) -> Change {
    match change {
        Change::Pod(pod) => {
            let mut pod = pod.as_ref().clone();
            let others: Vec<_> = (0..things::PODS)
                .filter(|index| Some(*index) != index_of(&pod))
                .flat_map(things::addresses_of)
                .collect();
            let mut seen = Vec::new();
            pod.addresses.retain(|address| {
                let is_first = !seen.contains(address);
                seen.push(*address);
                is_first && !others.contains(address)
            });
            Change::Pod(Arc::new(pod))
        }
        Change::Policy(policy) => {
            let mut policy = policy.as_ref().clone();
            each_rule(&mut policy, &|rule| {
                let Peers::Of(peers) = &mut rule.peers else {
                    return;
                };
                for peer in peers {
                    if let Peer::Block { cidr, except } = peer {
                        if is_mapped(*cidr) {
                            *cidr = Cidr::new([0; 16].into(), 0).expect("::/0");
                        }
                        except.retain(|hole| {
                            hole.length() > cidr.length()
                                && cidr.contains(hole.base())
                                && !is_mapped(*hole)
                        });
                    }
                }
            });
            Change::Policy(Arc::new(policy))
        }
        other => other.clone(),
    }
}

fn is_mapped(cidr: Cidr) -> bool {
    match cidr.base() {
        std::net::IpAddr::V4(_) => false,
        std::net::IpAddr::V6(base) => base.to_ipv4_mapped().is_some(),
    }
}

/// The cluster in its one spelling: namespaces with the label of their names, requirements in
/// order.
fn normal(cluster: &Cluster) -> Cluster {
    let namespaces = cluster.namespaces.keys().map(|name| {
        let labels: Labels = cluster.namespace_labels(name);
        debug_assert!(labels.contains_key(NAMESPACE_NAME));
        (name.clone(), labels)
    });
    let policies = cluster.policies.iter().map(|(name, policy)| {
        let mut policy = policy.as_ref().clone();
        policy.pods.requirements.sort();
        each_rule(&mut policy, &|rule| {
            let Peers::Of(peers) = &mut rule.peers else {
                return;
            };
            for peer in peers {
                if let Peer::Pods { namespaces, pods } = peer {
                    pods.requirements.sort();
                    if let Scope::Matching(Selector { requirements }) = namespaces {
                        requirements.sort();
                    }
                }
            }
        });
        (name.clone(), Arc::new(policy))
    });
    Cluster {
        namespaces: namespaces.collect::<BTreeMap<_, _>>(),
        pods: cluster.pods.clone(),
        policies: policies.collect(),
    }
}

fn each_rule(policy: &mut Policy, change: &dyn Fn(&mut Rule)) {
    for side in [&mut policy.ingress, &mut policy.egress] {
        if let Isolation::Only(rules) = side {
            rules.iter_mut().for_each(change);
        }
    }
}
