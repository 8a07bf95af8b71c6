//! `weft-bench`: how fast is weft beside the kernel, and what does it leave behind?
//!
//! One subcommand per subject, each in a module of its own; the pure stages are measured by
//! `cargo bench`. Started as `weft`, `weft-cni` or as its own baseline it is that program, so that
//! links to it serve where those were not built.
#![forbid(unsafe_code)]

mod against;
mod cni;
mod interrupt;
mod machine;
mod program;
mod race;
mod stats;
mod traffic;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use weft_switch::cli;

/// Measures weft by real packets and processes; needs root
#[derive(Debug, Parser)]
#[command(name = "weft-bench", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Attach and detach pods through the CNI plugin: how long it takes, or what it leaves
    Cni(cni::CniCommand),
    /// Run weft against the kernel's VXLAN and Open vSwitch, by turns, and tell the ratios
    Race(race::RaceCommand),
    /// Send frames from pod to pod of a lab that is up, and count what arrives
    Rate(against::RateCommand),
    /// Send TCP from pod to pod of a lab that is up
    Stream(against::StreamCommand),
    /// Measure round trips between pods of a lab that is up, and what they cost the daemons
    Latency(against::LatencyCommand),
    /// Move many bytes both ways between pods of a lab that is up, and compare their sums
    Soak(against::SoakCommand),
    /// Send or receive in a pod of a race
    #[command(hide = true)]
    Traffic(traffic::TrafficCommand),
}

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    if let Some(code) = weft_cni::main_of(&name) {
        return code;
    }
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("weft") => cli::Cli::parse().run(),
        Some(cni::BARE) => cni::bare(),
        _ => run(),
    }
}

fn run() -> ExitCode {
    let command = Cli::parse().command;
    if let Err(missing) = weft_sys::caps::check() {
        eprintln!("error: {missing}");
        return ExitCode::from(cli::HOST);
    }
    let answer = match command {
        Command::Cni(command) => command.run(),
        Command::Race(command) => command.run(),
        Command::Rate(command) => command.run(),
        Command::Stream(command) => command.run(),
        Command::Latency(command) => command.run(),
        Command::Soak(command) => command.run(),
        Command::Traffic(command) => command.run(),
    };
    answer.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(cli::NO)
    })
}

/// Where this program is, and weft beside it.
fn own_folder() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let folder = program.parent().context("this program is in no folder")?;
    Ok(folder.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
