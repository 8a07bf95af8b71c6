//! `weft lab …`: which words does the user say?
//!
//! Owns the arguments of the lab and their help; `verbs` does what they ask.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::endpoint::{Endpoint, PodRef, Protocol};
use super::file::Family;
use super::relay::{self, RelayArgs};
use crate::cli::Output;

/// A cluster on this machine: nodes and pods as network namespaces.
#[derive(Debug, Args)]
pub struct LabCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show the whole story in under a minute: nodes, pods, overlay, an outside host
    Demo {
        /// Leave the lab up
        #[arg(long)]
        keep: bool,
        /// Name of the lab
        #[arg(long, default_value = "demo")]
        name: String,
    },
    /// Show what `up` would make, without root and without making it
    Plan {
        #[command(flatten)]
        file: FileArg,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Build a lab, or bring one that is up to what its files say now
    Up {
        #[command(flatten)]
        file: FileArg,
        /// Turn a lab of the same name from another file into this one
        #[arg(long)]
        replace: bool,
    },
    /// Replace the lab's manifests by these, reconcile pods and policies
    Apply {
        /// Manifest files or folders
        #[arg(short = 'f', long = "file", value_name = "PATH", required = true, num_args = 1..)]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        lab: LabArg,
    },
    /// Remove everything of a lab, whatever happened to it
    Down {
        /// The lab; left out: that of ./lab.yaml, or the only one
        #[arg(value_name = "NAME", conflicts_with = "all")]
        name: Option<String>,
        /// Remove every lab
        #[arg(long)]
        all: bool,
    },
    /// Show nodes and pods
    Status {
        /// The lab, as with --lab
        #[arg(value_name = "NAME", conflicts_with = "name")]
        which: Option<String>,
        #[command(flatten)]
        lab: LabArg,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Run a command in a pod
    Exec {
        #[command(flatten)]
        lab: LabArg,
        /// The pod, as namespace/name
        #[arg(value_name = "NS/POD")]
        pod: PodRef,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// Run a command on a node
    Node {
        #[command(flatten)]
        lab: LabArg,
        /// The node's name, or `outside`
        node: String,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// Try one connection with real packets; exit code 1 if it is refused
    Probe(ProbeArgs),
    /// Try every pod to every pod with real packets
    Matrix {
        #[command(flatten)]
        question: QuestionArgs,
        #[command(flatten)]
        lab: LabArg,
        #[command(flatten)]
        output: OutputArg,
    },
    /// Compare with `expect:` in lab.yaml; exit code 1 if anything differs
    Check(CheckArgs),
    /// Make a node's underlay slow and lossy, in both directions
    Netem(NetemArgs),
    /// Answer on the ports of all pods
    #[command(hide = true)]
    Agent {
        /// Folder of the lab
        #[arg(long)]
        state: PathBuf,
    },
    /// Carry frames over a slow and lossy link
    #[command(hide = true)]
    Relay(RelayArgs),
}

/// One connection to try.
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// namespace/pod, node:NAME or outside
    pub(crate) from: Endpoint,
    /// The same, or an IP address
    pub(crate) to: Endpoint,
    #[command(flatten)]
    pub(crate) question: QuestionArgs,
    #[command(flatten)]
    pub(crate) lab: LabArg,
    #[command(flatten)]
    pub(crate) output: OutputArg,
}

/// What to compare, and where to write it.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A file whose `expect:` is checked instead of the lab's own
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Also write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Time for each answer that is expected, seconds
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    pub(crate) timeout: std::time::Duration,
    /// How long nothing may come back where `deny` is expected, seconds
    #[arg(long, value_name = "SECONDS", default_value = "0.25", value_parser = seconds)]
    pub(crate) silence: std::time::Duration,
    #[command(flatten)]
    pub(crate) lab: LabArg,
    #[command(flatten)]
    pub(crate) output: OutputArg,
}

/// Faults, or none.
#[derive(Debug, Args)]
pub(crate) struct NetemArgs {
    /// The node's name
    pub(crate) node: String,
    /// Added to each frame: 20ms, 300us, 1s [default: none]
    #[arg(long, value_parser = relay::parse_delay, conflicts_with = "clear")]
    pub(crate) delay: Option<u64>,
    /// Frames lost, in percent: 1% [default: none]
    #[arg(long, value_parser = relay::parse_loss, conflicts_with = "clear")]
    pub(crate) loss: Option<u32>,
    /// The same seed loses the same frames of a sequence
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Remove the faults
    #[arg(long)]
    pub(crate) clear: bool,
    #[command(flatten)]
    pub(crate) lab: LabArg,
}

/// Which lab.
#[derive(Debug, Args)]
pub(crate) struct LabArg {
    /// The lab; left out: that of ./lab.yaml, or the only one
    #[arg(long = "lab", value_name = "NAME", env = "WEFT_LAB")]
    pub(crate) name: Option<String>,
}

/// Which lab.yaml.
#[derive(Debug, Args)]
pub(crate) struct FileArg {
    /// The lab's description, or a folder with a lab.yaml
    #[arg(short, long, value_name = "FILE", default_value = "lab.yaml")]
    file: PathBuf,
}

impl FileArg {
    pub(crate) fn path(&self) -> PathBuf {
        if self.file.is_dir() {
            self.file.join("lab.yaml")
        } else {
            self.file.clone()
        }
    }
}

/// What is sent.
#[derive(Debug, Args)]
pub(crate) struct QuestionArgs {
    /// Port of TCP and UDP
    #[arg(long, default_value_t = super::expect::DEFAULT_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// Protocol
    #[arg(long, default_value = "TCP", ignore_case = true)]
    pub(crate) protocol: Protocol,
    /// Address family [default: IPv4 where both ends have it]
    #[arg(long)]
    pub(crate) family: Option<Family>,
    /// Bytes a UDP or ICMP probe carries; what does not fit a packet goes in fragments
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(..=60_000))]
    pub(crate) size: Option<u16>,
    /// Time for each answer, seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) timeout: std::time::Duration,
}

