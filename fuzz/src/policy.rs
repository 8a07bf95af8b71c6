//! Do the compiled tables say what the specification says?
//!
//! Bytes become a [`scenario`]: changes to a small cluster, publications, and questions. The
//! [`court`] hands the changes to the engine and asks four who share only their vocabulary: the
//! table, the flow [`cache`] before it, the explanation and the oracle. [`misreadings`] show that
//! a wrong reading of any one sentence would be noticed; [`reader`] writes the same changes as
//! manifests and reads them again. What becomes of connections is the conntrack target's.

pub mod cache;
pub mod court;
pub mod edges;
pub mod jury;
pub mod misreadings;
mod paper;
pub mod reader;
pub mod scenario;
pub mod shrink;
pub mod things;

use arbitrary::Unstructured;

use court::Court;
use scenario::Step;

/// What tables are hashed by, the same whenever steps are taken again.
pub const HASH_SEED: u64 = 0x7765_6674;

/// The harness.
///
/// # Panics
/// When two of the four differ; with the fewest steps that show it.
pub fn run(bytes: &[u8]) {
    let steps = scenario::draw(&mut Unstructured::new(bytes));
    if judge(&steps).is_err() {
        report(steps);
    }
}

/// Says what the fewest of these steps are that show the difference.
///
/// # Panics
/// Always.
pub fn report(steps: Vec<Step>) -> ! {
    let steps = shrink::fewest(steps, |steps| judge(steps).is_err());
    match judge(&steps) {
        Err(difference) => panic!("{difference}\nafter\n{}", scenario::describe(&steps)),
        Ok(()) => panic!("a difference that does not come again"),
    }
}

/// Takes the steps in order.
///
/// # Errors
/// The first difference.
pub fn judge(steps: &[Step]) -> Result<(), court::Difference> {
    let mut court = Court::new(HASH_SEED);
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
