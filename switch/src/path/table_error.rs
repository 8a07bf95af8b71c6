//! Why may tables not be published? Sentences for operators.

use std::net::IpAddr;

use weft_wire::Mac;

use super::ports::PortId;
use weft_policy::Cidr;

/// Why tables cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Two entries for one port number.
    #[error("port {0} is given twice")]
    DuplicatePort(PortId),
    /// Port 0 is not the host, or another port is.
    #[error("port {0} is of the wrong kind: port 0 is the host, all others are pods")]
    WrongKind(PortId),
    /// Not a unicast MAC, or the gateway's.
    #[error("{mac} cannot be the MAC of {of}")]
    BadMac {
        /// The MAC.
        mac: Mac,
        /// The port or peer.
        of: String,
    },
    /// Two ports, or two VTEPs, with one MAC.
    #[error("MAC {mac} belongs to both {first} and {second}")]
    DuplicateMac {
        /// The MAC.
        mac: Mac,
        /// One owner.
        first: String,
        /// The other.
        second: String,
    },
    /// Two ports with one address.
    #[error("address {address} belongs to both {first} and {second}")]
    DuplicateAddress {
        /// The address.
        address: IpAddr,
        /// One owner.
        first: String,
        /// The other.
        second: String,
    },
    /// A port's address outside the node's podCIDRs.
    #[error("address {address} of {port} is outside this node's podCIDRs")]
    AddressOutside {
        /// The address.
        address: IpAddr,
        /// The port.
        port: String,
    },
    /// A link MTU below the protocol's minimum.
    #[error("MTU {mtu} of {of} is below {least}")]
    MtuTooSmall {
        /// The MTU in bytes.
        mtu: u16,
        /// The port or peer.
        of: String,
        /// The least MTU its addresses allow.
        least: u16,
    },
    /// Two prefixes share addresses.
    #[error("podCIDR {first_cidr} of {first} overlaps {second_cidr} of {second}")]
    OverlappingCidrs {
        /// One owner.
        first: String,
        /// Its prefix.
        first_cidr: Cidr,
        /// The other.
        second: String,
        /// Its prefix.
        second_cidr: Cidr,
    },
    /// A prefix that holds addresses no pod may have.
    #[error("podCIDR {cidr} of {of} is not unicast address space")]
    ReservedCidr {
        /// The prefix.
        cidr: Cidr,
        /// Its owner.
        of: String,
    },
    /// Two nodes at one underlay address.
    #[error("underlay address {vtep} belongs to both {first} and {second}")]
    DuplicateVtep {
        /// The underlay address.
        vtep: IpAddr,
        /// One node.
        first: String,
        /// The other.
        second: String,
    },
    /// More peers than a [`PeerId`](super::PeerId) can number.
    #[error("more than {} peers", u16::MAX)]
    TooManyPeers,
}
