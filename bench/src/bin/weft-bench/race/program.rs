//! Who sends and receives in the pods?
//!
//! Starts the programs of [`traffic`](crate::traffic) in a pod's namespace and reads what they say.
//! None outlives its value.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use weft_sys::process::{Signal, die_with_parent};

use super::sides::{PORT, Pod};
use crate::interrupt::Interrupt;

/// A program that does not end so long after its time is stuck.
const GRACE: Duration = Duration::from_secs(20);

pub(super) fn target(pod: &Pod) -> String {
    format!("{}:{PORT}", pod.address)
}

pub(super) fn number(said: &Value, field: &str) -> Result<f64> {
    let value = said.get(field).and_then(Value::as_f64);
    value.with_context(|| format!("a traffic program did not tell its {field}: {said}"))
}

/// A traffic program at work in a pod.
pub(super) struct Program {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Program {
    fn start(pod: &Pod, arguments: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command
            .arg("traffic")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        die_with_parent(&mut command, Signal::Kill);
        let mut child = pod.netns.spawn(command)?;
        let stdout = child.stdout.take().context("a pipe")?;
        Ok(Self {
            child,
            lines: BufReader::new(stdout),
        })
    }

    /// A receiver that is ready.
    pub(super) fn sink(pod: &Pod, arguments: &[String], interrupt: &Interrupt) -> Result<Self> {
        let listen = target(pod);
        let mut words = vec!["sink", "--listen", &listen];
        words.extend(arguments.iter().map(String::as_str));
        let mut sink = Self::start(pod, &words)?;
        interrupt.check()?;
        let mut line = String::new();
        sink.lines.read_line(&mut line).context("a sink's words")?;
        if !line.contains("ready") {
            bail!("the sink at {listen} did not start; see above");
        }
        Ok(sink)
    }

    pub(super) fn client(pod: &Pod, to: &str, name: &str, arguments: &[String]) -> Result<Self> {
        let mut all = vec![name, "--to", to];
        all.extend(arguments.iter().map(String::as_str));
        Self::start(pod, &all)
    }

    /// Waits until the program has ended, which a sink does when its input does; what it said last.
    pub(super) fn end(mut self, time: Duration, interrupt: &Interrupt) -> Result<Value> {
        drop(self.child.stdin.take());
        let child = &mut self.child;
        let status = interrupt.wait("a traffic program ends", time + GRACE, || {
            Ok(child.try_wait()?)
        })?;
        let mut said = String::new();
        self.lines.read_to_string(&mut said)?;
        if !status.success() {
            bail!("a traffic program failed ({status}); see above");
        }
        let last = said.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("a traffic program said {last:?}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended cannot be killed any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
