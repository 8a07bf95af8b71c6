//! What do the end-to-end tests share?
//!
//! Owns the lab guard, and the sockets and clocks with which a test looks at a lab from inside its
//! namespaces. It never judges: assertions about the product stay in the tests.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) mod bulk;
pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod forged;
pub(crate) mod host;
pub(crate) mod lab;
pub(crate) mod link;
pub(crate) mod ping;
pub(crate) mod talk;
pub(crate) mod tshark;

/// Whether a test that needs namespaces and TAP interfaces can run; if not, says so past libtest's
/// capture, since a test that silently passes proves nothing.
pub(crate) fn privileged(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        skipped("root", test, "it makes network namespaces");
        return false;
    }
    if !Path::new("/dev/net/tun").exists() {
        skipped("/dev/net/tun", test, "pods are TAP interfaces");
        return false;
    }
    true
}

/// A program that a test uses as its judge, if this machine has it.
pub(crate) fn tool(program: &str, test: &str, why: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file());
    if found.is_none() {
        skipped(program, test, why);
    }
    found
}

/// Says loudly that a test did not run.
pub(crate) fn skipped(needs: &str, test: &str, why: &str) {
    // One write, and not by eprintln!, which libtest keeps to itself while a test passes.
    let line = format!("SKIPPED (needs {needs}): {test}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The command under test, with nothing of the caller's environment that would steer it.
pub(crate) fn weft() -> Command {
    command_of(env!("CARGO_BIN_EXE_weft"))
}

/// The command under test from another place.
pub(crate) fn command_of(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command
        .env("NO_COLOR", "1")
        .env_remove("WEFT_SOCKET")
        .env_remove("WEFT_LAB")
        .env_remove("RUST_LOG")
        .env_remove("RUST_BACKTRACE");
    command
}
