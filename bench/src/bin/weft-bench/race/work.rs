//! What is measured, and what does one run of it say?
//!
//! Owns the tests' names and units, starts the programs of [`traffic`](crate::traffic) in the pods
//! of a side, and reads what both ends counted. What a side delivers is what arrived, not what was
//! sent.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde_json::Value;
use weft_sys::process::{Signal, die_with_parent};

use super::cpu::Cpu;
use super::sides::{PORT, Pod, Side};
use crate::interrupt::Interrupt;

/// Names of all tests.
pub(super) const ALL: &str =
    "tcp-stream,tcp-local,udp-gso,udp-rate,frame-cpu,tcp-rr,open-loop,churn";
/// Flows of the tests that have more than one.
const FLOWS: u16 = 32;
/// Bytes of the smallest frames, Ethernet header included.
const SMALL: u16 = 64;
/// Bytes of a datagram whose sender leaves segmentation to the kernel, as QUIC does.
const GSO_SIZE: &str = "1200";
/// Traffic that runs before the measurement starts.
const WARM_UP: f64 = 0.2;
/// A program that does not end so long after its time is stuck.
const GRACE: Duration = Duration::from_secs(20);

/// A test as the user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Test {
    /// TCP from a pod to one on the other node, one stream and eight
    TcpStream,
    /// TCP between two pods of one node
    TcpLocal,
    /// UDP whose segmentation the sender leaves to the kernel
    UdpGso,
    /// Frames of 64, 590 and 1450 bytes and a mixture, each sent alone
    UdpRate,
    /// TCP ping-pong of one byte: the median
    TcpRr,
    /// Frames of 64 bytes at half the rate that the slower side carries: processor time for each
    FrameCpu,
    /// UDP echo at half the rate that the slower side manages: the 99.9th percentile
    OpenLoop,
    /// New TCP connections
    Churn,
}

impl Test {
    /// The cases of the test.
    pub(super) fn works(self) -> Vec<Work> {
        let case = |kind| Work {
            kind,
            ceiling: None,
        };
        match self {
            Self::TcpStream => [1, 8].map(|streams| case(Kind::Stream { streams })).into(),
            Self::TcpLocal => vec![case(Kind::Local)],
            Self::UdpGso => vec![case(Kind::Gso)],
            Self::UdpRate => [Some(64), Some(590), Some(1450), None]
                .map(|size| case(Kind::Frames { size }))
                .into(),
            Self::TcpRr => vec![case(Kind::PingPong)],
            Self::FrameCpu => vec![case(Kind::FrameCpu { rate: 0 })],
            Self::OpenLoop => vec![case(Kind::OpenLoop { rate: 0 })],
            Self::Churn => vec![case(Kind::Churn)],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stream {
        streams: u16,
    },
    Local,
    Gso,
    /// `None`: IMIX.
    Frames {
        size: Option<u16>,
    },
    PingPong,
    FrameCpu {
        rate: u64,
    },
    OpenLoop {
        rate: u64,
    },
    Churn,
}

/// One case of a test.
#[derive(Clone, Debug)]
pub(super) struct Work {
    kind: Kind,
    ceiling: Option<f64>,
}

/// What one run of one side gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) value: f64,
    /// Processor time of the whole machine for each unit of work done, in microseconds: a frame, a
    /// megabit, a round trip, a connection.
    pub(super) cpu_micros: f64,
    pub(super) lost: f64,
    pub(super) reordered: f64,
}

impl Work {
    pub(super) const fn name(&self) -> &'static str {
        match self.kind {
            Kind::Stream { .. } => "tcp-stream",
            Kind::Local => "tcp-local",
            Kind::Gso => "udp-gso",
            Kind::Frames { .. } => "udp-rate",
            Kind::PingPong => "tcp-rr",
            Kind::FrameCpu { .. } => "frame-cpu",
            Kind::OpenLoop { .. } => "open-loop",
            Kind::Churn => "churn",
        }
    }

