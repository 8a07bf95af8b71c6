//! What do the words of a run of bytes add up to? The inner loop of every checksum.
//!
//! Owns the choice of instructions. A short run is summed with what every CPU of the target
//! has; a long one with the widest instructions of this CPU, which are looked up at the first
//! call. The loops are plain: the compiler turns them into vector code, once for each level.

use fearless_simd::{Level, Simd, dispatch};

/// Bytes up to which going to the wide code costs more than it saves.
const SHORT: usize = 128;

/// Sums native-endian 16-bit lanes; a last odd byte is padded with zero. Below 2^49, so that
/// several of them can be added.
#[inline]
pub(super) fn sum_words(bytes: &[u8]) -> u64 {
    if bytes.len() <= SHORT {
        sum_short(bytes)
    } else {
        sum_long(bytes, Level::new())
    }
}

/// 32 bytes per step.
#[inline]
fn sum_short(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut sum = 0u64;
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for word in words {
            sum += u64::from(u32::from_ne_bytes(*word));
        }
    }
    sum + sum_rest(rest)
}

/// At the given level. Not inlined: one copy of the vector code for all callers.
#[inline(never)]
fn sum_long(bytes: &[u8], level: Level) -> u64 {
    dispatch!(level, simd => simd.vectorize(
        #[inline(always)]
        || sum_wide(bytes)
    ))
}

/// Copies `from` to the beginning of `to` and gives [`sum_words`] of it, in one pass. Nothing is
/// copied beyond the shorter of the two.
#[inline]
pub(super) fn copy_words(from: &[u8], to: &mut [u8]) -> u64 {
    if from.len() > SHORT || from.len() != to.len() {
        return copy_long(from, to, Level::new());
    }
    to.copy_from_slice(from);
    sum_short(from)
}

#[inline(never)]
fn copy_long(from: &[u8], to: &mut [u8], level: Level) -> u64 {
    let len = from.len().min(to.len());
    let (from, to) = (from.split_at(len).0, to.split_at_mut(len).0);
    dispatch!(level, simd => simd.vectorize(
        #[inline(always)]
        || copy_wide(from, to)
    ))
}

/// [`sum_wide`] that also copies.
#[inline(always)]
fn copy_wide(from: &[u8], to: &mut [u8]) -> u64 {
    let ((words, rest), (places, last)) = (from.as_chunks::<8>(), to.as_chunks_mut::<8>());
    let (mut whole, mut upper) = (0u64, 0u64);
    for (word, place) in words.iter().zip(places) {
        *place = *word;
        let word = u64::from_ne_bytes(*word);
        whole = whole.wrapping_add(word);
        upper += word >> 32;
    }
    last.copy_from_slice(rest);
    let lower = whole.wrapping_sub(upper << 32);
    lower + upper + sum_rest(rest)
}

/// Adds whole 64-bit words, wrapping, and beside them their upper halves, which cannot wrap:
/// taking those from the first sum leaves the sum of the lower halves. Three operations a
/// vector, and none of them widens a lane.
#[inline(always)]
fn sum_wide(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let (mut whole, mut upper) = (0u64, 0u64);
    for word in words {
        let word = u64::from_ne_bytes(*word);
        whole = whole.wrapping_add(word);
        upper += word >> 32;
    }
    let lower = whole.wrapping_sub(upper << 32);
    lower + upper + sum_rest(rest)
}

/// Fewer bytes than one step takes.
#[inline(always)]
fn sum_rest(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<4>();
    let sum: u64 = words
        .iter()
        .map(|word| u64::from(u32::from_ne_bytes(*word)))
        .sum();
    let last = match *tail {
        [a] => u16::from_ne_bytes([a, 0]).into(),
        [a, b] => u16::from_ne_bytes([a, b]).into(),
        [a, b, c] => u64::from(u16::from_ne_bytes([a, b])) + u64::from(u16::from_ne_bytes([c, 0])),
        _ => 0,
    };
    sum + last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Sum;

    /// RFC 1071 §1 word by word, in network order, folded.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u64::from);
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        u16::try_from(sum).unwrap()
    }

    fn folded(sum: u64) -> u16 {
        u16::from_be(super::super::fold_words(sum))
    }

    /// Every level this machine can run, the lowest first.
    fn levels() -> Vec<Level> {
        let best = Level::new();
        let mut levels = vec![Level::baseline()];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(best.as_sse4_2().map(|token| token.level()));
            levels.extend(best.as_avx2().map(|token| token.level()));
        }
        levels.push(best);
        levels
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_ne_bytes()[7]
            })
            .collect()
    }

    #[test]
    fn every_level_agrees_with_the_plain_loop_at_every_length_and_place() {
        for bytes in [noise(308), vec![0xff; 308], vec![0; 308]] {
            for at in 0..8 {
                for len in 0..=300 {
                    let bytes = &bytes[at..at + len];
                    let expected = plain(bytes);
                    assert_eq!(folded(sum_words(bytes)), expected, "{at} {len}");
                    assert_eq!(folded(sum_short(bytes)), expected, "{at} {len}");
                    for level in levels() {
                        let sum = folded(sum_long(bytes, level));
                        assert_eq!(sum, expected, "{level:?} {at} {len}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_level_copies_what_it_sums() {
        let bytes = noise(308);
        for at in 0..8 {
            for len in 0..=300 {
                let from = &bytes[at..at + len];
                let mut to = vec![0xee; len];
                assert_eq!(folded(copy_words(from, &mut to)), plain(from));
                assert_eq!(to, from);
                for level in levels() {
                    let mut to = vec![0xee; len + 3];
                    assert_eq!(
                        folded(copy_long(from, &mut to[1..=len], level)),
                        plain(from)
                    );
                    assert_eq!(&to[1..=len], from, "{level:?} {at} {len}");
                    assert_eq!([to[0], to[len + 1], to[len + 2]], [0xee; 3]);
                    let sum = copy_long(from, &mut to[..len / 2], level);
                    assert_eq!(folded(sum), plain(&from[..len / 2]), "no room for more");
                }
            }
        }
    }

    #[test]
    fn every_level_agrees_over_the_longest_packet() {
        for bytes in [noise(65_535), vec![0xff; 65_535]] {
            let expected = plain(&bytes);
            for level in levels() {
                assert_eq!(folded(sum_long(&bytes, level)), expected, "{level:?}");
            }
        }
    }

    #[test]
    fn pieces_at_odd_places_add_up_to_the_whole() {
        let bytes = noise(700);
        for cut in 0..=300 {
            let mut sum = Sum::new();
            for piece in [&bytes[..cut], &bytes[cut..cut + 151], &bytes[cut + 151..]] {
                sum.add_bytes(piece);
            }
            assert_eq!(!sum.finish(), plain(&bytes), "{cut}");
        }
    }
}
