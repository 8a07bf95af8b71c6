//! How does a lab go without a trace, whatever happened to it?
//!
//! Owns removal. It trusts no notes: helpers are found by their arguments, namespaces by their
//! prefix, other processes by the namespace they are in. Everything that fails is remembered and the
//! rest goes on; at the end it looks again and says what is left.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use weft_sys::netns::{Netns, NetnsId};

use super::error::{LabError, LabResult};
use super::name::LabName;
use super::procs;
use super::record::{self, Folder};

/// What was removed.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    pub(crate) processes: usize,
    pub(crate) namespaces: usize,
    pub(crate) folder: bool,
}

impl Removed {
    pub(crate) const fn anything(&self) -> bool {
        self.processes > 0 || self.namespaces > 0 || self.folder
    }
}

/// Removes everything of a lab, and verifies that it is gone.
pub(crate) fn sweep(lab: &LabName) -> LabResult<Removed> {
    let folder = Folder::of(lab);
    let mut removed = Removed::default();
    let mut problems = Vec::new();
    let names = Netns::list(&lab.prefix())?;
    let ids: BTreeSet<NetnsId> = names
        .iter()
        .filter_map(|name| Netns::open(name).and_then(|n| n.id()).ok())
        .collect();
    let mut processes = procs::helpers(folder.path());
    processes.extend(procs::inside(&ids));
    processes.sort();
    processes.dedup();
    // All are asked before any is waited for: daemons end at the same time.
    for id in &processes {
        id.ask_to_end();
    }
    for id in processes {
        match id.end() {
            Ok(()) => removed.processes += 1,
            Err(error) => problems.push(error.to_string()),
        }
    }
    for name in &names {
        match Netns::delete(name) {
            Ok(gone) => removed.namespaces += usize::from(gone),
            Err(error) => problems.push(error.to_string()),
        }
    }
    match fs::remove_dir_all(folder.path()) {
        Ok(()) => removed.folder = true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => problems.push(format!(
            "cannot remove {}: {error}",
            folder.path().display()
        )),
    }
    problems.extend(left_over(lab)?);
    if problems.is_empty() {
        return Ok(removed);
    }
    Err(LabError::failed(
        format!("lab {lab} is not wholly gone:\n  {}", problems.join("\n  ")),
        format!("weft lab down {lab}"),
    ))
}

/// What of a lab is still there.
pub(crate) fn left_over(lab: &LabName) -> LabResult<Vec<String>> {
    let folder = Folder::of(lab);
    let mut left = Vec::new();
    for id in procs::helpers(folder.path()) {
        if id.is_alive() {
            left.push(format!("process {} ({})", id.pid, procs::name_of(id)));
        }
    }
    left.extend(
        Netns::list(&lab.prefix())?
            .into_iter()
            .map(|name| format!("network namespace {name}")),
    );
    if folder.path().exists() {
        left.push(format!("folder {}", folder.path().display()));
    }
    Ok(left)
}

/// Every lab of which anything is there: folders, namespaces.
pub(crate) fn all() -> LabResult<Vec<LabName>> {
    let mut labs: BTreeSet<LabName> = record::labs().into_iter().collect();
    for netns in Netns::list("weft.")? {
        // weft.<lab>.<member>: a lab's name holds no dot.
        let mut parts = netns.split('.').skip(1);
        if let (Some(lab), Some(_)) = (parts.next(), parts.next()) {
            labs.extend(LabName::new(lab));
        }
    }
    Ok(labs.into_iter().collect())
}

/// Whether a lab has any remains.
pub(crate) fn exists(lab: &LabName) -> LabResult<bool> {
    Ok(Path::exists(Folder::of(lab).path()) || !Netns::list(&lab.prefix())?.is_empty())
}
