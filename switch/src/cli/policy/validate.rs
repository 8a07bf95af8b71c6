//! `weft policy validate`: is anything wrong with these manifests, or odd?

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::USAGE;
use super::super::output::{Output, OutputArg};
use super::files::{Read, line, read};
use crate::api::Problem;
use crate::cluster::Trouble;
use crate::policy_view::oddities;

const EXAMPLES: &str = "\
Examples:
  weft policy validate -f manifests/
  weft policy validate -f pods.yaml policies/ -o json

Errors end with exit code 2; warnings are about what is right and probably not meant.";

/// `weft policy validate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Validate {
    /// Manifests: files or folders
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true, num_args = 1..)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArg,
}

/// The answer.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// Without errors.
    valid: bool,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    namespaces: usize,
    pods: usize,
    policies: usize,
}

impl Validate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (report, said) = report(&self.paths);
        if matches!(self.output.output, Output::Table | Output::Wide) {
            eprint!("{said}");
            if !report.valid {
                return Ok(ExitCode::from(USAGE));
            }
        }
        self.output.print(&report, |_| {
            let Report {
                namespaces,
                pods,
                policies,
                ..
            } = report;
            format!("ok: {policies} policies, {pods} pods, {namespaces} namespaces\n")
        })?;
        Ok(match report.valid {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(USAGE),
        })
    }
}

/// The answer, and what it says to a person.
fn report(paths: &[PathBuf]) -> (Report, String) {
    let mut said = String::new();
    let mut say = |what: &str, trouble: &Trouble| {
        // Writing to a String cannot fail.
        let _ = writeln!(said, "{what}: {}", line(trouble));
        problem(trouble)
    };
    let Read { inventory, notices } = match read(paths) {
        Ok(read) => read,
        Err(wrong) => {
            let errors = wrong
                .0
                .iter()
                .map(|trouble| say("error", trouble))
                .collect();
            let report = Report {
                errors,
                ..Report::default()
            };
            return (report, said);
        }
    };
    let odd = oddities(&inventory.cluster)
        .into_iter()
        .map(|what| Trouble {
            place: String::new(),
            what,
            next: String::new(),
        });
    let warnings: Vec<Trouble> = notices.into_iter().chain(odd).collect();
    let report = Report {
        valid: true,
        errors: Vec::new(),
        warnings: warnings.iter().map(|w| say("warning", w)).collect(),
        namespaces: inventory.cluster.namespaces.len(),
        pods: inventory.members.len(),
        policies: inventory.cluster.policies.len(),
    };
    (report, said)
}

fn problem(trouble: &Trouble) -> Problem {
    Problem {
        what: trouble.what.clone(),
        place: trouble.place.clone(),
        next: trouble.next.clone(),
    }
}
