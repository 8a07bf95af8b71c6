//! `weft cni install | uninstall | status` on real directories, as a container runtime sees them.
//!
//! Only what needs another user or a network namespace needs root; it says so when it is skipped.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation is how a test fails"
)]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test file uses its part")]
mod common;
mod examples;
mod install;
mod refusals;
mod rig;
mod status;
mod uninstall;
