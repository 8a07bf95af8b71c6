//! Is a process that was started earlier still the same one, and how does it end?
//!
//! Owns telling processes apart by number and start time, so that a recycled number is never
//! signalled, and tying a child's life to its parent's. See prctl(2), pidfd_open(2), proc(5).

#![expect(unsafe_code, reason = "pre_exec has no safe form")]

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, getpid, getppid, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal,
};

use crate::error::{Context, Result, SysError};

/// How to ask a process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: it may clean up.
    Terminate,
    /// SIGKILL: at once.
    Kill,
}

impl From<Signal> for rustix::process::Signal {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Terminate => Self::TERM,
            Signal::Kill => Self::KILL,
        }
    }
}

/// How long the kernel may take to end a process that was killed.
const KILLED: Duration = Duration::from_secs(2);

/// One process among all that ever had its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
}

impl ProcessId {
    /// This process.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn current() -> Result<Self> {
        let what = || "identify this process".to_owned();
        let missing = || SysError::new(what(), io::Error::from(io::ErrorKind::NotFound));
        Self::of(std::process::id())?.ok_or_else(missing)
    }

    /// The process that has the number `pid` now; none if it has ended, reaped or not.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn of(pid: u32) -> Result<Option<Self>> {
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => Ok(start_time(&stat)
                .filter(|_| !has_ended(&stat))
                .map(|start_time| Self { pid, start_time })),
            Err(error) => match SysError::new(format!("look up process {pid}"), error) {
                error if error.is_not_found() => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn is_alive(&self) -> Result<bool> {
        Ok(Self::of(self.pid)?.as_ref() == Some(self))
    }

    /// Sends it a signal; returns whether it was still there.
    ///
    /// # Errors
    /// A permission error if it is somebody else's.
    pub fn signal(&self, signal: Signal) -> Result<bool> {
        let what = || format!("signal process {}", self.pid);
        let Some(handle) = self.handle()? else {
            return Ok(false);
        };
        match pidfd_send_signal(&handle, signal.into()) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error).context(what),
        }
    }

    /// Asks it to terminate, kills it if it has not ended within `patience`, and waits until all
    /// its threads have ended. Returns whether it was there at all.
    ///
    /// # Errors
    /// As [`Self::signal`].
    pub fn end(&self, patience: Duration) -> Result<bool> {
        let Some(handle) = self.handle()? else {
            return Ok(false);
        };
        self.signal(Signal::Terminate)?;
        if !has_ended_within(&handle, patience).context(|| format!("await {}", self.pid))? {
            self.signal(Signal::Kill)?;
            // Nothing outlives this signal but a process stuck inside the kernel.
            has_ended_within(&handle, KILLED).context(|| format!("await {}", self.pid))?;
        }
        Ok(true)
    }

    /// A handle of this very process, even if only some of its threads still run. The start time
    /// is compared after the handle is taken: from then on the number cannot come to mean another
    /// process.
    fn handle(&self) -> Result<Option<OwnedFd>> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else {
            return Ok(None);
        };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error).context(|| format!("open process {}", self.pid)),
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat", pid = self.pid));
        let same = stat.is_ok_and(|stat| start_time(&stat) == Some(self.start_time));
        Ok(same.then_some(handle))
    }
}

/// Makes the child of `command` receive `signal` when its parent ends.
///
/// The kernel means the parent's *thread* that forked: start the child from one that lives as long
/// as the process, the main thread for one.
pub fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = getpid();
    let hook = move || {
        set_parent_process_death_signal(Some(signal.into()))?;
        // The parent may have ended before the line above; nobody would tell the child.
        if getppid() == Some(parent) {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(libc::ESRCH))
    };
    // SAFETY: pre_exec runs the hook after fork(2), where only async-signal-safe calls are
    // allowed: it makes two system calls, prctl(2) and getppid(2), and allocates nothing, since an
    // error made of an errno is a plain number.
    unsafe { command.pre_exec(hook) };
}

/// The start time in `/proc/<pid>/stat`.
fn start_time(stat: &str) -> Option<u64> {
    // Field 22 of all, and the state is field 3.
    fields_from_state(stat)?.nth(19)?.parse().ok()
}

/// Whether the process is a zombie: its first thread has ended. Others, and what they hold open,
/// may last a little longer.
fn has_ended(stat: &str) -> bool {
    let state = fields_from_state(stat).and_then(|mut fields| fields.next());
    matches!(state, Some("Z" | "X"))
}

/// The fields of `/proc/<pid>/stat` after the second, the program's name in parentheses, which may
/// hold anything, parentheses too.
fn fields_from_state(stat: &str) -> Option<impl Iterator<Item = &str>> {
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace())
}

fn has_ended_within(handle: &OwnedFd, patience: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut fds = [PollFd::new(handle, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&timeout))? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_field_22_whatever_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(start_time(stat), Some(4242));
        assert!(!has_ended(stat));
        assert!(has_ended(&stat.replace(") S", ") Z")));
        assert_eq!(start_time("7 (a"), None);
    }

    #[test]
    fn a_recycled_number_is_not_signalled() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap().unwrap();
        let earlier = ProcessId {
            start_time: id.start_time - 1,
            ..id
        };
        assert!(!earlier.is_alive().unwrap());
        assert!(!earlier.signal(Signal::Kill).unwrap());
        assert!(child.try_wait().unwrap().is_none(), "it still runs");
        assert!(id.end(Duration::from_secs(10)).unwrap());
        assert!(!child.wait().unwrap().success());
        assert!(!id.is_alive().unwrap());
        assert!(!id.signal(Signal::Kill).unwrap());
    }

    #[test]
    fn a_process_ends_with_its_last_thread() {
        // The first thread ends at once, the other half a second later.
        let script = "import ctypes, threading, time\n\
                      threading.Thread(target=time.sleep, args=(0.5,)).start()\n\
                      print('ready', flush=True)\n\
                      ctypes.CDLL(None).pthread_exit(None)";
        let mut command = Command::new("python3");
        command
            .args(["-c", script])
            .stdout(std::process::Stdio::piped());
        let Ok(mut child) = command.spawn() else {
            eprintln!("SKIPPED (needs python3): a_process_ends_with_its_last_thread");
            return;
        };
        let id = ProcessId::of(child.id()).unwrap().unwrap();
        let mut line = [0; 5];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        while id.is_alive().unwrap() {
            std::thread::yield_now();
        }
        assert!(id.end(Duration::from_secs(10)).unwrap());
        assert!(child.try_wait().unwrap().is_some(), "it can be collected");
    }

    #[test]
    fn a_process_that_ignores_the_request_is_killed() {
        let script = "trap '' TERM; echo ready; while :; do read _; done";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 5];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let id = ProcessId::of(child.id()).unwrap().unwrap();
        assert!(id.end(Duration::from_millis(50)).unwrap());
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn a_child_dies_with_the_thread_that_started_it() {
        let mut command = Command::new("true");
        die_with_parent(&mut command, Signal::Kill);
        assert!(command.status().unwrap().success(), "not while that lives");
        let parent = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            die_with_parent(command.arg("60"), Signal::Kill);
            command.spawn().unwrap()
        });
        let status = parent.join().unwrap().wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9)
        );
    }
}
