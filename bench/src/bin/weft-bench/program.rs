//! What runs in the pods?
//!
//! Starts the programs of [`traffic`](crate::traffic) in a pod's namespace and reads what they say;
//! what they complain about becomes the error. None outlives its value.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use weft_sys::netns::Netns;
use weft_sys::process::{Signal, die_with_parent};

use crate::interrupt::Interrupt;

/// A program that does not end so long after its time is stuck.
const GRACE: Duration = Duration::from_secs(20);

/// What a program counted.
pub(crate) fn number(said: &Value, field: &str) -> Result<f64> {
    let value = said.get(field).and_then(Value::as_f64);
    value.with_context(|| format!("a traffic program did not tell its {field}: {said}"))
}

/// A traffic program at work in a pod.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    lines: BufReader<ChildStdout>,
    complaints: ChildStderr,
}

impl Program {
    fn start(pod: &Netns, name: &str, arguments: &[String]) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command
            .args(["traffic", name])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        die_with_parent(&mut command, Signal::Kill);
        let mut child = pod.spawn(command)?;
        let stdout = child.stdout.take().context("a pipe")?;
        let complaints = child.stderr.take().context("a pipe")?;
        Ok(Self {
            child,
            lines: BufReader::new(stdout),
            complaints,
        })
    }

    /// A receiver at `listen`, ready.
    pub(crate) fn sink(
        pod: &Netns,
        listen: &str,
        arguments: &[String],
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let listening = ["--listen", listen].map(str::to_owned);
        let mut sink = Self::start(pod, "sink", &[&listening, arguments].concat())?;
        interrupt.check()?;
        let mut line = String::new();
        sink.lines.read_line(&mut line).context("a sink's words")?;
        if !line.contains("ready") {
            bail!("{}", sink.complaint());
        }
        Ok(sink)
    }

    /// A sender to `to`, by its subcommand.
    pub(crate) fn client(pod: &Netns, to: &str, name: &str, arguments: &[String]) -> Result<Self> {
        let target = ["--to", to].map(str::to_owned);
        Self::start(pod, name, &[&target, arguments].concat())
    }

    /// Waits until the program has ended, which a sink does when its input does; what it said last.
    pub(crate) fn end(mut self, time: Duration, interrupt: &Interrupt) -> Result<Value> {
        drop(self.child.stdin.take());
        let child = &mut self.child;
        let status = interrupt.wait("a traffic program ends", time + GRACE, || {
            Ok(child.try_wait()?)
        })?;
        if !status.success() {
            bail!("{}", self.complaint());
        }
        let mut said = String::new();
        self.lines.read_to_string(&mut said)?;
        let last = said.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("a traffic program said {last:?}"))
    }

    /// Why it ended.
    fn complaint(&mut self) -> String {
        let mut said = String::new();
        // What cannot be read was not said.
        let _ = self.complaints.read_to_string(&mut said);
        let said = said.trim().trim_start_matches("error: ");
        if said.is_empty() {
            return "a traffic program broke off".to_owned();
        }
        said.to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended cannot be killed any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
