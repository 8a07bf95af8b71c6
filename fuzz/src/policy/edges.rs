//! Where do rules begin and end? The ports and addresses worth asking about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::Unstructured;
use weft_policy::model::{NamedPort, Peer, Peers, PortRange, Ports, Protocol, Rule};
use weft_policy::{Cidr, Cluster, Question};

use super::things::{self, OUTSIDE, PODS, below, chance, one};

/// The edges of a cluster's rules, and all addresses there can be.
#[derive(Debug)]
pub struct Edges {
    ports: Vec<u16>,
    addresses: Vec<IpAddr>,
    /// Those of pods that are there.
    pods: Vec<IpAddr>,
}

impl Edges {
    /// The edges of these policies and pods.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let mut edges = Self {
            ports: things::NUMBERS.to_vec(),
            addresses: OUTSIDE.to_vec(),
            pods: Vec::new(),
        };
        edges
            .addresses
            .extend((0..PODS).flat_map(things::addresses_of));
        for pod in cluster.pods.values() {
            edges.pods.extend(&pod.addresses);
            edges.ports.extend(pod.ports.iter().map(|named| named.port));
        }
        for policy in cluster.policies.values() {
            for rule in policy.ingress.rules().iter().chain(policy.egress.rules()) {
                edges.rule(rule);
            }
        }
        edges
    }

    fn rule(&mut self, rule: &Rule) {
        if let Peers::Of(peers) = &rule.peers {
            for peer in peers {
                if let Peer::Block { cidr, except } = peer {
                    for cidr in std::iter::once(cidr).chain(except) {
                        self.addresses.extend(ends(*cidr));
                    }
                }
            }
        }
        if let Ports::Of(items) = &rule.ports {
            for item in items {
                if let PortRange::Numbers(first, last) = item.port {
                    self.ports.extend([first, last]);
                }
            }
        }
    }

    /// A question about a pod that is there and any address of its family, one of the two the
    /// sender; none while no pod has an address.
    pub fn question(&self, u: &mut Unstructured<'_>, cluster: &Cluster) -> Option<Question> {
        if self.pods.is_empty() {
            return None;
        }
        let pod = one(u, &self.pods);
        let others = if chance(u, 8) {
            &self.pods
        } else {
            &self.addresses
        };
        let start = below(u, u8::MAX).into();
        let mut others = others.iter().cycle().skip(start).take(others.len());
        let other = *others.find(|other| other.is_ipv4() == pod.is_ipv4())?;
        let (from, to) = if chance(u, 8) {
            (pod, other)
        } else {
            (other, pod)
        };
        let named: Vec<NamedPort> = match cluster.pod_at(to) {
            Some(pod) if chance(u, 4) => pod.ports.clone(),
            _ => Vec::new(),
        };
        let (protocol, port) = if named.is_empty() {
            (protocol(u), one(u, &self.ports))
        } else {
            let end = u8::try_from(named.len()).unwrap_or(u8::MAX);
            let named = &named[usize::from(below(u, end))];
            (Some(named.protocol), named.port)
        };
        let port = match below(u, 8) {
            0 => port.wrapping_add(1),
            1 => port.wrapping_sub(1),
            _ => port,
        };
        Some(Question {
            from,
            to,
            protocol,
            port,
        })
    }
}

fn protocol(u: &mut Unstructured<'_>) -> Option<Protocol> {
    match below(u, 8) {
        0 => None,
        1 | 2 => Some(Protocol::Udp),
        3 => Some(Protocol::Sctp),
        _ => Some(Protocol::Tcp),
    }
}

/// The first and the last address of a block, and their neighbours outside.
fn ends(cidr: Cidr) -> [IpAddr; 4] {
    match cidr.base() {
        IpAddr::V4(base) => {
            let first = base.to_bits();
            let last = first | u32::MAX.checked_shr(cidr.length().into()).unwrap_or(0);
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpAddr::V6(base) => {
            let first = base.to_bits();
            let last = first | u128::MAX.checked_shr(cidr.length().into()).unwrap_or(0);
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| Ipv6Addr::from_bits(bits).into())
        }
    }
}
