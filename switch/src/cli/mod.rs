//! `weft …`: which words does the user say, and what does each start?
//!
//! Owns the top-level arguments and the exit codes every command shares: 0 done and the answer is
//! yes, 1 the answer is no, 2 wrong usage, file or configuration, 3 this host lacks something.
//! Answers go to stdout, messages to stderr. Decides nothing about packets.

mod ask;
mod cni;
mod daemon;
mod man;
mod output;
mod policy;
mod status;
mod target;
mod trace;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

pub use output::Output;

use crate::api::ClientError;
use crate::lab::LabError;
use crate::text::say;

/// Exit code: the answer is no.
pub const NO: u8 = 1;
/// Exit code: wrong usage, file or configuration.
pub const USAGE: u8 = 2;
/// Exit code: this host lacks something, such as privilege, a device or a running daemon.
pub const HOST: u8 = 3;

/// weft: a userspace dataplane that gives every pod its own address on one flat network.
#[derive(Debug, Parser)]
#[command(name = "weft", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "To see it work on this machine, as root:  weft lab demo")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the dataplane of this node
    Daemon(daemon::DaemonCommand),
    /// Show whether the daemon is healthy, and what to do if not
    Status(status::StatusCommand),
    /// List the ports: the host's and one per pod
    Ports(ask::Ports),
    /// List the other nodes
    Peers(ask::Peers),
    /// List where each destination is forwarded
    Routes(ask::Routes),
    /// List the NetworkPolicies in force, the pods they select here and what they refused
    Policies(ask::Policies),
    /// Tell step by step what would become of a packet; nothing is sent
    Trace(trace::TraceCommand),
    /// List what each worker thread did
    Workers(ask::Workers),
    /// List the connections being tracked
    Flows(ask::Flows),
    /// List dropped frames by reason, each with its last example
    Drops(ask::Drops),
    /// Judge manifests: what they allow, why, and what is wrong with them; no daemon, no root
    Policy(policy::PolicyCommand),
    /// Have the container runtime of this node use weft, or no longer
    Cni(cni::CniCommand),
    /// Run a cluster on this machine: nodes and pods as network namespaces
    Lab(crate::lab::cli::LabCommand),
    /// Print the versions of this command and of the daemon, if one answers
    Version(ask::Version),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page of a command, or write all of them
    Man(man::ManCommand),
}

impl Cli {
    /// Does what was asked and turns the outcome into the exit code.
    pub fn run(self) -> ExitCode {
        match self.command.run() {
            Ok(code) => code,
            Err(error) => {
                // A client error tells its cause in its own sentence.
                match error.downcast_ref::<ClientError>() {
                    Some(told) => eprintln!("error: {told}"),
                    None => eprintln!("error: {error:#}"),
                }
                ExitCode::from(exit_code(&error))
            }
        }
    }
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Daemon(command) => Ok(command.run()),
            Self::Status(command) => command.run(),
            Self::Ports(command) => command.run(),
            Self::Peers(command) => command.run(),
            Self::Routes(command) => command.run(),
            Self::Policies(command) => command.run(),
            Self::Trace(command) => command.run(),
            Self::Workers(command) => command.run(),
            Self::Flows(command) => command.run(),
            Self::Drops(command) => command.run(),
            Self::Policy(command) => command.run(),
            Self::Cni(command) => command.run(),
            Self::Lab(command) => command.run(),
            Self::Version(command) => command.run(),
            Self::Completion { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "weft", &mut script);
                say(&String::from_utf8_lossy(&script));
                Ok(ExitCode::SUCCESS)
            }
            Self::Man(command) => command.run(Cli::command()),
        }
    }
}

/// A daemon that refuses has judged the words of the call; one that does not answer is missing.
fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<LabError>() {
        return error.exit_code();
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Connect { .. } | ClientError::Talk { .. }) => HOST,
        Some(ClientError::Refused(_)) | None => USAGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_help_text() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                assert!(
                    argument.get_help().is_some() || id == "help" || id == "version",
                    "{} {id}",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
