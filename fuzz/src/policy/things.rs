//! Which clusters are tried? Small ones out of few words, so that selectors, blocks and ports
//! match about as often as they do not.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::Unstructured;
use weft_policy::Cidr;
use weft_policy::cidr::masked;
use weft_policy::model::{
    Isolation, Labels, NAMESPACE_NAME, NamedPort, ObjectName, Operator, Peer, Peers, Pod, Policy,
    PortMatch, PortRange, Ports, Protocol, Requirement, Rule, Scope, Selector,
};

/// All namespaces there can be.
pub const NAMESPACES: [&str; 4] = ["w", "x", "y", "z"];
/// How many pods there can be.
pub const PODS: u8 = 12;
/// How many policies there can be.
pub const POLICIES: u8 = 8;
/// Every port number that is written somewhere.
pub const NUMBERS: [u16; 8] = [1, 53, 80, 81, 443, 8080, 8081, 65_535];
/// Where each pod lives; some namespaces are fuller than others.
const HOMES: [usize; PODS as usize] = [1, 1, 2, 1, 2, 3, 1, 2, 1, 3, 0, 2];
/// Where each policy lives.
const OFFICES: [usize; POLICIES as usize] = [1, 2, 1, 3, 1, 2, 0, 1];
const KEYS: [&str; 3] = ["app", "team", "tier"];
const VALUES: [&str; 3] = ["a", "b", "c"];
const PORT_NAMES: [&str; 3] = ["dns", "metrics", "web"];
const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// Addresses that are never a pod's: a neighbour in the pods' subnet, of the pods' network and
/// just outside of it, a node, the world, and a pod's IPv4 address written as IPv6.
pub const OUTSIDE: [IpAddr; 8] = [
    v4(10, 244, 0, 200),
    v4(10, 244, 9, 1),
    v4(10, 245, 0, 0),
    v4(192, 0, 2, 11),
    v4(203, 0, 113, 9),
    v6([0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0x200]),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
    v6([0, 0, 0, 0, 0, 0xffff, 0x0af4, 0x0001]),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(groups: [u16; 8]) -> IpAddr {
    let [a, b, c, d, e, f, g, h] = groups;
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

/// A number below `end`; 0 once the bytes are used up.
pub fn below(u: &mut Unstructured<'_>, end: u8) -> u8 {
    u.int_in_range(0..=end.saturating_sub(1)).unwrap_or(0)
}

/// Whether a thing happens that happens `of` times in 16; never once the bytes are used up.
pub fn chance(u: &mut Unstructured<'_>, of: u8) -> bool {
    below(u, 16) >= 16 - of
}

/// One of these.
pub fn one<T: Copy>(u: &mut Unstructured<'_>, of: &[T]) -> T {
    let end = u8::try_from(of.len()).unwrap_or(u8::MAX);
    of[usize::from(below(u, end))]
}

fn some<T>(
    u: &mut Unstructured<'_>,
    range: (u8, u8),
    mut each: impl FnMut(&mut Unstructured<'_>) -> T,
) -> Vec<T> {
    let (least, most) = range;
    let count = least + below(u, most - least + 1);
    (0..count).map(|_| each(u)).collect()
}

/// The two addresses that pod `index` would have.
#[must_use]
pub fn addresses_of(index: u8) -> [IpAddr; 2] {
    let (subnet, host) = (index % 3, index + 1);
    let groups = [0xfd00, 0x10, 0x244, subnet.into(), 0, 0, 0, host.into()];
    [v4(10, 244, subnet, host), v6(groups)]
}

/// The name of pod `index`. Where it lives is part of the index, so that a pod cannot move.
#[must_use]
pub fn pod_name(index: u8) -> ObjectName {
    let namespace = NAMESPACES[HOMES[usize::from(index)]];
    ObjectName::new(namespace, format!("p{index}"))
}

/// The name of policy `index`.
#[must_use]
pub fn policy_name(index: u8) -> ObjectName {
    let namespace = NAMESPACES[OFFICES[usize::from(index)]];
    ObjectName::new(namespace, format!("n{index}"))
}

/// Labels of a pod or a namespace; rarely one that poses as a namespace's name.
pub fn labels(u: &mut Unstructured<'_>) -> Labels {
    let mut labels = Labels::new();
    for key in KEYS {
        if chance(u, 10) {
            labels.insert(key.to_owned(), one(u, &VALUES).to_owned());
        }
    }
    if chance(u, 1) {
        labels.insert(NAMESPACE_NAME.to_owned(), one(u, &NAMESPACES).to_owned());
    }
    labels
}

/// A pod: of one family or both, with a second address of a family, finished, or, rarely, with
/// an address that is another's.
pub fn pod(u: &mut Unstructured<'_>, index: u8) -> Pod {
    let own = addresses_of(index);
    let mut addresses = match below(u, 8) {
        0..4 => own.to_vec(),
        4 => own[..1].to_vec(),
        5 => own[1..].to_vec(),
        6 => vec![own[0], v4(10, 244, 7, index), own[1]],
        _ => Vec::new(),
    };
    if chance(u, 1) {
        let others = addresses_of(below(u, PODS));
        addresses.push(one(u, &others));
    }
    Pod {
        name: pod_name(index),
        labels: labels(u),
        addresses,
        ports: some(u, (0, 4), |u| NamedPort {
            name: one(u, &PORT_NAMES).to_owned(),
            protocol: one(u, &PROTOCOLS),
            port: one(u, &NUMBERS),
        }),
    }
}

/// A policy that isolates in at least one direction.
pub fn policy(u: &mut Unstructured<'_>, index: u8) -> Policy {
    let (ingress, egress) = match below(u, 3) {
        0 => (isolation(u), Isolation::None),
        1 => (Isolation::None, isolation(u)),
        _ => (isolation(u), isolation(u)),
    };
    Policy {
        name: policy_name(index),
        pods: selector(u, &KEYS),
        ingress,
        egress,
    }
}

fn isolation(u: &mut Unstructured<'_>) -> Isolation {
    Isolation::Only(some(u, (0, 3), |u| Rule {
        peers: match below(u, 4) {
            0 => Peers::Any,
            _ => Peers::Of(some(u, (1, 3), peer)),
        },
        ports: match below(u, 3) {
            0 => Ports::Any,
            _ => Ports::Of(some(u, (1, 3), port)),
        },
    }))
}

/// A selector: empty, or of one or two requirements on these keys.
fn selector(u: &mut Unstructured<'_>, keys: &[&str]) -> Selector {
    let requirements = match below(u, 4) {
        0 => Vec::new(),
        1 | 2 => vec![requirement(u, keys)],
        _ => vec![requirement(u, keys), requirement(u, keys)],
    };
    Selector { requirements }
}

fn requirement(u: &mut Unstructured<'_>, keys: &[&str]) -> Requirement {
    let key = one(u, keys);
    let operator = match below(u, 8) {
        0..3 => Operator::In(values(u, key)),
        3 | 4 => Operator::NotIn(values(u, key)),
        5 | 6 => Operator::Exists,
        _ => Operator::DoesNotExist,
    };
    Requirement {
        key: key.to_owned(),
        operator,
    }
}

fn values(u: &mut Unstructured<'_>, key: &str) -> BTreeSet<String> {
    let values: &[&str] = if key == NAMESPACE_NAME {
        &NAMESPACES
    } else {
        &VALUES
    };
    some(u, (1, 2), |u| one(u, values).to_owned())
        .into_iter()
        .collect()
}

fn peer(u: &mut Unstructured<'_>) -> Peer {
    let [first, second, third] = KEYS;
    let pods = |namespaces, pods| Peer::Pods { namespaces, pods };
    let namespaces = |u: &mut Unstructured<'_>| {
        Scope::Matching(selector(u, &[first, second, third, NAMESPACE_NAME]))
    };
    match below(u, 5) {
        0 => pods(Scope::Own, selector(u, &KEYS)),
        1 => pods(namespaces(u), Selector::everything()),
        2 => pods(namespaces(u), selector(u, &KEYS)),
        _ => block(u),
    }
}

/// A block around some address, with holes around others in it: a pod, the subnet, the network,
/// everything, and lengths that are no multiple of 8.
fn block(u: &mut Unstructured<'_>) -> Peer {
    let cidr = around(u, 0);
    let except = some(u, (0, 3), |u| {
        let hole = around(u, cidr.length());
        if cidr.contains(hole.base()) && hole.length() >= cidr.length() {
            hole
        } else {
            longer(u, cidr)
        }
    });
    Peer::Block { cidr, except }
}

/// The part of `cidr` that starts where it does.
fn longer(u: &mut Unstructured<'_>, cidr: Cidr) -> Cidr {
    let all = if cidr.base().is_ipv4() { 32 } else { 128 };
    let length = cidr.length() + below(u, all - cidr.length() + 1);
    Cidr::new(cidr.base(), length).expect("the host bits of a prefix are zero")
}

fn around(u: &mut Unstructured<'_>, least: u8) -> Cidr {
    let address = match below(u, 4) {
        0 => one(u, &OUTSIDE),
        _ => {
            let of_a_pod = addresses_of(below(u, PODS));
            one(u, &of_a_pod)
        }
    };
    let lengths: &[u8] = if address.is_ipv4() {
        &[0, 8, 15, 16, 22, 24, 28, 30, 31, 32]
    } else {
        &[0, 16, 47, 48, 63, 64, 124, 126, 127, 128]
    };
    let length = one(u, lengths).max(least.min(if address.is_ipv4() { 32 } else { 128 }));
    Cidr::new(masked(address, length), length).expect("the host bits are cleared")
}

fn port(u: &mut Unstructured<'_>) -> PortMatch {
    let protocol = one(u, &PROTOCOLS);
    let port = match below(u, 8) {
        0 => PortRange::Any,
        1 | 2 => PortRange::Named(one(u, &PORT_NAMES).to_owned()),
        3 | 4 => {
            let (one, other) = (one(u, &NUMBERS), one(u, &NUMBERS));
            PortRange::Numbers(one.min(other), one.max(other))
        }
        _ => {
            let number = one(u, &NUMBERS);
            PortRange::Numbers(number, number)
        }
    };
    PortMatch { protocol, port }
}
