//! Which other nodes are there, complete and without contradiction?

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_wire::Mac;

use super::super::objects::{Located, NodeObject};
use super::super::vtep_mac;
use super::{EDIT, LocalNode, PeerNode, Trouble};

/// A contradiction: its line, where it is not that of the object, and what it is.
type Wrong = (Option<usize>, String);

/// The nodes seen so far, in the order they were first seen.
pub(super) struct Nodes<'a> {
    local: &'a LocalNode,
    peers: Vec<PeerNode>,
    own_mac: Option<Mac>,
    troubles: Vec<Trouble>,
}

impl<'a> Nodes<'a> {
    pub(super) const fn new(local: &'a LocalNode) -> Self {
        Self {
            local,
            peers: Vec::new(),
            own_mac: None,
            troubles: Vec::new(),
        }
    }

    /// The peers by name, the MAC address asked for this node, and what is wrong.
    pub(super) fn finish(mut self) -> (Vec<PeerNode>, Option<Mac>, Vec<Trouble>) {
        self.peers.sort_by(|a, b| a.name.cmp(&b.name));
        (self.peers, self.own_mac, self.troubles)
    }

    fn trouble(&mut self, origin: &str, line: usize, what: String) {
        self.troubles.push(Trouble {
            place: format!("{origin}:{line}"),
            what,
            next: EDIT.into(),
        });
    }

    pub(super) fn add(&mut self, origin: &str, line: usize, node: &NodeObject) {
        if node.name == self.local.name {
            self.own_node(origin, line, node);
            return;
        }
        let checked = self
            .peer(node)
            .and_then(|peer| match self.contradiction(&peer) {
                Some(what) => Err((None, what)),
                None => Ok(peer),
            });
        match checked {
            Ok(peer) => self.peers.push(peer),
            Err((at, what)) => {
                let what = format!("Node {}: {what}", node.name);
                self.trouble(origin, at.unwrap_or(line), what);
            }
        }
    }

    /// Whether the own Node object agrees with the configuration.
    fn own_node(&mut self, origin: &str, line: usize, node: &NodeObject) {
        self.own_mac = node.vtep_mac.as_ref().map(|mac| mac.value);
        let configured = &self.local.pod_cidrs;
        for cidr in node
            .pod_cidrs
            .iter()
            .filter(|cidr| !configured.contains(&cidr.value))
        {
            let what = format!(
                "Node {}: spec.podCIDRs: {} is not among node.pod_cidrs of this node's \
                 configuration ({})",
                node.name,
                cidr.value,
                list(configured)
            );
            self.trouble(origin, cidr.line, what);
        }
        let vtep = self.local.vtep;
        let same_family: Vec<_> = of_family(node, vtep).collect();
        if !same_family.is_empty() && !same_family.iter().any(|ip| ip.value == vtep) {
            let what = format!(
                "Node {}: status.addresses: lacks {vtep}, this node's address by configuration; \
                 other nodes would send to another place",
                node.name
            );
            self.trouble(origin, same_family.first().map_or(line, |ip| ip.line), what);
        }
    }

    fn peer(&self, node: &NodeObject) -> Result<PeerNode, Wrong> {
        if node.pod_cidrs.is_empty() {
            return Err((
                None,
                "spec.podCIDRs: is missing; its pods cannot be reached".into(),
            ));
        }
        unique_families(node)?;
        let Some(vtep) = of_family(node, self.local.vtep).next() else {
            let family = if self.local.vtep.is_ipv4() {
                "IPv4"
            } else {
                "IPv6"
            };
            let what = format!(
                "status.addresses: has no InternalIP of the underlay's family ({family}); its \
                 pods cannot be reached"
            );
            return Err((None, what));
        };
        Ok(PeerNode {
            name: node.name.clone(),
            vtep: vtep.value,
            mac: node
                .vtep_mac
                .as_ref()
                .map_or_else(|| vtep_mac(&node.name), |mac| mac.value),
            pod_cidrs: node.pod_cidrs.iter().map(|cidr| cidr.value).collect(),
        })
    }

    /// What this peer claims that another node already has.
    fn contradiction(&self, peer: &PeerNode) -> Option<String> {
        let local = self.local;
        let own = (&local.name, &local.pod_cidrs, local.vtep, None);
        let others = self.peers.iter();
        let others = others.map(|p| (&p.name, &p.pod_cidrs, p.vtep, Some(p.mac)));
        for (name, cidrs, vtep, mac) in std::iter::once(own).chain(others) {
            for cidr in &peer.pod_cidrs {
                if let Some(theirs) = cidrs.iter().find(|theirs| overlap(cidr, theirs)) {
                    return Some(format!(
                        "spec.podCIDRs: {cidr} overlaps {theirs} of Node {name}"
                    ));
                }
            }
            if vtep == peer.vtep {
                return Some(format!(
                    "status.addresses: {vtep} is already the address of Node {name}"
                ));
            }
            if mac == Some(peer.mac) {
                return Some(format!(
                    "its VTEP MAC {} is already that of Node {name}",
                    peer.mac
                ));
            }
        }
        None
    }
}

fn unique_families(node: &NodeObject) -> Result<(), Wrong> {
    for (index, cidr) in node.pod_cidrs.iter().enumerate() {
        let mut earlier = node.pod_cidrs.iter().take(index);
        if let Some(other) = earlier.find(|o| o.value.is_ipv4() == cidr.value.is_ipv4()) {
            let (a, b) = (cidr.value, other.value);
            let what = format!("spec.podCIDRs: {a} is a second range of its family, after {b}");
            return Err((Some(cidr.line), what));
        }
    }
    Ok(())
}

fn of_family(node: &NodeObject, vtep: IpAddr) -> impl Iterator<Item = &Located<IpAddr>> {
    node.internal_ips
        .iter()
        .filter(move |ip| ip.value.is_ipv4() == vtep.is_ipv4())
}

fn overlap(a: &IpNetwork, b: &IpNetwork) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}

pub(super) fn list(cidrs: &[IpNetwork]) -> String {
    let texts: Vec<_> = cidrs.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
