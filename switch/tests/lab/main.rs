//! The lab on real namespaces: it comes up, heals, tells what is wrong and leaves nothing behind.
//!
//! Needs root; without it every test says on stderr that it was skipped.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod life;
mod mistakes;
mod policy;
mod support;
