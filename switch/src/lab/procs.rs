//! Which processes belong to a lab, and how do they start and end?
//!
//! Owns starting the lab's long-running helpers apart from the terminal, and finding them again by
//! their arguments or by the namespace they are in: that is what `lab down` trusts when the notes
//! are lost. Never signals a process of another lab or of the host.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_sys::netns::{Netns, NetnsId};
use weft_sys::process;

use super::error::{LabError, LabResult};

/// How long a process may take to end on request before it is killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// One process among all that ever had its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: u32,
    /// Clock ticks since boot.
    pub(crate) start: u64,
}

impl ProcessId {
    fn of(pid: u32) -> Option<Self> {
        let id = process::ProcessId::of(pid).ok().flatten()?;
        Some(Self {
            pid: id.pid,
            start: id.start_time,
        })
    }

    const fn handle(self) -> process::ProcessId {
        process::ProcessId {
            pid: self.pid,
            start_time: self.start,
        }
    }

    pub(crate) fn is_alive(self) -> bool {
        self.handle().is_alive().unwrap_or(false)
    }

    /// Whether it runs inside this namespace.
    pub(crate) fn is_in(self, netns: NetnsId) -> bool {
        self.is_alive() && netns_of(self.pid) == Some(netns)
    }

    /// Asks it to end and does not wait.
    pub(crate) fn ask_to_end(self) {
        // Whoever cannot be asked is reported by `end`.
        let _ = self.handle().signal(process::Signal::Terminate);
    }

    /// Asks it to end, then makes it.
    pub(crate) fn end(self) -> LabResult<()> {
        self.handle().end(PATIENCE)?;
        reap();
        Ok(())
    }
}

/// Children of this very command; `lab demo` outlives the ones it ends.
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Collects children that have ended, so that none stays behind as a zombie.
///
/// A process shows as ended as soon as its first thread has; it can be collected only after its
/// last, which has been told to end by then: that moment is waited for.
fn reap() {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.retain_mut(|child| match process::ProcessId::of(child.id()) {
        Ok(None) => child.wait().is_err(),
        _ => !matches!(child.try_wait(), Ok(Some(_)) | Err(_)),
    });
}

/// This program, for starting the lab's helpers.
pub(crate) fn weft() -> LabResult<Command> {
    let path = std::env::current_exe()
        .map_err(|e| LabError::failed(format!("cannot find the weft program: {e}"), ""))?;
    let mut command = Command::new(path);
    command
        .env_remove("WEFT_SOCKET")
        .env_remove("WEFT_LAB")
        .current_dir("/");
    Ok(command)
}

/// Starts a helper in a namespace (or the host's), with its messages in `log` and out of reach of
/// the terminal's Ctrl-C.
pub(crate) fn start(
    mut command: Command,
    netns: Option<&Netns>,
    log: &Path,
) -> LabResult<ProcessId> {
    let fail = |error: io::Error| LabError::file("write", log, &error);
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(log)
        .map_err(fail)?;
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone().map_err(fail)?)
        .stderr(file)
        .process_group(0);
    let child = match netns {
        Some(netns) => netns.spawn(command)?,
        None => command
            .spawn()
            .map_err(|e| LabError::failed(format!("cannot start weft: {e}"), ""))?,
    };
    let pid = child.id();
    CHILDREN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(child);
    ProcessId::of(pid).ok_or_else(|| {
        reap();
        LabError::failed(format!("process {pid} ended at once: {}", tail(log)), "")
    })
}

/// The last lines of a log, for messages.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines
        .get(lines.len().saturating_sub(5)..)
        .unwrap_or_default();
    if last.is_empty() {
        format!("{} is empty", log.display())
    } else {
        last.join("\n  ")
    }
}

/// Helpers of the lab whose folder this is, by their arguments.
pub(crate) fn helpers(folder: &Path) -> Vec<ProcessId> {
    all()
        .filter(|pid| belongs(&arguments(*pid), folder))
        .filter_map(ProcessId::of)
        .collect()
}

/// Processes inside any of these namespaces: helpers, and what `lab exec` started.
pub(crate) fn inside(namespaces: &BTreeSet<NetnsId>) -> Vec<ProcessId> {
    let own = netns_of(std::process::id());
    let ours =
        |pid: &u32| netns_of(*pid).is_some_and(|id| namespaces.contains(&id) && own != Some(id));
    all().filter(ours).filter_map(ProcessId::of).collect()
}

/// The name a process shows, for messages.
pub(crate) fn name_of(id: ProcessId) -> String {
    fs::read_to_string(format!("/proc/{}/comm", id.pid))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn netns_of(pid: u32) -> Option<NetnsId> {
    let meta = fs::metadata(format!("/proc/{pid}/ns/net")).ok()?;
    Some(NetnsId {
        device: meta.dev(),
        inode: meta.ino(),
    })
}

fn arguments(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes
        .split(|b| *b == 0)
        .map(|a| String::from_utf8_lossy(a).into_owned())
        .collect()
}

/// Whether these are the arguments of a daemon, agent or relay of the lab in `folder`.
fn belongs(arguments: &[String], folder: &Path) -> bool {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [_, "daemon", "--config", path, ..] => PathBuf::from(path).starts_with(folder),
        [_, "lab", "agent" | "relay", "--state", path, ..] => Path::new(path) == folder,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_labs_own_helpers_belong() {
        let folder = Path::new("/run/weft/lab/l");
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for ours in [
            "weft daemon --config /run/weft/lab/l/node-a/weft.toml",
            "/x/weft lab agent --state /run/weft/lab/l",
            "weft lab relay --state /run/weft/lab/l --node a",
        ] {
            assert!(belongs(&words(ours), folder), "{ours}");
        }
        for other in [
            "weft daemon --config /etc/weft/weft.toml",
            "weft daemon --config /run/weft/lab/l2/node-a/weft.toml",
            "weft lab agent --state /run/weft/lab/ll",
            "tail -f /run/weft/lab/l/node-a/weft.log",
            "",
        ] {
            assert!(!belongs(&words(other), folder), "{other}");
        }
    }
}
