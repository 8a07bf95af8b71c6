//! `weft-bench rate`: how many frames a second get from one pod to the other?

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use super::daemons::{Grown, drops_text, each_text};
use super::measure::{self, Traffic};
use super::place::Place;
use super::{Answer, Busy, Ends, Family, count, seconds, tell};
use crate::interrupt::Interrupt;
use crate::program::number;

/// How long the generator alone is measured.
const CEILING: Duration = Duration::from_millis(500);

/// `weft-bench rate`
#[derive(Debug, Args)]
pub(crate) struct RateCommand {
    #[command(flatten)]
    ends: Ends,
    /// Bytes of a frame, Ethernet header included, or imix: seven of 64, four of 590, one of 1450
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = ["64", "590", "1450", "imix"])]
    frame: String,
    /// UDP flows
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    flows: u16,
    /// Frames a second to send; default: as many as go
    #[arg(long, value_name = "FRAMES", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    rate: Option<u64>,
    /// Time to send
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    seconds: Duration,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rate {
    /// Bytes of each frame; none: IMIX.
    frame: Option<u16>,
    flows: u16,
    seconds: f64,
    sent: u64,
    received: u64,
    frames_per_second: f64,
    /// Gaps in the flows' numbers.
    lost: u64,
    /// Frames that came after a later one of their flow.
    reordered: u64,
    /// Frames a second that the generator makes when nobody carries them.
    ceiling: f64,
    daemon_cpu_micros_per_frame: BTreeMap<String, f64>,
    drops: Vec<Grown>,
}

impl RateCommand {
    /// 0 unless nothing arrived or a frame overtook another of its flow, which is 1.
    pub(crate) fn run(self) -> Result<ExitCode> {
        tell(&self.ends, Some(Family::Ipv4), |place| self.work(place))
    }

    fn work(&self, place: &Place) -> Result<Rate> {
        let interrupt = Interrupt::install()?;
        let _busy = Busy::with("sending frames");
        let flows = self.flows.to_string();
        let arguments = ["--size", &self.frame, "--flows", &flows].map(str::to_owned);
        let mut arguments = Vec::from(arguments);
        let ceiling = measure::ceiling(place, &arguments, CEILING, &interrupt)?;
        if let Some(rate) = self.rate {
            arguments.extend(["--rate".to_owned(), rate.to_string()]);
        }
        let traffic = Traffic {
            client: "frames",
            sink: "frames",
            arguments,
            protocol: "UDP",
        };
        let counted = traffic.measure(place, self.seconds, &interrupt)?;
        let received = count(&counted.sink, "packets")?;
        if received == 0 {
            let next = place.probe("UDP");
            bail!("no frame arrived at {}, try {next}", place.to.pod);
        }
        let seconds = number(&counted.client, "seconds")?;
        Ok(Rate {
            frame: self.frame.parse().ok(),
            flows: self.flows,
            seconds,
            sent: count(&counted.client, "sent")?,
            received,
            frames_per_second: received as f64 / seconds,
            lost: count(&counted.sink, "lost")?,
            reordered: count(&counted.sink, "reordered")?,
            ceiling,
            daemon_cpu_micros_per_frame: counted.meanwhile.micros_each(received as f64),
            drops: counted.meanwhile.drops,
        })
    }
}

impl Answer for Rate {
    fn text(&self) -> String {
        let frame = self
            .frame
            .map_or_else(|| "IMIX".to_owned(), |bytes| format!("{bytes} bytes"));
        format!(
            "{:.0} frames/s of {frame} in {} flows: {} of {} sent in {:.1} s, {} lost, {} out of order\n\
             the generator alone: {:.0} frames/s\n\
             daemons, µs CPU a frame: {}\n{}",
            self.frames_per_second,
            self.flows,
            self.received,
            self.sent,
            self.seconds,
            self.lost,
            self.reordered,
            self.ceiling,
            each_text(&self.daemon_cpu_micros_per_frame),
            drops_text(&self.drops)
        )
    }

    fn good(&self) -> bool {
        self.reordered == 0
    }
}
