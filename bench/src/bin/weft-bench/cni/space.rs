//! Where do pods of a run live?
//!
//! Owns their network namespaces, named as a runtime names them, and removes the names again, those
//! of runs that were killed too.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use weft_sys::netns::{NETNS_DIR, Netns};
use weft_sys::process::ProcessId;

/// All names begin so; the process that made them and a number follow.
const PREFIX: &str = "weft-bench.";

/// A named namespace, removed when dropped.
#[derive(Debug)]
pub(super) struct Space {
    name: String,
    pub(super) netns: Netns,
}

impl Space {
    pub(super) fn new() -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{number}", own_prefix());
        let netns = Netns::create(&name)?;
        Ok(Self { name, netns })
    }

    /// A container id that nobody else has.
    pub(super) fn container(&self) -> String {
        self.name.clone()
    }

    pub(super) fn path(&self) -> PathBuf {
        Path::new(NETNS_DIR).join(&self.name)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if let Err(error) = Netns::delete(&self.name) {
            eprintln!("{error}; remove it with: ip netns delete {}", self.name);
        }
    }
}

fn own_prefix() -> String {
    format!("{PREFIX}{}.", std::process::id())
}

/// Names of this run that exist.
pub(super) fn own() -> Result<Vec<String>> {
    Ok(Netns::list(&own_prefix())?)
}

/// Removes what runs left that could not do so themselves.
pub(super) fn sweep() -> Result<()> {
    for name in Netns::list(PREFIX)? {
        let maker = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('.').next());
        if let Some(Ok(pid)) = maker.map(str::parse)
            && ProcessId::of(pid)?.is_none()
        {
            Netns::delete(&name)?;
        }
    }
    Ok(())
}
