//! A cluster under policy, as large as wanted: namespaces, pods that are all different, policies
//! that speak of them by label, by name of port and by block.
//!
//! Names and numbers follow from the counts alone, so that every run compiles the same.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weft_policy::cidr::masked;
use weft_policy::model::{
    Isolation, Labels, NamedPort, ObjectName, Operator, Peer, Peers, Pod, Policy, PortMatch,
    PortRange, Ports, Protocol, Requirement, Rule, Scope, Selector,
};
use weft_policy::{Change, Cidr, Direction, Engine, PolicySetId, Table};
use weft_wire::{FlowKey, IpProtocol};

use crate::Case;

/// How many of everything.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Namespaces.
    pub namespaces: u16,
    /// Pods in each, every one with labels of its own.
    pub pods: u16,
    /// Policies in each.
    pub policies: u16,
    /// Pods of this node.
    pub local: u16,
}

impl Scale {
    /// 10,000 pods, 1,000 policies, 110 pods of this node.
    pub const FULL: Self = Self {
        namespaces: 100,
        pods: 100,
        policies: 10,
        local: 110,
    };
    /// As a test has the time for.
    pub const SMALL: Self = Self {
        namespaces: 10,
        pods: 20,
        policies: 5,
        local: 20,
    };

    /// Everything there is, as changes to an empty cluster.
    #[must_use]
    pub fn changes(self) -> Vec<Change> {
        let mut changes = Vec::new();
        for namespace in 0..self.namespaces {
            changes.push(Change::Namespace(home(namespace), group(namespace)));
            for number in 0..self.pods {
                changes.push(Change::Pod(Arc::new(pod(namespace, number))));
            }
            for number in 0..self.policies {
                changes.push(Change::Policy(Arc::new(policy(namespace, number))));
            }
        }
        changes
    }

    /// The pods of this node, spread over all namespaces.
    #[must_use]
    pub fn locals(self) -> Vec<ObjectName> {
        (0..self.local)
            .map(|place| pod(place % self.namespaces, place / self.namespaces).name)
            .collect()
    }

    /// An engine that knows it all and has compiled nothing yet.
    #[must_use]
    pub fn engine(self) -> Engine {
        let mut engine = Engine::new(0x5eed);
        for change in self.changes() {
            engine.apply(change);
        }
        for name in self.locals() {
            engine.enforce(&name);
        }
        engine
    }
}

fn home(namespace: u16) -> String {
    format!("team-{namespace}")
}

const GROUPS: u16 = 8;
const APPS: u16 = 10;

fn group(namespace: u16) -> Labels {
    [("group".to_owned(), (namespace % GROUPS).to_string())].into()
}

/// One pod; no other has its labels.
#[must_use]
pub fn pod(namespace: u16, number: u16) -> Pod {
    let labels = [
        ("app", (number % APPS).to_string()),
        ("version", (number / APPS).to_string()),
        (
            "pod-template-hash",
            format!("{:08x}", u32::from(number) * 2_654_435),
        ),
    ];
    Pod {
        name: ObjectName::new(home(namespace), format!("pod-{number}")),
        labels: labels
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        addresses: addresses(namespace, number).into(),
        ports: vec![NamedPort {
            name: "web".to_owned(),
            protocol: Protocol::Tcp,
            port: 8000 + number % 4,
        }],
    }
}

/// Where a pod is.
#[must_use]
pub fn addresses(namespace: u16, number: u16) -> [IpAddr; 2] {
    let [high, low] = namespace.to_be_bytes();
    let [_, last] = number.to_be_bytes();
    [
        Ipv4Addr::new(10, 100 + high, low, last).into(),
        Ipv6Addr::new(0xfd00, 0x10, namespace, 0, 0, 0, 0, number).into(),
    ]
}

fn label(key: &str, value: u16) -> Selector {
    Selector {
        requirements: vec![Requirement {
            key: key.to_owned(),
            operator: Operator::In([value.to_string()].into()),
        }],
    }
}

fn tcp(port: PortRange) -> PortMatch {
    PortMatch {
        protocol: Protocol::Tcp,
        port,
    }
}

#[expect(
    clippy::expect_used,
    reason = "the prefixes are made without host bits"
)]
fn cidr(base: impl Into<IpAddr>, length: u8) -> Cidr {
    Cidr::new(base.into(), length).expect("the host bits are zero")
}

