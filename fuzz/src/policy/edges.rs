//! Where do rules begin and end? The ports and addresses worth asking about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::Unstructured;
use weft_policy::model::{Peer, Peers, PortRange, Ports, Protocol, Rule};
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
    pub fn question(&self, u: &mut Unstructured<'_>) -> Option<Question> {
        if self.pods.is_empty() {
            return None;
        }
        let pod = one(u, &self.pods);
        let others = if chance(u, 8) {
            &self.pods
        } else {
            &self.addresses
        };
        let start = usize::from(below(u, u8::MAX));
        let others = others.iter().cycle().skip(start).take(others.len());
        let other = *others
            .copied()
            .collect::<Vec<_>>()
            .iter()
            .find(|other| other.is_ipv4() == pod.is_ipv4())?;
        let (from, to) = if chance(u, 8) {
            (pod, other)
        } else {
            (other, pod)
        };
        let protocol = match below(u, 8) {
            0 => None,
            1 | 2 => Some(Protocol::Udp),
            3 => Some(Protocol::Sctp),
            _ => Some(Protocol::Tcp),
        };
        let port = one(u, &self.ports);
        let port = match below(u, 4) {
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
