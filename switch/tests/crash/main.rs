//! A daemon that is cut off at any moment: what it was told it keeps, and what it has not said is
//! not there. Needs root and strace; says which tests it skipped otherwise.
//!
//! A run takes a sample of the moments; with `WEFT_CRASH=all` it takes every one.

#![expect(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test fails"
)]
#![expect(clippy::panic, reason = "a failed expectation is how a test fails")]
#![expect(
    clippy::indexing_slicing,
    reason = "a failed expectation is how a test fails"
)]

mod anytime;
mod moments;
#[path = "../daemon/rig.rs"]
#[expect(dead_code, reason = "made for the tests of the daemon")]
mod rig;
mod site;
mod strace;
mod tombstones;

use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

/// Whether strace is there; says so if not.
fn installed(test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join("strace").is_file());
    if !found {
        tell(&format!("SKIPPED (needs strace): {test}: not installed"));
    }
    found
}

/// Past libtest's capture, which shows nothing of a test that passes.
fn tell(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// A path of a network namespace that nobody named.
fn path_of(space: &rig::Space) -> String {
    let (process, fd) = (std::process::id(), space.0.as_fd().as_raw_fd());
    format!("/proc/{process}/fd/{fd}")
}

/// Whether it comes true within ten seconds.
fn soon(mut is: impl FnMut() -> bool) -> bool {
    let mut tries = 0..1000;
    tries.any(|_| {
        let is = is();
        if !is {
            rig::pause(Duration::from_millis(10));
        }
        is
    })
}
