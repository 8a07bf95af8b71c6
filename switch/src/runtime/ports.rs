//! How does a pod get its interface?
//!
//! Owns what is done inside the pod's network namespace: the TAP device, its addresses, routes
//! and neighbours. In two halves: [`prepare`] makes a device that is still down, [`bring_up`]
//! raises it once every worker forwards for it. A device whose queues are dropped disappears with
//! all that was set on it, so a failed attach leaves nothing. Knows no table and no worker.

use std::net::{IpAddr, Ipv6Addr};

use weft_sys::netlink::{Netlink, addr, link, neigh, route};
use weft_sys::netns::Netns;
use weft_sys::tap::{self, TapConfig, TapQueue};
use weft_sys::{SysError, sysctl};
use weft_wire::Mac;

use super::Backend;
use crate::path::{GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6};

/// An interface to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) mac: Mac,
    pub(super) mtu: u16,
    pub(super) addresses: Vec<IpAddr>,
}

/// A device that is configured as far as a device can be while it is down.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) netns: Netns,
    pub(super) index: u32,
    pub(super) queues: Vec<TapQueue>,
    pub(super) backend: Backend,
    /// The pod's side of the kernel, for what is left to do.
    netlink: Netlink,
}

/// Makes the device in `netns` and sets everything that needs no link.
pub(super) fn prepare(
    netns: Netns,
    interface: &Interface,
    backend: Backend,
    workers: usize,
) -> Result<Device, SysError> {
    let vacant = |left| match left {
        None => Ok(()),
        Some(_) => {
            let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            let error = SysError::new(format!("create {} in the pod", interface.name), exists);
            let hint = "the pod has an interface of that name, made by another plugin";
            Err(error.with_hint(hint))
        }
    };
    configure(netns, interface, (backend, workers), vacant)
}

/// Takes over the device that an earlier daemon left in `netns`; makes it anew where it is gone.
pub(super) fn reopen(
    netns: Netns,
    interface: &Interface,
    backend: Backend,
    workers: usize,
) -> Result<Device, SysError> {
    let missed = |left: Option<link::Link>| {
        if left.is_none() {
            tracing::warn!(
                interface = interface.name,
                "the pod's interface is made anew"
            );
        }
        Ok(())
    };
    configure(netns, interface, (backend, workers), missed)
}

/// A queue of the device with these names that an earlier daemon left in `netns`, if it is there.
pub(super) fn seize(netns: &Netns, name: &str, mac: &str) -> Result<Option<TapQueue>, SysError> {
    let left = link::get(&mut Netlink::open_in(netns)?, name)?;
    let ours = left.is_some_and(|left| {
        left.mac.map(|mac| Mac::new(mac).to_string()).as_deref() == Some(mac) && left.tun.is_some()
    });
    if !ours {
        return Ok(None);
    }
    let (queues, _) = netns.run(|| open(name, Backend::Fast, 1))??;
    Ok(queues.into_iter().next())
}

/// Enters the namespace once for all: every time takes a thread that has to be scheduled.
fn configure(
    netns: Netns,
    interface: &Interface,
    (backend, workers): (Backend, usize),
    judge: impl FnOnce(Option<link::Link>) -> Result<(), SysError> + Send,
) -> Result<Device, SysError> {
    let configured = netns.run(|| {
        let mut netlink = Netlink::open()?;
        judge(link::get(&mut netlink, &interface.name)?)?;
        let (queues, backend) = open(&interface.name, backend, workers)?;
        let index = link::index_of(&mut netlink, &interface.name)?;
        let change = link::Change {
            mac: Some(interface.mac.octets()),
            mtu: Some(interface.mtu.into()),
            ..link::Change::default()
        };
        link::change(&mut netlink, index, &change)?;
        tune(interface)?;
        Ok::<_, SysError>((index, queues, backend, netlink))
    })?;
    let (index, queues, backend, netlink) = configured?;
    Ok(Device {
        netns,
        index,
        queues,
        backend,
        netlink,
    })
}

/// Opens a TAP in the calling thread's namespace, as asked or as the kernel allows.
pub(super) fn open(
    name: &str,
    backend: Backend,
    workers: usize,
) -> Result<(Vec<TapQueue>, Backend), SysError> {
    if backend == Backend::Fast {
        match tap::open(Some(name), TapConfig::multi_queue(workers)) {
            Ok(queues) => return Ok((queues, Backend::Fast)),
            Err(error) if !error.may_fall_back() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(interface = name, %error, "using the plain TAP backend instead");
            }
        }
    }
    Ok((tap::open(Some(name), TapConfig::PLAIN)?, Backend::Plain))
}

