//! How does the node itself take part in the pod network?
//!
//! Owns `weft0`, the node's own port: its addresses (the base of each podCIDR), the routes to all
//! podCIDRs through it, forwarding, and the nftables table that gives pods the node's address when
//! they leave the cluster. Kept in step with the known nodes; removed when dropped by
//! [`Host::remove`]. Knows no worker.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_sys::netlink::{Netlink, addr, link, neigh, route};
use weft_sys::nft::{self, Fingerprint, HostPort, NatTable};
use weft_sys::tap::TapQueue;
use weft_sys::{SysError, sysctl};
use weft_wire::Mac;

use super::ports::{self, gateway_of, host_bits, ignore_missing};
use super::underlay::UnderlayFacts;
use super::{Backend, StartError};
use crate::config::NodeConfig;
use crate::path::GATEWAY_MAC;

/// Name of the node's port.
pub(crate) const HOST_INTERFACE: &str = "weft0";
/// Name of the nftables table, of family inet.
pub(crate) const NFT_TABLE: &str = "weft";

/// The node's port and what belongs to it.
#[derive(Debug)]
pub(super) struct Host {
    index: u32,
    /// Whether the port is raised; routes need that.
    up: bool,
    pub(super) mac: Mac,
    pub(super) backend: Backend,
    own: Vec<IpNetwork>,
    /// Destinations routed through the port so far.
    routed: BTreeSet<IpNetwork>,
    /// The nftables table in force; `None` before the first time.
    rules: Option<Rules>,
}

/// The node's nftables table, and how it looked when it was installed.
#[derive(Debug)]
struct Rules {
    table: NatTable,
    fingerprint: Fingerprint,
}

impl Host {
    /// Makes `weft0`, still down.
    pub(super) fn create(
        config: &NodeConfig,
        underlay: &UnderlayFacts,
        backend: Backend,
    ) -> Result<(Self, Vec<TapQueue>), StartError> {
        let (own, workers) = (&config.pod_cidrs, config.workers);
        let mtu = underlay.pod_mtu.get();
        let mut netlink = Netlink::open()?;
        let addresses: Vec<IpAddr> = own.iter().map(IpNetwork::network).collect();
        let mac = ports::mac_for(&addresses);
        let opened = ports::open(HOST_INTERFACE, backend, workers);
        let (queues, backend) = opened.map_err(|error| match error.is_busy() {
            true => StartError::host(
                format!("the interface {HOST_INTERFACE} is in use by another process"),
                "another weft daemon runs here: see `weft status`, or `ss -xlp | grep weft`",
            ),
            false => error.into(),
        })?;
        let index = link::index_of(&mut netlink, HOST_INTERFACE)?;
        let change = link::Change {
            mac: Some(mac.octets()),
            mtu: Some(mtu.into()),
            ..Default::default()
        };
        link::change(&mut netlink, index, &change)?;
        let host = Self {
            index,
            up: false,
            mac,
            backend,
            own: own.to_vec(),
            routed: BTreeSet::new(),
            rules: None,
        };
        keep_router_advertisements(&underlay.interface)?;
        host.tune()?;
        Ok((host, queues))
    }

