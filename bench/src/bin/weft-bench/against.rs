//! `weft-bench rate | stream | latency | soak`: how fast and how whole does traffic cross a lab that
//! is up?
//!
//! Owns what the four have in common: between which pods ([`place`]), what the daemons did meanwhile
//! ([`daemons`]), the form of the answer and the exit code. Uses the lab as it is, its policies and
//! faults too; what one of them changes for its time it puts back.

mod daemons;
mod latency;
mod measure;
mod place;
mod rate;
mod soak;
mod stream;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;
use weft_switch::cli::NO;

pub(crate) use latency::LatencyCommand;
pub(crate) use rate::RateCommand;
pub(crate) use soak::SoakCommand;
pub(crate) use stream::StreamCommand;

use crate::machine::Machine;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Lines for people
    Table,
    /// One JSON object with stable field names
    Json,
}

/// Where, between whom, and how to tell it.
#[derive(Debug, Args)]
struct Ends {
    /// The pod that begins, as namespace/name
    #[arg(value_parser = pod)]
    from: String,
    /// The other pod
    #[arg(value_parser = pod)]
    to: String,
    /// The lab; left out: that of ./lab.yaml, or the only one
    #[arg(long, value_name = "NAME", env = "WEFT_LAB")]
    lab: Option<String>,
    /// Port of TO that policies let through and nothing answers on
    #[arg(long, value_name = "PORT", default_value_t = 7000, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "table")]
    output: Form,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Family {
    /// IPv4
    Ipv4,
    /// IPv6
    Ipv6,
}

fn pod(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(text.to_owned()),
        _ => Err("a pod is written namespace/name".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a number of seconds from 0.1 to 86400".to_owned())
}

/// Why a command did nothing, with the exit code that tells it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Refusal {
    code: u8,
    message: String,
}

impl Refusal {
    fn of(code: u8, message: impl Into<String>) -> anyhow::Error {
        let message = message.into();
        Self { code, message }.into()
    }
}

/// What a run found.
trait Answer: Serialize {
    /// For people.
    fn text(&self) -> String;
    /// Whether all is well, which the exit code tells.
    fn good(&self) -> bool;
}

/// The answer with where and on which machine it was found.
#[derive(Debug, Serialize)]
struct Told<'a, T> {
    lab: &'a str,
    from: &'a str,
    to: &'a str,
    machine: Machine,
    #[serde(flatten)]
    answer: T,
}

/// Prints what `work` finds between two pods, or why it cannot.
fn tell<T: Answer>(
    ends: &Ends,
    family: Option<Family>,
    work: impl FnOnce(&place::Place) -> Result<T>,
) -> Result<ExitCode> {
    match find_and_tell(ends, family, work) {
        Err(error) => match error.downcast_ref::<Refusal>() {
            Some(refusal) => {
                eprintln!("error: {refusal}");
                Ok(ExitCode::from(refusal.code))
            }
            None => Err(error),
        },
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::from(NO)),
    }
}

/// The same; whether all is well.
fn find_and_tell<T: Answer>(
    ends: &Ends,
    family: Option<Family>,
    work: impl FnOnce(&place::Place) -> Result<T>,
) -> Result<bool> {
    let machine = Machine::here();
    let place = place::Place::find(ends, family)?;
    let answer = work(&place)?;
    let good = answer.good();
    let text = match ends.output {
        Form::Table => {
            let (from, to) = (&place.from, &place.to);
            format!(
                "{}{} ({}) to {} ({}), lab {}\n{}",
                machine.text(),
                from.pod,
                from.node,
                to.pod,
                to.node,
                place.lab,
                answer.text()
            )
        }
        Form::Json => {
            let told = Told {
                lab: &place.lab,
                from: &place.from.pod,
                to: &place.to.pod,
                machine,
                answer,
            };
            serde_json::to_string(&told)? + "\n"
        }
    };
    // A reader who has seen enough is no error.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(good)
}

/// A line on a terminal while work goes on; nothing elsewhere. It goes with the value.
#[derive(Debug)]
struct Busy(ProgressBar);

impl Busy {
    fn with(what: &str) -> Self {
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// What a traffic program counted, whole.
fn count(said: &Value, field: &str) -> Result<u64> {
    let value = said.get(field).and_then(Value::as_u64);
    value.with_context(|| format!("a traffic program did not tell its {field}: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_a_namespace() {
        assert!(pod("default/a").is_ok());
        for bad in ["a", "/a", "a/", ""] {
            assert!(pod(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_limits() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "x", "NaN", "1e9"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
