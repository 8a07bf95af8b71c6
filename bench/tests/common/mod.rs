//! What do tests of the whole program need of their host?

use std::io::Write as _;

use weft_sys::caps;

/// Whether privileged tests can run; says so if not.
pub(crate) fn privileged(test: &str) -> bool {
    match caps::check() {
        Ok(()) => true,
        Err(missing) => {
            skipped(test, &format!("needs root: {missing}"));
            false
        }
    }
}

/// Says that a test does not run, and why.
pub(crate) fn skipped(test: &str, why: &str) {
    // One write, past libtest's capture, which shows nothing of a test that passes.
    let line = format!("SKIPPED: {test}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
