//! What is measured? Named frames, tables and stages, the same for the benches, the instruction
//! counts and the allocation test.
//!
//! Owns the cases only; the clock, valgrind and the counting allocator are in the programs that
//! run them. Never measures anything itself.
#![forbid(unsafe_code)]

pub mod frames;
pub mod node;
mod parts;
mod roads;

use std::fmt;

/// One stage at work on one kind of frame.
pub struct Case {
    name: String,
    run: Box<dyn FnMut(u64)>,
}

impl Case {
    /// A case whose `frame` does the work of exactly one frame.
    pub fn new(name: impl Into<String>, mut frame: impl FnMut() + 'static) -> Self {
        let run = move |frames| {
            for _ in 0..frames {
                frame();
            }
        };
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }

    /// As it appears in every report, after the stage's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does the work of that many frames.
    pub fn run(&mut self, frames: u64) {
        (self.run)(frames);
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

/// Every stage that is measured, in the order of the road; each with its cases.
#[must_use]
pub fn stages() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("parse", parts::parsing()),
        ("checksum", parts::checksums()),
        ("conntrack", parts::tracking()),
        ("forward", parts::forwarding()),
        ("encap", parts::tunnelling()),
        ("road", roads::usual()),
        ("aside", roads::unusual()),
    ]
}
