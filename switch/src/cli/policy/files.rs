//! From paths on the command line to what the manifests hold, or everything that is wrong.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use crate::cluster::Trouble;
use crate::manifests::{self, Loaded};
use crate::policy_view::{Inventory, Member};

/// Manifests without errors.
pub(super) struct Read {
    pub(super) inventory: Inventory,
    pub(super) notices: Vec<Trouble>,
}

/// Manifests with errors.
#[derive(Debug, thiserror::Error)]
pub(super) struct Wrong(pub(super) Vec<Trouble>);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(&line(one)),
            several => {
                write!(f, "the manifests hold {} errors", several.len())?;
                several
                    .iter()
                    .try_for_each(|trouble| write!(f, "\n{}", line(trouble)))
            }
        }
    }
}

/// What is wrong or notable, where, and what to do, on one line.
pub(super) fn line(trouble: &Trouble) -> String {
    let Trouble { place, what, next } = trouble;
    let mut text = String::new();
    for (part, before) in [(place, ""), (what, ": "), (next, "; ")] {
        if !part.is_empty() {
            let before = if text.is_empty() { "" } else { before };
            let _ = write!(text, "{before}{part}");
        }
    }
    text
}

pub(super) fn read(paths: &[PathBuf]) -> Result<Read, Wrong> {
    let Loaded {
        cluster,
        pods,
        nodes,
        notices,
    } = manifests::load(paths).map_err(Wrong)?;
    let members = pods.into_iter().map(|pod| Member {
        name: pod.name,
        node: pod.node,
        host_network: pod.host_network,
        finished: pod.finished,
        addresses: pod.addresses,
    });
    let inventory = Inventory {
        cluster,
        members: members.collect(),
        nodes,
    };
    Ok(Read { inventory, notices })
}