/// One policy: both directions, of two of the ten apps; peers in an eighth of all namespaces, in
/// the own one, and outside.
#[must_use]
pub fn policy(namespace: u16, number: u16) -> Policy {
    let apps = [number % APPS, (number + 3) % APPS];
    let elsewhere = |app: u16| Peer::Pods {
        namespaces: Scope::Matching(label("group", (namespace + number) % GROUPS)),
        pods: label("app", app % APPS),
    };
    let own = Peer::Pods {
        namespaces: Scope::Own,
        pods: label("app", (number + 1) % APPS),
    };
    let block = |address: IpAddr| Peer::Block {
        cidr: around(address, 24, 64),
        except: vec![around(address, 26, 80)],
    };
    let outside = outside(namespace, number).map(block);
    let rule = |peers, ports| Rule {
        peers: Peers::Of(peers),
        ports: Ports::Of(ports),
    };
    let port = first_port(number);
    Policy {
        name: ObjectName::new(home(namespace), format!("policy-{number}")),
        pods: Selector {
            requirements: vec![Requirement {
                key: "app".to_owned(),
                operator: Operator::In(apps.map(|app| app.to_string()).into()),
            }],
        },
        ingress: Isolation::Only(vec![
            rule(
                vec![elsewhere(number), elsewhere(number + 4), own.clone()],
                vec![
                    tcp(PortRange::Numbers(port, port + 5)),
                    tcp(PortRange::Named("web".to_owned())),
                ],
            ),
            rule(
                outside.clone().into(),
                vec![tcp(PortRange::Numbers(443, 443))],
            ),
        ]),
        egress: Isolation::Only(vec![
            rule(
                vec![elsewhere(number + 1), elsewhere(number + 5), own],
                vec![
                    tcp(PortRange::Numbers(port, port + 5)),
                    tcp(PortRange::Named("web".to_owned())),
                ],
            ),
            rule(outside.into(), vec![tcp(PortRange::Any)]),
        ]),
    }
}

/// Addresses in the middle of the block that one policy speaks of, and not excepted.
fn outside(namespace: u16, number: u16) -> [IpAddr; 2] {
    let [_, low] = namespace.to_be_bytes();
    let [_, third] = number.to_be_bytes();
    [
        Ipv4Addr::new(100, 64 + third, low, 64).into(),
        Ipv6Addr::new(0xfd64, 0, namespace, number, 1, 0, 0, 64).into(),
    ]
}

fn around(address: IpAddr, v4: u8, v6: u8) -> Cidr {
    let length = if address.is_ipv4() { v4 } else { v6 };
    cidr(masked(address, length), length)
}

const fn first_port(number: u16) -> u16 {
    9000 + number * 10
}

/// One question to a table.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    direction: Direction,
    set: PolicySetId,
    key: FlowKey,
}

impl Ask {
    /// The answer.
    #[must_use]
    pub fn of(&self, table: &Table) -> bool {
        table
            .decide(self.direction, self.set, &self.key)
            .is_allowed()
    }
}

/// A compiled table and the pods of its node.
#[derive(Debug)]
pub struct Asker {
    scale: Scale,
    table: Table,
    locals: Vec<(Vec<IpAddr>, PolicySetId)>,
}

/// Questions of one sort, asked in turn.
const ASKS: usize = 1024;

/// The sorts of questions, in the order of [`Asker::sorts`], for each family.
const SORTS: [&str; 5] = [
    "pod-allowed",
    "pod-refused",
    "outside-block",
    "hostile-addresses",
    "hostile-bounds",
];

impl Asker {
    /// Compiles it.
    #[must_use]
    pub fn new(scale: Scale) -> Self {
        let mut engine = scale.engine();
        let table = engine.table();
        let pods = &engine.cluster().pods;
        let local = |name: ObjectName| {
            let pod = pods.get(&name)?;
            Some((pod.addresses.clone(), engine.set_of(&name)))
        };
        Self {
            scale,
            locals: scale.locals().into_iter().filter_map(local).collect(),
            table,
        }
    }

