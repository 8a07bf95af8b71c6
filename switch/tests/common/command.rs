//! How does a program end, and what did it say?
//!
//! Owns running a child to its end within a limit. A program whose output stays open after it has
//! ended (a daemon that inherited it) is a failure: `weft lab up | cat` would hang.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::clock::within;

/// Time between a program's end and that of its output.
const DRAIN: Duration = Duration::from_secs(5);

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The command line, for messages.
    pub(crate) what: String,
    /// The exit code; `None`: a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The standard output of a program that must have succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self}");
        self.stdout
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            what,
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "{what}\nexit code {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Outcome {
    let what = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let code = wait(&what, &mut child, limit);
    let collect = |from: Receiver<String>| {
        from.recv_timeout(DRAIN)
            .unwrap_or_else(|_| panic!("{what}: its output is still open after its end"))
    };
    let (stdout, stderr) = (collect(stdout), collect(stderr));
    Outcome {
        what,
        code,
        stdout,
        stderr,
    }
}

/// Waits for a child, which is killed when it takes too long.
pub(crate) fn wait(what: &str, child: &mut Child, limit: Duration) -> Option<i32> {
    let ended = within(limit, || {
        child
            .try_wait()
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    });
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let status = ended.unwrap_or_else(|| panic!("{what}: no end within {limit:?}"));
    status.code()
}

fn drain(stream: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(mut stream) = stream {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        });
    }
    receiver
}
