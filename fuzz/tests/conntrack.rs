//! Does the harness of connection tracking hold for scenarios nobody chose?
//!
//! `WEFT_SCENARIOS=N` plays N of them instead of the few that a usual run has time for.

use std::env;

/// Bytes that choose scenario `number`.
fn choices(number: u64) -> Vec<u8> {
    // SplitMix64.
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    };
    (0..512).flat_map(|_| next().to_le_bytes()).collect()
}

#[test]
fn random_scenarios_go_as_in_the_naive_model() {
    let scenarios = env::var("WEFT_SCENARIOS").map_or(120, |count| count.parse().unwrap());
    for number in 0..scenarios {
        // Says which one it was if the next panics.
        let result = std::panic::catch_unwind(|| weft_fuzz::conntrack::run(&choices(number)));
        assert!(result.is_ok(), "scenario {number}");
    }
}