    pub(super) const fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Stream { .. } | Kind::Local | Kind::Gso => "Mb/s",
            Kind::Frames { .. } => "frames/s",
            Kind::PingPong => "µs (median)",
            Kind::FrameCpu { .. } => "µs CPU/frame",
            Kind::OpenLoop { .. } => "µs (p99.9)",
            Kind::Churn => "connections/s",
        }
    }

    pub(super) const fn frame(&self) -> Option<u16> {
        match self.kind {
            Kind::Frames { size: Some(size) } => Some(size),
            Kind::Frames { size: None } => Some(0),
            Kind::FrameCpu { .. } => Some(SMALL),
            _ => None,
        }
    }

    pub(super) const fn flows(&self) -> Option<u16> {
        match self.kind {
            Kind::Frames { .. } | Kind::FrameCpu { .. } => Some(FLOWS),
            Kind::Stream { streams } => Some(streams),
            Kind::Local | Kind::Gso | Kind::PingPong => Some(1),
            Kind::OpenLoop { .. } | Kind::Churn => None,
        }
    }

    pub(super) const fn lower_is_better(&self) -> bool {
        matches!(
            self.kind,
            Kind::PingPong | Kind::FrameCpu { .. } | Kind::OpenLoop { .. }
        )
    }

    /// Whether both pods are on one node.
    pub(super) const fn is_local(&self) -> bool {
        matches!(self.kind, Kind::Local)
    }

    pub(super) const fn ceiling(&self) -> Option<f64> {
        self.ceiling
    }

    /// The test's name with what tells its cases apart.
    pub(super) fn title(&self) -> String {
        match self.kind {
            Kind::Stream { streams } => format!("{} of {streams}", self.name()),
            Kind::Frames { size: Some(size) } => format!("{} of {size} bytes", self.name()),
            Kind::Frames { size: None } => format!("{} of IMIX", self.name()),
            _ => self.name().to_owned(),
        }
    }

    /// Learns what the runs have to know beforehand: the generator's ceiling, or the rate.
    pub(super) fn prepared(
        mut self,
        [weft, peer]: [&Side; 2],
        time: Duration,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        match self.kind {
            Kind::Frames { size } => {
                let [from, to, _] = &weft.pods;
                let mut arguments = frames(size, time);
                arguments.push("--ceiling".to_owned());
                let said = Program::client(from, &target(to), "frames", &arguments)?;
                let said = said.end(time, interrupt)?;
                self.ceiling = Some(number(&said, "sent")? / number(&said, "seconds")?);
            }
            Kind::FrameCpu { .. } => {
                let flood = Self {
                    kind: Kind::Frames { size: Some(SMALL) },
                    ceiling: None,
                };
                let ours = flood.run(weft, time, interrupt)?.value;
                let theirs = flood.run(peer, time, interrupt)?.value;
                self.kind = Kind::FrameCpu {
                    rate: half(ours.min(theirs)),
                };
            }
            Kind::OpenLoop { .. } => {
                let probe = Self {
                    kind: Kind::OpenLoop { rate: u64::MAX },
                    ceiling: None,
                };
                let ours = probe.flood(weft, time, interrupt)?;
                let theirs = probe.flood(peer, time, interrupt)?;
                self.kind = Kind::OpenLoop {
                    rate: half(ours.min(theirs)),
                };
            }
            _ => {}
        }
        Ok(self)
    }

    /// Echoes a second that come back however fast one asks.
    fn flood(&self, side: &Side, time: Duration, interrupt: &Interrupt) -> Result<f64> {
        let said = self.traffic(side, time, interrupt)?.client;
        Ok(number(&said, "answered")? / number(&said, "seconds")?)
    }

    /// One run on one side.
    pub(super) fn run(&self, side: &Side, time: Duration, interrupt: &Interrupt) -> Result<Run> {
        self.traffic(side, Duration::from_secs_f64(WARM_UP), interrupt)?;
        let Traffic { client, sink, used } = self.traffic(side, time, interrupt)?;
        let seconds = number(&client, "seconds")?;
        let (value, units) = match self.kind {
            Kind::Stream { .. } | Kind::Local | Kind::Gso => {
                let megabits = number(&sink, "bytes")? * 8.0 / 1e6;
                (megabits / seconds, megabits)
            }
            Kind::Frames { .. } => {
                let frames = number(&sink, "packets")?;
                (frames / seconds, frames)
            }
            Kind::FrameCpu { .. } => {
                let frames = number(&sink, "packets")?;
                (used.as_secs_f64() * 1e6 / frames, frames)
            }
            Kind::PingPong => (number(&client, "p50_us")?, number(&client, "count")?),
            Kind::OpenLoop { .. } => (number(&client, "p999_us")?, number(&client, "answered")?),
            Kind::Churn => {
                let connections = number(&client, "connections")?;
                (connections / seconds, connections)
            }
        };
        if !(value > 0.0 && value.is_finite()) {
            bail!("{}: nothing arrived: {client} {sink}", self.title());
        }
        let count = |field| {
            let both = [&client, &sink].map(|said| said.get(field).and_then(Value::as_f64));
            both.into_iter().flatten().fold(0.0, f64::max)
        };
        Ok(Run {
            value,
            cpu_micros: used.as_secs_f64() * 1e6 / units,
            lost: count("lost"),
            reordered: count("reordered"),
        })
    }

    fn traffic(&self, side: &Side, time: Duration, interrupt: &Interrupt) -> Result<Traffic> {
        let [from, far, near] = &side.pods;
        let to = if self.is_local() { near } else { far };
        let timed = || vec!["--seconds".to_owned(), time.as_secs_f64().to_string()];
        let with = |name: &str, value: String| [timed(), vec![name.to_owned(), value]].concat();
        let (sink, client, arguments) = match self.kind {
            Kind::Stream { streams } => ("tcp", "stream", with("--streams", streams.to_string())),
            Kind::Local => ("tcp", "stream", with("--streams", "1".to_owned())),
            Kind::Gso => ("gso", "gso", with("--size", GSO_SIZE.to_owned())),
            Kind::Frames { size } => ("frames", "frames", frames(size, time)),
            Kind::FrameCpu { rate } => {
                let mut arguments = frames(Some(SMALL), time);
                arguments.extend(["--rate".to_owned(), rate.to_string()]);
                ("frames", "frames", arguments)
            }
            Kind::PingPong => ("rr", "rr", timed()),
            Kind::OpenLoop { rate: u64::MAX } => ("udp", "open-loop", timed()),
            Kind::OpenLoop { rate } => ("udp", "open-loop", with("--rate", rate.to_string())),
            Kind::Churn => ("churn", "churn", timed()),
        };
        let sink = Program::sink(to, sink, interrupt)?;
        let cpu = Cpu::now()?;
        let client = Program::client(from, &target(to), client, &arguments)?;
        let client = client.end(time, interrupt)?;
        let used = cpu.used()?;
        let sink = sink.end(Duration::ZERO, interrupt)?;
        Ok(Traffic { client, sink, used })
    }
}

