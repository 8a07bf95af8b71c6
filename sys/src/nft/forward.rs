//! Which port of the node leads to which pod?
//!
//! Owns [`HostPort`] and its form as keys and values of nf_tables maps: one lookup finds the pod
//! however many ports there are. It never decides which host ports a node offers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::expression::Family;
use super::message::{Field, Set};
use crate::error::{Result, SysError};
use crate::netlink::octets;

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

impl Transport {
    const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// A port of the node that leads to a pod. A pod with addresses of both families has one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// The protocol.
    pub protocol: Transport,
    /// The one address of the node it is for, of the family of `to`; `None` and the unspecified
    /// address stand for all addresses of that family.
    pub host_ip: Option<IpAddr>,
    /// The port of the node.
    pub host_port: u16,
    /// Address and port of the pod.
    pub to: (IpAddr, u16),
}

impl HostPort {
    /// The node's address, unless it stands for all.
    fn address(&self) -> Option<IpAddr> {
        self.host_ip.filter(|ip| !ip.is_unspecified())
    }

    fn invalid(&self, why: &str) -> SysError {
        let Self {
            protocol,
            host_port,
            host_ip,
            ..
        } = self;
        let on = host_ip.map(|ip| format!(" of {ip}")).unwrap_or_default();
        SysError::invalid(format!("forward port {host_port}/{protocol:?}{on}"), why)
    }
}

/// The host ports of one family, as the kernel is told them.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    /// Protocol and port.
    by_port: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Address, protocol and port.
    by_address: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Protocol, port of the node, address and port of the pod.
    pairs: BTreeSet<Vec<u8>>,
}

/// The sets of one family.
#[derive(Debug)]
pub(super) struct Sets {
    /// From protocol and port to pod.
    pub(super) by_port: Set,
    /// From address, protocol and port to pod.
    pub(super) by_address: Set,
    /// Of protocol, port of the node, address and port of the pod.
    pub(super) pairs: Set,
}

impl Forwards {
    /// Sorts out the host ports of `family`.
    pub(super) fn of(family: Family, ports: &[HostPort]) -> Result<Self> {
        let mut forwards = Self::default();
        for port in ports {
            if port.host_port == 0 || port.to.1 == 0 {
                return Err(port.invalid("no port has the number 0"));
            }
            let other = |ip: IpAddr| ip.is_ipv4() != port.to.0.is_ipv4();
            if port.host_ip.is_some_and(other) {
                return Err(port.invalid("the addresses of node and pod are of two families"));
            }
            if port.to.0.is_ipv4() == (family == Family::V4) {
                forwards.add(port)?;
            }
        }
        Ok(forwards)
    }

    fn add(&mut self, port: &HostPort) -> Result<()> {
        let (protocol, from) = ([port.protocol.number()], port.host_port.to_be_bytes());
        let (pod, to) = (octets(port.to.0), port.to.1.to_be_bytes());
        let value = words(&[&pod, &to]);
        let before = match port.address() {
            Some(ip) => {
                let key = words(&[&octets(ip), &protocol, &from]);
                self.by_address.insert(key, value.clone())
            }
            None => self
                .by_port
                .insert(words(&[&protocol, &from]), value.clone()),
        };
        if before.is_some_and(|before| before != value) {
            return Err(port.invalid("it leads to two pods; one of them must have another port"));
        }
        self.pairs.insert(words(&[&protocol, &from, &pod, &to]));
        Ok(())
    }

    /// The sets to make; `None` without host ports.
    pub(super) fn into_sets(self, family: Family) -> Option<Sets> {
        if self.pairs.is_empty() {
            return None;
        }
        let (ip, names) = match family {
            Family::V4 => (Field::Ipv4, ["ports4", "addresses4", "pairs4"]),
            Family::V6 => (Field::Ipv6, ["ports6", "addresses6", "pairs6"]),
        };
        let [by_port, by_address, pairs] = names;
        let map = |name, key: &[Field], elements: BTreeMap<_, _>| Set {
            name,
            key: key.to_vec(),
            data: vec![ip, Field::Port],
            elements: elements.into_iter().collect(),
        };
        Some(Sets {
            by_port: map(by_port, &[Field::Protocol, Field::Port], self.by_port),
            by_address: map(
                by_address,
                &[ip, Field::Protocol, Field::Port],
                self.by_address,
            ),
            pairs: Set {
                name: pairs,
                key: vec![Field::Protocol, Field::Port, ip, Field::Port],
                data: Vec::new(),
                elements: self
                    .pairs
                    .into_iter()
                    .map(|key| (key, Vec::new()))
                    .collect(),
            },
        })
    }
}

/// Fields side by side as registers hold them: each in whole words, padded behind.
fn words(fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend_from_slice(field);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: Option<&str>, host_port: u16, to: &str) -> HostPort {
        HostPort {
            protocol: Transport::Tcp,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port,
            to: (to.parse().unwrap(), 8080),
        }
    }

    #[test]
    fn fields_fill_whole_words() {
        let forwards = Forwards::of(Family::V4, &[port(None, 80, "10.0.1.2")]).unwrap();
        let (key, value) = forwards.by_port.first_key_value().unwrap();
        assert_eq!(*key, [6, 0, 0, 0, 0, 80, 0, 0]);
        assert_eq!(*value, [10, 0, 1, 2, 0x1f, 0x90, 0, 0]);
        let pair = forwards.pairs.first().unwrap();
        assert_eq!(
            *pair,
            [6, 0, 0, 0, 0, 80, 0, 0, 10, 0, 1, 2, 0x1f, 0x90, 0, 0]
        );
    }

    #[test]
    fn families_and_addresses_have_maps_of_their_own() {
        let ports = [
            port(None, 80, "10.0.1.2"),
            port(Some("0.0.0.0"), 80, "10.0.1.2"),
            port(Some("192.0.2.1"), 80, "10.0.1.3"),
            port(None, 80, "fd00::2"),
        ];
        let v4 = Forwards::of(Family::V4, &ports).unwrap();
        assert_eq!(
            (v4.by_port.len(), v4.by_address.len(), v4.pairs.len()),
            (1, 1, 2)
        );
        let v6 = Forwards::of(Family::V6, &ports).unwrap();
        assert_eq!(
            (v6.by_port.len(), v6.by_address.len(), v6.pairs.len()),
            (1, 0, 1)
        );
        let none = Forwards::of(Family::V6, &ports[..3]).unwrap();
        assert!(none.into_sets(Family::V6).is_none());
    }

    #[test]
    fn a_port_leads_to_one_pod() {
        for (ports, why) in [
            (
                vec![port(None, 80, "10.0.1.2"), port(None, 80, "10.0.1.3")],
                "two pods",
            ),
            (vec![port(Some("192.0.2.1"), 80, "fd00::2")], "two families"),
            (vec![port(Some("::"), 80, "10.0.1.2")], "two families"),
            (vec![port(None, 0, "10.0.1.2")], "number 0"),
        ] {
            let error = Forwards::of(Family::V4, &ports).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