    /// The table asked.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// Every sort of question, over IPv4 and IPv6: peers that are pods, refused as everybody is,
    /// or let through by a rule; addresses outside, in a block or in none; and what a hostile pod
    /// asks: addresses at random, and the bounds of blocks and port ranges.
    #[must_use]
    pub fn sorts(&self) -> Vec<(String, Vec<Ask>)> {
        let scale = self.scale;
        let mut sorts = Vec::new();
        for (place, family) in ["ipv4", "ipv6"].into_iter().enumerate() {
            let pod = |dice: &mut Dice| {
                let at = addresses(dice.below(scale.namespaces), dice.below(scale.pods));
                let port = first_port(dice.below(scale.policies)) + dice.below(6);
                at.get(place).map(|&at| (at, port))
            };
            let block = |dice: &mut Dice| {
                let at = outside(dice.below(scale.namespaces), dice.below(scale.policies));
                at.get(place).map(|&at| (at, 443))
            };
            let random = |dice: &mut Dice| {
                let at: IpAddr = match place {
                    0 => Ipv4Addr::from_bits(dice.below32()).into(),
                    _ => Ipv6Addr::from_bits(u128::from(dice.below32()) << 96).into(),
                };
                Some((at, dice.below(u16::MAX)))
            };
            let bound = |dice: &mut Dice| {
                let (at, _) = block(dice)?;
                let edge = [0, 127, 128, 191, 192, 255].get(usize::from(dice.below(6)))?;
                let at: IpAddr = match at {
                    IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !255 | edge).into(),
                    IpAddr::V6(v6) => {
                        Ipv6Addr::from_bits(v6.to_bits() & !255 | u128::from(*edge)).into()
                    }
                };
                let ports = [442, 443, 444, 8999, 9000, 9005, 9006];
                Some((at, *ports.get(usize::from(dice.below(7)))?))
            };
            let asks = [
                self.asks(pod, Some(true)),
                self.asks(pod, Some(false)),
                self.asks(block, None),
                self.asks(random, None),
                self.asks(bound, None),
            ];
            let names = SORTS.map(|sort| format!("{sort}/{family}"));
            sorts.extend(names.into_iter().zip(asks));
        }
        sorts
    }

    fn asks(
        &self,
        peer: impl Fn(&mut Dice) -> Option<(IpAddr, u16)>,
        wanted: Option<bool>,
    ) -> Vec<Ask> {
        let mut dice = Dice(7);
        let locals = self.locals.iter().cycle();
        let asks = locals.filter_map(|(addresses, set)| {
            let (peer, port) = peer(&mut dice)?;
            let own = addresses
                .iter()
                .find(|own| own.is_ipv4() == peer.is_ipv4())?;
            let (direction, src, dst) = match dice.below(2) {
                0 => (Direction::Egress, *own, peer),
                _ => (Direction::Ingress, peer, *own),
            };
            Some(Ask {
                direction,
                set: *set,
                key: connect(src, dst, port),
            })
        });
        let is_wanted = |ask: &Ask| wanted.is_none_or(|wanted| ask.of(&self.table) == wanted);
        asks.filter(is_wanted).take(ASKS).collect()
    }
}

/// A small deterministic source of numbers.
struct Dice(u64);

impl Dice {
    fn below32(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 32).unwrap_or_default()
    }

    fn below(&mut self, bound: u16) -> u16 {
        let below = self.below32() % u32::from(bound.max(1));
        u16::try_from(below).unwrap_or_default()
    }
}

/// May this flow pass?
pub(crate) fn deciding() -> Vec<Case> {
    let families = ["ipv4", "ipv6"].into_iter();
    let names = families.flat_map(|family| SORTS.map(|sort| format!("{sort}/{family}")));
    let case = |name: String| {
        Case::new(name.clone(), move || {
            let asker = Asker::new(Scale::SMALL);
            let asks = asker.sorts().into_iter().find(|(other, _)| *other == name);
            let asks = asks.map(|(_, asks)| asks).unwrap_or_default();
            let mut turn = 0;
            move || {
                turn = (turn + 1) % ASKS;
                black_box(asks.get(turn).map(|ask| ask.of(asker.table())));
            }
        })
    };
    names.map(case).collect()
}

/// The first packet of a TCP connection.
const fn connect(src: IpAddr, dst: IpAddr, dst_port: u16) -> FlowKey {
    FlowKey {
        src,
        dst,
        protocol: IpProtocol::TCP,
        src_port: 40_000,
        dst_port,
    }
}
