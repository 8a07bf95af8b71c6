//! Which bytes break a promise of the pure crates?
//!
//! Owns the harness of every fuzz target: one function from bytes to a panic where a promise does
//! not hold. `fuzz_targets/` hands them libFuzzer's inputs (`fuzz/run`), `tests/replay.rs` the
//! checked-in corpus and every input that once was a finding. Never does I/O on packets.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a harness reports a finding by panicking"
)]

pub mod conntrack;
pub mod differential;
pub mod doors;
pub mod headers;
pub mod journal;
pub mod merge;
pub mod node;
mod oracle;
pub mod policy;
pub mod seeds;
pub mod split;
pub mod vxlan;

use std::process::ExitCode;
use std::{env, fs};

/// A harness: returns, or panics with the promise that the bytes broke.
pub type Harness = fn(&[u8]);

/// Every target by the name of its file in `fuzz_targets/`.
pub const TARGETS: [(&str, Harness); 12] = [
    ("conntrack", conntrack::run),
    ("differential", differential::run),
    ("doors", doors::sequence),
    ("headers", headers::run),
    ("journal", journal::run),
    ("manifests", policy::reader::run),
    ("merge", merge::run),
    ("pod_door", doors::pod_door),
    ("policy", policy::run),
    ("split", split::run),
    ("tunnel_door", doors::tunnel_door),
    ("vxlan", vxlan::run),
];

/// The `main` of a target that is built without libFuzzer: runs the files named as arguments.
#[must_use]
pub fn replay(harness: Harness) -> ExitCode {
    for path in env::args_os().skip(1) {
        match fs::read(&path) {
            Ok(bytes) => harness(&bytes),
            Err(error) => {
                eprintln!("{}: {error}", path.display());
                return ExitCode::from(2);
            }
        }
        eprintln!("{}: every promise held", path.display());
    }
    ExitCode::SUCCESS
}