    /// The node's addresses in the pod network.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.own.iter().map(IpNetwork::network)
    }

    /// The node's pod ranges.
    pub(super) fn ranges(&self) -> &[IpNetwork] {
        &self.own
    }

    /// Lets the node route between pods and the world.
    fn tune(&self) -> Result<(), SysError> {
        let ipv4 = |knob: &str| format!("net/ipv4/conf/{HOST_INTERFACE}/{knob}");
        let ipv6 = |knob: &str| format!("net/ipv6/conf/{HOST_INTERFACE}/{knob}");
        if self.own.iter().any(IpNetwork::is_ipv4) {
            sysctl::ensure("net/ipv4/ip_forward", "1")?;
            sysctl::ensure(&ipv4("forwarding"), "1")?;
            sysctl::ensure(&ipv4("rp_filter"), "2")?;
            sysctl::ensure(&ipv4("send_redirects"), "0")?;
        }
        if self.own.iter().any(IpNetwork::is_ipv6) {
            sysctl::ensure(&ipv6("disable_ipv6"), "0")?;
            sysctl::ensure("net/ipv6/conf/all/forwarding", "1")?;
            for knob in ["accept_ra", "accept_redirects", "accept_dad"] {
                sysctl::ensure(&ipv6(knob), "0")?;
            }
            Ok(())
        } else {
            ignore_missing(sysctl::ensure(&ipv6("disable_ipv6"), "1"))
        }
    }

    /// Raises the port: addresses, neighbours, routes to the node's own pods.
    pub(super) fn bring_up(&mut self) -> Result<(), SysError> {
        let mut netlink = Netlink::open()?;
        link::set_up(&mut netlink, self.index)?;
        for address in self.addresses() {
            let held = addr::Address::new(self.index, address, host_bits(address));
            addr::ensure(&mut netlink, &held)?;
            let gateway = neigh::Neighbor {
                index: self.index,
                ip: gateway_of(address),
                mac: GATEWAY_MAC.octets(),
            };
            neigh::ensure(&mut netlink, &gateway)?;
        }
        self.up = true;
        self.follow(&[], Vec::new())
    }

    /// Once raised: routes to the node's own podCIDRs and to those of `peers`, and to nothing else;
    /// exempts them all from masquerading; leads `forwards` to their pods.
    pub(super) fn follow(
        &mut self,
        peers: &[IpNetwork],
        forwards: Vec<HostPort>,
    ) -> Result<(), SysError> {
        if !self.up {
            return Ok(());
        }
        let wanted: BTreeSet<IpNetwork> = self.own.iter().chain(peers).copied().collect();
        if self.routed != wanted {
            self.reroute(&wanted)?;
        }
        let table = nat(&self.own, &wanted, forwards);
        if self
            .rules
            .as_ref()
            .is_some_and(|rules| rules.table == table)
        {
            return Ok(());
        }
        if !table.forwards.is_empty() && self.own.iter().any(IpNetwork::is_ipv4) {
            // The node's own 127.0.0.1 leads to host ports too.
            sysctl::ensure(
                &format!("net/ipv4/conf/{HOST_INTERFACE}/route_localnet"),
                "1",
            )?;
        }
        let fingerprint = table.install()?;
        let before = self.rules.replace(Rules { table, fingerprint });
        self.welcome(before.map_or_else(Vec::new, |rules| rules.table.forwards));
        Ok(())
    }

    /// Has senders that met a host port before it led to its pod find it.
    fn welcome(&self, before: Vec<HostPort>) {
        let before: BTreeSet<HostPort> = before.into_iter().collect();
        let now = self.rules.iter().flat_map(|rules| &rules.table.forwards);
        for new in now.filter(|port| !before.contains(port)) {
            if let Err(error) = nft::forget_undirected(new) {
                let port = new.host_port;
                tracing::warn!(%error, "some senders may not find host port {port} until they pause");
            }
        }
    }

    fn reroute(&mut self, wanted: &BTreeSet<IpNetwork>) -> Result<(), SysError> {
        let mut netlink = Netlink::open()?;
        for gone in self.routed.difference(wanted) {
            if let Some(route) = self.route(gone) {
                route::delete(&mut netlink, &route)?;
            }
        }
        for new in wanted.difference(&self.routed) {
            if let Some(route) = self.route(new) {
                route::ensure(&mut netlink, &route)?;
            }
        }
        self.routed.clone_from(wanted);
        Ok(())
    }

    /// Whether the nftables table is as it was installed; if not, the next [`Self::follow`]
    /// installs it anew.
    pub(super) fn guard_rules(&mut self) -> Result<bool, SysError> {
        let Some(rules) = &self.rules else {
            return Ok(true);
        };
        let intact = NatTable::fingerprint(NFT_TABLE)?.as_ref() == Some(&rules.fingerprint);
        if !intact {
            self.rules = None;
        }
        Ok(intact)
    }

    /// The route to a podCIDR, sent from the node's own address of the family; none where the
    /// node has no such address, since no pod could answer it.
    fn route(&self, cidr: &IpNetwork) -> Option<route::Route> {
        let source = self
            .addresses()
            .find(|own| own.is_ipv4() == cidr.is_ipv4())?;
        let hop = route::Hop::Via {
            gateway: gateway_of(source),
            index: self.index,
            onlink: true,
        };
        let route = route::Route::new(cidr.network(), cidr.prefix(), hop);
        Some(route::Route {
            source: Some(source),
            ..route
        })
    }

    /// Takes away what does not vanish with the device.
    pub(super) fn remove() -> Result<(), SysError> {
        NatTable::delete(NFT_TABLE).map(|_| ())
    }
}

/// A kernel that forwards ignores router advertisements unless told to take them all the same: an
/// underlay that lives by them would lose its default route.
fn keep_router_advertisements(underlay: &str) -> Result<(), SysError> {
    let knob = format!("net/ipv6/conf/{underlay}/accept_ra");
    match sysctl::get(&knob) {
        Ok(value) if value == "1" => sysctl::set(&knob, "2"),
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// The node's table: pods leave the cluster under its address, its ports lead to pods.
fn nat(own: &[IpNetwork], exempt: &BTreeSet<IpNetwork>, forwards: Vec<HostPort>) -> NatTable {
    let prefix = |cidr: &IpNetwork| (cidr.network(), cidr.prefix());
    NatTable {
        name: NFT_TABLE.to_owned(),
        sources: own.iter().map(prefix).collect(),
        exclude_destinations: exempt.iter().map(prefix).collect(),
        exclude_interfaces: vec![HOST_INTERFACE.to_owned()],
        forwards,
        pod_interface: Some(HOST_INTERFACE.to_owned()),
    }
}
