//! How does a plain Linux node become a peer of weft nodes?
//!
//! Owns nodes of `kind: kernel`: the kernel's VXLAN device without learning, and for every other
//! node what flannel installs: a permanent neighbour (base of its podCIDR → its VTEP MAC), an FDB entry
//! (that MAC → its underlay address) and a route (its podCIDR via that base). Pods have a routed veth pair
//! each, with permanent neighbours at both ends: nobody asks for anybody, and the kernel's neighbour
//! table, one for all namespaces, does not fill up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;

use ipnetwork::IpNetwork;
use weft_sys::ethtool::{self, Offload};
use weft_sys::netlink::{Netlink, addr, link, neigh, route};
use weft_sys::netns::Netns;
use weft_sys::nft::{self, NatTable};

use super::error::LabResult;
use super::fabric::UPLINK;
use super::file::Family;
use super::name::{stable_hash, stable_mac};
use super::plan::{Node, Plan, Pod};
use super::pods::IFNAME;

/// The gateway of every pod, as on weft nodes; it exists on no interface.
const GATEWAYS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
];
const TABLE: &str = "weft-lab";
/// TTL of outer packets, as Linux sends its own.
const OUTER_TTL: u8 = 64;

/// The VXLAN device; flannel calls its own `flannel.<vni>`, which would not fit for large VNIs.
fn device(plan: &Plan) -> String {
    format!("vxlan.{}", plan.vxlan.vni)
}

fn parameters(plan: &Plan, node: &Node) -> link::Vxlan {
    link::Vxlan {
        vni: plan.vxlan.vni,
        local: node.member.address(plan.underlay.family),
        port: plan.vxlan.port,
        ttl: OUTER_TTL,
        dont_fragment: plan.underlay.family == Family::Ipv4,
    }
}

/// Makes a kernel node a member of the overlay; again changes nothing.
pub(crate) fn configure(plan: &Plan, node: &Node) -> LabResult<()> {
    let netns = Netns::open(&node.member.netns)?;
    // A veth is no network card: nobody would ever complete the inner checksums that Linux leaves to
    // one, and a peer that reads them with a UDP socket would see them incomplete.
    netns.run(|| ethtool::set(UPLINK, Offload::TxChecksum, false))??;
    let mut netlink = Netlink::open_in(&netns)?;
    let vxlan = link::ensure_vxlan(&mut netlink, &device(plan), &parameters(plan, node))?;
    let change = link::Change {
        up: Some(true),
        mtu: Some(plan.underlay.pod_mtu()),
        mac: Some(node.vtep_mac().octets()),
        ..link::Change::default()
    };
    link::change(&mut netlink, vxlan, &change)?;
    for cidr in &node.pod_cidrs {
        let host = if cidr.is_ipv4() { 32 } else { 128 };
        let address = addr::Address::new(vxlan, cidr.network(), host);
        addr::ensure(
            &mut netlink,
            &addr::Address {
                no_dad: true,
                ..address
            },
        )?;
    }
    forget_strangers(plan, node, &mut netlink, vxlan)?;
    for peer in plan.nodes.iter().filter(|peer| peer.name != node.name) {
        learn(plan, peer, &mut netlink, vxlan)?;
    }
    own_cidrs(node, &mut netlink)?;
    masquerade(plan, node, &netns)
}

/// Installs one peer, as flannel does.
fn learn(plan: &Plan, peer: &Node, netlink: &mut Netlink, vxlan: u32) -> LabResult<()> {
    let mac = peer.vtep_mac().octets();
    let remote = peer.member.address(plan.underlay.family);
    neigh::ensure_fdb(
        netlink,
        &neigh::FdbEntry {
            index: vxlan,
            mac,
            remote,
        },
    )?;
    for cidr in &peer.pod_cidrs {
        let gateway = cidr.network();
        neigh::ensure(
            netlink,
            &neigh::Neighbor {
                index: vxlan,
                ip: gateway,
                mac,
            },
        )?;
        let hop = route::Hop::Via {
            gateway,
            index: vxlan,
            onlink: true,
        };
        route::ensure(netlink, &route::Route::new(gateway, cidr.prefix(), hop))?;
    }
    Ok(())
}

/// Removes what was installed for nodes that are gone.
fn forget_strangers(plan: &Plan, node: &Node, netlink: &mut Netlink, vxlan: u32) -> LabResult<()> {
    let peers = || plan.nodes.iter().filter(|peer| peer.name != node.name);
    for entry in neigh::list_fdb(netlink, vxlan)? {
        if !peers().any(|peer| peer.vtep_mac().octets() == entry.mac) {
            neigh::delete_fdb(netlink, &entry)?;
        }
    }
    let known = |ip: IpAddr| peers().any(|peer| peer.pod_cidrs.iter().any(|c| c.network() == ip));
    for one in neigh::list(netlink)?
        .iter()
        .filter(|n| n.index == vxlan && !known(n.ip))
    {
        neigh::delete(netlink, one)?;
    }
    for one in route::list(netlink, route::MAIN_TABLE)? {
        let stale = matches!(one.hop, route::Hop::Via { index, .. } if index == vxlan);
        if stale && !known(one.destination) {
            route::delete(netlink, &one)?;
        }
    }
    Ok(())
}

