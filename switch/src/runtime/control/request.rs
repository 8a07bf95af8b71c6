//! What exactly does an attach request ask for, and may it have that?

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_wire::Mac;

use super::super::ports::{Interface, mac_for};
use super::Control;
use crate::api::{Attach, Bandwidth, Code, Failure, Identity};
use crate::cluster::state::not_for_pods;
use crate::path::{GATEWAY_MAC, PodName};

/// A request with every default filled in, and nothing left to refuse.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) interface: Interface,
    pub(super) pod: Option<PodName>,
    pub(super) bandwidth: Option<Bandwidth>,
}

fn invalid(what: impl Into<String>, next: impl Into<String>) -> Failure {
    Failure::new(Code::Invalid, what, next)
}

/// Both end up in log lines and device names: the forms the CNI specification demands.
pub(super) fn check_identity(container_id: &str, ifname: &str) -> Result<Identity, Failure> {
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
    Ok(Identity {
        container_id: container_id.to_owned(),
        ifname: ifname.to_owned(),
    })
}

impl Control {
    /// Checks a request and fills in what it leaves open; `before` are the addresses the same
    /// container and interface had.
    pub(super) fn wanted(&self, request: &Attach, before: &[IpAddr]) -> Result<Wanted, Failure> {
        let pod = pod_name(&request.namespace, &request.pod)?;
        self.check_ports(request)?;
        let addresses = self.addresses(request, before)?;
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
        Ok(Wanted {
            interface,
            pod,
            bandwidth: request.bandwidth,
        })
    }

    /// The addresses asked for, or else those in the pod's manifest, those it had before, free
    /// ones.
    fn addresses(&self, request: &Attach, before: &[IpAddr]) -> Result<Vec<IpAddr>, Failure> {
        let mut asked: Vec<IpAddr> = request.ips.iter().map(IpNetwork::ip).collect();
        if asked.is_empty() {
            let key = (request.namespace.clone(), request.pod.clone());
            let manifest = self.cluster.desired().pods.get(&key).into_iter();
            asked.extend(manifest.flat_map(|pod| pod.ips.iter().map(|ip| ip.value)));
        }
        if asked.is_empty() {
            asked.extend(before);
        }
        for (index, address) in asked.iter().enumerate() {
            self.check_address(*address)?;
            let mut earlier = asked.iter().take(index);
            if earlier.any(|other| other.is_ipv4() == address.is_ipv4()) {
                let what = format!("{address} is a second address of its family");
                return Err(invalid(what, "give at most one of each family"));
            }
        }
        self.attachments.choose(&asked)
    }

    /// Whether a pod may have the address at all; whether it is free is the ledger's to say.
    fn check_address(&self, address: IpAddr) -> Result<(), Failure> {
        let cidrs = self.host.ranges();
        match not_for_pods(&self.facts.name, cidrs, address) {
            Some(what) => Err(invalid(what, "choose an address of this node's ranges")),
            None => Ok(()),
        }
    }

    /// Whether the node's ports that are to lead to the pod lead to no other.
    fn check_ports(&self, request: &Attach) -> Result<(), Failure> {
        for (index, wanted) in request.ports.iter().enumerate() {
            if wanted.host_port == 0 || wanted.container_port == 0 {
                let what = format!("{wanted} names port 0");
                return Err(invalid(what, "give ports from 1 to 65535"));
            }
            let twice = request
                .ports
                .iter()
                .take(index)
                .any(|other| other.overlaps(wanted));
            let holder = self
                .attachments
                .iter()
                .find(|held| held.ports.iter().any(|other| other.overlaps(wanted)));
            let by = match holder {
                Some(holder) => holder.to_string(),
                None if twice => "the same pod".to_owned(),
                None => continue,
            };
            let what = format!("host port {wanted} is taken by {by}");
            return Err(Failure::new(Code::Conflict, what, "choose another"));
        }
        Ok(())
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

/// The pod of an attachment, if it has one.
pub(super) fn pod_name(namespace: &str, pod: &str) -> Result<Option<PodName>, Failure> {
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
        namespace: namespace.to_owned(),
        name: pod.to_owned(),
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
