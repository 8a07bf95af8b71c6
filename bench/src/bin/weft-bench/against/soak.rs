//! `weft-bench soak`: do many bytes cross whole, both ways at once, whatever happens meanwhile?
//!
//! Owns the arguments and the watch over the transfer: progress, its end, a stall. The bytes are moved
//! and summed in [`transfer`], the underlay's MTU is changed in [`mtu`].

mod bytes;
mod mtu;
mod transfer;
mod way;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use weft_switch::runtime::Clock;

use super::daemons::{Grown, Watch, drops_text, each_text};
use super::place::Place;
use super::{Answer, Ends, Family, seconds, tell};
use crate::interrupt::Interrupt;
use crate::stats::elapsed;
use mtu::{Changed, Underlay};
use transfer::Transfer;
use way::{Told, Way};

/// Between two looks at the transfer.
const LOOK: Duration = Duration::from_millis(20);

/// `weft-bench soak`
#[derive(Debug, Args)]
pub(crate) struct SoakCommand {
    #[command(flatten)]
    ends: Ends,
    /// Bytes each way, with K, M, G or T for thousands, millions and so on
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = bytes::parse)]
    bytes: u64,
    /// Stop sending after so long, however much is left
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = seconds)]
    seconds: Duration,
    /// No byte for so long is a stall, unless its receiver pauses
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    stall: Duration,
    /// After every eighth of the bytes each receiver reads nothing for so long [1], and on until
    /// the sender finds no room
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = seconds)]
    pause: Option<Duration>,
    /// Give both nodes' underlay this MTU [1400] and its own by turns
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true, default_missing_value = "1400", value_parser = clap::value_parser!(u32).range(1280..=65_535))]
    mtu_change: Option<u32>,
    /// How long each of the two MTUs holds
    #[arg(long, value_name = "SECONDS", default_value = "2", requires = "mtu_change", value_parser = seconds)]
    mtu_every: Duration,
    /// Address family; default: IPv4 where both pods have it
    #[arg(long, value_enum, value_name = "FAMILY")]
    family: Option<Family>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Soaked {
    /// Bytes asked for, each way.
    bytes: u64,
    seconds: f64,
    /// Whether all of them were moved, both ways.
    complete: bool,
    /// Whether every sum of what arrived is that of what was sent, as far as both got.
    intact: bool,
    ways: [Told; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu_changes: Option<Changed>,
    /// What went wrong; none if nothing did.
    failures: Vec<String>,
    daemon_cpu_seconds: BTreeMap<String, f64>,
    drops: Vec<Grown>,
}

impl SoakCommand {
    /// 0 if everything that was sent arrived as it was, in time; 1 otherwise.
    pub(crate) fn run(self) -> Result<ExitCode> {
        tell(&self.ends, self.family, |place| self.work(place))
    }

    fn work(&self, place: &Place) -> Result<Soaked> {
        let interrupt = Interrupt::install()?;
        let mut underlay = self.mtu_change.map(|mtu| Underlay::of(place, mtu));
        let mut underlay = underlay.take().transpose()?;
        let (from, to) = (&place.from.pod, &place.to.pod);
        let ways = [
            Way::new(from, to, self.bytes),
            Way::new(to, from, self.bytes),
        ];
        let watch = Watch::begin(&place.daemons)?;
        let transfer = Transfer::open(place, &ways, self.pause)?;
        let clock = Clock::start();
        let failures = std::thread::scope(|scope| -> Result<Vec<String>> {
            transfer.start(scope);
            let found = self.watch(&transfer, clock, underlay.as_mut(), &interrupt);
            // Whoever still waits for the other end waits no longer.
            transfer.stop();
            found
        })?;
        let seconds = elapsed(clock).as_secs_f64();
        let meanwhile = watch.end(watch.cpu()?)?;
        let failures = [failures, transfer.failures()].concat();
        let told = ways.map(|way| way.told(seconds));
        Ok(Soaked {
            bytes: self.bytes,
            seconds,
            complete: told.iter().all(|way| way.bytes == self.bytes),
            intact: told.iter().all(|way| way.intact),
            ways: told,
            mtu_changes: underlay.map(Underlay::restored).transpose()?,
            failures,
            daemon_cpu_seconds: meanwhile.seconds(),
            drops: meanwhile.drops,
        })
    }

    /// Looks on until all is moved or something is wrong; what is wrong.
    fn watch(
        &self,
        transfer: &Transfer<'_>,
        clock: Clock,
        mut underlay: Option<&mut Underlay>,
        interrupt: &Interrupt,
    ) -> Result<Vec<String>> {
        let bar = progress(self.bytes.saturating_mul(2));
        let mut last = [(0, Duration::ZERO); 2];
        loop {
            interrupt.check()?;
            let now = elapsed(clock);
            if now >= self.seconds {
                transfer.send_no_more();
            }
            let received = transfer.ways.each_ref().map(Way::received);
            bar.set_position(received.iter().sum());
            if let Some(underlay) = underlay.as_mut() {
                underlay.turn(now, self.mtu_every, received.iter().sum())?;
            }
            for (way, (bytes, since)) in transfer.ways.iter().zip(&mut last) {
                if way.received() != *bytes || way.rests() {
                    (*bytes, *since) = (way.received(), now);
                } else if now.saturating_sub(*since) >= self.stall {
                    way.stalled();
                    return Ok(vec![way.stall(self.stall)]);
                }
                way.compare();
            }
            if transfer.ways.iter().any(Way::is_broken) || transfer.is_over() {
                return Ok(Vec::new());
            }
            std::thread::park_timeout(LOOK);
        }
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    let template =
        "{bar:30} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

impl Answer for Soaked {
    fn text(&self) -> String {
        let mut text: String = self.ways.iter().map(Told::text).collect();
        if let Some(changed) = &self.mtu_changes {
            text += &changed.text();
        }
        for failure in &self.failures {
            text += &format!("FAILED: {failure}\n");
        }
        let whole = match (self.intact, self.complete) {
            (false, _) => "damaged",
            (true, true) => "complete and intact",
            (true, false) => "intact as far as it went",
        };
        text += &format!("{whole} after {:.1} s\n", self.seconds);
        let used = each_text(&self.daemon_cpu_seconds);
        text += &format!("daemons, seconds CPU: {used}\n");
        text + &drops_text(&self.drops)
    }

    fn good(&self) -> bool {
        self.intact && self.failures.is_empty()
    }
}
