//! Is our table still what was installed?
//!
//! Owns a digest of all the kernel has in the table: flags, chains, rules, elements. It tells that
//! something differs, never what; it never changes anything.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::message::{
    ELEMENTS, FIXED, OF_TABLE, SET_NAME, get_chains, get_elements, get_rules, get_sets, get_table,
};
use crate::error::Result;
use crate::netlink::{Attributes, Message, Netlink};

/// What the kernel had in a table at some moment. Equal to another one of this process if nobody
/// replaced, flushed or changed the table in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    rules: usize,
    elements: usize,
    digest: u64,
}

impl Fingerprint {
    /// Number of rules.
    pub const fn rules(&self) -> usize {
        self.rules
    }

    /// Number of elements in all sets and maps.
    pub const fn elements(&self) -> usize {
        self.elements
    }
}

/// The fingerprint of the table `name`, if there is one.
pub(super) fn read(netlink: &mut Netlink, name: &str) -> Result<Option<Fingerprint>> {
    match read_all(netlink, name) {
        Ok(fingerprint) => Ok(Some(fingerprint)),
        // Also when the table goes while it is read.
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_all(netlink: &mut Netlink, name: &str) -> Result<Fingerprint> {
    let what = || format!("read nftables table inet {name}");
    let mut ask = |question: &dyn Fn() -> Message| netlink.ask(question, what);
    let ours = |payload: &Vec<u8>| attributes(payload).str(OF_TABLE).as_deref() == Some(name);
    let mut hasher = DefaultHasher::new();
    for payload in ask(&|| get_table(name))? {
        body(&payload).hash(&mut hasher);
    }
    for payload in ask(&get_chains)?.iter().filter(|payload| ours(payload)) {
        body(payload).hash(&mut hasher);
    }
    let rules = ask(&|| get_rules(name))?;
    for payload in &rules {
        body(payload).hash(&mut hasher);
    }
    let mut elements = 0;
    for set in ask(&|| get_sets(name))? {
        body(&set).hash(&mut hasher);
        let set = attributes(&set).str(SET_NAME).unwrap_or_default();
        let mut sum = 0_u64;
        for payload in ask(&|| get_elements(name, &set))? {
            for (_, element) in attributes(&payload).inside(ELEMENTS) {
                elements += 1;
                // A hash table has no order that lasts.
                sum = sum.wrapping_add(digest(element));
            }
        }
        sum.hash(&mut hasher);
    }
    Ok(Fingerprint {
        rules: rules.len(),
        elements,
        digest: hasher.finish(),
    })
}

fn attributes(payload: &[u8]) -> Attributes<'_> {
    Attributes::after(payload, FIXED)
}

/// A message without its head, which has the number of the last transaction, of anybody, in it.
fn body(payload: &[u8]) -> &[u8] {
    payload.get(FIXED..).unwrap_or_default()
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
