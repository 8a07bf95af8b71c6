//! Does the plugin do for a container runtime what CNI specification 1.1.0 says? Environment and
//! stdin in; stdout, exit code and what reaches the daemon out.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;
mod crash;
mod delegation;
mod golden;
mod hostile;
mod loopback;
mod results;
mod variables;
mod verbs;
