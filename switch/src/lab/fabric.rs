//! How are nodes joined to one underlay without touching the host's network?
//!
//! Owns the fabric: a namespace with one bridge, and a veth pair from it to every node and to the
//! outside host. Members have an address of each family on the underlay; nodes route everything
//! else to the outside host, which knows no pod network, so replies to it prove masquerading.

use std::net::IpAddr;

use weft_sys::netlink::{Netlink, addr, link, route};
use weft_sys::netns::Netns;
use weft_sys::sysctl;

use super::error::LabResult;
use super::file::{UNDERLAY_V4, UNDERLAY_V6};
use super::name::{FABRIC, stable_mac};
use super::plan::{Member, Plan};

/// The bridge inside the fabric.
pub(crate) const BRIDGE: &str = "underlay";
/// The underlay interface inside a member.
pub(crate) const UPLINK: &str = "eth0";

/// Opens a namespace, making it if there is none.
pub(crate) fn ensure_netns(name: &str) -> LabResult<Netns> {
    match Netns::create(name) {
        Ok(netns) => Ok(netns),
        Err(error) if error.is_exists() => Ok(Netns::open(name)?),
        Err(error) => Err(error.into()),
    }
}

/// Makes the fabric and its bridge.
pub(crate) fn make(plan: &Plan) -> LabResult<()> {
    let netns = ensure_netns(&plan.name.netns(FABRIC))?;
    // The bridge only forwards: without IPv6 of its own it stays silent.
    netns.run(|| {
        sysctl::ensure("net/ipv6/conf/all/disable_ipv6", "1")?;
        sysctl::ensure("net/ipv6/conf/default/disable_ipv6", "1")
    })??;
    let mut netlink = Netlink::open_in(&netns)?;
    let bridge = link::ensure_bridge(&mut netlink, BRIDGE)?;
    let change = link::Change {
        up: Some(true),
        mtu: Some(plan.underlay.mtu),
        ..link::Change::default()
    };
    Ok(link::change(&mut netlink, bridge, &change)?)
}

/// Whether the fabric's bridge is there.
pub(crate) fn is_made(plan: &Plan) -> LabResult<bool> {
    has_link(&plan.name.netns(FABRIC), BRIDGE)
}

/// Whether a namespace has a link of that name.
pub(crate) fn has_link(netns: &str, name: &str) -> LabResult<bool> {
    if !Netns::exists(netns) {
        return Ok(false);
    }
    // A file without a namespace mounted on it is what a reboot or a crash leaves.
    let Ok(mut netlink) = Netns::open(netns).and_then(|netns| Netlink::open_in(&netns)) else {
        return Ok(false);
    };
    Ok(link::get(&mut netlink, name)?.is_some())
}

/// Makes a member's namespace and joins it to the bridge.
pub(crate) fn join(plan: &Plan, member: &Member, forwards: bool) -> LabResult<()> {
    if !has_link(&member.netns, "lo")? {
        Netns::delete(&member.netns)?;
    }
    let netns = ensure_netns(&member.netns)?;
    let fabric = Netns::open(plan.name.netns(FABRIC))?;
    prepare(&netns, forwards)?;
    let mut inside = Netlink::open_in(&netns)?;
    let mut outside = Netlink::open_in(&fabric)?;
    let name = member.fabric_link();
    if link::get(&mut inside, UPLINK)?.is_none() {
        link::delete(&mut outside, &name)?;
        link::add_veth(
            &mut outside,
            &name,
            UPLINK,
            Some(std::os::fd::AsFd::as_fd(&netns)),
        )?;
    }
    let mtu = Some(plan.underlay.mtu);
    let up = link::Change {
        up: Some(true),
        mtu,
        ..link::Change::default()
    };
    let bridge = link::index_of(&mut outside, BRIDGE)?;
    let port = link::index_of(&mut outside, &name)?;
    link::change(
        &mut outside,
        port,
        &link::Change {
            master: Some(bridge),
            ..up
        },
    )?;
    let uplink = link::index_of(&mut inside, UPLINK)?;
    let mac = Some(stable_mac(&member.netns));
    link::change(&mut inside, uplink, &link::Change { mac, ..up })?;
    for (ip, length) in [
        (IpAddr::V4(member.ipv4), UNDERLAY_V4.1),
        (IpAddr::V6(member.ipv6), UNDERLAY_V6.1),
    ] {
        addr::ensure(
            &mut inside,
            &addr::Address {
                no_dad: true,
                ..addr::Address::new(uplink, ip, length)
            },
        )?;
    }
    default_routes(plan, member, &mut inside, uplink)
}

/// Routes beyond the underlay lead to the outside host.
fn default_routes(
    plan: &Plan,
    member: &Member,
    netlink: &mut Netlink,
    uplink: u32,
) -> LabResult<()> {
    let Some(outside) = plan.outside.as_ref().filter(|outside| *outside != member) else {
        return Ok(());
    };
    for gateway in [IpAddr::V4(outside.ipv4), IpAddr::V6(outside.ipv6)] {
        route::ensure(netlink, &route::Route::default_via(gateway, uplink, false))?;
    }
    Ok(())
}

/// Brings loopback up and sets what a member or pod needs before anything is plugged in.
///
/// Addresses of a lab are unique by construction. Without duplicate address detection (RFC 4862
/// §5.4) links are usable at once; with it, a node cannot ask for a neighbour on behalf of others
/// for a second or two, because its link-local address is still tentative.
pub(crate) fn prepare(netns: &Netns, forwards: bool) -> LabResult<()> {
    const QUIET: [(&str, &str); 4] = [
        ("net/ipv6/conf/{}/disable_ipv6", "0"),
        ("net/ipv6/conf/{}/accept_ra", "0"),
        ("net/ipv6/conf/{}/accept_dad", "0"),
        ("net/ipv4/conf/{}/rp_filter", "0"),
    ];
    const FORWARD: [(&str, &str); 2] = [
        ("net/ipv6/conf/{}/forwarding", "1"),
        ("net/ipv4/conf/{}/forwarding", "1"),
    ];
    netns.run(|| -> weft_sys::Result<()> {
        for (key, value) in QUIET.iter().chain(FORWARD.iter().filter(|_| forwards)) {
            for which in ["all", "default"] {
                sysctl::ensure(&key.replace("{}", which), value)?;
            }
        }
        let mut netlink = Netlink::open()?;
        let loopback = link::index_of(&mut netlink, "lo")?;
        link::set_up(&mut netlink, loopback)
    })??;
    Ok(())
}
