//! Which outer source port carries a flow.
//!
//! A lane is one sending socket, thus one outer source port: routers and
//! receive queues between the nodes spread lanes over their paths (RFC 7348 §5).
//! Owns the choice; never the sockets. A flow keeps its lane, so its order too.

/// One of a node's sending sockets, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(u8);

impl Lane {
    /// The position among the node's lanes, `0..Lanes::MAX`.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How many lanes a node sends on: a power of two, `1..=64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    count: u8,
}

impl Lanes {
    /// The most lanes a node may have.
    pub const MAX: u8 = 64;

    /// `count` lanes, or `None` when it is no power of two or above [`Self::MAX`].
    #[must_use]
    pub const fn new(count: u8) -> Option<Self> {
        if count.is_power_of_two() && count <= Self::MAX {
            Some(Self { count })
        } else {
            None
        }
    }

    /// For so many workers: one needs one, several get two each, rounded up, because the kernel
    /// of a peer deals lanes out to its workers by chance. Not more, because only frames of one
    /// lane share a send (decision 0003).
    #[must_use]
    pub fn for_workers(workers: usize) -> Self {
        let most = usize::from(Self::MAX);
        let count = match workers {
            0 | 1 => 1,
            several => (several.min(most) * 2).next_power_of_two().min(most),
        };
        Self {
            count: u8::try_from(count).unwrap_or(Self::MAX),
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn count(self) -> usize {
        self.count as usize
    }

    /// The lane of a flow whose hash is `entropy`: its highest bits, since the
    /// low ones commonly choose a bucket or worker elsewhere.
    #[must_use]
    pub const fn pick(self, entropy: u64) -> Lane {
        let bits = self.count.trailing_zeros();
        let [high, ..] = entropy.to_be_bytes();
        Lane(match bits {
            0 => 0,
            bits => high >> (u8::BITS - bits),
        })
    }

    /// Every lane, in order.
    pub fn iter(self) -> impl Iterator<Item = Lane> {
        (0..self.count).map(Lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_has_one_lane_and_several_two_each() {
        let cases = [(0, 1), (1, 1), (2, 4), (3, 8), (8, 16), (9, 32), (64, 64)];
        for (workers, lanes) in cases.into_iter().chain([(65, 64), (usize::MAX, 64)]) {
            assert_eq!(Lanes::for_workers(workers).count(), lanes, "{workers}");
        }
    }

    #[test]
    fn only_powers_of_two_up_to_sixty_four() {
        for count in 0..=u8::MAX {
            let legal = matches!(count, 1 | 2 | 4 | 8 | 16 | 32 | 64);
            assert_eq!(Lanes::new(count).is_some(), legal, "{count}");
        }
    }

    #[test]
    fn the_highest_bits_choose() {
        for (count, entropy, lane) in [
            (1, u64::MAX, 0),
            (2, 0x7fff_ffff_ffff_ffff, 0),
            (2, 0x8000_0000_0000_0000, 1),
            (16, 0xa000_0000_0000_0000, 10),
            (64, u64::MAX, 63),
            (64, 0x03ff_ffff_ffff_ffff, 0),
            (64, 0x0400_0000_0000_0000, 1),
        ] {
            let lanes = Lanes::new(count).unwrap();
            assert_eq!(lanes.pick(entropy).index(), lane, "{count} {entropy:#x}");
        }
    }

    #[test]
    fn spread_evenly_over_every_lane() {
        for lanes in [1, 2, 4, 8, 16, 32, 64].map(|count| Lanes::new(count).unwrap()) {
            let mut hits = vec![0; lanes.count()];
            for step in 0..6400_u64 {
                hits[lanes.pick(step * (u64::MAX / 6400)).index()] += 1;
            }
            assert_eq!(lanes.iter().count(), lanes.count());
            let fair = 6400 / lanes.count();
            assert!(
                hits.iter().all(|&n: &usize| n.abs_diff(fair) <= 2),
                "{hits:?}"
            );
        }
    }
}
