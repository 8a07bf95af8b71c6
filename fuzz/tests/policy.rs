//! Do the tables agree with the oracle on many random clusters, and would a table that follows a
//! wrong reading of the specification be found out?
//!
//! The long run is `cargo run --release -p weft-fuzz --example policy-compare -- --triples N`.

use arbitrary::Unstructured;
use weft_fuzz::policy::court::Court;
use weft_fuzz::policy::jury::Jury;
use weft_fuzz::policy::{HASH_SEED, random, reader, report, scenario};

/// Clusters with policies and a packet.
const TRIPLES: usize = 200_000;

#[test]
fn random_clusters_agree_with_the_oracle() {
    let (mut triples, mut seed) = (0, 0);
    while triples < TRIPLES {
        let mut court = Court::new(HASH_SEED);
        let mut steps = Vec::new();
        // Several scenarios in the life of one engine.
        for _ in 0..4 {
            let bytes = random(seed);
            seed += 1;
            for step in scenario::draw_on(court.cluster(), &mut Unstructured::new(&bytes)) {
                let answer = court.take(&step);
                steps.push(step);
                match answer {
                    Ok(answer) => triples += usize::from(answer.is_some()),
                    Err(_) => report(steps),
                }
            }
        }
    }
}

#[test]
fn every_misreading_is_found_out() {
    let mut jury = Jury::default();
    for seed in 0..2_000 {
        let bytes = random(seed);
        let mut court = Court::new(HASH_SEED);
        jury.forget();
        for step in scenario::draw(&mut Unstructured::new(&bytes)) {
            let answer = court.take(&step).unwrap_or_default();
            jury.take(&court, &step, answer);
        }
        if seed > 100 && jury.differences().all(|(_, differences)| differences > 0) {
            break;
        }
    }
    let unnoticed: Vec<&str> = jury
        .differences()
        .filter(|(_, differences)| *differences == 0)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(unnoticed, Vec::<&str>::new());
}

#[test]
fn what_is_written_is_what_is_read() {
    for seed in 0..60 {
        let bytes = random(seed);
        let steps = scenario::draw(&mut Unstructured::new(&bytes));
        reader::write_and_read(&mut Unstructured::new(&bytes), &steps);
    }
}
