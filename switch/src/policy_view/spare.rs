//! Which address does a pod get for judgement when its manifest has none?
//!
//! One of a range that never occurs on a wire and that no `cidr` and no `except` of any policy
//! touches, so that a rule by address matches only if it matches every address of the family.
//! Where policies between them cover all such ranges (`0.0.0.0/1` with `128.0.0.0/1`), their
//! widest blocks are taken for everything, one length after the other.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_policy::model::{Peer, Peers};
use weft_policy::{Cidr, Cluster};

use super::words::Family;

/// Reserved (RFC 1112 §4) and "this network" (RFC 1122 §3.2.1.3).
const RANGES_V4: [(Ipv4Addr, u8); 2] = [
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::new(0, 0, 0, 0), 8),
];
/// Documentation (RFC 9637) and discard-only (RFC 6666).
const RANGES_V6: [(Ipv6Addr, u8); 2] = [
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
];
/// Each range is looked at in 2¹² slices.
const SLICE_BITS: u8 = 12;

/// Every `cidr` and `except` of every policy.
pub(super) fn blocks(cluster: &Cluster) -> impl Iterator<Item = Cidr> {
    let policies = cluster.policies.values();
    let rules = policies.flat_map(|policy| {
        let (ingress, egress) = (policy.ingress.rules(), policy.egress.rules());
        ingress.iter().chain(egress)
    });
    let peers = rules.flat_map(|rule| match &rule.peers {
        Peers::Any => &[][..],
        Peers::Of(peers) => peers.as_slice(),
    });
    peers.flat_map(|peer| match peer {
        Peer::Pods { .. } => Vec::new(),
        Peer::Block { cidr, except } => std::iter::once(*cidr).chain(except.clone()).collect(),
    })
}

/// Addresses to give away, as many as there are pods.
pub(super) fn addresses(cluster: &Cluster, family: Family) -> Vec<IpAddr> {
    let taken: BTreeSet<IpAddr> = cluster
        .pods
        .values()
        .flat_map(|pod| pod.addresses.iter().copied())
        .collect();
    let blocks: BTreeSet<Cidr> = blocks(cluster)
        .filter(|block| family.has(block.base()))
        .collect();
    let wanted = cluster.pods.len();
    let slices = slices(family);
    let longest = blocks.iter().map(Cidr::length).max().unwrap_or(0);
    for everything in 0..=longest {
        let narrow = || blocks.iter().filter(|block| block.length() > everything);
        let free = slices
            .iter()
            .filter(|slice| !narrow().any(|block| block.overlaps(slice)));
        let found = free.flat_map(hosts).filter(|ip| !taken.contains(ip));
        let found: Vec<IpAddr> = found.take(wanted).collect();
        if found.len() == wanted {
            return found;
        }
    }
    Vec::new()
}

fn slices(family: Family) -> Vec<Cidr> {
    let mut slices = Vec::new();
    match family {
        Family::Ipv4 => {
            for (base, length) in RANGES_V4 {
                let length = length + SLICE_BITS;
                slices.extend((0..1_u32 << SLICE_BITS).filter_map(|number| {
                    let base = base.to_bits() | number << (32 - length);
                    Cidr::new(Ipv4Addr::from_bits(base).into(), length).ok()
                }));
            }
        }
        Family::Ipv6 => {
            for (base, length) in RANGES_V6 {
                let length = length + SLICE_BITS;
                slices.extend((0..1_u128 << SLICE_BITS).filter_map(|number| {
                    let base = base.to_bits() | number << (128 - length);
                    Cidr::new(Ipv6Addr::from_bits(base).into(), length).ok()
                }));
            }
        }
    }
    slices
}

/// The first addresses of a slice but its base; slices hold 2¹² addresses at least.
fn hosts(slice: &Cidr) -> impl Iterator<Item = IpAddr> + use<> {
    let base = slice.base();
    (1..1_u32 << SLICE_BITS).map(move |number| match base {
        IpAddr::V4(base) => Ipv4Addr::from_bits(base.to_bits() | number).into(),
        IpAddr::V6(base) => Ipv6Addr::from_bits(base.to_bits() | u128::from(number)).into(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use weft_policy::model::{Isolation, ObjectName, Pod, Policy, Ports, Rule, Selector};

    use super::*;

    fn cluster(pods: usize, blocks: &[&str]) -> Cluster {
        let peer = |block: &&str| Peer::Block {
            cidr: block.parse().unwrap(),
            except: Vec::new(),
        };
        let rule = Rule {
            peers: Peers::Of(blocks.iter().map(peer).collect()),
            ports: Ports::Any,
        };
        let policy = Policy {
            name: ObjectName::new("x", "p"),
            pods: Selector::everything(),
            ingress: Isolation::Only(vec![rule]),
            egress: Isolation::None,
        };
        let pods = (0..pods).map(|number| {
            let name = ObjectName::new("x", number.to_string());
            let pod = Pod {
                name: name.clone(),
                labels: BTreeMap::new(),
                addresses: Vec::new(),
                ports: Vec::new(),
            };
            (name, Arc::new(pod))
        });
        Cluster {
            namespaces: BTreeMap::new(),
            pods: pods.collect(),
            policies: BTreeMap::from([(policy.name.clone(), Arc::new(policy))]),
        }
    }

    #[test]
    fn no_block_but_everything_covers_a_spare_address() {
        for (blocks, expected) in [
            (&["0.0.0.0/0"][..], "240.0.0.1"),
            (&["240.0.0.0/16", "10.0.0.0/8"], "240.1.0.1"),
            (&["128.0.0.0/1"], "0.0.0.1"),
            (&["0.0.0.0/1", "128.0.0.0/1"], "240.0.0.1"),
            (&["0.0.0.0/1", "128.0.0.0/1", "240.0.0.0/8"], "241.0.0.1"),
        ] {
            let found = addresses(&cluster(1, blocks), Family::Ipv4);
            assert_eq!(found, [expected.parse::<IpAddr>().unwrap()], "{blocks:?}");
        }
        for (blocks, expected) in [
            (&["::/0", "fd00::/8"][..], "3fff::1"),
            (&["2000::/3"], "100::1"),
        ] {
            let found = addresses(&cluster(1, blocks), Family::Ipv6);
            assert_eq!(found, [expected.parse::<IpAddr>().unwrap()], "{blocks:?}");
        }
    }

    #[test]
    fn there_are_enough_and_all_differ() {
        for family in [Family::Ipv4, Family::Ipv6] {
            let found = addresses(&cluster(10_000, &["0.0.0.0/0"]), family);
            let distinct: BTreeSet<_> = found.iter().collect();
            assert_eq!((found.len(), distinct.len()), (10_000, 10_000));
        }
    }
}
