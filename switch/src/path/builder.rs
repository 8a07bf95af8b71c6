//! Which tables may be published?
//!
//! Collects node, ports, peers and policy, and refuses what would make forwarding
//! ambiguous: two owners of an address, a MAC, a VTEP or a prefix, or an address that the
//! path would drop anyway. After [`TablesBuilder::build`] the path trusts the tables.

use weft_policy::{Epoch, Table};
use weft_wire::Mac;

use super::forward::Forward;
use super::martian;
use super::ports::{PortEntry, PortId, PortKind};
use super::table_error::TableError;
use super::tables::{GATEWAY_MAC, Node, Peer, PeerId, Tables};
use weft_policy::Cidr;

/// The smallest MTU of a link that carries IPv4 (RFC 791) and one that carries IPv6 (RFC 8200 §5).
const LEAST_MTU: [u16; 2] = [576, 1280];

const THIS_NODE: &str = "this node";

/// Collects what becomes [`Tables`].
#[derive(Debug, Clone)]
pub struct TablesBuilder {
    node: Node,
    epoch: Epoch,
    ports: Vec<(PortId, PortEntry)>,
    peers: Vec<Peer>,
    policy: Table,
}

impl TablesBuilder {
    /// Tables of this node, without ports and peers, allowing everything.
    pub fn new(node: Node) -> Self {
        Self {
            node,
            epoch: Epoch::default(),
            ports: Vec::new(),
            peers: Vec::new(),
            policy: Table::allow_all(),
        }
    }

    /// The number of this publication.
    #[must_use]
    pub const fn epoch(mut self, epoch: Epoch) -> Self {
        self.epoch = epoch;
        self
    }

    /// Adds a port.
    #[must_use]
    pub fn port(mut self, id: PortId, entry: PortEntry) -> Self {
        self.ports.push((id, entry));
        self
    }

    /// Adds a peer.
    #[must_use]
    pub fn peer(mut self, peer: Peer) -> Self {
        self.peers.push(peer);
        self
    }

    /// Replaces the policy.
    #[must_use]
    pub fn policy(mut self, policy: Table) -> Self {
        self.policy = policy;
        self
    }

    /// The tables.
    ///
    /// # Errors
    /// The first [`TableError`] found.
    pub fn build(self) -> Result<Tables, TableError> {
        let mut forward = Forward::default();
        self.add_cidrs(&mut forward)?;
        self.add_vteps(&mut forward)?;
        self.add_addresses(&mut forward)?;
        self.check_macs()?;
        self.check_mtus()?;
        let ports = self.numbered_ports()?;
        let Self {
            node,
            epoch,
            peers,
            policy,
            ..
        } = self;
        Ok(Tables {
            epoch,
            node,
            ports,
            peers,
            forward,
            policy,
        })
    }

    fn numbered_peers(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        (0..u16::MAX).map(PeerId::new).zip(&self.peers)
    }

    fn add_cidrs(&self, forward: &mut Forward) -> Result<(), TableError> {
        let own = self.node.cidrs.iter().map(|cidr| (cidr, THIS_NODE));
        let theirs = self
            .peers
            .iter()
            .flat_map(|peer| peer.cidrs.iter().map(|cidr| (cidr, peer.name.as_str())));
        let mut all: Vec<(&Cidr, &str)> = own.chain(theirs).collect();
        if let Some((cidr, of)) = all.iter().find(|(cidr, _)| martian::is_reserved(cidr)) {
            return Err(TableError::ReservedCidr {
                cidr: **cidr,
                of: (*of).to_owned(),
            });
        }
        // Prefixes nest or are disjoint: in this order an overlap shows between neighbours.
        all.sort_by_key(|(cidr, _)| (cidr.base(), cidr.length()));
        for pair in all.windows(2) {
            let [(first_cidr, first), (second_cidr, second)] = pair else {
                continue;
            };
            if first_cidr.overlaps(second_cidr) {
                let (first, second) = ((*first).to_owned(), (*second).to_owned());
                let (first_cidr, second_cidr) = (**first_cidr, **second_cidr);
                return Err(TableError::OverlappingCidrs {
                    first,
                    first_cidr,
                    second,
                    second_cidr,
                });
            }
        }
        self.node
            .cidrs
            .iter()
            .for_each(|cidr| forward.add_own(*cidr));
        for (id, peer) in self.numbered_peers() {
            peer.cidrs
                .iter()
                .for_each(|cidr| forward.add_peer_cidr(*cidr, id));
        }
        Ok(())
    }