/// Sets the knobs of a pod's interface: no configuration by strangers, no waiting for the
/// detection of duplicates the switch rules out.
fn tune(interface: &Interface) -> Result<(), SysError> {
    let name = &interface.name;
    let of_ipv6 = |knob: &str| format!("net/ipv6/conf/{name}/{knob}");
    if !interface.addresses.iter().any(IpAddr::is_ipv6) {
        return ignore_missing(sysctl::ensure(&of_ipv6("disable_ipv6"), "1"));
    }
    sysctl::ensure(&of_ipv6("disable_ipv6"), "0")?;
    for knob in ["accept_ra", "accept_redirects", "accept_dad"] {
        sysctl::ensure(&of_ipv6(knob), "0")?;
    }
    Ok(())
}

/// A kernel without IPv6 has none of its knobs, which is as good as off.
pub(super) fn ignore_missing(result: Result<bool, SysError>) -> Result<(), SysError> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Raises the device and gives it addresses, the route to the gateway and its neighbour entry, and
/// the default route of each family that has none yet; answers the gateways of those it gave.
pub(super) fn bring_up(
    device: &mut Device,
    interface: &Interface,
) -> Result<Vec<IpAddr>, SysError> {
    let Device { index, netlink, .. } = device;
    let index = *index;
    if let Some(loopback) = link::get(netlink, "lo")?.filter(|loopback| !loopback.up) {
        link::set_up(netlink, loopback.index)?;
    }
    link::set_up(netlink, index)?;
    let defaults = route::list_default(netlink)?;
    let mut given = Vec::new();
    for address in &interface.addresses {
        addr::ensure(
            netlink,
            &addr::Address::new(index, *address, host_bits(*address)),
        )?;
        let gateway = gateway_of(*address);
        let mac = GATEWAY_MAC.octets();
        neigh::ensure(
            netlink,
            &neigh::Neighbor {
                index,
                ip: gateway,
                mac,
            },
        )?;
        let to_gateway = route::Hop::Link { index };
        route::ensure(
            netlink,
            &route::Route::new(gateway, host_bits(gateway), to_gateway),
        )?;
        let default = route::Route::default_via(gateway, index, true);
        let another = |held: &route::Route| {
            held.destination.is_ipv4() == address.is_ipv4() && held.hop.index() != Some(index)
        };
        if !defaults.iter().any(another) {
            route::ensure(netlink, &default)?;
            given.push(gateway);
        }
    }
    Ok(given)
}

/// The gateway of an address's family.
pub(super) const fn gateway_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(GATEWAY_V4),
        IpAddr::V6(_) => IpAddr::V6(GATEWAY_V6),
    }
}

/// The prefix length of a single host.
pub(super) const fn host_bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The MAC address of an interface with these addresses: `0a:58` and the IPv4 address, or the
/// lowest four bytes of the FNV-1a hash of the IPv6 address. The same address always gets the same
/// MAC, so neighbours of a restarted pod need not learn.
pub(super) fn mac_for(addresses: &[IpAddr]) -> Mac {
    let v4 = addresses.iter().find_map(|address| match address {
        IpAddr::V4(v4) => Some(v4.octets()),
        IpAddr::V6(_) => None,
    });
    let of_v6 = |v6: &Ipv6Addr| {
        let fnv = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        v6.octets().iter().fold(0x811c_9dc5, fnv).to_be_bytes()
    };
    let [a, b, c, d] = v4.unwrap_or_else(|| match addresses.first() {
        Some(IpAddr::V6(v6)) => of_v6(v6),
        _ => [0; 4],
    });
    Mac::new([0x0a, 0x58, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_follows_from_the_address() {
        let mac = |addresses: &[&str]| {
            let addresses: Vec<_> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            mac_for(&addresses).to_string()
        };
        assert_eq!(mac(&["10.244.1.2"]), "0a:58:0a:f4:01:02");
        assert_eq!(mac(&["fd00::2", "10.244.1.2"]), "0a:58:0a:f4:01:02");
        assert_ne!(mac(&["fd00::2"]), mac(&["fd00::3"]));
        assert!(mac(&["fd00::2"]).starts_with("0a:58:"));
    }
}
