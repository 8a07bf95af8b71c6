//! Is a pod's interface still as it was made?
//!
//! Owns the comparison behind CHECK. Routes are not compared: plugins chained behind this one may
//! change them. Changes nothing.

use std::net::IpAddr;

use weft_sys::SysError;
use weft_sys::netlink::{Netlink, addr, link, neigh};
use weft_sys::netns::Netns;
use weft_wire::Mac;

use super::ports::gateway_of;
use crate::path::GATEWAY_MAC;

/// What an interface was made as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) name: &'a str,
    pub(super) mac: Mac,
    pub(super) mtu: u16,
    pub(super) addresses: &'a [IpAddr],
}

/// What is different inside the pod, each in a few words.
pub(super) fn compare(netns: &Netns, expected: &Expected<'_>) -> Result<Vec<String>, SysError> {
    let mut netlink = Netlink::open_in(netns)?;
    let name = expected.name;
    let Some(found) = link::get(&mut netlink, name)? else {
        return Ok(vec![format!("{name} is gone")]);
    };
    let mut differences = Vec::new();
    if !found.up {
        differences.push(format!("{name} is down"));
    }
    if found.mtu != u32::from(expected.mtu) {
        differences.push(format!(
            "{name} has an MTU of {}, not {}",
            found.mtu, expected.mtu
        ));
    }
    let mac = found.mac.map(Mac::new);
    if mac != Some(expected.mac) {
        let mac = mac.map_or_else(|| "none".to_owned(), |mac| mac.to_string());
        differences.push(format!(
            "{name} has the MAC address {mac}, not {}",
            expected.mac
        ));
    }
    let held = addr::list(&mut netlink, Some(found.index))?;
    let neighbors = neigh::list(&mut netlink)?;
    for address in expected.addresses {
        if !held.iter().any(|held| held.ip == *address) {
            differences.push(format!("{name} has lost {address}"));
        }
        let gateway = gateway_of(*address);
        let known = neighbors.iter().any(|neighbor| {
            (neighbor.index, neighbor.ip) == (found.index, gateway)
                && neighbor.mac == GATEWAY_MAC.octets()
        });
        if !known {
            differences.push(format!("{name} does not know its gateway {gateway}"));
        }
    }
    Ok(differences)
}
