//! What exactly does an attach request ask for, and may it have that?

use std::net::IpAddr;

use weft_wire::Mac;

use super::super::ports::{Interface, mac_for};
use super::Control;
use crate::api::{Attach, Code, Failure};
use crate::cluster::state::not_for_pods;
use crate::path::{GATEWAY_MAC, PodName};

/// A request with every default filled in, and nothing left to refuse.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) interface: Interface,
    pub(super) pod: Option<PodName>,
}

fn invalid(what: impl Into<String>, next: impl Into<String>) -> Failure {
    Failure::new(Code::Invalid, what, next)
}

/// Both end up in log lines and device names: the forms the CNI specification demands.
pub(super) fn check_identity(container_id: &str, ifname: &str) -> Result<(), Failure> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let starts = container_id
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    if container_id.len() > 255 || !starts || !container_id.bytes().all(inner) {
        let next = "use letters, digits, '_', '.' and '-', beginning with a letter or digit";
        return Err(invalid(
            format!("{container_id:?} is not a container id"),
            next,
        ));
    }
    let forbidden = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    let length = (1..=15).contains(&ifname.len());
    if !length || matches!(ifname, "." | ".." | "lo") || ifname.contains(forbidden) {
        let next = "use 1 to 15 characters without '/', ':' and spaces, such as eth0";
        return Err(invalid(
            format!("{ifname:?} is not an interface name"),
            next,
        ));
    }
    Ok(())
}

impl Control {
    /// Checks a request and fills in what it leaves open.
    pub(super) fn wanted(&self, request: &Attach) -> Result<Wanted, Failure> {
        let pod = pod_name(request)?;
        let addresses = self.addresses(request)?;
        let mac = mac(request, &addresses)?;
        let mtu = self.mtu(request.mtu, &addresses)?;
        if let Some(holder) = self.ports.values().find(|port| port.entry.mac == mac) {
            let what = format!("the MAC address {mac} is taken by {}", holder.describe());
            return Err(Failure::new(Code::Conflict, what, "choose another"));
        }
        let interface = Interface {
            name: request.ifname.clone(),
            mac,
            mtu,
            addresses,
        };
        Ok(Wanted { interface, pod })
    }

    /// The addresses asked for, or else those in the pod's manifest.
    fn addresses(&self, request: &Attach) -> Result<Vec<IpAddr>, Failure> {
        let mut addresses: Vec<IpAddr> = request.ips.iter().map(ipnetwork::IpNetwork::ip).collect();
        if addresses.is_empty() {
            let key = (request.namespace.clone(), request.pod.clone());
            let manifest = self.cluster.desired().pods.get(&key);
            addresses.extend(
                manifest
                    .iter()
                    .flat_map(|pod| pod.ips.iter().map(|ip| ip.value)),
            );
        }
        if addresses.is_empty() {
            let next = "give ips, or write status.podIP into the pod's manifest";
            return Err(invalid("the pod has no address", next));
        }
        for (index, address) in addresses.iter().enumerate() {
            self.check_address(*address)?;
            let mut earlier = addresses.iter().take(index);
            if earlier.any(|other| other.is_ipv4() == address.is_ipv4()) {
                let what = format!("{address} is a second address of its family");
                return Err(invalid(what, "give at most one of each family"));
            }
        }
        Ok(addresses)
    }

    fn check_address(&self, address: IpAddr) -> Result<(), Failure> {
        let cidrs = self.host.ranges();
        if let Some(what) = not_for_pods(&self.facts.name, cidrs, address) {
            return Err(invalid(what, "choose an address of this node's ranges"));
        }
        let holder = self
            .ports
            .values()
            .find(|p| p.entry.addresses().any(|a| a == address));
        match holder {
            None => Ok(()),
            Some(holder) => {
                let what = format!("{address} is taken by {}", holder.describe());
                Err(Failure::new(
                    Code::Conflict,
                    what,
                    "detach that one, or choose another",
                ))
            }
        }
    }

    fn mtu(&self, asked: Option<u16>, addresses: &[IpAddr]) -> Result<u16, Failure> {
        let most = self.facts.pod_mtu;
        let least = if addresses.iter().any(IpAddr::is_ipv6) {
            1280
        } else {
            576
        };
        match asked {
            None => Ok(most),
            Some(mtu) if (least..=most).contains(&mtu) => Ok(mtu),
            Some(mtu) => {
                let next = format!("ask for {least} to {most}, or leave it out");
                Err(invalid(
                    format!("an MTU of {mtu} is not possible here"),
                    next,
                ))
            }
        }
    }
}

fn pod_name(request: &Attach) -> Result<Option<PodName>, Failure> {
    let Attach { namespace, pod, .. } = request;
    if namespace.is_empty() && pod.is_empty() {
        return Ok(None);
    }
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    for name in [namespace, pod] {
        if name.is_empty() || name.len() > 253 || !name.bytes().all(inner) {
            let what = format!("{namespace:?}/{pod:?} is not a pod's namespace and name");
            return Err(invalid(
                what,
                "give both, as Kubernetes writes them, or neither",
            ));
        }
    }
    Ok(Some(PodName {
        namespace: namespace.clone(),
        name: pod.clone(),
    }))
}

fn mac(request: &Attach, addresses: &[IpAddr]) -> Result<Mac, Failure> {
    let Some(text) = &request.mac else {
        return Ok(mac_for(addresses));
    };
    let mac: Option<Mac> = text.parse().ok();
    mac.filter(|mac| mac.is_unicast() && *mac != GATEWAY_MAC)
        .ok_or_else(|| {
            let next = "give a unicast address such as 0a:58:0a:f4:01:02, or leave it out";
            invalid(
                format!("{text:?} is not a MAC address a pod can have"),
                next,
            )
        })
}