    fn add_vteps(&self, forward: &mut Forward) -> Result<(), TableError> {
        if self.peers.len() > usize::from(u16::MAX) {
            return Err(TableError::TooManyPeers);
        }
        for (id, peer) in self.numbered_peers() {
            let other = if peer.vtep == self.node.vtep {
                Some(THIS_NODE)
            } else {
                let earlier = forward
                    .add_vtep(peer.vtep, id)
                    .and_then(|earlier| self.peers.get(earlier.index()));
                earlier.map(|earlier| earlier.name.as_str())
            };
            if let Some(first) = other {
                let (first, second) = (first.to_owned(), peer.name.clone());
                return Err(TableError::DuplicateVtep {
                    vtep: peer.vtep,
                    first,
                    second,
                });
            }
        }
        Ok(())
    }

    fn add_addresses(&self, forward: &mut Forward) -> Result<(), TableError> {
        for (id, entry) in &self.ports {
            for address in entry.addresses() {
                if !self.node.cidrs.iter().any(|cidr| cidr.contains(address)) {
                    return Err(TableError::AddressOutside {
                        address,
                        port: describe(*id, entry),
                    });
                }
                if let Some(first) = forward.add_local(address, *id) {
                    let (first, second) = (self.describe(first), describe(*id, entry));
                    return Err(TableError::DuplicateAddress {
                        address,
                        first,
                        second,
                    });
                }
            }
        }
        for address in &self.node.addresses {
            if let Some(other) = forward
                .add_local(*address, PortId::HOST)
                .filter(|id| *id != PortId::HOST)
            {
                let (first, second) = (self.describe(other), THIS_NODE.to_owned());
                return Err(TableError::DuplicateAddress {
                    address: *address,
                    first,
                    second,
                });
            }
        }
        Ok(())
    }

    fn check_macs(&self) -> Result<(), TableError> {
        let ports = self
            .ports
            .iter()
            .map(|(id, entry)| (entry.mac, describe(*id, entry)))
            .collect();
        let own = std::iter::once((self.node.vtep_mac, THIS_NODE.to_owned()));
        let vteps = own
            .chain(self.peers.iter().map(|peer| (peer.mac, peer.name.clone())))
            .collect();
        unique_macs(ports)?;
        unique_macs(vteps)
    }

    fn check_mtus(&self) -> Result<(), TableError> {
        let [least_v4, least_v6] = LEAST_MTU;
        for (id, entry) in &self.ports {
            let least = if entry.ipv6.is_some() {
                least_v6
            } else {
                least_v4
            };
            if entry.mtu < least {
                return Err(TableError::MtuTooSmall {
                    mtu: entry.mtu,
                    of: describe(*id, entry),
                    least,
                });
            }
        }
        for peer in &self.peers {
            let ipv6 = peer.cidrs.iter().any(|cidr| cidr.base().is_ipv6());
            let least = if ipv6 { least_v6 } else { least_v4 };
            if peer.mtu < least {
                return Err(TableError::MtuTooSmall {
                    mtu: peer.mtu,
                    of: peer.name.clone(),
                    least,
                });
            }
        }
        Ok(())
    }

    fn numbered_ports(&self) -> Result<Vec<Option<PortEntry>>, TableError> {
        let highest = self.ports.iter().map(|(id, _)| id.index() + 1).max();
        let mut ports = vec![None; highest.unwrap_or(0)];
        for (id, entry) in &self.ports {
            if (entry.kind == PortKind::Host) != (*id == PortId::HOST) {
                return Err(TableError::WrongKind(*id));
            }
            let slot = ports.get_mut(id.index());
            if slot.and_then(|slot| slot.replace(entry.clone())).is_some() {
                return Err(TableError::DuplicatePort(*id));
            }
        }
        Ok(ports)
    }

    fn describe(&self, id: PortId) -> String {
        let entry = self.ports.iter().find(|(other, _)| *other == id);
        entry.map_or_else(|| THIS_NODE.to_owned(), |(_, entry)| describe(id, entry))
    }
}

fn describe(id: PortId, entry: &PortEntry) -> String {
    match &entry.pod {
        Some(pod) => format!("pod {pod}"),
        None => format!("port {id}"),
    }
}

fn unique_macs(mut owners: Vec<(Mac, String)>) -> Result<(), TableError> {
    if let Some((mac, of)) = owners
        .iter()
        .find(|(mac, _)| !mac.is_unicast() || *mac == GATEWAY_MAC)
    {
        return Err(TableError::BadMac {
            mac: *mac,
            of: of.clone(),
        });
    }
    owners.sort();
    for pair in owners.windows(2) {
        let [(mac, first), (other, second)] = pair else {
            continue;
        };
        if mac == other {
            return Err(TableError::DuplicateMac {
                mac: *mac,
                first: first.clone(),
                second: second.clone(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "builder_tests.rs"]
mod tests;
