//! How does this node reach the others?
//!
//! Owns the facts about the underlay (the interface that holds the node's address, its MTU) and
//! the UDP sockets of the tunnel: one receiving socket per worker, and one set of sending sockets,
//! the lanes, shared by all workers so that a flow's source port never depends on who sends it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use weft_encap::{Lanes, Mtu, Underlay, pod_mtu};
use weft_sys::netlink::{Netlink, addr, link, route};
use weft_sys::udp::{self, Buffers};

use super::StartError;
use super::worker::{Offload, Offloads};
use crate::config::Config;

/// Where the underlay is on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnderlayFacts {
    /// Address of the tunnel end point.
    pub(super) vtep: IpAddr,
    /// Name of the interface that holds it.
    pub(super) interface: String,
    /// What the tunnel leaves of the interface's MTU, or less if configured so.
    pub(super) pod_mtu: Mtu,
}

/// The sockets of the tunnel.
#[derive(Debug)]
pub(super) struct UnderlaySockets {
    /// One per worker.
    pub(super) receive: Vec<UdpSocket>,
    /// All lanes.
    pub(super) lanes: Arc<[UdpSocket]>,
    /// What they turn out not to do.
    pub(super) offloads: Arc<Offloads>,
}

/// Finds the node's address on this host.
///
/// # Errors
/// If the address is on no interface, there is no default route to tell it, or the MTU leaves no
/// room for pods.
pub(super) fn find(config: &Config) -> Result<UnderlayFacts, StartError> {
    let mut netlink = Netlink::open()?;
    let vtep = match config.node.address {
        Some(address) => address,
        None => default_address(&mut netlink)?,
    };
    let held = addr::list(&mut netlink, None)?
        .into_iter()
        .find(|address| address.ip == vtep);
    let Some(held) = held else {
        return Err(StartError::config(
            format!("node.address {vtep} is on no interface of this host"),
            "set node.address to one that `ip address` shows",
        ));
    };
    let links = link::list(&mut netlink)?;
    let Some(interface) = links.into_iter().find(|link| link.index == held.index) else {
        return Err(StartError::host(
            format!("the interface of {vtep} has just vanished"),
            "start weft again when the interface is there to stay",
        ));
    };
    let pod_mtu = choose_mtu(config, vtep, &interface)?;
    Ok(UnderlayFacts {
        vtep,
        interface: interface.name,
        pod_mtu,
    })
}

fn choose_mtu(config: &Config, vtep: IpAddr, interface: &link::Link) -> Result<Mtu, StartError> {
    let (name, mtu) = (&interface.name, interface.mtu);
    let underlay = Underlay::of(vtep);
    let needs_ipv6 = config
        .node
        .pod_cidrs
        .iter()
        .any(ipnetwork::IpNetwork::is_ipv6);
    let room = pod_mtu(u16::try_from(mtu).unwrap_or(u16::MAX), underlay)
        .filter(|mtu| mtu.carries_ipv6() || !needs_ipv6)
        .ok_or_else(|| {
            StartError::host(
                format!(
                    "the MTU of {name}, {mtu} bytes, leaves pods less than IP needs once the \
                     tunnel took its {} bytes",
                    underlay.overhead()
                ),
                format!("raise it: ip link set {name} mtu 1500"),
            )
        })?;
    match config.node.mtu.and_then(Mtu::new) {
        None => Ok(room),
        Some(wanted) if wanted.get() <= room.get() => Ok(wanted),
        Some(wanted) => Err(StartError::config(
            format!(
                "node.mtu {} is more than {name} leaves for pods",
                wanted.get()
            ),
            format!("write at most {}, or leave it out", room.get()),
        )),
    }
}

/// The address of the interface the default route leaves by, IPv4 before IPv6.
fn default_address(netlink: &mut Netlink) -> Result<IpAddr, StartError> {
    let routes = route::list_default(netlink)?;
    let addresses = addr::list(netlink, None)?;
    let mut candidates: Vec<IpAddr> = Vec::new();
    for route in routes {
        let index = match route.hop {
            route::Hop::Link { index } | route::Hop::Via { index, .. } => index,
            route::Hop::Unreachable => continue,
        };
        let same_family = |a: &&addr::Address| a.ip.is_ipv4() == route.destination.is_ipv4();
        let usable = |ip: IpAddr| !is_link_local(ip) && !ip.is_loopback();
        let on_it = addresses
            .iter()
            .filter(|a| a.index == index)
            .filter(same_family);
        candidates.extend(on_it.map(|a| a.ip).filter(|ip| usable(*ip)));
    }
    candidates.sort_by_key(IpAddr::is_ipv6);
    candidates.first().copied().ok_or_else(|| {
        StartError::config(
            "there is no default route to take node.address from".to_owned(),
            "set node.address in the configuration",
        )
    })
}

pub(super) const fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Opens the tunnel's sockets.
///
/// # Errors
/// If another program has the port, or the kernel refuses.
pub(super) fn open(vtep: IpAddr, port: u16, workers: usize) -> Result<UnderlaySockets, StartError> {
    let local = SocketAddr::new(vtep, port);
    if !udp::port_is_free(local)? {
        return Err(StartError::host(
            format!(
                "UDP port {port} of {vtep} is taken by another program or a kernel VXLAN device"
            ),
            format!(
                "find it with `ss -lunp sport = :{port}` and `ip -d link show type vxlan`, stop \
                 it, or set vxlan.port on every node"
            ),
        ));
    }
    let buffers = Buffers::default();
    // One socket alone is found without the choice among several that the kernel would make for
    // every packet.
    let shared = workers > 1;
    let receive = (0..workers).map(|_| udp::bind_rx(local, shared, buffers));
    let receive: Vec<_> = receive.collect::<Result<_, _>>()?;
    // Nobody reads what comes for a lane: it is to take no memory.
    let sending = Buffers {
        receive: 0,
        ..buffers
    };
    let lanes = Lanes::for_workers(workers)
        .iter()
        .map(|_| udp::bind_tx(vtep, sending));
    let offloads = Arc::<Offloads>::default();
    if let Err(error) = receive.iter().try_for_each(udp::set_gro) {
        tracing::warn!(%error, "every datagram is received by itself");
        offloads.refuse(Offload::Joining);
    }
    Ok(UnderlaySockets {
        receive,
        lanes: lanes.collect::<Result<Vec<_>, _>>()?.into(),
        offloads,
    })
}
