//! Random changes to small clusters: after any of them the table answers what a linear walk over
//! the rules answers, and what an engine answers that was only told the end.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use weft_wire::{FlowKey, IpProtocol};

use super::linear::judge;
use crate::model::{
    Isolation, Labels, NamedPort, ObjectName, Operator, Peer, Peers, Pod, Policy, PortMatch,
    PortRange, Ports, Protocol, Requirement, Rule, Scope, Selector,
};
use crate::{Change, Cidr, Cluster, Direction, Engine, PolicySetId, Size, Table, Verdict};

const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const PODS: [&str; 4] = ["a", "b", "c", "d"];
const ADDRESSES: [&str; 12] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.1.1",
    "10.0.1.2",
    "10.1.0.1",
    "192.168.0.1",
    "fd00::1",
    "fd00::2",
    "fd00:0:0:1::1",
    "fd01::1",
    "::ffff:10.0.0.1",
    "255.255.255.255",
];
const BLOCKS: [&str; 12] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.0.0.0/24",
    "10.0.1.0/24",
    "10.0.0.1/32",
    "192.168.0.0/24",
    "::/0",
    "fd00::/16",
    "fd00::/64",
    "fd00::1/128",
    "::ffff:0:0/96",
];
const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
const PORTS: [u16; 6] = [0, 79, 80, 81, 443, 65_535];

