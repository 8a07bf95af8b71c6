//! What kind of packet is this, to a merger? One look at the bytes nothing was checked in.
//!
//! Owns which packets could ever be merged, their flow's hash, and which header bytes two
//! segments of one transfer share. Trusts no length; verifies no checksum.

use weft_wire::flow::mix;

use crate::VXLAN_HEADER;
use crate::layout::{ETHER_TYPE, ETHERNET, Transport, array_at, ipv4, ipv6, tcp, u16_at, udp};

/// Where the IP header begins in a tunnel packet.
pub(super) const L3: usize = VXLAN_HEADER + ETHERNET;

/// More bytes than headers that are merged can have: 8 + 14 + 40 + 60.
const LONGEST: usize = 128;

/// The IP version and transport of a packet: all that decides where its fields lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) v4: bool,
    pub(super) transport: Transport,
}

impl Kind {
    /// Where the transport header begins; there are no options or extension headers.
    #[inline]
    pub(super) const fn l4(self) -> usize {
        L3 + if self.v4 { ipv4::HEADER } else { ipv6::HEADER }
    }

    /// Which header bits are the same in all segments of one transfer.
    #[inline]
    pub(super) const fn mask(self) -> &'static [u8; LONGEST] {
        match (self.v4, self.transport) {
            (true, Transport::Tcp) => const { &mask(true, Transport::Tcp) },
            (true, Transport::Udp) => const { &mask(true, Transport::Udp) },
            (false, Transport::Tcp) => const { &mask(false, Transport::Tcp) },
            (false, Transport::Udp) => const { &mask(false, Transport::Udp) },
        }
    }
}

/// All bits but lengths, IPv4's identification, checksums, and of TCP the sequence number and
/// the flags that come with the first or last segment.
const fn mask(v4: bool, transport: Transport) -> [u8; LONGEST] {
    let kind = Kind { v4, transport };
    let mut mask = [0xff; LONGEST];
    if v4 {
        clear(&mut mask, L3 + ipv4::TOTAL_LEN, 4);
        clear(&mut mask, L3 + ipv4::CHECKSUM, 2);
    } else {
        clear(&mut mask, L3 + ipv6::PAYLOAD_LEN, 2);
    }
    clear(&mut mask, kind.l4() + transport.checksum(), 2);
    match transport {
        Transport::Udp => clear(&mut mask, kind.l4() + udp::LEN, 2),
        Transport::Tcp => {
            clear(&mut mask, kind.l4() + tcp::SEQUENCE, 4);
            mask[kind.l4() + tcp::FLAGS] = !(tcp::LAST_ONLY | tcp::FIRST_ONLY);
        }
    }
    mask
}

const fn clear(mask: &mut [u8; LONGEST], at: usize, len: usize) {
    let mut n = 0;
    while n < len {
        mask[at + n] = 0;
        n += 1;
    }
}

/// The flow of a packet that could be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) kind: Kind,
    /// The same for all packets of one flow and direction.
    pub(super) hash: u64,
}

/// A tunnel packet, as far as it matters for merging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// TCP or UDP right behind an IP header without options, not a fragment.
    Plain(Flow),
    /// Another IP packet, which could be of any flow between these addresses.
    Between { v4: bool },
    /// No IP: no flow.
    Other,
}

impl Seen {
    #[inline]
    pub(super) fn of(payload: &[u8], seed: u64) -> Self {
        let Some(ip) = payload.get(L3..) else {
            return Self::Other;
        };
        let ether_type = u16_at(payload, VXLAN_HEADER + ETHER_TYPE);
        let (v4, protocol, plain) = match ether_type {
            0x0800 if ip.len() >= ipv4::HEADER => {
                let fragment = u16_at(ip, ipv4::FRAGMENT) & 0x3fff != 0;
                let [first, ..] = *ip else { return Self::Other };
                (true, ip.get(ipv4::PROTOCOL), first == 0x45 && !fragment)
            }
            0x86dd if ip.len() >= ipv6::HEADER => {
                let [first, ..] = *ip else { return Self::Other };
                (false, ip.get(ipv6::NEXT_HEADER), first >> 4 == 6)
            }
            _ => return Self::Other,
        };
        let transport = match protocol {
            Some(6) => Transport::Tcp,
            Some(17) => Transport::Udp,
            _ => return Self::Between { v4 },
        };
        let kind = Kind { v4, transport };
        if !plain || payload.len() < kind.l4() + udp::HEADER {
            return Self::Between { v4 };
        }
        Self::Plain(Flow {
            kind,
            hash: hash(payload, kind, seed),
        })
    }
}

/// Where the two addresses lie in a tunnel packet.
#[inline]
pub(super) const fn addresses(v4: bool) -> core::ops::Range<usize> {
    if v4 {
        L3 + ipv4::ADDRESSES..L3 + ipv4::HEADER
    } else {
        L3 + ipv6::ADDRESSES..L3 + ipv6::HEADER
    }
}

/// Hashes addresses, ports and protocol. Collisions cost merging, never order. The seed is in
/// every product, so that nobody who does not know it can look for them.
#[inline]
fn hash(payload: &[u8], kind: Kind, seed: u64) -> u64 {
    const PI: [u64; 3] = [
        0x243f_6a88_85a3_08d3,
        0x1319_8a2e_0370_7344,
        0xa409_3822_299f_31d0,
    ];
    let word = |at| u64::from_ne_bytes(array_at(payload, at));
    let ports = u64::from(u32::from_ne_bytes(array_at(payload, kind.l4())));
    let tail = ports << 8 | kind.transport.checksum() as u64;
    let at = addresses(kind.v4).start;
    let folded = if kind.v4 {
        word(at)
    } else {
        mix(word(at) ^ seed, word(at + 16) ^ PI[2])
            ^ mix(word(at + 8) ^ seed ^ PI[0], word(at + 24) ^ PI[1]).rotate_left(23)
    };
    mix(folded ^ seed, tail ^ seed.rotate_left(32) ^ PI[2])
}

/// Whether the first `len` bytes of both are equal in the bits of `mask`. Compares words of 16
/// bytes, the last of which overlaps its neighbour; false when either is shorter.
#[inline]
pub(super) fn same(a: &[u8], b: &[u8], mask: &[u8; LONGEST], len: usize) -> bool {
    let (Some(a), Some(b), Some(mask)) = (a.get(..len), b.get(..len), mask.get(..len)) else {
        return false;
    };
    let (Some(x), Some(y), Some(m)) = (a.last_chunk(), b.last_chunk(), mask.last_chunk()) else {
        return false;
    };
    let differing = |x: &[u8; 16], y: &[u8; 16], m: &[u8; 16]| {
        (u128::from_ne_bytes(*x) ^ u128::from_ne_bytes(*y)) & u128::from_ne_bytes(*m)
    };
    let mut all = differing(x, y, m);
    let words = a.as_chunks().0.iter().zip(b.as_chunks().0);
    for ((x, y), m) in words.zip(mask.as_chunks().0) {
        all |= differing(x, y, m);
    }
    all == 0
}
