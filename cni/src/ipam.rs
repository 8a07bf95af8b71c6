//! How is another plugin asked for a pod's addresses?
//!
//! Owns delegation (CNI specification 1.1.0, section 4): the plugin is found by `CNI_PATH`, gets
//! the complete configuration and the same environment, and its errors are passed on. It runs
//! here and not in the daemon, because its files and `CNI_PATH` are the node's. Its stdin and
//! stdout are files in memory, so that neither side ever waits for the other to read; its stderr
//! is ours. One that does not end in time is killed. Never judges an address.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;

use crate::call::{Call, Verb};
use crate::deadline::Deadline;
use crate::spec::{CniError, Code, Success};

/// More than any result.
const OUTPUT_LIMIT: u64 = 1 << 20;

/// Names that would start this plugin again, and so on without end.
const OURSELVES: [&str; 2] = [crate::plugin::NAME, crate::loopback::NAME];

/// A plugin to delegate to.
#[derive(Debug)]
pub(crate) struct Delegate<'a> {
    name: &'a str,
    program: PathBuf,
    call: &'a Call<'a>,
}

/// How a run of it ended.
struct Ended {
    status: ExitStatus,
    stdout: Vec<u8>,
}

impl<'a> Delegate<'a> {
    /// The plugin the configuration delegates to, if it does.
    pub(crate) fn of(call: &'a Call<'a>) -> Result<Option<Self>, CniError> {
        let Some(name) = call.config.delegate() else {
            return Ok(None);
        };
        let program = find(name, call)?;
        Ok(Some(Self {
            name,
            program,
            call,
        }))
    }

    /// Reserves addresses. Whatever fails, what was reserved is given back within `undo`.
    pub(crate) fn add(&self, deadline: Deadline, undo: Duration) -> Result<Success, CniError> {
        let reserve = || {
            let ended = self.run(Verb::Add, deadline)?;
            let stdout = self.success(ended)?;
            let result = serde_json::from_slice(&stdout)
                .map_err(Into::into)
                .and_then(Success::read);
            result.map_err(|error| {
                let msg = format!("the IPAM plugin {} gave no result", self.name);
                CniError::new(Code::DECODE, msg, error)
            })
        };
        reserve().inspect_err(|_| self.undo(undo))
    }

    /// Gives back what an ADD that failed reserved; the error to report is that one.
    pub(crate) fn undo(&self, limit: Duration) {
        if let Err(error) = self.pass(Verb::Del, Deadline::after(limit)) {
            eprintln!("weft-cni: after a failed ADD: {error}");
        }
    }

    /// Passes a verb that has no result on to it.
    pub(crate) fn pass(&self, verb: Verb, deadline: Deadline) -> Result<(), CniError> {
        let ended = self.run(verb, deadline)?;
        self.success(ended).map(|_| ())
    }

    fn run(&self, verb: Verb, deadline: Deadline) -> Result<Ended, CniError> {
        let failed = |error: io::Error| {
            let msg = format!("cannot run the IPAM plugin {}", self.program.display());
            CniError::new(Code::IO, msg, error)
        };
        let stdin = in_memory(self.call.stdin).map_err(failed)?;
        let mut stdout = in_memory(&[]).map_err(failed)?;
        let child = Command::new(&self.program)
            .env_clear()
            .envs(self.call.environment.iter())
            .env("CNI_COMMAND", verb.name())
            .stdin(stdin)
            .stdout(stdout.try_clone().map(Stdio::from).map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let Some(status) = end(child, deadline).map_err(failed)? else {
            let msg = format!(
                "the IPAM plugin {} did not answer {}",
                self.name,
                verb.name()
            );
            return Err(CniError::new(
                Code::TRY_AGAIN,
                msg,
                "it was stopped; try again",
            ));
        };
        let mut bytes = Vec::new();
        stdout
            .rewind()
            .and_then(|()| stdout.take(OUTPUT_LIMIT).read_to_end(&mut bytes))
            .map_err(failed)?;
        Ok(Ended {
            status,
            stdout: bytes,
        })
    }

    /// What it wrote, if it succeeded; else its own error in our words.
    fn success(&self, ended: Ended) -> Result<Vec<u8>, CniError> {
        #[derive(Deserialize)]
        struct Theirs {
            code: u32,
            #[serde(default)]
            msg: String,
            #[serde(default)]
            details: String,
        }
        if ended.status.success() {
            return Ok(ended.stdout);
        }
        let name = self.name;
        Err(match serde_json::from_slice::<Theirs>(&ended.stdout) {
            Ok(theirs) => {
                let msg = format!("the IPAM plugin {name} failed: {}", theirs.msg);
                let details = match theirs.details {
                    details if details.is_empty() => {
                        "it says no more; it acts by `ipam` in the network configuration".to_owned()
                    }
                    details => details,
                };
                CniError::new(Code(theirs.code), msg, details)
            }
            Err(_) => {
                let msg = format!("the IPAM plugin {name} failed without saying why");
                let how = match ended.status.signal() {
                    Some(signal) => format!("signal {signal} ended it"),
                    None => ended.status.to_string(),
                };
                CniError::new(Code::REFUSED, msg, format!("{how}; see the runtime's log"))
            }
        })
    }
}

fn find(name: &str, call: &Call<'_>) -> Result<PathBuf, CniError> {
    let refuse = |why: String| {
        let msg = format!("cannot delegate to the IPAM plugin {name:?}");
        Err(CniError::new(Code::INVALID_CONFIG, msg, why))
    };
    if name.contains(['/', '\0']) || name == "." || name == ".." {
        return refuse("ipam.type: it is no file name".to_owned());
    }
    if OURSELVES.contains(&name) {
        return refuse("ipam.type: it gives no addresses; without ipam the daemon does".to_owned());
    }
    let Some(path) = call.environment.raw("CNI_PATH") else {
        return refuse("CNI_PATH is not set, which says where plugins are".to_owned());
    };
    let is_absolute = |folder: &PathBuf| folder.is_absolute();
    let mut folders = std::env::split_paths(path).filter(is_absolute);
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|file| is_file(file)));
    match found {
        Some(program) => Ok(program),
        None => refuse(format!(
            "it is in no folder of CNI_PATH ({}): install it there",
            path.display()
        )),
    }
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

/// A file of those bytes that is nowhere but in memory, to be read from its beginning.
fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("cni", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// How the process ended; none if it had to be killed.
fn end(mut child: Child, deadline: Deadline) -> io::Result<Option<ExitStatus>> {
    let ended = wait(&child, deadline);
    if matches!(ended, Ok(true)) {
        return child.wait().map(Some);
    }
    // It may have ended just now, which is as good.
    let _ = child.kill();
    child.wait()?;
    ended.map(|_| None)
}

fn wait(child: &Child, deadline: Deadline) -> io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    while let Some(left) = deadline.left() {
        let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut fds = [PollFd::new(&handle, PollFlags::IN)];
        match poll(&mut fds, Some(&left)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}
