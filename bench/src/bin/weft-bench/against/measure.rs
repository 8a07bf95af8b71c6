//! What do both ends count, and what do the daemons meanwhile?
//!
//! Runs a sender and a receiver of [`traffic`](crate::traffic) between the two pods of a place.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::daemons::{Meanwhile, Watch};
use super::place::Place;
use crate::interrupt::Interrupt;
use crate::program::{Program, number};

/// Traffic that runs before a measurement.
pub(super) const WARM_UP: Duration = Duration::from_millis(200);

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
        let listen = place.to.address.to_string();
        let kind = ["--kind", self.sink].map(str::to_owned);
        let sink = Program::sink(&place.to.netns, &listen, &kind, interrupt)
            .with_context(|| format!("{} does not listen, try another --port", place.to.pod))?;
        let watch = Watch::begin(&place.daemons)?;
        let client = self.client(place, time)?;
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

    fn client(&self, place: &Place, time: Duration) -> Result<Program> {
        let timed = ["--seconds".to_owned(), time.as_secs_f64().to_string()];
        let arguments = [&timed[..], &self.arguments].concat();
        let to = place.to.address.to_string();
        Program::client(&place.from.netns, &to, self.client, &arguments)
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
    let said = traffic.client(place, time)?.end(time, interrupt)?;
    Ok(number(&said, "sent")? / number(&said, "seconds")?)
}