/// A small source of choices; each step of a test has its own, so that steps can be left out.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let high = usize::try_from(self.0 >> 33).unwrap();
        high % bound
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn some<T>(&mut self, at_most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(at_most + 1)).map(|_| make(self)).collect()
    }

    fn labels(&mut self) -> Labels {
        let pairs = self.some(2, |dice| {
            (dice.one(&["app", "tier"]), dice.one(&["1", "2", "3"]))
        });
        pairs
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }

    fn selector(&mut self) -> Selector {
        let requirements = self.some(2, |dice| {
            let values: BTreeSet<String> = dice
                .some(2, |dice| dice.one(&["1", "2", "3"]).into())
                .into_iter()
                .collect();
            Requirement {
                key: dice.one(&["app", "tier"]).into(),
                operator: match dice.below(6) {
                    0 => Operator::NotIn(values),
                    1 => Operator::Exists,
                    2 => Operator::DoesNotExist,
                    _ => Operator::In(values),
                },
            }
        });
        Selector { requirements }
    }

    fn name(&mut self, of: &[&str]) -> ObjectName {
        ObjectName::new(self.one(&NAMESPACES), self.one(of))
    }

    fn pod(&mut self) -> Pod {
        Pod {
            name: self.name(&PODS),
            labels: self.labels(),
            addresses: self.some(3, |dice| dice.one(&ADDRESSES).parse().unwrap()),
            ports: self.some(2, |dice| NamedPort {
                name: dice.one(&["http", "dns"]).into(),
                protocol: dice.one(&PROTOCOLS),
                port: dice.one(&PORTS),
            }),
        }
    }

    fn peer(&mut self) -> Peer {
        match self.below(3) {
            0 => Peer::Pods {
                namespaces: Scope::Own,
                pods: self.selector(),
            },
            1 => Peer::Pods {
                namespaces: Scope::Matching(self.selector()),
                pods: self.selector(),
            },
            _ => {
                let cidr: Cidr = self.one(&BLOCKS).parse().unwrap();
                let inside: Vec<Cidr> = BLOCKS
                    .iter()
                    .map(|text| text.parse().unwrap())
                    .filter(|inner: &Cidr| {
                        cidr.contains(inner.base()) && cidr.length() <= inner.length()
                    })
                    .collect();
                Peer::Block {
                    cidr,
                    except: self.some(2, |dice| dice.one(&inside)),
                }
            }
        }
    }

    fn port(&mut self) -> PortMatch {
        PortMatch {
            protocol: self.one(&PROTOCOLS),
            port: match self.below(5) {
                0 => PortRange::Any,
                1 | 2 => PortRange::Named(self.one(&["http", "dns", "gone"]).into()),
                _ => PortRange::Numbers(self.one(&PORTS), self.one(&PORTS)),
            },
        }
    }

    fn isolation(&mut self) -> Isolation {
        if self.below(3) == 0 {
            return Isolation::None;
        }
        Isolation::Only(self.some(3, |dice| Rule {
            peers: match dice.below(4) {
                0 => Peers::Any,
                _ => Peers::Of(dice.some(2, Self::peer)),
            },
            ports: match dice.below(3) {
                0 => Ports::Any,
                _ => Ports::Of(dice.some(3, Self::port)),
            },
        }))
    }

    fn policy(&mut self) -> Policy {
        Policy {
            name: self.name(&["p", "q", "r"]),
            pods: self.selector(),
            ingress: self.isolation(),
            egress: self.isolation(),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Change(Change),
    Enforce(ObjectName),
    Release(ObjectName),
    Closed(bool),
    Publish,
}

fn step(seed: u64) -> Step {
    let mut dice = Dice(seed);
    match dice.below(22) {
        0..=5 => Step::Change(Change::Pod(Arc::new(dice.pod()))),
        6 => Step::Change(Change::PodGone(dice.name(&PODS))),
        7..=12 => Step::Change(Change::Policy(Arc::new(dice.policy()))),
        13 => Step::Change(Change::PolicyGone(dice.name(&["p", "q", "r"]))),
        14 | 15 => Step::Change(Change::Namespace(
            dice.one(&NAMESPACES).into(),
            dice.labels(),
        )),
        16 => Step::Change(Change::NamespaceGone(dice.one(&NAMESPACES).into())),
        17 | 18 => Step::Enforce(dice.name(&PODS)),
        19 => Step::Release(dice.name(&PODS)),
        20 if dice.below(4) == 0 => Step::Closed(dice.below(2) == 0),
        _ => Step::Publish,
    }
}

/// What an engine has been told besides the cluster.
#[derive(Default)]
struct Told {
    enforced: BTreeSet<ObjectName>,
    closed: bool,
}

fn take(engine: &mut Engine, told: &mut Told, step: Step) {
    match step {
        Step::Change(change) => engine.apply(change),
        Step::Enforce(pod) => {
            engine.enforce(&pod);
            told.enforced.insert(pod);
        }
        Step::Release(pod) => {
            engine.release(&pod);
            told.enforced.remove(&pod);
        }
        Step::Closed(closed) => {
            engine.set_closed(closed);
            told.closed = closed;
        }
        Step::Publish => {
            engine.table();
        }
    }
}

fn fresh(cluster: &Cluster, told: &Told) -> Engine {
    let mut engine = Engine::new(99);
    for pod in &told.enforced {
        engine.enforce(pod);
    }
    engine.set_closed(told.closed);
    for policy in cluster.policies.values() {
        engine.apply(Change::Policy(Arc::clone(policy)));
    }
    for pod in cluster.pods.values() {
        engine.apply(Change::Pod(Arc::clone(pod)));
    }
    for (name, labels) in &cluster.namespaces {
        engine.apply(Change::Namespace(name.clone(), labels.clone()));
    }
    engine
}

/// Every question about a pod: both directions, every address, every sort of port.
fn questions() -> impl Iterator<Item = (Direction, FlowKey)> {
    let outside = [
        "10.0.0.3", "10.0.2.1", "11.0.0.0", "fd00::3", "fd02::1", "::1",
    ];
    let local: IpAddr = "10.0.0.1".parse().unwrap();
    let protocols = [
        IpProtocol::TCP,
        IpProtocol::UDP,
        IpProtocol::SCTP,
        IpProtocol::ICMP,
    ];
    ADDRESSES.into_iter().chain(outside).flat_map(move |peer| {
        let peer: IpAddr = peer.parse().unwrap();
        protocols.into_iter().flat_map(move |protocol| {
            PORTS
                .into_iter()
                .chain([1, 442, 65_534])
                .flat_map(move |dst_port| {
                    let key = |src, dst| FlowKey {
                        src,
                        dst,
                        protocol,
                        src_port: 1234,
                        dst_port,
                    };
                    [
                        (Direction::Egress, key(local, peer)),
                        (Direction::Ingress, key(peer, local)),
                    ]
                })
        })
    })
}

fn answer(
    table: &Table,
    set: PolicySetId,
    direction: Direction,
    key: &FlowKey,
) -> (bool, Option<crate::RuleName>) {
    let verdict = table.decide(direction, set, key);
    let (Verdict::Allow(rule) | Verdict::Deny(rule)) = verdict;
    (verdict.is_allowed(), table.rule(rule).cloned())
}

fn compare(engine: &mut Engine, told: &Told) -> Result<(), TestCaseError> {
    let table = engine.table();
    let mut anew = fresh(engine.cluster(), told);
    let expected = anew.table();
    let (size, wanted) = (table.size(), expected.size());
    prop_assert_eq!(Size { bytes: 0, ..size }, Size { bytes: 0, ..wanted });
    for pod in &told.enforced {
        let (set, other) = (engine.set_of(pod), anew.set_of(pod));
        for (direction, key) in questions() {
            let said = answer(&table, set, direction, &key);
            prop_assert_eq!(
                &said,
                &answer(&expected, other, direction, &key),
                "fresh: {} {:?}",
                direction_of(pod, direction),
                key
            );
            let judged = match told.closed && key.src != key.dst {
                true => (false, None),
                false => judge(engine.cluster(), pod, direction, &key),
            };
            prop_assert_eq!(
                &said,
                &judged,
                "linear: {} {:?}",
                direction_of(pod, direction),
                key
            );
        }
    }
    Ok(())
}

fn direction_of(pod: &ObjectName, direction: Direction) -> String {
    format!("{direction:?} of {pod}")
}

proptest! {
    #[test]
    fn any_changes_lead_to_the_table_of_their_end(
        seeds in proptest::collection::vec(any::<u64>(), 1..50),
    ) {
        let mut engine = Engine::new(1);
        let mut told = Told::default();
        for (number, &seed) in seeds.iter().enumerate() {
            take(&mut engine, &mut told, step(seed));
            if number % 20 == 19 {
                compare(&mut engine, &told)?;
            }
        }
        compare(&mut engine, &told)?;
        empty(&mut engine, &told);
        prop_assert_eq!(engine.table().size(), Engine::new(1).table().size());
        prop_assert!(engine.is_empty());
    }
}

fn empty(engine: &mut Engine, told: &Told) {
    let cluster = engine.cluster().clone();
    let policies = cluster.policies.into_keys().map(Change::PolicyGone);
    let pods = cluster.pods.into_keys().map(Change::PodGone);
    let namespaces = cluster.namespaces.into_keys().map(Change::NamespaceGone);
    for change in policies.chain(pods).chain(namespaces) {
        engine.apply(change);
    }
    for pod in &told.enforced {
        engine.release(pod);
    }
}
