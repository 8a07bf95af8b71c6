//! Do we read a frame as etherparse does?
//!
//! Both parse the same bytes into the same type. Where the results differ, a rule of
//! [`rules::RULES`] must say so on purpose, by a condition of its own on the bytes; anything else
//! is a finding. Two refusals agree: why a packet is no packet is each parser's own affair.

pub mod rules;
pub mod theirs;

use weft_wire::{Malformed, Parsed};

use crate::oracle;
use rules::{RULES, Rule};
use theirs::{Refusal, Theirs};

/// A frame and what the two parsers make of it.
#[derive(Debug)]
pub struct Readings<'a> {
    /// What we make of it.
    pub ours: Result<Parsed, Malformed>,
    /// What etherparse makes of it, in our words.
    pub theirs: Result<Parsed, Refusal>,
    /// What etherparse makes of it, in its own.
    pub sliced: Option<Theirs<'a>>,
}

impl<'a> Readings<'a> {
    /// Both readings of `frame`.
    #[must_use]
    pub fn of(frame: &'a [u8]) -> Self {
        let ours = weft_wire::parse(frame);
        match theirs::slice(frame) {
            Ok(sliced) => Self {
                ours,
                theirs: theirs::parsed(&sliced),
                sliced: Some(sliced),
            },
            Err(refusal) => Self {
                ours,
                theirs: Err(refusal),
                sliced: None,
            },
        }
    }

    /// Whether both refuse, or both read the same.
    #[must_use]
    pub fn agree(&self) -> bool {
        match (&self.ours, &self.theirs) {
            (Ok(ours), Ok(theirs)) => ours == theirs,
            (Err(_), Err(_)) => true,
            _ => false,
        }
    }

    /// The intended difference that this is, if it is one.
    #[must_use]
    pub fn rule(&self) -> Option<&'static Rule> {
        RULES.iter().find(|rule| (rule.applies)(self))
    }
}

/// The harness: `frame` is any bytes, and the same with the right IPv4 header checksum.
///
/// # Panics
/// When the parsers differ and no rule says why.
pub fn run(frame: &[u8]) {
    compare(frame);
    if let Some(repaired) = oracle::with_ipv4_checksum(frame) {
        compare(&repaired);
    }
}

fn compare(frame: &[u8]) {
    let readings = Readings::of(frame);
    if !readings.agree() && readings.rule().is_none() {
        panic!(
            "no rule for\n  ours   {:?}\n  theirs {:?}",
            readings.ours, readings.theirs
        );
    }
}
