//! The CNI plugin as a program of its own; started as `loopback`, that plugin.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    weft_cni::main_of(&name).unwrap_or_else(weft_cni::plugin::main)
}
