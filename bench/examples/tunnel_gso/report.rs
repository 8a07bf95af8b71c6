//! What did all rounds say together?

use crate::rig::Underlay;
use crate::stages::{Cost, PAYLOAD};
use crate::{Round, Transfers};

/// Prints a table for each underlay.
pub(crate) fn tell(rounds: &[Round], count: usize) {
    println!(
        "Medians of {count} rounds (least to most); µs of processor for {PAYLOAD} bytes of TCP"
    );
    for underlay in Underlay::ALL {
        println!("\n{}", underlay.name());
        let of = || rounds.iter().filter(|round| round.underlay == underlay);
        sent(&of().map(|round| round.sent).collect::<Vec<_>>());
        carried(&of().filter_map(|round| round.carried).collect::<Vec<_>>());
        bursts(&of().filter_map(|round| round.bursts).collect::<Vec<_>>());
        let transfers = of().filter_map(|round| round.transfers.as_ref());
        transferred(&transfers.collect::<Vec<_>>());
    }
}

fn sent(costs: &[[Cost; 2]]) {
    line("sent, then dropped", costs, |cost| cost.send / 1e3);
}

fn carried(costs: &[[Cost; 2]]) {
    line("sent, up to a queue", costs, |cost| cost.send / 1e3);
    line("received", costs, |cost| cost.receive / 1e3);
    line("both", costs, |cost| (cost.send + cost.receive) / 1e3);
    line("arrives in frames", costs, |cost| cost.frames);
}

fn bursts(costs: &[[Cost; 2]]) {
    line("64 bytes, both", costs, |cost| {
        (cost.send + cost.receive) / 1e3
    });
    line("64 bytes, received", costs, |cost| cost.receive / 1e3);
    line("64 bytes, in frames", costs, |cost| cost.frames);
}

fn transferred(transfers: &[&Transfers]) {
    let pairs: Vec<_> = transfers.iter().map(|all| [all.p1, all.p3]).collect();
    line("transfer, CPU", &pairs, |one| one.cpu / 1e3);
    line("transfer, Gb/s", &pairs, |one| one.gigabits);
    if !transfers.is_empty() {
        let cpu = spread(transfers.iter().map(|all| all.straight.cpu / 1e3));
        let rate = spread(transfers.iter().map(|all| all.straight.gigabits));
        println!("  without an underlay  CPU {cpu}, {rate} Gb/s");
    }
}

/// One line of pairs and their ratio.
fn line<T>(name: &str, pairs: &[[T; 2]], of: impl Fn(&T) -> f64) {
    if pairs.is_empty() {
        return;
    }
    let p1 = spread(pairs.iter().map(|[p1, _]| of(p1)));
    let p3 = spread(pairs.iter().map(|[_, p3]| of(p3)));
    let ratio = spread(pairs.iter().map(|[p1, p3]| of(p1) / of(p3)));
    println!("  {name:<20} P1 {p1:<24} P3 {p3:<24} P1/P3 {ratio}");
}

/// Median, least and most.
fn spread(values: impl Iterator<Item = f64>) -> String {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |n: usize| values.get(n).copied().unwrap_or(0.0);
    let last = values.len().saturating_sub(1);
    format!("{:.2} ({:.2} to {:.2})", at(last / 2), at(0), at(last))
}
