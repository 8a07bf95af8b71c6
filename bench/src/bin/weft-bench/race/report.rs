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
        "{:<22}{:<14}{:<8}{:>12}{:>12} {:<15}{:>7}  {:<15}{:>18}{:>10}",
        "test",
        "underlay",
        "against",
        "weft",
        "rival",
        "unit",
        "ratio",
        "95 %",
        "CPU µs/unit",
        "ceiling"
    );
    for one in found {
        let cpu = one.cpu_micros_per_unit;
        let ceiling = one
            .ceiling
            .map_or_else(String::new, |value| format!("{value:.0}"));
        let _ = writeln!(
            text,
            "{:<22}{:<14}{:<8}{:>12.1}{:>12.1} {:<15}{:>7.2}  {:<15}{:>18}{:>10}",
            one.title(),
            one.underlay,
            one.peer,
            one.weft,
            one.peer_value,
            one.unit,
            one.ratio,
            format!("{:.2} to {:.2}", one.ratio_low, one.ratio_high),
            format!("{:.2} : {:.2}", cpu.weft, cpu.peer),
            ceiling
        );
        let (lost, reordered) = (one.lost, one.reordered);
        if reordered.weft + reordered.peer > 0.0 {
            let _ = writeln!(
                text,
                "    out of order: weft {}, {} {}; lost: {}, {}",
                reordered.weft, one.peer, reordered.peer, lost.weft, lost.peer
            );
        }
    }
    text
}
