//! Which conversation does a packet belong to? The 5-tuple and its keyed hash.
//!
//! Owns what "same conversation" and "the other direction" mean. Never decides anything.

use core::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use crate::IpProtocol;

/// The addresses, protocol and ports of one direction of a conversation.
///
/// An ICMP echo request has its identifier as `src_port`, a reply as `dst_port`, and 0 at
/// the other end: reversing a request gives its reply, while a request the other way is
/// another conversation. Later fragments, other ICMP and other protocols have ports 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The sender's address.
    pub src: IpAddr,
    /// The receiver's address; same family as `src`.
    pub dst: IpAddr,
    /// The transport protocol behind all extension headers.
    pub protocol: IpProtocol,
    /// The sender's port in host byte order.
    pub src_port: u16,
    /// The receiver's port in host byte order.
    pub dst_port: u16,
}

/// Digits of pi: constants nobody chose.
const PI: [u64; 4] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
];

/// One 64×64→128-bit multiplication folded to 64 bits: every input bit reaches every
/// output bit.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "folding takes both halves of the product on purpose"
)]
#[must_use]
pub const fn mix(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

impl FlowKey {
    /// The key of the packets that answer this one's.
    #[inline]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            protocol: self.protocol,
            src_port: self.dst_port,
            dst_port: self.src_port,
        }
    }

    /// A 64-bit hash that is the same for both directions of a conversation.
    ///
    /// Every input word is masked with a word that depends on `seed` before it is
    /// multiplied, so whoever does not know the seed cannot choose keys that collide.
    #[inline]
    #[must_use]
    pub fn symmetric_hash(&self, seed: u64) -> u64 {
        let (first, second) = (seed ^ PI[0], seed.rotate_left(32) ^ PI[1]);
        let (folded, ports) = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let (src, dst) = (u64::from(src.to_bits()), u64::from(dst.to_bits()));
                let from = (src << 16) | u64::from(self.src_port);
                let to = (dst << 16) | u64::from(self.dst_port);
                let (low, high) = (from.min(to), from.max(to));
                (
                    (low >> 16) << 32 | (high >> 16),
                    (low & 0xffff) << 16 | (high & 0xffff),
                )
            }
            (src, dst) => {
                let from = (address_bits(src), self.src_port);
                let to = (address_bits(dst), self.dst_port);
                let (low, high) = (from.min(to), from.max(to));
                let (low_halves, high_halves) = (halves(low.0), halves(high.0));
                let left = mix(low_halves.0 ^ first, low_halves.1 ^ second);
                let right = mix(
                    high_halves.0 ^ first ^ PI[2],
                    high_halves.1 ^ second ^ PI[3],
                );
                let ports = u64::from(low.1) << 16 | u64::from(high.1);
                (left ^ right.rotate_left(23), ports | 1 << 40)
            }
        };
        let tail = u64::from(self.protocol.0) << 32 | ports;
        let hash = mix(folded ^ first, tail ^ second);
        mix(hash ^ PI[2], second ^ PI[3])
    }
}

#[inline]
fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are the two 64-bit words"
)]
const fn halves(bits: u128) -> (u64, u64) {
    ((bits >> 64) as u64, bits as u64)
}

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.src_port == 0 && self.dst_port == 0 {
            return write!(f, "{} {} > {}", self.protocol, self.src, self.dst);
        }
        let src = SocketAddr::new(self.src, self.src_port);
        let dst = SocketAddr::new(self.dst, self.dst_port);
        write!(f, "{} {src} > {dst}", self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(src: &str, dst: &str) -> FlowKey {
        let (src, dst): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
        FlowKey {
            src: src.ip(),
            dst: dst.ip(),
            protocol: IpProtocol::TCP,
            src_port: src.port(),
            dst_port: dst.port(),
        }
    }

    fn keys() -> [FlowKey; 2] {
        [
            key("10.0.0.2:40000", "10.0.1.3:443"),
            key("[fd00:1::2]:40000", "[fd00:2::3]:443"),
        ]
    }

    #[test]
    fn text_shows_ports_only_where_there_are_some() {
        let [v4, v6] = keys();
        assert_eq!(v4.to_string(), "tcp 10.0.0.2:40000 > 10.0.1.3:443");
        assert_eq!(v6.to_string(), "tcp [fd00:1::2]:40000 > [fd00:2::3]:443");
        let other = FlowKey {
            protocol: IpProtocol(47),
            src_port: 0,
            dst_port: 0,
            ..v4
        };
        assert_eq!(other.to_string(), "proto 47 10.0.0.2 > 10.0.1.3");
    }

    #[test]
    fn ports_stay_with_their_address() {
        for key in keys() {
            let crossed = FlowKey {
                src_port: key.dst_port,
                dst_port: key.src_port,
                ..key
            };
            assert_ne!(key.symmetric_hash(1), crossed.symmetric_hash(1), "{key}");
            assert_eq!(
                key.symmetric_hash(1),
                key.reversed().symmetric_hash(1),
                "{key}"
            );
            assert_ne!(key.symmetric_hash(1), key.symmetric_hash(2), "{key}");
            let udp = FlowKey {
                protocol: IpProtocol::UDP,
                ..key
            };
            assert_ne!(key.symmetric_hash(1), udp.symmetric_hash(1), "{key}");
        }
    }

    /// One changed bit of a port, an address or the seed changes about half of the hash.
    #[test]
    fn every_input_bit_reaches_the_whole_hash() {
        for key in keys() {
            let changed = (0..16)
                .map(|bit| FlowKey {
                    src_port: key.src_port ^ (1 << bit),
                    ..key
                })
                .chain((0..16).map(|bit| FlowKey {
                    dst_port: key.dst_port ^ (1 << bit),
                    ..key
                }))
                .chain((0..8).map(|bit| FlowKey {
                    protocol: IpProtocol(6 ^ (1 << bit)),
                    ..key
                }))
                .chain((0..128).map(|bit| FlowKey {
                    src: flipped(key.src, bit),
                    ..key
                }))
                .chain((0..128).map(|bit| FlowKey {
                    dst: flipped(key.dst, bit),
                    ..key
                }));
            for changed in changed {
                let mut flips = 0;
                for seed in 0..64u64 {
                    let seed = seed.wrapping_mul(PI[0]);
                    flips += (key.symmetric_hash(seed) ^ changed.symmetric_hash(seed)).count_ones();
                }
                // 64 seeds × 64 bits: 2048 expected, standard deviation 32.
                assert!((1848..2248).contains(&flips), "{changed}: {flips}");
            }
        }
    }

    fn flipped(address: IpAddr, bit: u32) -> IpAddr {
        match address {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() ^ (1 << (bit % 32))).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() ^ (1 << bit)).into()),
        }
    }

    /// Neighbouring ports fill buckets taken from either end of the hash evenly.
    #[test]
    fn neighbouring_flows_spread_over_buckets() {
        for key in keys() {
            for shift in [0, 56] {
                let mut buckets = [0i64; 256];
                for port in 0..=u16::MAX {
                    let hash = FlowKey {
                        src_port: port,
                        ..key
                    }
                    .symmetric_hash(7);
                    buckets[usize::from((hash >> shift).to_le_bytes()[0])] += 1;
                }
                let square = buckets
                    .iter()
                    .map(|count| (count - 256).pow(2))
                    .sum::<i64>()
                    / 256;
                // Chi-square with 255 degrees of freedom: beyond 380 once in a million.
                assert!(square < 380, "{key}, shift {shift}: {square}");
            }
        }
    }
}
