//! `weft policy validate | matrix | explain | diff`: what do these manifests allow?
//!
//! Needs neither root nor a daemon. Reads files and folders, judges through the same compiled
//! tables as the daemon, and prints. Errors of the files go to stderr with file, line and next
//! step and end with exit code 2, whatever was asked: a policy that cannot be read is never
//! judged as if it were absent.

mod files;
mod validate;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::files::read;
use self::validate::Validate;
use super::NO;
use super::output::OutputArg;
use crate::policy_view::{Endpoint, Family, Service, Transport, Unknown, View, diff};

const NOTES: &str = "\
Manifests are ordinary Kubernetes YAML or JSON: Namespace, Pod, NetworkPolicy and Node objects.
Of a folder, its *.yaml, *.yml and *.json files are read.

A pod without status.podIPs is judged all the same: by its labels, and as an address that no
ipBlock matches except one of everything (0.0.0.0/0, ::/0). A pod with hostNetwork counts as its
node's address if a Node object gives one, and is left out otherwise. Finished pods are left out.

Exit codes: 0 yes, or nothing changes; 1 no: denied, or something changes; 2 the files or the
words of the command are wrong.";

const MATRIX_EXAMPLES: &str = "\
Examples:
  weft policy matrix -f manifests/ --port 80
  weft policy matrix -f manifests/ --port 53 --protocol UDP --family ipv6 -o json

`weft help policy` says how pods without addresses are judged.";
const EXPLAIN_EXAMPLES: &str = "\
Examples:
  weft policy explain -f manifests/ shop/frontend shop/backend --port 8080
  weft policy explain -f manifests/ shop/backend 203.0.113.7 --port 443 -o json

Exit code 0: allowed; 1: denied.";
const DIFF_EXAMPLES: &str = "\
Examples:
  weft policy diff -f manifests/ -f changed/ --port 80

Exit codes as those of diff(1): 0 nothing changes, 1 something does.";

/// `weft policy`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub(super) struct PolicyCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List everything that is wrong with manifests
    Validate(Validate),
    /// Judge every pod to every pod
    #[command(after_help = MATRIX_EXAMPLES)]
    Matrix(Matrix),
    /// Say why one flow is allowed or denied
    #[command(after_help = EXPLAIN_EXAMPLES)]
    #[command(override_usage = "weft policy explain [OPTIONS] -f <PATH>... <FROM> <TO>")]
    Explain(Explain),
    /// List the pairs of pods whose verdict changes between two versions of manifests
    #[command(after_help = DIFF_EXAMPLES)]
    #[command(override_usage = "weft policy diff [OPTIONS] -f <OLD> -f <NEW>")]
    Diff(Difference),
}

/// Which flow is asked about.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct ServiceArgs {
    /// The destination port: any number, whether or not a pod listens
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// The protocol; ICMP is an echo request, which has no port
    #[arg(
        long,
        value_enum,
        value_name = "PROTOCOL",
        default_value_t,
        ignore_case = true
    )]
    protocol: Transport,
    /// Judge by addresses of this family; unless given, by IPv4, or by IPv6 where an end has no
    /// other
    #[arg(long, value_enum, value_name = "FAMILY", ignore_case = true)]
    family: Option<Family>,
}

impl ServiceArgs {
    /// The flow, complete.
    pub(super) fn service(self) -> Result<Service, Unknown> {
        if self.port.is_none() && self.protocol != Transport::Icmp {
            return Err(Unknown {
                what: format!("the {} port is missing", self.protocol),
                next: "give it with --port, such as --port 80".to_owned(),
            });
        }
        Ok(Service {
            port: self.port.unwrap_or_default(),
            transport: self.protocol,
            family: self.family,
        })
    }
}

/// `weft policy matrix`.
#[derive(Debug, Args)]
struct Matrix {
    /// Manifests: files or folders
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true, num_args = 1..)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArg,
}

