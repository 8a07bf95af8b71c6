//! What is the least that shows a difference? For people who read the panic.

use std::sync::Arc;

use weft_policy::Change;
use weft_policy::model::{Isolation, Peer, Peers, Pod, Policy, Ports, Selector};

use super::scenario::Step;

/// As few steps as are still wrong, each as small as it gets.
pub fn fewest(mut steps: Vec<Step>, is_wrong: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let mut keep_if_wrong = |steps: &mut Vec<Step>, candidate: Vec<Step>| {
        if is_wrong(&candidate) {
            *steps = candidate;
        }
    };
    let mut length = steps.len() / 2;
    while length > 1 {
        without_runs(&mut steps, length, &mut keep_if_wrong);
        length /= 2;
    }
    loop {
        let before = steps.clone();
        without_runs(&mut steps, 1, &mut keep_if_wrong);
        for index in 0..steps.len() {
            for smaller in smaller(&steps[index]) {
                let mut changed = steps.clone();
                changed[index] = smaller;
                keep_if_wrong(&mut steps, changed);
            }
        }
        if steps == before {
            return steps;
        }
    }
}

/// Leaves out runs of steps of this length, the last first.
fn without_runs(
    steps: &mut Vec<Step>,
    length: usize,
    keep_if_wrong: &mut impl FnMut(&mut Vec<Step>, Vec<Step>),
) {
    let mut start = steps.len();
    while start > 0 {
        start = start.saturating_sub(length);
        let mut fewer = steps.clone();
        let end = (start + length).min(fewer.len());
        if start < end {
            fewer.drain(start..end);
            keep_if_wrong(steps, fewer);
        }
    }
}

fn smaller(step: &Step) -> Vec<Step> {
    match step {
        Step::Change(Change::Pod(pod)) => {
            let change = |pod| Step::Change(Change::Pod(Arc::new(pod)));
            smaller_pods(pod).into_iter().map(change).collect()
        }
        Step::Change(Change::Policy(policy)) => {
            let change = |policy| Step::Change(Change::Policy(Arc::new(policy)));
            smaller_policies(policy).into_iter().map(change).collect()
        }
        _ => Vec::new(),
    }
}

fn smaller_pods(pod: &Pod) -> Vec<Pod> {
    let mut pods = Vec::new();
    for key in pod.labels.keys() {
        let mut smaller = pod.clone();
        smaller.labels.remove(key);
        pods.push(smaller);
    }
    for index in 0..pod.addresses.len() {
        let mut smaller = pod.clone();
        smaller.addresses.remove(index);
        pods.push(smaller);
    }
    for index in 0..pod.ports.len() {
        let mut smaller = pod.clone();
        smaller.ports.remove(index);
        pods.push(smaller);
    }
    pods
}

fn smaller_policies(policy: &Policy) -> Vec<Policy> {
    let mut policies = Vec::new();
    for pods in smaller_selectors(&policy.pods) {
        policies.push(Policy {
            pods,
            ..policy.clone()
        });
    }
    for ingress in smaller_isolations(&policy.ingress) {
        policies.push(Policy {
            ingress,
            ..policy.clone()
        });
    }
    for egress in smaller_isolations(&policy.egress) {
        policies.push(Policy {
            egress,
            ..policy.clone()
        });
    }
    policies
}

fn smaller_isolations(isolation: &Isolation) -> Vec<Isolation> {
    let Isolation::Only(rules) = isolation else {
        return Vec::new();
    };
    let mut isolations = vec![Isolation::None];
    for (index, rule) in rules.iter().enumerate() {
        let mut fewer = rules.clone();
        fewer.remove(index);
        isolations.push(Isolation::Only(fewer));
        for peers in smaller_peers(&rule.peers) {
            let mut rules = rules.clone();
            rules[index].peers = peers;
            isolations.push(Isolation::Only(rules));
        }
        for ports in smaller_ports(&rule.ports) {
            let mut rules = rules.clone();
            rules[index].ports = ports;
            isolations.push(Isolation::Only(rules));
        }
    }
    isolations
}

fn smaller_ports(ports: &Ports) -> Vec<Ports> {
    let Ports::Of(items) = ports else {
        return Vec::new();
    };
    let mut all = vec![Ports::Any];
    all.extend(without_one(items).into_iter().map(Ports::Of));
    all
}

fn smaller_peers(peers: &Peers) -> Vec<Peers> {
    let Peers::Of(items) = peers else {
        return Vec::new();
    };
    let mut all = vec![Peers::Any];
    all.extend(without_one(items).into_iter().map(Peers::Of));
    for (index, item) in items.iter().enumerate() {
        let mut replace = |peer| {
            let mut items = items.clone();
            items[index] = peer;
            all.push(Peers::Of(items));
        };
        match item {
            Peer::Pods { namespaces, pods } => {
                for pods in smaller_selectors(pods) {
                    replace(Peer::Pods {
                        namespaces: namespaces.clone(),
                        pods,
                    });
                }
            }
            Peer::Block { cidr, except } => {
                for hole in 0..except.len() {
                    let mut except = except.clone();
                    except.remove(hole);
                    replace(Peer::Block {
                        cidr: *cidr,
                        except,
                    });
                }
            }
        }
    }
    all
}

fn smaller_selectors(selector: &Selector) -> Vec<Selector> {
    (0..selector.requirements.len())
        .map(|index| {
            let mut smaller = selector.clone();
            smaller.requirements.remove(index);
            smaller
        })
        .collect()
}

/// Every list that lacks one item and is not empty.
fn without_one<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.len() < 2 {
        return Vec::new();
    }
    (0..items.len())
        .map(|index| {
            let mut fewer = items.to_vec();
            fewer.remove(index);
            fewer
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use arbitrary::Unstructured;
    use weft_policy::model::Rule;

    use super::*;
    use crate::policy::{random, scenario};

    #[test]
    fn what_is_left_is_what_is_wrong() {
        let is_bad = |rule: &Rule| match (&rule.peers, &rule.ports) {
            (Peers::Of(peers), Ports::Of(ports)) => {
                peers.iter().any(|peer| matches!(peer, Peer::Block { .. })) && !ports.is_empty()
            }
            _ => false,
        };
        let is_wrong = |steps: &[Step]| {
            steps.iter().any(|step| match step {
                Step::Change(Change::Policy(policy)) => policy.egress.rules().iter().any(is_bad),
                _ => false,
            })
        };
        let mut tried = 0;
        for seed in 0..10 {
            let bytes = random(seed);
            let steps = scenario::draw(&mut Unstructured::new(&bytes));
            if !is_wrong(&steps) {
                continue;
            }
            tried += 1;
            let fewest = fewest(steps, is_wrong);
            let [Step::Change(Change::Policy(policy))] = fewest.as_slice() else {
                panic!("{fewest:?}");
            };
            assert!(policy.pods.requirements.is_empty());
            assert_eq!(policy.ingress, Isolation::None);
            let [rule] = policy.egress.rules() else {
                panic!("{policy:?}");
            };
            let (Peers::Of(peers), Ports::Of(ports)) = (&rule.peers, &rule.ports) else {
                panic!("{rule:?}");
            };
            let [Peer::Block { except, .. }] = peers.as_slice() else {
                panic!("{peers:?}");
            };
            assert_eq!((except.len(), ports.len()), (0, 1));
        }
        assert!(tried > 0);
    }
}
