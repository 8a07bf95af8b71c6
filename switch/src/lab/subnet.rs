//! Which addresses belong to which node, and is the pod network sound?
//!
//! Owns the arithmetic: a /24 and a /64 per node in order, flannel's convention that the base
//! address is the node's own, `.1` reserved for a bridge, pods from `.2`. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::file::{PodNetwork, UNDERLAY_V4, UNDERLAY_V6};

/// The pod network where `lab.yaml` names none.
pub(crate) const DEFAULT_IPV4: &str = "10.244.0.0/16";
/// See [`DEFAULT_IPV4`].
pub(crate) const DEFAULT_IPV6: &str = "fd00:10:244::/48";
const NODE_PREFIX_V4: u8 = 24;
const NODE_PREFIX_V6: u8 = 64;
/// Offset of a podCIDR's first pod: base is the node's, 1 is the bridge of a kernel node.
const FIRST_POD: u16 = 2;
/// Offset of the last pod address handed out; 255 would be a kernel node's broadcast address.
const LAST_POD: u16 = 254;

/// What is wrong with a pod network, and what to write instead.
pub(crate) type Wrong = (String, String);

/// Reads and checks `podNetwork.ipv4` for this many nodes.
pub(crate) fn check_v4(text: &str, nodes: usize) -> Result<Ipv4Network, Wrong> {
    let example = "for example 10.244.0.0/16".to_owned();
    let net: Ipv4Network = text.parse().map_err(|_| {
        (
            format!("\"{text}\" is not an IPv4 network"),
            example.clone(),
        )
    })?;
    if !text.contains('/') {
        return Err((format!("\"{text}\" has no prefix length"), example));
    }
    if net.ip() != net.network() {
        return Err((
            format!("{net} has host bits set"),
            format!("write {}/{}", net.network(), net.prefix()),
        ));
    }
    capacity(net.prefix(), NODE_PREFIX_V4, nodes).map_err(|message| {
        (
            format!("{net} {message}"),
            "use a shorter prefix, such as /16".to_owned(),
        )
    })?;
    let underlay = v4(UNDERLAY_V4);
    if net.contains(underlay.ip()) || underlay.contains(net.ip()) {
        return Err((format!("{net} overlaps the underlay {underlay}"), example));
    }
    let base = net.ip();
    let special = base.octets()[0] == 0
        || base.is_loopback()
        || base.is_link_local()
        || base.octets()[0] >= 224
        || net.prefix() < 8;
    if special {
        return Err((
            format!("{net} holds addresses that no pod can have"),
            example,
        ));
    }
    Ok(net)
}

/// Reads and checks `podNetwork.ipv6` for this many nodes.
pub(crate) fn check_v6(text: &str, nodes: usize) -> Result<Ipv6Network, Wrong> {
    let example = "for example fd00:10:244::/48".to_owned();
    let net: Ipv6Network = text.parse().map_err(|_| {
        (
            format!("\"{text}\" is not an IPv6 network"),
            example.clone(),
        )
    })?;
    if !text.contains('/') {
        return Err((format!("\"{text}\" has no prefix length"), example));
    }
    if net.ip() != net.network() {
        return Err((
            format!("{net} has host bits set"),
            format!("write {}/{}", net.network(), net.prefix()),
        ));
    }
    capacity(net.prefix(), NODE_PREFIX_V6, nodes).map_err(|message| {
        (
            format!("{net} {message}"),
            "use a shorter prefix, such as /48".to_owned(),
        )
    })?;
    let underlay = v6(UNDERLAY_V6);
    if net.contains(underlay.ip()) || underlay.contains(net.ip()) {
        return Err((format!("{net} overlaps the underlay {underlay}"), example));
    }
    let base = net.ip();
    if net.prefix() < 8
        || base.is_multicast()
        || base.is_unicast_link_local()
        || base.segments()[0] == 0
    {
        return Err((
            format!("{net} holds addresses that no pod can have"),
            example,
        ));
    }
    Ok(net)
}

/// Whether `2^(per_node - prefix)` subnets suffice.
fn capacity(prefix: u8, per_node: u8, nodes: usize) -> Result<(), String> {
    let Some(bits) = per_node.checked_sub(prefix) else {
        return Err(format!("is too small: each node needs a /{per_node}"));
    };
    let subnets = 1usize.checked_shl(u32::from(bits)).unwrap_or(usize::MAX);
    if subnets < nodes {
        return Err(format!(
            "is too small: it holds {subnets} × /{per_node} and the lab has {nodes} nodes"
        ));
    }
    Ok(())
}

/// The podCIDRs of node `index` (from 0): IPv4 first.
pub(crate) fn pod_cidrs(network: PodNetwork, index: u16) -> Vec<IpNetwork> {
    let ipv4 = network.ipv4.and_then(|net| {
        let base = u32::from(net.network()) + (u32::from(index) << (32 - NODE_PREFIX_V4));
        Ipv4Network::new(Ipv4Addr::from(base), NODE_PREFIX_V4).ok()
    });
    let ipv6 = network.ipv6.and_then(|net| {
        let base = u128::from(net.network()) + (u128::from(index) << (128 - NODE_PREFIX_V6));
        Ipv6Network::new(Ipv6Addr::from(base), NODE_PREFIX_V6).ok()
    });
    ipv4.map(IpNetwork::V4)
        .into_iter()
        .chain(ipv6.map(IpNetwork::V6))
        .collect()
}

