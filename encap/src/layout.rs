//! Where do the header fields lie that splitting and merging look at?
//!
//! Offsets within each header, and the sum over parts of one.

pub(crate) use weft_wire::bytes::{array_at, put_u16, u16_at, u32_at};
use weft_wire::checksum::Sum;

/// Bytes of an Ethernet header; its last two are the EtherType.
pub(crate) const ETHERNET: usize = 14;
pub(crate) const ETHER_TYPE: usize = 12;

pub(crate) mod ipv4 {
    pub(crate) const HEADER: usize = 20;
    pub(crate) const TOTAL_LEN: usize = 2;
    pub(crate) const ID: usize = 4;
    /// DF, MF and the fragment's offset.
    pub(crate) const FRAGMENT: usize = 6;
    pub(crate) const PROTOCOL: usize = 9;
    pub(crate) const CHECKSUM: usize = 10;
    /// The two addresses, to the end of a header without options.
    pub(crate) const ADDRESSES: usize = 12;
}

pub(crate) mod ipv6 {
    pub(crate) const HEADER: usize = 40;
    pub(crate) const PAYLOAD_LEN: usize = 4;
    pub(crate) const NEXT_HEADER: usize = 6;
    /// The two addresses, to the end of the header.
    pub(crate) const ADDRESSES: usize = 8;
}

pub(crate) mod tcp {
    pub(crate) const HEADER: usize = 20;
    pub(crate) const SEQUENCE: usize = 4;
    pub(crate) const ACKNOWLEDGMENT: usize = 8;
    pub(crate) const DATA_OFFSET: usize = 12;
    pub(crate) const FLAGS: usize = 13;
    pub(crate) const WINDOW: usize = 14;
    pub(crate) const CHECKSUM: usize = 16;
    /// FIN and PSH: what only the last segment of a transfer says.
    pub(crate) const LAST_ONLY: u8 = 0x01 | 0x08;
    /// CWR: what only the first segment says (RFC 3168 §6.1.2).
    pub(crate) const FIRST_ONLY: u8 = 0x80;
}

pub(crate) mod udp {
    pub(crate) const HEADER: usize = 8;
    pub(crate) const LEN: usize = 4;
    pub(crate) const CHECKSUM: usize = 6;
}

/// A transport that is segmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// Where the checksum is in the transport header.
    pub(crate) const fn checksum(self) -> usize {
        match self {
            Self::Tcp => tcp::CHECKSUM,
            Self::Udp => udp::CHECKSUM,
        }
    }
}

/// The one's complement sum of bytes at an even place, folded, in host byte order.
#[inline]
pub(crate) fn sum(bytes: &[u8]) -> u32 {
    let mut sum = Sum::new();
    sum.add_bytes(bytes);
    u32::from(sum.folded())
}
