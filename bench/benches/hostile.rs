//! What does one pod's hostile traffic cost the established flows of the others?
//!
//! `cargo bench -p weft-bench --bench hostile` prints the nanoseconds of an established flow's
//! frame, on a quiet node and between bursts of each attack. Blocks of rounds of all of them
//! alternate, so that whatever else the machine does meets them alike; the first rounds of a
//! block, which find the caches full of the others' nodes, do not count. Medians of the blocks and
//! of their ratios.
//!
//! With `-- --check` an attack fails if its ratio is above [`MOST`] in each of [`TRIES`] runs, or
//! if a frame is lost in any: a neighbour on the machine makes one run slow, an attack that costs
//! its victims something makes them all slow.

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use weft_bench::hostile::{Attack, Siege};

const ATTACKS: usize = Attack::ALL.len();
/// Blocks of a run that people read, and of one that is checked.
const BLOCKS: (usize, usize) = (300, 100);
/// Rounds of a block, and how many of them count.
const ROUNDS: usize = 10;
const COUNTED: usize = 7;
/// Frames of the attack before each round: what a worker reads from one port in a turn.
const BURST: usize = 64;
/// The target.
const MOST: f64 = 1.10;
const TRIES: usize = 5;

/// What one run says of one attack.
struct Found {
    nanoseconds: f64,
    ratio: f64,
    losses: u64,
}

fn main() -> ExitCode {
    let check = env::args().any(|argument| argument == "--check");
    let (blocks, tries) = if check {
        (BLOCKS.1, TRIES)
    } else {
        (BLOCKS.0, 1)
    };
    let mut sieges = Attack::ALL.map(Siege::new);
    let mut passed = [false; ATTACKS];
    let mut lost = false;
    for _ in 0..tries {
        for ((attack, found), passed) in Attack::ALL
            .iter()
            .zip(run(&mut sieges, blocks))
            .zip(&mut passed)
        {
            *passed |= found.ratio <= MOST;
            lost |= found.losses > 0;
            println!(
                "{:<18} {:>7.1} ns a frame   ratio {:.3}   lost {}",
                attack.name(),
                found.nanoseconds,
                found.ratio,
                found.losses
            );
        }
        if lost || passed.iter().all(|passed| *passed) {
            break;
        }
    }
    let failed = lost || passed.contains(&false);
    if failed && check {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn run(sieges: &mut [Siege; ATTACKS], blocks: usize) -> [Found; ATTACKS] {
    let mut rounds: Vec<[f64; ATTACKS]> = Vec::with_capacity(blocks);
    for _ in 0..blocks {
        rounds.push(sieges.each_mut().map(|siege| {
            siege.tick();
            let times: Vec<f64> = (0..ROUNDS).map(|_| nanoseconds(siege)).collect();
            median(times.into_iter().skip(ROUNDS - COUNTED))
        }));
    }
    let mut index = 0;
    sieges.each_ref().map(|siege| {
        let of = |times: &[f64; ATTACKS]| times.get(index).copied().unwrap_or_default();
        let ratio = |times: &[f64; ATTACKS]| {
            let [quiet, ..] = times;
            of(times) / quiet
        };
        let found = Found {
            nanoseconds: median(rounds.iter().map(of)),
            ratio: median(rounds.iter().map(ratio)),
            losses: siege.losses(),
        };
        index += 1;
        found
    })
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