/// How to print.
#[derive(Debug, Args)]
pub(crate) struct OutputArg {
    /// Form of the answer: table for people, json and yaml for programs
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

/// Reads a time such as `1`, `0.5` or `2s`.
fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let number: f64 = text
        .trim_end_matches('s')
        .parse()
        .map_err(|_| format!("\"{text}\" is not a number of seconds"))?;
    if number > 0.0 && number <= 60.0 {
        Ok(std::time::Duration::from_secs_f64(number))
    } else {
        Err(format!("\"{text}\" is not between 0 and 60 seconds"))
    }
}

impl LabCommand {
    /// Does what was asked; problems are printed to stderr and become the exit code.
    ///
    /// # Errors
    /// None that the exit code does not tell already.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb.run() {
            Ok(code) => Ok(code),
            Err(error) => {
                eprintln!("error: {error}");
                Ok(ExitCode::from(error.exit_code()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Whole {
        #[command(flatten)]
        lab: LabCommand,
    }

    fn accepts(line: &str) -> bool {
        Whole::try_parse_from(format!("weft {line}").split(' ')).is_ok()
    }

    #[test]
    fn the_documented_lines_are_understood() {
        for line in [
            "demo",
            "demo --keep",
            "up",
            "up -f lab.yaml",
            "apply -f a.yaml b.yaml",
            "down",
            "down two-nodes",
            "down --all",
            "status -o json",
            "exec default/a -- true",
            "exec --lab l default/a -- ls -l",
            "node node-a -- true",
            "probe default/a default/b --port 80 --protocol TCP",
            "probe node:node-a 10.0.0.1 --protocol udp --family ipv6",
            "probe outside default/a --protocol ICMP --timeout 0.5",
            "matrix --port 80 --protocol TCP -o json",
            "check --junit out.xml",
            "check -f expect.yaml --silence 0.1",
            "probe default/a default/b --protocol SCTP",
            "probe default/a default/b --protocol UDP --size 4000",
            "netem node-a --delay 20ms --loss 1%",
            "netem node-a --clear",
        ] {
            assert!(accepts(line), "{line}");
        }
        for line in [
            "down x --all",
            "exec default -- true",
            "exec default/a",
            "probe a default/b",
            "probe default/a default/b --port 0",
            "netem node-a --loss 200%",
            "netem node-a --clear --loss 1%",
            "matrix --timeout 0",
        ] {
            assert!(!accepts(line), "{line}");
        }
    }
}
