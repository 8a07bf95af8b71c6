//! What kind of peer is this address?
//!
//! Owns two answers. Addresses of pods are in an exact map, in shards that are copied when they
//! are written, so that one pod's change copies little. All others fall into intervals between
//! the bounds of all the blocks that policies name; inside an interval no policy tells two
//! addresses apart. A lookup costs one probe and at most one binary search over the bounds,
//! whatever the address: lookups insert nothing, and the hash is keyed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;

/// The number of a kind of peer: pods alike, or outside addresses alike, in every policy's eyes.
pub(crate) type Class = u32;

/// The class of outside addresses in no block at all.
pub(crate) const OUTSIDE: Class = 0;

const SHARDS: usize = 64;

type Shard<T> = Arc<HashMap<T, Class, FixedState>>;

/// Every address's class.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    v4: Vec<Shard<u32>>,
    v6: Vec<Shard<[u32; 4]>>,
    blocks: Arc<Blocks>,
}

/// The class of each interval of outside addresses.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    v4: Intervals<u32>,
    v6: Intervals<u128>,
}

/// Where intervals begin, sorted, and their classes; before the first it is [`OUTSIDE`].
#[derive(Debug, Default)]
struct Intervals<T> {
    starts: Box<[T]>,
    classes: Box<[Class]>,
}

impl<T: Copy + Ord> Intervals<T> {
    fn new(bounds: &[(T, Class)]) -> Self {
        Self {
            starts: bounds.iter().map(|&(start, _)| start).collect(),
            classes: bounds.iter().map(|&(_, class)| class).collect(),
        }
    }

    #[inline]
    fn find(&self, address: T) -> Class {
        let after = self.starts.partition_point(|&start| start <= address);
        let found = after.checked_sub(1).and_then(|at| self.classes.get(at));
        found.copied().unwrap_or(OUTSIDE)
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.starts) + size_of_val(&*self.classes)
    }
}

impl Blocks {
    /// From the places where the class of outside addresses changes, in order.
    pub(crate) fn new(v4: &[(u32, Class)], v6: &[(u128, Class)]) -> Self {
        Self {
            v4: Intervals::new(v4),
            v6: Intervals::new(v6),
        }
    }

    #[inline]
    pub(crate) fn find(&self, address: IpAddr) -> Class {
        match address {
            IpAddr::V4(v4) => self.v4.find(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.find(v6.to_bits()),
        }
    }
}

impl Addresses {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            v4: shards(seed),
            v6: shards(seed),
            blocks: Arc::default(),
        }
    }

    /// The class of any address.
    #[inline]
    pub(crate) fn find(&self, address: IpAddr) -> Class {
        self.pod(address)
            .unwrap_or_else(|| self.blocks.find(address))
    }

    /// The class of a pod's address.
    #[inline]
    pub(crate) fn pod(&self, address: IpAddr) -> Option<Class> {
        match address {
            IpAddr::V4(v4) => {
                let key = v4.to_bits();
                self.v4.get(shard(key))?.get(&key).copied()
            }
            IpAddr::V6(v6) => {
                let key = words(v6.to_bits());
                let [.., low] = key;
                self.v6.get(shard(low))?.get(&key).copied()
            }
        }
    }

    /// Gives a pod's address a class, or takes it away.
    pub(crate) fn set(&mut self, address: IpAddr, class: Option<Class>) {
        match address {
            IpAddr::V4(v4) => {
                let key = v4.to_bits();
                put(self.v4.get_mut(shard(key)), key, class);
            }
            IpAddr::V6(v6) => {
                let key = words(v6.to_bits());
                let [.., low] = key;
                put(self.v6.get_mut(shard(low)), key, class);
            }
        }
    }

    /// Every pod's address.
    pub(crate) fn pods(&self) -> impl Iterator<Item = (IpAddr, Class)> {
        let v4 = self.v4.iter().flat_map(|shard| shard.iter());
        let v6 = self.v6.iter().flat_map(|shard| shard.iter());
        v4.map(|(&key, &class)| (IpAddr::V4(key.into()), class))
            .chain(v6.map(|(&key, &class)| (IpAddr::V6(bits(key).into()), class)))
    }

    pub(crate) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    pub(crate) fn set_blocks(&mut self, blocks: Blocks) {
        self.blocks = Arc::new(blocks);
    }

    /// How many addresses of pods there are.
    pub(crate) fn len(&self) -> usize {
        let v4: usize = self.v4.iter().map(|shard| shard.len()).sum();
        let v6: usize = self.v6.iter().map(|shard| shard.len()).sum();
        v4 + v6
    }

    /// Memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let v4: usize = self.v4.iter().map(|shard| map_bytes(shard)).sum();
        let v6: usize = self.v6.iter().map(|shard| map_bytes(shard)).sum();
        let shards = size_of_val(&*self.v4) + size_of_val(&*self.v6);
        v4 + v6 + shards + self.blocks.v4.bytes() + self.blocks.v6.bytes()
    }
}

