//! What does one pod's hostile traffic cost the established flows of the others?
//!
//! `cargo bench -p weft-bench --bench hostile` prints the nanoseconds of an established flow's
//! frame, on a quiet node and between bursts of each attack. Blocks of rounds of all three
//! alternate, so that whatever else the machine does meets them alike; the first rounds of a
//! block, which find the caches full of the others' nodes, do not count. Medians of the blocks and
//! of their ratios. With `-- --check` a ratio above [`MOST`] is a failure.

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use weft_bench::hostile::{Attack, Siege};

const BLOCKS: usize = 300;
/// Rounds of a block, and how many of them count.
const ROUNDS: usize = 10;
const COUNTED: usize = 7;
/// Frames of the attack before each round: what a worker reads from one port in a turn.
const BURST: usize = 64;
/// The target.
const MOST: f64 = 1.10;

fn main() -> ExitCode {
    let attacks = [Attack::None, Attack::Tuples, Attack::Edges];
    let mut sieges = attacks.map(Siege::new);
    let mut rounds: Vec<[f64; 3]> = Vec::with_capacity(BLOCKS);
    for _ in 0..BLOCKS {
        let mut times = [0.0; 3];
        for (siege, time) in sieges.iter_mut().zip(&mut times) {
            siege.tick();
            let times: Vec<f64> = (0..ROUNDS).map(|_| nanoseconds(siege)).collect();
            *time = median(times.into_iter().skip(ROUNDS - COUNTED));
        }
        rounds.push(times);
    }
    let mut failed = false;
    for (index, attack) in attacks.into_iter().enumerate() {
        let of = |times: &[f64; 3]| times.get(index).copied().unwrap_or_default();
        let ratio = median(rounds.iter().map(|times| {
            let [quiet, ..] = times;
            of(times) / quiet
        }));
        let time = median(rounds.iter().map(of));
        let losses = sieges.get(index).map_or(0, Siege::losses);
        println!(
            "{:<16} {time:>7.1} ns a frame   ratio {ratio:.3}   lost {losses}",
            attack.name()
        );
        failed |= ratio > MOST || losses > 0;
    }
    let check = env::args().any(|argument| argument == "--check");
    if failed && check {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bench is where the clock is read"
)]
fn nanoseconds(siege: &mut Siege) -> f64 {
    siege.attack(BURST);
    let start = Instant::now();
    let frames = siege.go_on();
    start.elapsed().as_nanos() as f64 / frames as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
