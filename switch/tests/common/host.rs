//! What is inside one namespace of a lab, and how does a test get in?
//!
//! Owns [`Host`]: a pod, a node or the outside host. Sockets opened through it stay in its
//! namespace wherever they are used from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use weft_sys::netns::Netns;

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// Bytes of an IP header without options.
    pub(crate) fn ip_header(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }

    /// As `lab.yaml` spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    /// Bytes that VXLAN adds over an underlay of this family.
    pub(crate) fn overhead(self) -> u32 {
        match self {
            Self::V4 => 50,
            Self::V6 => 70,
        }
    }

    /// The gateway of every pod.
    pub(crate) fn gateway(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)),
            Self::V6 => IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
        }
    }
}

/// A pod, a node or the outside host.
pub(crate) struct Host {
    /// `a1` for a pod, the name for a node.
    pub(crate) name: String,
    /// The node a pod lives on; a node's own name.
    pub(crate) node: String,
    /// Address on the pod network (a node: the base of its podCIDR); outside: on the underlay.
    pub(crate) v4: Ipv4Addr,
    /// See `v4`.
    pub(crate) v6: Ipv6Addr,
    pub(crate) netns: Netns,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Host {
    pub(crate) fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.v4),
            Family::V6 => IpAddr::V6(self.v6),
        }
    }

    /// Runs `f` inside.
    pub(crate) fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.netns
            .run(f)
            .unwrap_or_else(|error| panic!("{self}: {error}"))
    }

    /// A listener on any free port of the host's own address.
    pub(crate) fn listen(&self, family: Family) -> TcpListener {
        let address = SocketAddr::new(self.address(family), 0);
        self.run(|| TcpListener::bind(address))
            .unwrap_or_else(|error| panic!("{self}: listen on {address}: {error}"))
    }

    /// A UDP socket on the host's own address; port 0: any.
    pub(crate) fn udp(&self, family: Family, port: u16) -> UdpSocket {
        let address = SocketAddr::new(self.address(family), port);
        self.run(|| UdpSocket::bind(address))
            .unwrap_or_else(|error| panic!("{self}: bind {address}: {error}"))
    }
}
