//! What has been made, so that it can be found and removed again?
//!
//! Owns the lab's folder under `/run/weft/lab`, the lock that keeps two commands apart, and
//! `lab.json`, which is written before each thing is made. Where it is lost or half-written, names
//! and process arguments tell enough: see `down`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::endpoint::PodRef;
use super::error::{LabError, LabResult};
use super::name::LabName;
use super::plan::Plan;
use super::procs::ProcessId;
use super::relay::Netem;

/// Every lab's folder is in here.
pub(crate) const ROOT: &str = "/run/weft/lab";
const FORMAT: u32 = 2;

/// The folder of one lab.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn of(lab: &LabName) -> Self {
        Self {
            path: Path::new(ROOT).join(lab.as_str()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn node(&self, node: &str) -> PathBuf {
        self.path.join(node)
    }

    /// What survives a node's daemon.
    pub(crate) fn state(&self, node: &str) -> PathBuf {
        self.node(node).join("state")
    }

    pub(crate) fn agent_file(&self) -> PathBuf {
        self.path.join("agent.json")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
    }

    fn record_file(&self) -> PathBuf {
        self.path.join("lab.json")
    }

    /// Makes the folder, readable by root only.
    pub(crate) fn make(path: &Path) -> LabResult<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| LabError::file("make", path, &error))
    }
}

/// Writes a file whole or not at all, and only if it says something new; answers whether it did.
pub(crate) fn write(path: &Path, text: &str) -> LabResult<bool> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    let fail = |error: io::Error| LabError::file("write", path, &error);
    let part = path.with_extension("part");
    let mut file = File::create(&part).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)?;
    fs::rename(&part, path).map_err(fail)?;
    Ok(true)
}

/// Everything a later command needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    /// The lab.yaml it came from, as an absolute path.
    pub(crate) file: PathBuf,
    pub(crate) plan: Plan,
    /// The daemon of each weft node.
    pub(crate) daemons: BTreeMap<String, ProcessId>,
    pub(crate) agent: Option<ProcessId>,
    pub(crate) netem: BTreeMap<String, Netem>,
    /// The pods that were joined to their nodes.
    pub(crate) attached: BTreeSet<PodRef>,
}

impl Record {
    pub(crate) fn new(file: PathBuf, plan: Plan) -> Self {
        Self {
            format: FORMAT,
            file,
            plan,
            daemons: BTreeMap::new(),
            agent: None,
            netem: BTreeMap::new(),
            attached: BTreeSet::new(),
        }
    }

    /// Reads the notes of a lab: `None` if there is no such lab.
    pub(crate) fn load(lab: &LabName) -> LabResult<Option<Self>> {
        let path = Folder::of(lab).record_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LabError::file("read", &path, &error)),
        };
        let broken = |why: String| {
            LabError::failed(
                format!("{} is damaged: {why}", path.display()),
                format!("weft lab down {lab} removes the lab all the same"),
            )
        };
        let record: Self = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
        if record.format == FORMAT {
            Ok(Some(record))
        } else {
            Err(broken(format!(
                "it has format {}, this weft writes {FORMAT}",
                record.format
            )))
        }
    }

    /// The helpers it knows of.
    pub(crate) fn processes(&self) -> Vec<ProcessId> {
        let relays = self.netem.values().map(|netem| netem.process);
        self.daemons
            .values()
            .copied()
            .chain(self.agent)
            .chain(relays)
            .collect()
    }

    pub(crate) fn save(&self) -> LabResult<()> {
        let folder = Folder::of(&self.plan.name);
        Folder::make(folder.path())?;
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| LabError::failed(format!("cannot write lab.json: {e}"), ""))?;
        write(&folder.record_file(), &text).map(|_| ())
    }
}

/// The names of labs that have a folder, sorted.
pub(crate) fn labs() -> Vec<LabName> {
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    let mut names: Vec<LabName> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| LabName::new(entry.file_name().to_str()?).ok())
        .collect();
    names.sort();
    names
}

/// Held while a command changes a lab.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Waits for its turn.
    fn take(lab: &LabName) -> LabResult<Self> {
        Folder::make(Path::new(ROOT))?;
        let path = Path::new(ROOT).join(format!(".{lab}.lock"));
        let fail = |error: io::Error| LabError::file("lock", &path, &error);
        loop {
            let file = File::create(&path).map_err(fail)?;
            file.lock().map_err(fail)?;
            // Whoever held it before may have removed the file: then this lock guards nothing.
            let same = fs::metadata(&path).ok().map(|m| m.ino());
            if same == Some(file.metadata().map_err(fail)?.ino()) {
                return Ok(Self { path, file });
            }
        }
    }

    /// Gives the lock back; with the lab gone, no file of it stays.
    fn release(self, lab: &LabName) {
        if super::down::exists(lab).unwrap_or(true) {
            return;
        }
        let _ = fs::remove_file(&self.path);
        drop(self.file);
        // Only empty folders go.
        let _ = fs::remove_dir(ROOT);
        if let Some(parent) = Path::new(ROOT).parent() {
            let _ = fs::remove_dir(parent);
        }
    }

    /// Does something while no other command changes this lab.
    pub(crate) fn hold<T>(lab: &LabName, work: impl FnOnce() -> LabResult<T>) -> LabResult<T> {
        let lock = Self::take(lab)?;
        let result = work();
        lock.release(lab);
        result
    }
}
