//! Who sits at which port?
//!
//! A port is where frames enter and leave the switch on this node: one per pod, and
//! port 0 for the node itself. Entries are values made by the control thread; file
//! descriptors belong to the runtime and are never seen here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weft_policy::PolicySetId;
use weft_wire::Mac;

use super::meter::Limits;

/// How many ports a node can have, the host port included.
pub const MAX_PORTS: usize = 4096;

/// The number of a port on this node, below [`MAX_PORTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(u16);

impl PortId {
    /// The node's own port, `weft0`.
    pub const HOST: Self = Self(0);

    /// A port number, if it is below [`MAX_PORTS`].
    pub const fn new(number: u16) -> Option<Self> {
        if (number as usize) < MAX_PORTS {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The number as an index into tables of [`MAX_PORTS`] entries.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::HOST {
            f.write_str("host")
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// Namespace and name of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is behind a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// The node's own stack.
    Host,
    /// One pod.
    Pod,
}

/// One port as the path sees it.
#[derive(Debug, Clone)]
pub struct PortEntry {
    /// Host or pod.
    pub kind: PortKind,
    /// The MAC of the interface behind the port; the only source MAC it may use.
    pub mac: Mac,
    /// Its IPv4 address; of the host port, the node's pod-network address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its global IPv6 address; of the host port, the node's pod-network address.
    pub ipv6: Option<Ipv6Addr>,
    /// The largest IP packet that may be written to it, in bytes.
    pub mtu: u16,
    /// Which compiled policies select it.
    pub policy: PolicySetId,
    /// The pod's name; `None` for the host port.
    pub pod: Option<Arc<PodName>>,
    /// Its bandwidth, if that is limited; what was used of it is shared by all copies.
    pub limits: Option<Arc<Limits>>,
}

impl PortEntry {
    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4
            .map(IpAddr::V4)
            .into_iter()
            .chain(self.ipv6.map(IpAddr::V6))
    }

    /// Its IPv6 link-local address: fe80::/64 with the modified EUI-64 of its MAC
    /// (RFC 4291 appendix A).
    pub fn link_local(&self) -> Ipv6Addr {
        link_local(self.mac)
    }
}

fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 0x02,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_local_address_is_the_modified_eui_64() {
        let mac = Mac::new([0x02, 0x77, 0x65, 0x00, 0x00, 0x07]);
        assert_eq!(
            link_local(mac),
            "fe80::77:65ff:fe00:7".parse::<Ipv6Addr>().unwrap()
        );
    }

    #[test]
    fn a_port_number_is_below_the_maximum() {
        assert_eq!(PortId::new(0), Some(PortId::HOST));
        assert_eq!(PortId::new(4095).map(PortId::get), Some(4095));
        assert_eq!(PortId::new(4096), None);
    }
}
