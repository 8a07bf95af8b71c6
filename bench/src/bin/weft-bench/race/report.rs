//! How are comparisons told to people?

use std::fmt::Write as _;
use std::io::Write as _;

use super::pairs::Comparison;
pub(super) use crate::machine::Machine;

/// Prints, whether anybody still reads or not.
pub(super) fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// One line each.
pub(super) fn table(machine: &Machine, found: &[Comparison]) -> String {
    let mut text = machine.text();
    let _ = writeln!(
        text,
        "{:<22}{:<14}{:<11}{:>12}{:>12} {:<15}{:>7}  {:<15}{:>18}{:>12}",
        "test",
        "underlay",
        "against",
        "weft",
        "rival",
        "unit",
        "ratio",
        "95 %",
        "CPU µs/unit",
        "into lo"
    );
    for one in found {
        let cpu = one.cpu_micros_per_unit;
        let ceiling = one
            .ceiling
            .map_or_else(String::new, |value| format!("{value:.0}"));
        let _ = writeln!(
            text,
            "{:<22}{:<14}{:<11}{:>12.1}{:>12.1} {:<15}{:>7.2}  {:<15}{:>18}{:>12}",
            one.title(),
            one.underlay,
            one.peer,
            one.weft,
            one.peer_value,
            one.measure(),
            one.ratio,
            format!("{:.2} to {:.2}", one.ratio_low, one.ratio_high),
            format!("{:.2} : {:.2}", cpu.weft, cpu.peer),
            ceiling
        );
        for (what, count) in [
            ("packets overtaken by others of their flow", one.reordered),
            ("connections failed", one.failed),
        ] {
            if count.weft + count.peer > 0.0 {
                let (weft, peer) = (count.weft, count.peer);
                let _ = writeln!(text, "    {what}: weft {weft}, {} {peer}", one.peer);
            }
        }
    }
    if let Some(one) = found.first() {
        let (policies, entries) = (one.policies, one.policy_entries);
        let _ = writeln!(
            text,
            "weft: {policies} policies, compiled to {entries} entries"
        );
    }
    text
}
