//! What is measured? Named frames, tables and stages, the same for the benches, the instruction
//! counts and the allocation test.
//!
//! Owns the cases only; the clock, valgrind and the counting allocator are in the programs that
//! run them. Never measures anything itself.
#![forbid(unsafe_code)]

mod bulk;
pub mod frames;
pub mod guarded;
pub mod hostile;
pub mod node;
mod parts;
pub mod policy;
mod roads;

use std::fmt;

/// The work of that many frames.
type Work = Box<dyn FnMut(u64)>;

/// One stage at work on one kind of frame.
pub struct Case {
    name: String,
    prepare: Box<dyn Fn() -> Work>,
    work: Option<Work>,
}

impl Case {
    /// A case for which `prepare` makes tables and frames, and a closure that does the work of
    /// exactly one frame.
    pub fn new<F: FnMut() + 'static>(
        name: impl Into<String>,
        prepare: impl Fn() -> F + 'static,
    ) -> Self {
        let prepare = move || -> Work {
            let mut frame = prepare();
            Box::new(move |frames| {
                for _ in 0..frames {
                    frame();
                }
            })
        };
        Self {
            name: name.into(),
            prepare: Box::new(prepare),
            work: None,
        }
    }

    /// As it appears in every report, after the stage's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes tables and frames, if that was not done yet.
    pub fn prepare(&mut self) {
        self.run(0);
    }

    /// Does the work of that many frames.
    pub fn run(&mut self, frames: u64) {
        (self.work.get_or_insert_with(&self.prepare))(frames);
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
    let mut checksums = parts::checksums();
    checksums.extend(bulk::checksums());
    let mut roads = roads::usual();
    roads.extend(bulk::roads());
    vec![
        ("parse", parts::parsing()),
        ("checksum", checksums),
        ("conntrack", parts::tracking()),
        ("forward", parts::forwarding()),
        ("encap", parts::tunnelling()),
        ("split", bulk::splitting()),
        ("merge", bulk::merging()),
        ("policy", policy::deciding()),
        ("road", roads),
        ("aside", roads::unusual()),
        ("guarded", guarded::cases()),
    ]
}