/// The address `offset` places above the base of a network.
pub(crate) fn offset(network: IpNetwork, offset: u16) -> IpAddr {
    match network.network() {
        IpAddr::V4(base) => IpAddr::V4(Ipv4Addr::from(u32::from(base) + u32::from(offset))),
        IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from(u128::from(base) + u128::from(offset))),
    }
}

/// Addresses that pods of a podCIDR get when their manifest names none, in order.
pub(crate) fn pod_addresses(cidr: IpNetwork) -> impl Iterator<Item = IpAddr> {
    (FIRST_POD..=LAST_POD).map(move |n| offset(cidr, n))
}

/// Why a pod cannot have this address of its node's podCIDR, if so.
pub(crate) fn reserved(cidr: IpNetwork, address: IpAddr) -> Option<&'static str> {
    if address == offset(cidr, 0) {
        Some("is the node's own (the base of its podCIDR)")
    } else if address == offset(cidr, 1) {
        Some("is reserved for the gateway of kernel nodes")
    } else if address.is_ipv4() && address == offset(cidr, 255) {
        Some("is the broadcast address of its podCIDR")
    } else {
        None
    }
}

/// The underlay addresses of member `number` (1 to 254).
pub(crate) fn underlay(number: u16) -> (Ipv4Addr, Ipv6Addr) {
    let v4 = u32::from(UNDERLAY_V4.0) + u32::from(number);
    let v6 = u128::from(UNDERLAY_V6.0) + u128::from(number);
    (Ipv4Addr::from(v4), Ipv6Addr::from(v6))
}

fn v4((address, prefix): (Ipv4Addr, u8)) -> Ipv4Network {
    Ipv4Network::new(address, prefix).unwrap_or_else(|_| Ipv4Network::from(address))
}

fn v6((address, prefix): (Ipv6Addr, u8)) -> Ipv6Network {
    Ipv6Network::new(address, prefix).unwrap_or_else(|_| Ipv6Network::from(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_get_subnets_in_order() {
        let network = PodNetwork {
            ipv4: Some(DEFAULT_IPV4.parse().unwrap()),
            ipv6: Some(DEFAULT_IPV6.parse().unwrap()),
        };
        let of = |i| {
            pod_cidrs(network, i)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(0), ["10.244.0.0/24", "fd00:10:244::/64"]);
        assert_eq!(of(2), ["10.244.2.0/24", "fd00:10:244:2::/64"]);
    }

    #[test]
    fn first_pod_is_two() {
        let cidr: IpNetwork = "10.244.1.0/24".parse().unwrap();
        let all: Vec<_> = pod_addresses(cidr).collect();
        assert_eq!(all.first().unwrap().to_string(), "10.244.1.2");
        assert_eq!(all.last().unwrap().to_string(), "10.244.1.254");
        assert!(all.iter().all(|a| reserved(cidr, *a).is_none()));
        assert!(reserved(cidr, "10.244.1.0".parse().unwrap()).is_some());
    }

    #[test]
    fn unsound_networks_are_refused_with_the_reason() {
        let cases = [
            (
                "10.244.0.0/25",
                1,
                "10.244.0.0/25 is too small: each node needs a /24",
            ),
            (
                "10.244.0.0/23",
                3,
                "10.244.0.0/23 is too small: it holds 2 × /24 and the lab has 3 nodes",
            ),
            (
                "192.0.0.0/16",
                1,
                "192.0.0.0/16 overlaps the underlay 192.0.2.0/24",
            ),
            ("10.244.0.1/16", 1, "10.244.0.1/16 has host bits set"),
            (
                "169.254.0.0/16",
                1,
                "169.254.0.0/16 holds addresses that no pod can have",
            ),
            ("10.244.0.0", 1, "\"10.244.0.0\" has no prefix length"),
            ("ten", 1, "\"ten\" is not an IPv4 network"),
        ];
        for (text, nodes, expected) in cases {
            assert_eq!(check_v4(text, nodes).unwrap_err().0, expected);
        }
        let cases = [
            (
                "fd00::/80",
                1,
                "fd00::/80 is too small: each node needs a /64",
            ),
            (
                "fd00::/63",
                3,
                "fd00::/63 is too small: it holds 2 × /64 and the lab has 3 nodes",
            ),
            (
                "2001:db8::/32",
                1,
                "2001:db8::/32 overlaps the underlay 2001:db8::/64",
            ),
            (
                "fe80::/48",
                1,
                "fe80::/48 holds addresses that no pod can have",
            ),
        ];
        for (text, nodes, expected) in cases {
            assert_eq!(check_v6(text, nodes).unwrap_err().0, expected);
        }
    }
}