/// Memory of a hash map: its slots, seven eighths of which are its capacity, and a byte for each.
pub(crate) fn map_bytes<K, V, S>(map: &HashMap<K, V, S>) -> usize {
    map.capacity() * 8 / 7 * (size_of::<(K, V)>() + 1)
}

fn shards<T>(seed: u64) -> Vec<Shard<T>> {
    let empty = Arc::new(HashMap::with_hasher(FixedState::with_seed(seed)));
    vec![empty; SHARDS]
}

fn put<T: Copy + Eq + std::hash::Hash>(shard: Option<&mut Shard<T>>, key: T, class: Option<Class>) {
    let Some(map) = shard.map(Arc::make_mut) else {
        return;
    };
    match class {
        Some(class) => {
            map.insert(key, class);
        }
        None => {
            map.remove(&key);
            if map.len() <= map.capacity() / 8 {
                map.shrink_to_fit();
            }
        }
    }
}

/// Pods' addresses count up in their low bits, subnets in those above.
#[inline]
const fn shard(low: u32) -> usize {
    (low ^ (low >> 6) ^ (low >> 12)) as usize % SHARDS
}

/// Four words are four bytes shorter in a map than one aligned number.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are what is wanted"
)]
const fn words(bits: u128) -> [u32; 4] {
    [
        (bits >> 96) as u32,
        (bits >> 64) as u32,
        (bits >> 32) as u32,
        bits as u32,
    ]
}

fn bits(words: [u32; 4]) -> u128 {
    words
        .into_iter()
        .fold(0, |bits, word| bits << 32 | u128::from(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_pod_is_a_pod_before_it_is_in_a_block() {
        let mut addresses = Addresses::new(7);
        addresses.set_blocks(Blocks::new(
            &[(0x0a00_0000, 3), (0x0b00_0000, OUTSIDE)],
            &[],
        ));
        addresses.set(at("10.0.0.5"), Some(9));
        addresses.set(at("fd00::5"), Some(8));
        for (address, class) in [
            ("10.0.0.5", 9),
            ("10.0.0.6", 3),
            ("9.255.255.255", OUTSIDE),
            ("10.0.0.0", 3),
            ("10.255.255.255", 3),
            ("11.0.0.0", OUTSIDE),
            ("fd00::5", 8),
            ("fd00::6", OUTSIDE),
            ("::ffff:10.0.0.5", OUTSIDE),
            ("::ffff:10.0.0.6", OUTSIDE),
        ] {
            assert_eq!(addresses.find(at(address)), class, "{address}");
        }
        assert_eq!(addresses.len(), 2);
        let mut pods: Vec<_> = addresses.pods().collect();
        pods.sort();
        assert_eq!(pods, [(at("10.0.0.5"), 9), (at("fd00::5"), 8)]);
    }

    #[test]
    fn a_copy_does_not_change_with_the_original() {
        let mut addresses = Addresses::new(7);
        addresses.set(at("10.0.0.5"), Some(9));
        let before = addresses.clone();
        addresses.set(at("10.0.0.5"), None);
        assert_eq!(before.pod(at("10.0.0.5")), Some(9));
        assert_eq!(addresses.pod(at("10.0.0.5")), None);
        assert_eq!(addresses.bytes(), Addresses::new(7).bytes());
    }
}
