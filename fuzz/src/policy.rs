//! Do the compiled tables say what the specification says?
//!
//! Bytes become a [`scenario`]: changes to a small cluster, publications, and questions. The
//! [`court`] hands the changes to the engine and asks three who share only their vocabulary: the
//! table, the explanation and the oracle. [`misreadings`] show that a wrong reading of any one
//! sentence would be noticed. Owns no packets and no time: those are the conntrack target's.

pub mod court;
pub mod edges;
pub mod jury;
pub mod misreadings;
pub mod scenario;
pub mod shrink;
pub mod things;

use arbitrary::Unstructured;

use court::Court;
use scenario::Step;

/// The harness.
///
/// # Panics
/// When two of the three differ; with the fewest steps that show it.
pub fn run(bytes: &[u8]) {
    let steps = scenario::draw(&mut Unstructured::new(bytes));
    if let Err(difference) = judge(&steps) {
        let steps = shrink::fewest(steps);
        let last = judge(&steps).err().unwrap_or(difference);
        panic!("{last}\nafter\n{}", scenario::describe(&steps));
    }
}

/// Takes the steps in order.
///
/// # Errors
/// The first difference.
pub fn judge(steps: &[Step]) -> Result<(), court::Difference> {
    let mut court = Court::new(0x7765_6674);
    steps.iter().try_for_each(|step| court.take(step).map(drop))
}

/// As many bytes as a scenario needs, from a seed (splitmix64).
#[must_use]
pub fn random(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    (0..512).flat_map(|_| next().to_le_bytes()).collect()
}
