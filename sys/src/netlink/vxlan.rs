//! What are the parameters of a kernel VXLAN interface?
//!
//! Owns the `IFLA_VXLAN_*` attributes (linux/if_link.h). Always: UDP checksums on, in both
//! families, and no learning, as the overlay's own sockets have it.

use std::net::IpAddr;

use super::{Attributes, Message, ip, octets};

const ID: u16 = 1;
const LOCAL: u16 = 4;
const TTL: u16 = 5;
const LEARNING: u16 = 7;
const PORT: u16 = 15;
const LOCAL6: u16 = 17;
const UDP_CSUM: u16 = 18;
const UDP_ZERO_CSUM6_TX: u16 = 19;
const UDP_ZERO_CSUM6_RX: u16 = 20;
const DF: u16 = 29;

/// A VXLAN interface (RFC 7348) whose peers are FDB entries ([`super::neigh::ensure_fdb`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
    /// Source address of the outer packets.
    pub local: IpAddr,
    /// UDP port, both own and peers'.
    pub port: u16,
    /// TTL or hop limit of the outer packets; 0 inherits the inner one.
    pub ttl: u8,
    /// Whether outer IPv4 packets have DF set.
    pub dont_fragment: bool,
}

impl Vxlan {
    pub(super) fn encode(&self, data: Message) -> Message {
        let local = if self.local.is_ipv4() { LOCAL } else { LOCAL6 };
        data.attr_u32(ID, self.vni)
            .attr(local, &octets(self.local))
            .attr(PORT, &self.port.to_be_bytes())
            .attr(TTL, &[self.ttl])
            .attr(LEARNING, &[0])
            .attr(UDP_CSUM, &[1])
            .attr(UDP_ZERO_CSUM6_TX, &[0])
            .attr(UDP_ZERO_CSUM6_RX, &[0])
            .attr(DF, &[u8::from(self.dont_fragment)])
    }

    /// The parameters, unless they are outside what this type can say.
    pub(super) fn decode(data: Attributes<'_>) -> Option<Self> {
        let expected = [(LEARNING, 0), (UDP_CSUM, 1), (UDP_ZERO_CSUM6_TX, 0)];
        if expected
            .iter()
            .any(|(kind, value)| data.u8(*kind).is_some_and(|v| v != *value))
        {
            return None;
        }
        Some(Self {
            vni: data.u32(ID)?,
            local: ip(data.get(LOCAL).or_else(|| data.get(LOCAL6))?)?,
            port: u16::from_be_bytes(data.get(PORT)?.try_into().ok()?),
            ttl: data.u8(TTL).unwrap_or(0),
            dont_fragment: data.u8(DF) == Some(1),
        })
    }
}
