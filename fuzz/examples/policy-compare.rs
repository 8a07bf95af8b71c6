//! Compares tables, flow cache, explanations and oracle on as many random triples (cluster,
//! policies, packet) as one has patience for:
//!
//! `cargo run --release -p weft-fuzz --example policy-compare -- --triples 10000000 --seed 1`

use std::process::ExitCode;
use std::time::Instant;

use arbitrary::Unstructured;
use weft_fuzz::policy::court::{Answer, Court, Difference};
use weft_fuzz::policy::jury::Jury;
use weft_fuzz::policy::scenario::{self, Step};
use weft_fuzz::policy::{HASH_SEED, random, report};

/// So many scenarios happen to one engine, one after the other.
const LIFE: u64 = 16;
/// One engine in so many is also put before those who misread the specification.
const SAMPLE: u64 = 32;

#[derive(Debug, Default)]
struct Tally {
    scenarios: u64,
    changes: u64,
    tables: u64,
    triples: u64,
    allowed: u64,
    denied_at_sender: u64,
    denied_at_receiver: u64,
    sampled: u64,
}

fn main() -> ExitCode {
    let (mut wanted, mut seed) = (1_000_000, 1);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next().and_then(|word| word.parse::<u64>().ok());
        match (word.as_str(), number) {
            ("--triples", Some(number)) => wanted = number,
            ("--seed", Some(number)) => seed = number,
            _ => {
                eprintln!("usage: policy-compare [--triples N] [--seed N]");
                return ExitCode::from(2);
            }
        }
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "a rate for people; no verdict depends on it"
    )]
    let begin = Instant::now();
    let mut tally = Tally::default();
    let mut jury = Jury::default();
    // Far from the seeds of other runs, however many scenarios they take.
    let seeds = seed << 40;
    while tally.triples < wanted {
        let mut steps = Vec::new();
        if tally.life(seeds, &mut jury, &mut steps).is_err() {
            report(steps);
        }
    }
    tally.print(&jury, begin.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

impl Tally {
    /// What happens to one engine; on a difference, `steps` is what led to it.
    fn life(
        &mut self,
        seeds: u64,
        jury: &mut Jury,
        steps: &mut Vec<Step>,
    ) -> Result<(), Difference> {
        let sampled = (self.scenarios / LIFE).is_multiple_of(SAMPLE);
        let mut court = Court::new(HASH_SEED);
        jury.forget();
        for _ in 0..LIFE {
            let bytes = random(seeds + self.scenarios);
            self.scenarios += 1;
            let drawn = scenario::draw_on(court.cluster(), &mut Unstructured::new(&bytes));
            for step in drawn {
                steps.push(step);
                let Some(step) = steps.last() else { continue };
                let answer = court.take(step)?;
                if sampled {
                    jury.take(&court, step, answer);
                }
                self.count(step, answer, sampled);
            }
        }
        Ok(())
    }

    fn count(&mut self, step: &Step, answer: Answer, sampled: bool) {
        self.changes += u64::from(matches!(step, Step::Change(_)));
        self.tables += u64::from(matches!(step, Step::Publish));
        if !answer.is_some() {
            return;
        }
        self.triples += 1;
        self.sampled += u64::from(sampled);
        match (
            answer.egress.unwrap_or(true),
            answer.ingress.unwrap_or(true),
        ) {
            (true, true) => self.allowed += 1,
            (false, _) => self.denied_at_sender += 1,
            (true, false) => self.denied_at_receiver += 1,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn print(&self, jury: &Jury, seconds: f64) {
        println!("triples               {:>12}", self.triples);
        println!("  allowed             {:>12}", self.allowed);
        println!("  denied at sender    {:>12}", self.denied_at_sender);
        println!("  denied at receiver  {:>12}", self.denied_at_receiver);
        println!("differences           {:>12}", 0);
        println!("scenarios             {:>12}", self.scenarios);
        println!("changes               {:>12}", self.changes);
        println!("tables published      {:>12}", self.tables);
        println!("seconds               {seconds:>12.1}");
        let rate = self.triples as f64 / seconds;
        println!("triples per second    {rate:>12.0}");
        println!(
            "\nwhat a misreading would have changed, of {} triples:",
            self.sampled
        );
        for (name, differences) in jury.differences() {
            println!("  {differences:>8}  {name}");
        }
    }
}
