//! What runs in the pods?
//!
//! Starts the programs of [`traffic`](crate::traffic) in the pods' namespaces and reads what both
//! ends counted. What they complain about becomes the error of this command.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use weft_sys::process::{Signal, die_with_parent};

use super::daemons::{Meanwhile, Watch};
use super::place::{End, Place};
use crate::interrupt::Interrupt;

/// Traffic that runs before a measurement.
pub(super) const WARM_UP: Duration = Duration::from_millis(200);
/// A program that does not end so long after its time is stuck.
const GRACE: Duration = Duration::from_secs(20);

/// What is sent, and who takes it.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    /// The subcommand that sends.
    pub(super) client: &'static str,
    /// The kind of sink.
    pub(super) sink: &'static str,
    pub(super) arguments: Vec<String>,
    /// `TCP` or `UDP`, for the advice when nothing gets through.
    pub(super) protocol: &'static str,
}

/// What both ends counted, and what the daemons did meanwhile.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) client: Value,
    pub(super) sink: Value,
    pub(super) meanwhile: Meanwhile,
}

impl Traffic {
    /// Runs for so long after a short run that warms every cache up.
    pub(super) fn measure(
        &self,
        place: &Place,
        time: Duration,
        interrupt: &Interrupt,
    ) -> Result<Counted> {
        self.run(place, WARM_UP, interrupt)?;
        self.run(place, time, interrupt)
    }

    fn run(&self, place: &Place, time: Duration, interrupt: &Interrupt) -> Result<Counted> {
        let sink = Program::sink(&place.to, self.sink)?;
        let watch = Watch::begin(&place.daemons)?;
        let client = Program::client(&place.from, &place.to, self, time)?;
        let client = client.end(time, interrupt).with_context(|| {
            let (from, to) = (&place.from.pod, &place.to.pod);
            let next = place.probe(self.protocol);
            format!("{from} does not get through to {to}, try {next}")
        })?;
        let cpu = watch.cpu()?;
        let sink = sink.end(Duration::ZERO, interrupt)?;
        let meanwhile = watch.end(cpu)?;
        Ok(Counted {
            client,
            sink,
            meanwhile,
        })
    }
}

/// Frames a second that the generator makes when nobody carries them.
pub(super) fn ceiling(
    place: &Place,
    arguments: &[String],
    time: Duration,
    interrupt: &Interrupt,
) -> Result<f64> {
    let traffic = Traffic {
        client: "frames",
        sink: "frames",
        arguments: [arguments, &["--ceiling".to_owned()]].concat(),
        protocol: "UDP",
    };
    let said = Program::client(&place.from, &place.to, &traffic, time)?.end(time, interrupt)?;
    Ok(super::number(&said, "sent")? / super::number(&said, "seconds")?)
}

/// A traffic program at work in a pod.
#[derive(Debug)]
struct Program {
    child: Child,
    lines: BufReader<ChildStdout>,
    complaints: ChildStderr,
}

impl Program {
    fn start(pod: &End, arguments: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command
            .arg("traffic")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        die_with_parent(&mut command, Signal::Kill);
        let mut child = pod.netns.spawn(command)?;
        let stdout = child.stdout.take().context("a pipe")?;
        let complaints = child.stderr.take().context("a pipe")?;
        Ok(Self {
            child,
            lines: BufReader::new(stdout),
            complaints,
        })
    }

    /// A receiver that is ready.
    fn sink(pod: &End, kind: &str) -> Result<Self> {
        let listen = pod.address.to_string();
        let mut sink = Self::start(pod, &["sink", "--listen", &listen, "--kind", kind])?;
        let mut line = String::new();
        sink.lines.read_line(&mut line).context("a sink's words")?;
        if !line.contains("ready") {
            let why = sink.complaint();
            bail!("{} does not listen: {why}; try another --port", pod.pod);
        }
        Ok(sink)
    }

    fn client(from: &End, to: &End, traffic: &Traffic, time: Duration) -> Result<Self> {
        let (target, seconds) = (to.address.to_string(), time.as_secs_f64().to_string());
        let mut all = vec![traffic.client, "--to", &target, "--seconds", &seconds];
        all.extend(traffic.arguments.iter().map(String::as_str));
        Self::start(from, &all)
    }

    /// Waits until the program has ended, which a sink does when its input does; what it said last.
    fn end(mut self, time: Duration, interrupt: &Interrupt) -> Result<Value> {
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
