//! Every pair of pods, and what changes between two versions of the manifests.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;
use weft_policy::model::ObjectName;

use super::words::{Transport, Verdict};
use super::{Service, View};
use crate::text::Table;

/// Square tables with more names than this have numbers for headings.
const NAMED_COLUMNS: usize = 12;

/// The verdicts of all pairs; the same form as `lab matrix`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Matrix {
    /// The destination port.
    pub port: u16,
    /// The protocol.
    pub protocol: Transport,
    /// Pair by pair, sorted by sender and then by receiver.
    pub verdicts: Vec<Pair>,
}

/// One pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// The sender, `namespace/name`.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// Whether it may send to it.
    pub verdict: Verdict,
}

/// What differs between two versions of the manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The destination port.
    pub port: u16,
    /// The protocol.
    pub protocol: Transport,
    /// Pairs of pods of both versions that are judged differently.
    pub changes: Vec<Changed>,
    /// Pods of the new version alone.
    pub added: Vec<String>,
    /// Pods of the old version alone.
    pub removed: Vec<String>,
}

/// One pair whose verdict changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The sender.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// By the old version.
    pub before: Verdict,
    /// By the new one.
    pub after: Verdict,
}

impl View {
    /// Judges every pair of pods that have a family in common. A pod reaches itself.
    #[must_use]
    pub fn matrix(&self, service: &Service) -> Matrix {
        let names: Vec<String> = self.ends.iter().map(|end| end.name.to_string()).collect();
        let mut verdicts = Vec::with_capacity(names.len() * names.len());
        for (from, from_name) in self.ends.iter().zip(&names) {
            for (to, to_name) in self.ends.iter().zip(&names) {
                let Some(verdict) = self.judge(from, to, service) else {
                    continue;
                };
                verdicts.push(Pair {
                    from: from_name.clone(),
                    to: to_name.clone(),
                    verdict,
                });
            }
        }
        Matrix {
            port: service.transport.port(service.port),
            protocol: service.transport,
            verdicts,
        }
    }

    fn names(&self) -> BTreeSet<&ObjectName> {
        self.by_name.keys().collect()
    }
}

/// Compares two versions.
#[must_use]
pub fn diff(old: &View, new: &View, service: &Service) -> Diff {
    let (before, after) = (old.names(), new.names());
    let names = |names: &mut dyn Iterator<Item = &&ObjectName>| {
        names.map(ToString::to_string).collect::<Vec<String>>()
    };
    let both: Vec<&ObjectName> = before.intersection(&after).copied().collect();
    let mut changes = Vec::new();
    for from in &both {
        for to in &both {
            let judged = |view: &View| {
                let (from, to) = (view.end(from)?, view.end(to)?);
                view.judge(from, to, service)
            };
            if let (Some(before), Some(after)) = (judged(old), judged(new))
                && before != after
            {
                changes.push(Changed {
                    from: from.to_string(),
                    to: to.to_string(),
                    before,
                    after,
                });
            }
        }
    }
    Diff {
        port: service.transport.port(service.port),
        protocol: service.transport,
        changes,
        added: names(&mut after.difference(&before)),
        removed: names(&mut before.difference(&after)),
    }
}

impl Matrix {
    /// A square, senders as rows and receivers as columns; `wide` gives every column its name.
    #[must_use]
    pub fn text(&self, wide: bool) -> String {
        let mut names: Vec<&str> = self
            .verdicts
            .iter()
            .map(|pair| pair.from.as_str())
            .collect();
        names.dedup();
        if names.is_empty() {
            return "no pods\n".to_owned();
        }
        let numbered = !wide && names.len() > NAMED_COLUMNS;
        let heading = names.iter().enumerate().map(|(at, name)| match numbered {
            true => (at + 1).to_string(),
            false => (*name).to_owned(),
        });
        let mut table = Table::new(std::iter::once("FROM \\ TO".to_owned()).chain(heading));
        let mut pairs = self.verdicts.iter().peekable();
        for (at, from) in names.iter().enumerate() {
            let mut row = vec![match numbered {
                true => format!("{} {from}", at + 1),
                false => (*from).to_owned(),
            }];
            for to in &names {
                let here = pairs.next_if(|pair| pair.from == *from && pair.to == *to);
                row.push(cell(here.map(|pair| pair.verdict)).to_owned());
            }
            table.row(row);
        }
        let allowed = |pair: &&Pair| pair.verdict.is_allowed();
        let (all, allowed) = (
            self.verdicts.len(),
            self.verdicts.iter().filter(allowed).count(),
        );
        let service = self.protocol.with_port(self.port);
        format!("{table}\n{service}: {allowed} of {all} pairs may talk\n")
    }
}

const fn cell(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Allow) => "✓",
        Some(Verdict::Deny) => "✗",
        None => "-",
    }
}

impl Diff {
    /// Whether nothing changes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.added.is_empty() && self.removed.is_empty()
    }

    /// One line for each pair that changes.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if self.changes.is_empty() {
            let service = self.protocol.with_port(self.port);
            let _ = writeln!(text, "{service}: no pair changes");
        } else {
            let mut table = Table::new(["FROM", "TO", "BEFORE", "AFTER"]);
            for changed in &self.changes {
                let verdicts = [changed.before.to_string(), changed.after.to_string()];
                let [before, after] = verdicts;
                table.row([changed.from.clone(), changed.to.clone(), before, after]);
            }
            let _ = write!(text, "{table}");
        }
        for (what, names) in [("new", &self.added), ("gone", &self.removed)] {
            for name in names {
                let _ = writeln!(text, "pod {name} is {what}");
            }
        }
        text
    }
}
