//! Where does the longest matching block change?
//!
//! Owns the sweep over nested prefixes that cuts the address space into intervals.

use std::net::IpAddr;

use crate::Cidr;
use crate::table::addresses::{Blocks, Class, OUTSIDE};

/// The intervals of these blocks, given in order (of base, then length), each with the class of
/// outside addresses whose longest match it is.
pub(super) fn intervals<'a>(blocks: impl Iterator<Item = (&'a Cidr, &'a Class)>) -> Blocks {
    let mut v4 = Sweep::new(u32::MAX.into());
    let mut v6 = Sweep::new(u128::MAX);
    for (block, &class) in blocks {
        let length = block.length();
        match block.base() {
            IpAddr::V4(base) => v4.enter(base.to_bits().into(), 32 - length, class),
            IpAddr::V6(base) => v6.enter(base.to_bits(), 128 - length, class),
        }
    }
    let v4: Vec<(u32, Class)> = v4
        .finish()
        .into_iter()
        .filter_map(|(start, class)| Some((u32::try_from(start).ok()?, class)))
        .collect();
    Blocks::new(&v4, &v6.finish())
}

/// One family's blocks, met in order.
struct Sweep {
    end: u128,
    /// The blocks around the present place, the outermost first: their last addresses.
    around: Vec<(u128, Class)>,
    bounds: Vec<(u128, Class)>,
}

impl Sweep {
    const fn new(end: u128) -> Self {
        Self {
            end,
            around: Vec::new(),
            bounds: Vec::new(),
        }
    }

    fn enter(&mut self, base: u128, host_bits: u8, class: Class) {
        self.leave_before(Some(base));
        let hosts = 1u128
            .checked_shl(host_bits.into())
            .map_or(u128::MAX, |n| n - 1);
        self.around.push((base | hosts, class));
        self.bound(base, class);
    }

    /// Leaves the blocks that end before `place`; all of them if it is beyond the end.
    fn leave_before(&mut self, place: Option<u128>) {
        while let Some((last, _)) = self
            .around
            .pop_if(|(last, _)| place.is_none_or(|at| *last < at))
        {
            let outer = self.around.last().map_or(OUTSIDE, |&(_, class)| class);
            if last < self.end {
                self.bound(last + 1, outer);
            }
        }
    }

    fn bound(&mut self, start: u128, class: Class) {
        // Of several blocks that begin or end at one place the innermost comes last.
        self.bounds.pop_if(|(at, _)| *at == start);
        self.bounds.push((start, class));
    }

    fn finish(mut self) -> Vec<(u128, Class)> {
        self.leave_before(None);
        self.bounds.dedup_by_key(|&mut (_, class)| class);
        self.bounds
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::cidr::masked;

    fn longest(blocks: &BTreeMap<Cidr, Class>, address: IpAddr) -> Class {
        let around = blocks.iter().filter(|(block, _)| block.contains(address));
        let longest = around.max_by_key(|(block, _)| block.length());
        longest.map_or(OUTSIDE, |(_, &class)| class)
    }

    fn blocks(texts: &[&str]) -> BTreeMap<Cidr, Class> {
        texts
            .iter()
            .map(|text| text.parse().unwrap())
            .zip(1..)
            .collect()
    }

    #[test]
    fn the_longest_block_wins_at_every_bound() {
        let blocks = blocks(&[
            "0.0.0.0/0",
            "0.0.0.0/8",
            "10.0.0.0/8",
            "10.0.0.0/32",
            "10.0.0.1/32",
            "10.1.0.0/16",
            "10.255.255.255/32",
            "255.255.255.255/32",
            "::/0",
            "fd00::/8",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
        ]);
        let laid = intervals(blocks.iter());
        for address in [
            "0.0.0.0",
            "1.0.0.0",
            "9.255.255.255",
            "10.0.0.0",
            "10.0.0.1",
            "10.0.0.2",
            "10.1.255.255",
            "10.2.0.0",
            "10.255.255.254",
            "10.255.255.255",
            "11.0.0.0",
            "255.255.255.254",
            "255.255.255.255",
            "::",
            "fd00::",
            "fdff::1",
            "fe00::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            let address = address.parse().unwrap();
            assert_eq!(laid.find(address), longest(&blocks, address), "{address}");
        }
    }

    proptest! {
        #[test]
        fn intervals_are_the_longest_match(
            prefixes in proptest::collection::vec((any::<u32>(), 0u8..=32, any::<bool>()), 0..40),
            addresses in proptest::collection::vec(any::<u32>(), 8),
        ) {
            // Few distinct bits, so that blocks nest; IPv6 uses the highest and the lowest.
            let place = |bits: u32, wide: bool| -> IpAddr {
                let bits = bits & 0xe000_0007;
                if wide {
                    let bits = u128::from(bits);
                    std::net::Ipv6Addr::from_bits(bits << 96 | bits).into()
                } else {
                    std::net::Ipv4Addr::from_bits(bits).into()
                }
            };
            let blocks: BTreeMap<Cidr, Class> = prefixes
                .iter()
                .map(|&(bits, length, wide)| {
                    let length = if wide { length * 4 } else { length };
                    Cidr::new(masked(place(bits, wide), length), length).unwrap()
                })
                .zip(1..)
                .collect();
            let laid = intervals(blocks.iter());
            let chosen = addresses.iter().chain(prefixes.iter().map(|(bits, ..)| bits));
            for &bits in chosen {
                for address in [place(bits, false), place(bits, true)] {
                    prop_assert_eq!(laid.find(address), longest(&blocks, address));
                }
            }
        }
    }
}