/// `weft policy explain`.
#[derive(Debug, Args)]
struct Explain {
    /// Manifests: files or folders
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true, num_args = 1..)]
    paths: Vec<String>,
    /// Who sends and who receives: NAMESPACE/POD, an IP address, or node:NAME
    #[arg(value_names = ["FROM", "TO"], num_args = 2)]
    ends: Vec<String>,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArg,
}

/// `weft policy diff`.
#[derive(Debug, Args)]
struct Difference {
    /// The old version and the new one, each a file or a folder
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true, num_args = 1..)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArg,
}

impl PolicyCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Validate(command) => command.run(),
            Verb::Matrix(command) => command.run(),
            Verb::Explain(command) => command.run(),
            Verb::Diff(command) => command.run(),
        }
    }
}

impl Matrix {
    fn run(self) -> anyhow::Result<ExitCode> {
        let service = self.service.service()?;
        let view = view(&self.paths)?;
        say_notes(&view);
        let matrix = view.matrix(&service);
        self.output.print(&matrix, |wide| matrix.text(wide))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Explain {
    fn run(self) -> anyhow::Result<ExitCode> {
        let (paths, [from, to]) = self.words()?;
        let (from_end, to_end): (Endpoint, Endpoint) = (from.parse()?, to.parse()?);
        let service = self.service.service()?;
        let view = view(&paths)?;
        let reasons = view.explain(&from_end, &to_end, &service)?;
        say_notes(&view);
        self.output.print(&reasons, |_| {
            reasons.text((&from, &to), &service.to_string())
        })?;
        Ok(match reasons.verdict.is_allowed() {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(NO),
        })
    }

    /// The paths and the two ends, which the list of paths swallows where they stand behind it.
    fn words(&self) -> Result<(Vec<PathBuf>, [String; 2]), Unknown> {
        let mut paths = self.paths.clone();
        let ends = match <[String; 2]>::try_from(self.ends.clone()) {
            Ok(ends) => Some(ends),
            Err(_) if paths.len() > 2 => {
                let ends = paths.split_off(paths.len() - 2);
                <[String; 2]>::try_from(ends).ok()
            }
            Err(_) => None,
        };
        let ends = ends.ok_or_else(|| Unknown {
            what: "the sender and the receiver are missing".to_owned(),
            next: "weft policy explain -f PATH FROM TO --port 80".to_owned(),
        })?;
        Ok((paths.into_iter().map(PathBuf::from).collect(), ends))
    }
}

impl Difference {
    fn run(self) -> anyhow::Result<ExitCode> {
        let service = self.service.service()?;
        let [old, new] = <[PathBuf; 2]>::try_from(self.paths).map_err(|paths| Unknown {
            what: format!("diff compares two versions, and {} were named", paths.len()),
            next: "weft policy diff -f OLD -f NEW --port 80, each a file or a folder".to_owned(),
        })?;
        let (old, new) = (view(&[old])?, view(&[new])?);
        say_notes(&new);
        let found = diff(&old, &new, &service);
        self.output.print(&found, |_| found.text())?;
        Ok(match found.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(NO),
        })
    }
}

/// The manifests, compiled; every error of theirs is on stderr if that fails.
fn view(paths: &[PathBuf]) -> anyhow::Result<View> {
    let working = working("reading the manifests");
    let read = read(paths)?;
    for notice in &read.notices {
        eprintln!("note: {}", files::line(notice));
    }
    let view = View::new(read.inventory);
    drop(working);
    Ok(view)
}

fn say_notes(view: &View) {
    for note in view.notes() {
        eprintln!("note: {note}");
    }
}

/// A spinner that shows itself after a second, where a person looks.
fn working(what: &'static str) -> impl Drop {
    struct Working(Option<indicatif::ProgressBar>);
    impl Drop for Working {
        fn drop(&mut self) {
            if let Some(bar) = &self.0 {
                bar.finish_and_clear();
            }
        }
    }
    let shown = io::stderr().is_terminal();
    Working(shown.then(|| {
        let bar = indicatif::ProgressBar::new_spinner().with_message(what);
        bar.enable_steady_tick(std::time::Duration::from_secs(1));
        bar
    }))
}
