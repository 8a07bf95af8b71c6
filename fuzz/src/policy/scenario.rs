//! What happens to the cluster, and what is asked when?

use std::fmt::Write;
use std::sync::Arc;

use arbitrary::Unstructured;
use weft_policy::model::ObjectName;
use weft_policy::{Change, Cluster, Question};

use super::edges::Edges;
use super::things::{self, NAMESPACES, PODS, POLICIES, below, chance, one};

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The engine learns of a change; nobody else does before the next publication.
    Change(Change),
    /// A pod, known or not, is on this node from now on.
    Enforce(ObjectName),
    /// It is no more.
    Release(ObjectName),
    /// The cluster is not known well enough, or again is.
    Closed(bool),
    /// A table is made of what is known.
    Publish,
    /// The last table is asked.
    Ask(Question),
}

/// A scenario: a cluster, learnt in some order, with questions; then changes, one or two at a
/// time, with more questions.
pub fn draw(u: &mut Unstructured<'_>) -> Vec<Step> {
    draw_on(&Cluster::default(), u)
}

/// The same on top of what there is already.
pub fn draw_on(cluster: &Cluster, u: &mut Unstructured<'_>) -> Vec<Step> {
    let mut draw = Draw {
        steps: Vec::new(),
        cluster: cluster.clone(),
    };
    draw.beginning(u);
    let mut rounds = below(u, 10);
    draw.publish_and_ask(u, 40);
    if chance(u, 1) {
        draw.rush(u);
    }
    while rounds > 0 {
        for _ in 0..=below(u, 2) {
            draw.change(u);
        }
        if chance(u, 2) {
            draw.ask(u, 4);
        }
        draw.publish_and_ask(u, 20);
        rounds -= 1;
    }
    draw.steps
}

struct Draw {
    steps: Vec<Step>,
    cluster: Cluster,
}

impl Draw {
    fn beginning(&mut self, u: &mut Unstructured<'_>) {
        let namespaces = 1 + below(u, 4);
        let pods = below(u, PODS + 1).max(below(u, PODS + 1));
        let policies = below(u, POLICIES + 1).max(below(u, POLICIES + 1));
        let mut order = [0, 1, 2, 3];
        order.rotate_left(below(u, 4).into());
        if chance(u, 8) {
            order.reverse();
        }
        for part in order {
            match part {
                0 => (0..namespaces).for_each(|index| self.namespace(u, index)),
                1 => (0..pods).for_each(|index| self.pod(u, index)),
                2 => (0..policies).for_each(|index| self.policy(u, index)),
                _ => self.enforce_most(u, pods),
            }
        }
    }

    fn enforce_most(&mut self, u: &mut Unstructured<'_>, pods: u8) {
        for index in 0..(pods + 1).min(PODS) {
            if !chance(u, 3) {
                self.steps.push(Step::Enforce(things::pod_name(index)));
            }
        }
    }

    fn change(&mut self, u: &mut Unstructured<'_>) {
        let pod = below(u, PODS);
        let policy = below(u, POLICIES);
        match below(u, 16) {
            0..3 => self.policy(u, policy),
            3 | 4 => self.push(Change::PolicyGone(things::policy_name(policy))),
            5..8 => self.pod(u, pod),
            8 => self.relabel(u, pod),
            9 => self.push(Change::PodGone(things::pod_name(pod))),
            10 | 11 => {
                let index = below(u, 4);
                self.namespace(u, index);
            }
            12 => {
                let name = one(u, &NAMESPACES);
                self.push(Change::NamespaceGone(name.to_owned()));
            }
            13 => self.steps.push(Step::Enforce(things::pod_name(pod))),
            14 => self.steps.push(Step::Release(things::pod_name(pod))),
            _ => {
                let closed = chance(u, 8);
                self.steps.push(Step::Closed(closed));
            }
        }
    }

    /// All pods become others again and again, while the policies stay.
    fn rush(&mut self, u: &mut Unstructured<'_>) {
        for _ in 0..12 {
            (0..PODS).for_each(|index| self.pod(u, index));
            self.publish_and_ask(u, 8);
        }
    }

    fn push(&mut self, change: Change) {
        self.cluster.apply(change.clone());
        self.steps.push(Step::Change(change));
    }

    fn namespace(&mut self, u: &mut Unstructured<'_>, index: u8) {
        let name = NAMESPACES[usize::from(index)].to_owned();
        let labels = things::labels(u);
        self.push(Change::Namespace(name, labels));
    }

    fn pod(&mut self, u: &mut Unstructured<'_>, index: u8) {
        let pod = things::pod(u, index);
        self.push(Change::Pod(Arc::new(pod)));
    }

    /// Nothing but the labels of a pod change.
    fn relabel(&mut self, u: &mut Unstructured<'_>, index: u8) {
        let labels = things::labels(u);
        if let Some(pod) = self.cluster.pods.get(&things::pod_name(index)) {
            let mut pod = pod.as_ref().clone();
            pod.labels = labels;
            self.push(Change::Pod(Arc::new(pod)));
        }
    }

    fn policy(&mut self, u: &mut Unstructured<'_>, index: u8) {
        let policy = things::policy(u, index);
        self.push(Change::Policy(Arc::new(policy)));
    }

    fn publish_and_ask(&mut self, u: &mut Unstructured<'_>, questions: usize) {
        self.steps.push(Step::Publish);
        self.ask(u, questions);
    }

    fn ask(&mut self, u: &mut Unstructured<'_>, questions: usize) {
        let edges = Edges::of(&self.cluster);
        let questions = (0..questions).map_while(|_| {
            let question = edges.question(u, &self.cluster);
            question.filter(|_| !u.is_empty())
        });
        self.steps.extend(questions.map(Step::Ask));
    }
}

/// One line for each step.
#[must_use]
pub fn describe(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        let _ = writeln!(text, "  {step:?}");
    }
    text
}
