//! The `weft` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // Under these names it is the plugin, so that one program gives a lab all it needs.
    let name = std::env::args_os().next().unwrap_or_default();
    if let Some(code) = weft_cni::main_of(&name) {
        return code;
    }
    weft_switch::cli::Cli::parse().run()
}