/// What both ends said, and the processor time meanwhile.
struct Traffic {
    client: Value,
    sink: Value,
    used: Duration,
}

/// Half a rate, as a whole number of at least one.
fn half(rate: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate of packets is a small positive number"
    )]
    let half = (rate / 2.0).max(1.0) as u64;
    half
}

fn frames(size: Option<u16>, time: Duration) -> Vec<String> {
    let size = size.map_or_else(|| "imix".to_owned(), |size| size.to_string());
    let seconds = time.as_secs_f64().to_string();
    let flows = FLOWS.to_string();
    let words = ["--size", &size, "--flows", &flows, "--seconds", &seconds];
    words.map(str::to_owned).into()
}

fn target(pod: &Pod) -> String {
    format!("{}:{PORT}", pod.address)
}

fn number(said: &Value, field: &str) -> Result<f64> {
    let value = said.get(field).and_then(Value::as_f64);
    value.with_context(|| format!("a traffic program did not tell its {field}: {said}"))
}

/// A traffic program at work in a pod.
struct Program {
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
    fn sink(pod: &Pod, kind: &str, interrupt: &Interrupt) -> Result<Self> {
        let listen = target(pod);
        let mut sink = Self::start(pod, &["sink", "--listen", &listen, "--kind", kind])?;
        interrupt.check()?;
        let mut line = String::new();
        sink.lines.read_line(&mut line).context("a sink's words")?;
        if !line.contains("ready") {
            bail!("the {kind} sink at {listen} did not start; see above");
        }
        Ok(sink)
    }

    fn client(pod: &Pod, to: &str, name: &str, arguments: &[String]) -> Result<Self> {
        let mut all = vec![name, "--to", to];
        all.extend(arguments.iter().map(String::as_str));
        Self::start(pod, &all)
    }

    /// Waits until the program has ended, which a sink does when its input does; what it said last.
    fn end(mut self, time: Duration, interrupt: &Interrupt) -> Result<Value> {
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
