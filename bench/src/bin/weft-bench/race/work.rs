//! What is measured, and what does one run of it say?
//!
//! Owns the tests' names and units, starts the programs of [`traffic`](crate::traffic) in the pods
//! of a side, and reads what both ends counted. What a side delivers is what arrived in time, not
//! what was sent.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde_json::Value;

use super::cpu::Cpu;
use super::sides::Side;
use crate::interrupt::Interrupt;
use crate::program::{Program, number};

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
/// The mark of the next run's frames.
static MARK: AtomicU32 = AtomicU32::new(1);

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
    /// Packets that were sent and did not arrive.
    pub(super) lost: f64,
    /// Packets that another of their flow overtook.
    pub(super) reordered: f64,
    /// Connections that did not come about or broke.
    pub(super) failed: f64,
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
            Kind::PingPong | Kind::OpenLoop { .. } => "µs",
            Kind::FrameCpu { .. } => "µs/frame",
            Kind::Churn => "connections/s",
        }
    }

    /// Which of the times of one run, where it has many.
    pub(super) const fn statistic(&self) -> Option<&'static str> {
        match self.kind {
            Kind::PingPong => Some("p50"),
            Kind::OpenLoop { .. } => Some("p99.9"),
            _ => None,
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
                let said = Program::client(&from.netns, &to.target(), "frames", &arguments)?;
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
        let traffic = self.traffic(side, time, interrupt)?;
        let (value, units) = self.result(&traffic, time)?;
        let Traffic { client, sink, used } = traffic;
        if !(value > 0.0 && value.is_finite()) {
            bail!("{}: nothing arrived: {client} {sink}", self.title());
        }
        let count = |said: &Value, field| said.get(field).and_then(Value::as_f64);
        let sent = match self.kind {
            Kind::Frames { .. } | Kind::FrameCpu { .. } => Some(number(&client, "sent")?),
            Kind::Gso => Some(number(&client, "packets")?),
            _ => None,
        };
        let lost = match sent {
            Some(sent) => (sent - number(&sink, "all")?).max(0.0),
            None => count(&client, "lost").unwrap_or(0.0),
        };
        Ok(Run {
            value,
            cpu_micros: used.as_secs_f64() * 1e6 / units,
            lost,
            reordered: count(&sink, "reordered").unwrap_or(0.0),
            failed: count(&client, "failed").unwrap_or(0.0),
        })
    }

    /// The value of a run, and how many units of work were done for it.
    fn result(&self, traffic: &Traffic, time: Duration) -> Result<(f64, f64)> {
        let Traffic { client, sink, used } = traffic;
        let seconds = time.as_secs_f64();
        Ok(match self.kind {
            Kind::Stream { .. } | Kind::Local | Kind::Gso => {
                let megabits = number(sink, "bytes")? * 8.0 / 1e6;
                (megabits / seconds, megabits)
            }
            Kind::Frames { .. } => {
                let frames = number(sink, "packets")?;
                (frames / seconds, frames)
            }
            Kind::FrameCpu { .. } => {
                let frames = number(sink, "packets")?;
                (used.as_secs_f64() * 1e6 / frames, frames)
            }
            Kind::PingPong => (number(client, "p50_us")?, number(client, "count")?),
            Kind::OpenLoop { .. } => (number(client, "p999_us")?, number(client, "answered")?),
            Kind::Churn => {
                let connections = number(client, "connections")?;
                (connections / seconds, connections)
            }
        })
    }

    fn traffic(&self, side: &Side, time: Duration, interrupt: &Interrupt) -> Result<Traffic> {
        let [from, far, near] = &side.pods;
        let to = if self.is_local() { near } else { far };
        let timed = || vec!["--seconds".to_owned(), time.as_secs_f64().to_string()];
        let with = |name: &str, value: String| [timed(), vec![name.to_owned(), value]].concat();
        let (sink, client, mut arguments) = match self.kind {
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
        let mut words = vec!["--kind".to_owned(), sink.to_owned()];
        words.extend(timed());
        if sink == "frames" {
            // What queues still hold of the run before has another mark.
            let mark = MARK.fetch_add(1, Relaxed).to_string();
            let marked = ["--mark".to_owned(), mark];
            words.extend(marked.clone());
            arguments.extend(marked);
        }
        let sink = Program::sink(&to.netns, &to.target(), &words, interrupt)?;
        let cpu = Cpu::now()?;
        let client = Program::client(&from.netns, &to.target(), client, &arguments)?;
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
