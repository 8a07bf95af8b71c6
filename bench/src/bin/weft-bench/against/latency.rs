//! `weft-bench latency`: how long does a round trip take, and what does it cost the daemons?
//!
//! Twice: a closed loop, where each question waits for the answer before it, and an open loop, whose
//! questions leave at their moments whether or not others were answered. A worker that spins before
//! it sleeps answers sooner and uses more processor time: both are told beside each other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::daemons::{Grown, drops_text, each_text, together};
use super::measure::{Counted, Traffic};
use super::place::Place;
use super::{Answer, Busy, Ends, Family, count, seconds, tell};
use crate::interrupt::Interrupt;
use crate::program::number;

/// `weft-bench latency`
#[derive(Debug, Args)]
pub(crate) struct LatencyCommand {
    #[command(flatten)]
    ends: Ends,
    /// Questions a second of the open loop
    #[arg(long, value_name = "QUESTIONS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: u64,
    /// Time of each loop
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    seconds: Duration,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Latency {
    /// One byte to and fro over TCP.
    closed_loop: Loop,
    /// Datagrams at fixed moments.
    open_loop: Loop,
    /// Questions a second of the open loop.
    rate: u64,
    drops: Vec<Grown>,
}

/// Round trips of one kind, in microseconds; percentiles are at most 3 % too high.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Loop {
    seconds: f64,
    asked: u64,
    answered: u64,
    p50_micros: f64,
    p99_micros: f64,
    p999_micros: f64,
    /// Processor time of each daemon for each round trip.
    daemon_cpu_micros: BTreeMap<String, f64>,
    /// Processor time of each daemon, in percent of one core.
    daemon_cpu_percent: BTreeMap<String, f64>,
}

impl Loop {
    fn of(counted: &Counted, [asked, answered]: [u64; 2]) -> Result<Self> {
        let said: &Value = &counted.client;
        let seconds = number(said, "seconds")?;
        let cpu = counted.meanwhile.cpu.iter();
        let percent = |used: &Duration| used.as_secs_f64() * 100.0 / seconds;
        Ok(Self {
            seconds,
            asked,
            answered,
            p50_micros: number(said, "p50_us")?,
            p99_micros: number(said, "p99_us")?,
            p999_micros: number(said, "p999_us")?,
            daemon_cpu_micros: counted.meanwhile.micros_each(answered as f64),
            daemon_cpu_percent: cpu
                .map(|(node, used)| (node.clone(), percent(used)))
                .collect(),
        })
    }
}

impl LatencyCommand {
    /// 0 unless nothing was answered, which is 1.
    pub(crate) fn run(self) -> Result<ExitCode> {
        tell(&self.ends, Some(Family::Ipv4), |place| self.work(place))
    }

    fn work(&self, place: &Place) -> Result<Latency> {
        let interrupt = Interrupt::install()?;
        let _busy = Busy::with("asking for echoes");
        let closed = Traffic {
            client: "rr",
            sink: "rr",
            arguments: Vec::new(),
            protocol: "TCP",
        };
        let open = Traffic {
            client: "open-loop",
            sink: "udp",
            arguments: vec!["--rate".to_owned(), self.rate.to_string()],
            protocol: "UDP",
        };
        let closed = closed.measure(place, self.seconds, &interrupt)?;
        let open = open.measure(place, self.seconds, &interrupt)?;
        let trips = count(&closed.client, "count")?;
        let [asked, answered] = [
            count(&open.client, "asked")?,
            count(&open.client, "answered")?,
        ];
        for (trips, protocol) in [(trips, "TCP"), (answered, "UDP")] {
            if trips == 0 {
                let next = place.probe(protocol);
                bail!("nothing came back from {}, try {next}", place.to.pod);
            }
        }
        Ok(Latency {
            closed_loop: Loop::of(&closed, [trips, trips])?,
            open_loop: Loop::of(&open, [asked, answered])?,
            rate: self.rate,
            drops: together([closed.meanwhile.drops, open.meanwhile.drops]),
        })
    }
}

impl Answer for Latency {
    fn text(&self) -> String {
        let mut text = format!(
            "{:<24}{:>10}{:>10}{:>10}{:>12}  daemons, µs CPU a round trip\n",
            "round trips", "p50 µs", "p99 µs", "p99.9 µs", "answered"
        );
        let open = format!("open loop, {}/s, UDP", self.rate);
        for (name, one) in [
            ("closed loop, TCP", &self.closed_loop),
            (open.as_str(), &self.open_loop),
        ] {
            let _ = writeln!(
                text,
                "{name:<24}{:>10.1}{:>10.1}{:>10.1}{:>12}  {}",
                one.p50_micros,
                one.p99_micros,
                one.p999_micros,
                one.answered,
                each_text(&one.daemon_cpu_micros)
            );
        }
        text + &drops_text(&self.drops)
    }

    fn good(&self) -> bool {
        true
    }
}
