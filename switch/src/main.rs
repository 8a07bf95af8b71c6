//! The `weft` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    weft_switch::cli::Cli::parse().run()
}
