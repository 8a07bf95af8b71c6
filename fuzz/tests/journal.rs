//! Does the harness of the journal hold for files that were changed at random?
//!
//! `WEFT_SCENARIOS=N` tries N of them instead of the few that a usual run has time for.

use std::env;

use weft_fuzz::journal::{example, run};
use weft_fuzz::policy::random;

#[test]
fn changed_journals_mislead_nobody() {
    let scenarios = env::var("WEFT_SCENARIOS").map_or(3000, |count| count.parse().unwrap());
    for number in 0..scenarios {
        let mut bytes = example();
        // One to four changes: another bit, a piece twice, a piece less.
        let choices = random(number);
        let changes = 1 + usize::from(choices[0]) % 4;
        for choice in choices[1..].chunks_exact(5).take(changes) {
            let at = usize::from(choice[0]) * 256 + usize::from(choice[1]);
            let at = at % bytes.len();
            let length = usize::from(choice[2]).min(bytes.len() - at);
            match choice[3] % 3 {
                0 => bytes[at] ^= 1 << (choice[4] % 8),
                1 => bytes.extend_from_within(at..at + length),
                _ => drop(bytes.drain(at..at + length)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        // Says which one it was if the next panics.
        let result = std::panic::catch_unwind(|| run(&bytes));
        assert!(result.is_ok(), "scenario {number}");
    }
}