/// Whether the overlay of a kernel node is as planned: its device, and one entry per peer.
pub(crate) fn is_configured(plan: &Plan, node: &Node) -> LabResult<bool> {
    let Ok(mut netlink) = Netns::open(&node.member.netns).and_then(|n| Netlink::open_in(&n)) else {
        return Ok(false);
    };
    let Some(found) = link::get(&mut netlink, &device(plan))? else {
        return Ok(false);
    };
    let fits = found.vxlan == Some(parameters(plan, node))
        && found.up
        && found.mtu == plan.underlay.pod_mtu();
    let entries = neigh::list_fdb(&mut netlink, found.index)?;
    let knows = |peer: &&Node| {
        let remote = peer.member.address(plan.underlay.family);
        let mac = peer.vtep_mac().octets();
        entries.iter().any(|e| e.mac == mac && e.remote == remote)
    };
    let peers = plan.nodes.iter().filter(|peer| peer.name != node.name);
    Ok(fits && peers.clone().all(|peer| knows(&peer)) && entries.len() == peers.count())
}

/// Whether a kernel node has its VXLAN device, as planned or not.
pub(crate) fn has_device(plan: &Plan, node: &Node) -> LabResult<bool> {
    super::fabric::has_link(&node.member.netns, &device(plan))
}

/// Addresses of the node's podCIDRs that no pod has are unreachable, and do not leave the node.
fn own_cidrs(node: &Node, netlink: &mut Netlink) -> LabResult<()> {
    for cidr in &node.pod_cidrs {
        let nowhere = route::Route::new(cidr.network(), cidr.prefix(), route::Hop::Unreachable);
        route::ensure(netlink, &nowhere)?;
    }
    Ok(())
}

/// Pods reach what is beyond the cluster under their node's address, as on weft nodes.
fn masquerade(plan: &Plan, node: &Node, netns: &Netns) -> LabResult<()> {
    let prefix = |cidr: &IpNetwork| -> nft::Prefix { (cidr.network(), cidr.prefix()) };
    let table = NatTable {
        name: TABLE.to_owned(),
        sources: node.pod_cidrs.iter().map(prefix).collect(),
        exclude_destinations: plan
            .nodes
            .iter()
            .flat_map(|n| &n.pod_cidrs)
            .map(prefix)
            .collect(),
        ..NatTable::default()
    };
    netns.run(|| table.install())??;
    Ok(())
}

/// The node's end of a pod's veth pair.
fn pod_port(pod: &Pod) -> String {
    format!(
        "p{:012x}",
        stable_hash(&pod.name.to_string()) & 0xffff_ffff_ffff
    )
}

/// Joins a pod's namespace to its kernel node.
pub(crate) fn join_pod(plan: &Plan, node: &Node, pod: &Pod, netns: &Netns) -> LabResult<()> {
    let mut outside = Netlink::open_in(&Netns::open(&node.member.netns)?)?;
    let mut inside = Netlink::open_in(netns)?;
    let port = pod_port(pod);
    if link::get(&mut inside, IFNAME)?.is_none() {
        link::delete(&mut outside, &port)?;
        link::add_veth(&mut outside, &port, IFNAME, Some(netns.as_fd()))?;
    }
    let mtu = plan.underlay.pod_mtu();
    let here = End::up(&mut outside, &port, stable_mac(&port), mtu)?;
    let there = End::up(&mut inside, IFNAME, stable_mac(&pod.netns), mtu)?;
    for ip in &pod.addresses {
        let host = if ip.is_ipv4() { 32 } else { 128 };
        let address = addr::Address::new(there.index, *ip, host);
        addr::ensure(
            &mut inside,
            &addr::Address {
                no_dad: true,
                ..address
            },
        )?;
        for gateway in GATEWAYS.iter().filter(|g| g.is_ipv4() == ip.is_ipv4()) {
            there.knows(&mut inside, *gateway, here.mac)?;
            let default = route::Route::default_via(*gateway, there.index, true);
            route::ensure(&mut inside, &default)?;
        }
        here.knows(&mut outside, *ip, there.mac)?;
        let mut to_pod = route::Route::new(*ip, host, route::Hop::Link { index: here.index });
        to_pod.source = node
            .pod_cidrs
            .iter()
            .find(|c| c.contains(*ip))
            .map(IpNetwork::network);
        route::ensure(&mut outside, &to_pod)?;
    }
    Ok(())
}

/// One end of a pod's veth pair.
struct End {
    index: u32,
    mac: [u8; 6],
}

impl End {
    fn up(netlink: &mut Netlink, name: &str, mac: [u8; 6], mtu: u32) -> LabResult<Self> {
        let index = link::index_of(netlink, name)?;
        let change = link::Change {
            up: Some(true),
            mtu: Some(mtu),
            mac: Some(mac),
            ..link::Change::default()
        };
        link::change(netlink, index, &change)?;
        Ok(Self { index, mac })
    }

    /// Makes a neighbour on this link permanent.
    fn knows(&self, netlink: &mut Netlink, ip: IpAddr, mac: [u8; 6]) -> LabResult<()> {
        Ok(neigh::ensure(
            netlink,
            &neigh::Neighbor {
                index: self.index,
                ip,
                mac,
            },
        )?)
    }
}
