//! The CNI plugin of weft, and what it says to the daemon.
//!
//! Small and quick, because a runtime starts it for every verb: no async runtime, no argument
//! parser. It imports nothing of the dataplane. A reader begins at [`plugin`], the verbs; `call`
//! is what a runtime asks, [`spec`] the words it is asked and answered in.

#![forbid(unsafe_code)]

mod args;
mod call;
pub mod daemon;
mod deadline;
mod environment;
mod ipam;
pub mod loopback;
mod namespace;
pub mod plugin;
pub mod spec;
mod stdio;
pub mod tombstone;
mod wish;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

pub use environment::Environment;

/// Runs the plugin a program was started as, if the file name in `argv0` is one: `weft-cni` or
/// `loopback`. So one binary, or a link to it, serves under several names.
pub fn main_of(argv0: &OsStr) -> Option<ExitCode> {
    match Path::new(argv0).file_name()?.to_str()? {
        plugin::NAME => Some(plugin::main()),
        loopback::NAME => Some(loopback::main()),
        _ => None,
    }
}
