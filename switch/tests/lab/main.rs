//! The lab on real namespaces: it comes up, heals, tells what is wrong and leaves nothing behind.
//!
//! Needs root; without it every test says on stderr that it was skipped.

mod life;
mod mistakes;
mod support;
