//! `weft-bench stream`: how many bits a second does TCP carry from one pod to the other?

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use super::daemons::{Grown, drops_text, each_text};
use super::measure::Traffic;
use super::place::Place;
use super::{Answer, Busy, Ends, Family, count, seconds, tell};
use crate::interrupt::Interrupt;
use crate::program::number;

/// `weft-bench stream`
#[derive(Debug, Args)]
pub(crate) struct StreamCommand {
    #[command(flatten)]
    ends: Ends,
    /// Connections at once
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    streams: u16,
    /// From TO to FROM: TO connects and sends
    #[arg(long)]
    reverse: bool,
    /// Time to send
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Address family; default: IPv4 where both pods have it
    #[arg(long, value_enum, value_name = "FAMILY")]
    family: Option<Family>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stream {
    streams: u16,
    reverse: bool,
    seconds: f64,
    /// Bytes that arrived.
    bytes: u64,
    megabits_per_second: f64,
    daemon_cpu_micros_per_megabit: BTreeMap<String, f64>,
    drops: Vec<Grown>,
}

impl StreamCommand {
    /// 0 unless nothing arrived, which is 1.
    pub(crate) fn run(mut self) -> Result<ExitCode> {
        if self.reverse {
            let Ends { from, to, .. } = &mut self.ends;
            std::mem::swap(from, to);
        }
        tell(&self.ends, self.family, |place| self.work(place))
    }

    fn work(&self, place: &Place) -> Result<Stream> {
        let interrupt = Interrupt::install()?;
        let _busy = Busy::with("sending streams");
        let traffic = Traffic {
            client: "stream",
            sink: "tcp",
            arguments: vec!["--streams".to_owned(), self.streams.to_string()],
            protocol: "TCP",
        };
        let counted = traffic.measure(place, self.seconds, &interrupt)?;
        let bytes = count(&counted.sink, "bytes")?;
        if bytes == 0 {
            bail!(
                "no byte arrived at {}, try {}",
                place.to.pod,
                place.probe("TCP")
            );
        }
        let seconds = number(&counted.client, "seconds")?;
        let megabits = bytes as f64 * 8.0 / 1e6;
        Ok(Stream {
            streams: self.streams,
            reverse: self.reverse,
            seconds,
            bytes,
            megabits_per_second: megabits / seconds,
            daemon_cpu_micros_per_megabit: counted.meanwhile.micros_each(megabits),
            drops: counted.meanwhile.drops,
        })
    }
}

impl Answer for Stream {
    fn text(&self) -> String {
        format!(
            "{:.0} Mb/s in {} streams: {} bytes in {:.1} s\n\
             daemons, µs CPU a megabit: {}\n{}",
            self.megabits_per_second,
            self.streams,
            self.bytes,
            self.seconds,
            each_text(&self.daemon_cpu_micros_per_megabit),
            drops_text(&self.drops)
        )
    }

    fn good(&self) -> bool {
        true
    }
}
