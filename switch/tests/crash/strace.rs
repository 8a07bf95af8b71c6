//! strace on a running daemon: to learn which system calls an operation makes, and to have one of
//! them kill the daemon or fail.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use weft_sys::process::{ProcessId, Signal};

use super::rig::{Node, piped};

/// Whose system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thread {
    Control,
    Reaper,
    /// Whichever thread comes to it first: those that live for one call are new each time.
    Any,
}

/// One system call of an operation.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) thread: Thread,
    pub(crate) syscall: String,
    /// The first of the thread is 1.
    pub(crate) nth: usize,
    /// As strace shows it; of [`Thread::Any`], one of those it may be.
    pub(crate) line: String,
}

impl Moment {
    pub(crate) fn killing(&self) -> String {
        format!("{}:signal=KILL:when={}", self.syscall, self.nth)
    }

    pub(crate) fn failing(&self, error: &str) -> String {
        format!("{}:error={error}:when={}", self.syscall, self.nth)
    }
}

/// An attached strace; ended when dropped, the daemon goes on.
pub(crate) struct Strace {
    child: Child,
    words: BufReader<ChildStderr>,
}

impl Drop for Strace {
    fn drop(&mut self) {
        if let Ok(Some(process)) = ProcessId::of(self.child.id()) {
            let _ = process.signal(Signal::Terminate);
        }
        // What it still has to say is read, or it might wait.
        let _ = std::io::copy(&mut self.words, &mut std::io::sink());
        let _ = self.child.wait();
    }
}

impl Strace {
    /// Has a moment of the daemon `pid` be as `injection` says, and notes the moment in `file`.
    pub(crate) fn inject(pid: u32, thread: Thread, injection: &str, file: &Path) -> Self {
        let mut command = Command::new("strace");
        command.arg("-o").arg(file).arg("-e");
        command.arg(format!("inject={injection}"));
        match thread {
            Thread::Control => command.args(["-p", &pid.to_string()]),
            Thread::Reaper => command.args(["-p", &named(pid, "weft-reaper").to_string()]),
            Thread::Any => command.args(["-f", "-p", &pid.to_string()]),
        };
        Self::attach(command)
    }

    /// Writes all that the daemon `pid` does to `file`.
    fn record(pid: u32, file: &Path) -> Self {
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-s", "80", "-p", &pid.to_string(), "-o"]);
        command.arg(file);
        Self::attach(command)
    }

    fn attach(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut words = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        words.read_line(&mut line).unwrap();
        assert!(line.contains(" attached"), "{line}");
        Self { child, words }
    }
}

/// Whether the moment came that a strace was to note in `file`. Only after that has ended.
pub(crate) fn came_true(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.contains("(INJECTED)"))
}

/// The thread of that name.
fn named(pid: u32, name: &str) -> u32 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let mut threads = threads.filter(|thread| {
        let found = fs::read_to_string(thread.path().join("comm"));
        found.is_ok_and(|found| found.trim() == name)
    });
    let thread = threads.next().unwrap().file_name();
    thread.to_str().unwrap().parse().unwrap()
}

/// Every system call that the daemon `pid` makes for `operation`.
pub(crate) fn learn(pid: u32, file: &Path, operation: impl FnOnce()) -> Vec<Moment> {
    let reaper = named(pid, "weft-reaper");
    let lasting = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let lasting: Vec<u32> = lasting
        .map(|thread| thread.file_name().to_str().unwrap().parse().unwrap())
        .collect();
    let strace = Strace::record(pid, file);
    operation();
    drop(strace);
    let thread = |id| match id {
        id if id == pid => Some(Thread::Control),
        id if id == reaper => Some(Thread::Reaper),
        id if lasting.contains(&id) => None,
        _ => Some(Thread::Any),
    };
    moments_in(file, thread)
}

/// Starts the daemon under a strace with these arguments.
pub(crate) fn launch(node: &mut Node, arguments: &[&str]) {
    let daemon = node.command(&[]);
    let mut command = Command::new("strace");
    // The daemon stays the child of the test.
    command.arg("-D").args(arguments).arg(daemon.get_program());
    command.args(daemon.get_args());
    node.run(piped(command));
}

/// Every system call of the control thread while a daemon starts, which `start` does with the
/// strace it is told, until it is ready.
pub(crate) fn learn_start(file: &Path, start: impl FnOnce(&[&str])) -> Vec<Moment> {
    start(&["-y", "-s", "80", "-f", "-o", file.to_str().unwrap()]);
    let text = fs::read_to_string(file).unwrap();
    let first: u32 = text.split_once(' ').unwrap().0.parse().unwrap();
    moments_in(file, |id| (id == first).then_some(Thread::Control))
}

/// The system calls in a record of threads that have a meaning.
fn moments_in(file: &Path, thread_of: impl Fn(u32) -> Option<Thread>) -> Vec<Moment> {
    let mut counts = BTreeMap::new();
    let mut moments = BTreeMap::new();
    for line in fs::read_to_string(file).unwrap().lines() {
        // The last line may be half written.
        let Some((id, call)) = line.split_once(' ') else {
            continue;
        };
        let (id, call): (u32, _) = (id.parse().unwrap(), call.trim_start());
        let Some((syscall, _)) = call.split_once('(').filter(|_| !call.starts_with('<')) else {
            continue;
        };
        let Some(thread) = thread_of(id).filter(|_| !WAITING.contains(&syscall)) else {
            continue;
        };
        let nth = counts.entry((id, syscall.to_owned())).or_insert(0);
        *nth += 1;
        let (syscall, nth, line) = (syscall.to_owned(), *nth, call.to_owned());
        let key = (thread, syscall.clone(), nth);
        moments.entry(key).or_insert(Moment {
            thread,
            syscall,
            nth,
            line,
        });
    }
    moments.into_values().collect()
}

/// What a thread calls that waits, as often as it happens to.
const WAITING: [&str; 2] = ["restart_syscall", "sched_yield"];
