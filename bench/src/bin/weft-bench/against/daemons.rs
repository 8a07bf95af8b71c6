//! What did the daemons on the way do meanwhile?
//!
//! Their processor time, from `/proc/PID/stat` (proc(5)), and what they dropped, by their own count.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use weft_switch::api::Client;

use super::place::Daemon;

/// Clock ticks a second in `/proc`, the same on every architecture of ours (proc(5)).
const TICKS: u64 = 100;

/// Node, reason and direction.
type Key = (String, String, String);

/// A reading of every daemon.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    daemons: &'a [Daemon],
    cpu: BTreeMap<String, Duration>,
    drops: BTreeMap<Key, u64>,
}

/// What happened between two readings.
#[derive(Clone, Debug, Default)]
pub(super) struct Meanwhile {
    /// Processor time of each node's daemon, all its threads together.
    pub(super) cpu: BTreeMap<String, Duration>,
    pub(super) drops: Vec<Grown>,
}

/// A drop counter that grew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Grown {
    node: String,
    reason: String,
    direction: String,
    packets: u64,
}

impl<'a> Watch<'a> {
    pub(super) fn begin(daemons: &'a [Daemon]) -> Result<Self> {
        Ok(Self {
            daemons,
            drops: drops(daemons)?,
            cpu: cpu(daemons)?,
        })
    }

    /// Processor time since the beginning.
    pub(super) fn cpu(&self) -> Result<BTreeMap<String, Duration>> {
        let mut now = cpu(self.daemons)?;
        for (node, used) in &mut now {
            *used = used.saturating_sub(self.cpu.get(node).copied().unwrap_or_default());
        }
        Ok(now)
    }

    /// Everything since the beginning but for the processor time, which ends when one says so.
    pub(super) fn end(&self, cpu: BTreeMap<String, Duration>) -> Result<Meanwhile> {
        let drops = grown(&self.drops, &drops(self.daemons)?);
        Ok(Meanwhile { cpu, drops })
    }
}

impl Meanwhile {
    /// Seconds of each daemon.
    pub(super) fn seconds(&self) -> BTreeMap<String, f64> {
        let all = self.cpu.iter();
        all.map(|(node, used)| (node.clone(), used.as_secs_f64()))
            .collect()
    }

    /// Microseconds of each daemon for one of so many units.
    pub(super) fn micros_each(&self, units: f64) -> BTreeMap<String, f64> {
        let each = |used: &Duration| used.as_secs_f64() * 1e6 / units.max(1.0);
        let all = self.cpu.iter();
        all.map(|(node, used)| (node.clone(), each(used))).collect()
    }
}

/// What grew in either of two times, each counter once.
pub(super) fn together(times: [Vec<Grown>; 2]) -> Vec<Grown> {
    let mut all: Vec<Grown> = Vec::new();
    for one in times.into_iter().flatten() {
        let same = |other: &&mut Grown| {
            let key = |grown: &Grown| {
                (
                    grown.node.clone(),
                    grown.reason.clone(),
                    grown.direction.clone(),
                )
            };
            key(other) == key(&one)
        };
        match all.iter_mut().find(same) {
            Some(other) => other.packets += one.packets,
            None => all.push(one),
        }
    }
    all
}

/// `node-a 1.25, node-b 0.90`.
pub(super) fn each_text(each: &BTreeMap<String, f64>) -> String {
    let each = each.iter().map(|(node, used)| format!("{node} {used:.2}"));
    each.collect::<Vec<_>>().join(", ")
}

/// One line for each counter that grew, or none did.
pub(super) fn drops_text(drops: &[Grown]) -> String {
    if drops.is_empty() {
        return "drops: none\n".to_owned();
    }
    let mut text = String::new();
    for one in drops {
        let Grown {
            node,
            reason,
            direction,
            packets,
        } = one;
        let _ = writeln!(text, "drops: {reason}: {packets} ({direction}, {node})");
    }
    text
}

fn cpu(daemons: &[Daemon]) -> Result<BTreeMap<String, Duration>> {
    let read = |daemon: &Daemon| {
        let path = format!("/proc/{}/stat", daemon.pid);
        let gone = || format!("the daemon of {} has ended", daemon.node);
        let stat = fs::read_to_string(path).with_context(gone)?;
        let used = used(&stat).with_context(gone)?;
        Ok((daemon.node.clone(), used))
    };
    daemons.iter().map(read).collect()
}

/// User and system time of a process and its threads, fields 14 and 15.
fn used(stat: &str) -> Option<Duration> {
    // The second field is a name that may hold anything; the third is the first after it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(14 - 3);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * (1000 / TICKS)))
}

fn drops(daemons: &[Daemon]) -> Result<BTreeMap<Key, u64>> {
    let mut all = BTreeMap::new();
    for daemon in daemons {
        let told = Client::connect(&daemon.socket)?.drops(false)?;
        for one in told.drops {
            let key = (daemon.node.clone(), one.reason, one.direction);
            all.insert(key, one.packets);
        }
    }
    Ok(all)
}

fn grown(before: &BTreeMap<Key, u64>, now: &BTreeMap<Key, u64>) -> Vec<Grown> {
    let grew = now.iter().filter_map(|(key, count)| {
        let packets = count.saturating_sub(before.get(key).copied().unwrap_or(0));
        let (node, reason, direction) = key.clone();
        (packets > 0).then_some(Grown {
            node,
            reason,
            direction,
            packets,
        })
    });
    grew.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_fields_14_and_15_whatever_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4 1 2 3 4 150 50 9 9 20 0 1 0 4242 0 0";
        assert_eq!(used(stat), Some(Duration::from_secs(2)));
        assert_eq!(used("7 (a) S 1"), None);
    }

    #[test]
    fn only_what_grew_is_told() {
        let of = |reason: &str, count| {
            let key = ("n".to_owned(), reason.to_owned(), "egress".to_owned());
            (key, count)
        };
        let before = BTreeMap::from([of("same", 2), of("more", 2)]);
        let now = BTreeMap::from([of("same", 2), of("more", 5), of("new", 1), of("none", 0)]);
        let told = grown(&before, &now);
        let told: Vec<_> = told
            .iter()
            .map(|g| (g.reason.as_str(), g.packets))
            .collect();
        assert_eq!(told, [("more", 3), ("new", 1)]);
        assert_eq!(drops_text(&[]), "drops: none\n");
    }
}
