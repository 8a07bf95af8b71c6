//! `weft-bench race`: how fast is weft beside its rivals, in the same minute and on equal ground?
//!
//! Owns the arguments and the order of runs: weft and a rival by turns, pair after pair, so that a
//! noisy machine is noisy for both. Sides are made in [`sides`], one run is in [`work`], what the
//! pairs say together in [`pairs`].

mod cpu;
mod pairs;
mod plot;
mod report;
mod sides;
mod underlay;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use weft_switch::cli::NO;

use crate::interrupt::Interrupt;
use pairs::Comparison;
use sides::{Maker, Side};
use work::{Run, Work};

/// Whom weft is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rival {
    /// The Linux kernel's VXLAN device and veth pairs, routed as flannel does, without policies
    Kernel,
}

impl Rival {
    const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
        }
    }
}

/// What the link between the nodes does with packets larger than its MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Underlay {
    /// Passes super-frames, as virtual links do
    PassThrough,
    /// Carries packets of its MTU with complete checksums, as a wire does; the receiver merges
    Wire,
}

impl Underlay {
    const fn name(self) -> &'static str {
        match self {
            Self::PassThrough => "pass-through",
            Self::Wire => "wire",
        }
    }
}

/// The form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Columns for people
    Table,
    /// One JSON array with stable field names
    Json,
}

/// `weft-bench race`
#[derive(Debug, Args)]
pub(crate) struct RaceCommand {
    /// Rivals
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "RIVAL",
        default_value = "kernel"
    )]
    against: Vec<Rival>,
    /// Tests
    #[arg(long, value_delimiter = ',', value_name = "TEST", default_value = work::ALL)]
    tests: Vec<work::Test>,
    /// The links between the nodes
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "UNDERLAY",
        default_value = "pass-through,wire"
    )]
    underlay: Vec<Underlay>,
    /// Pairs of runs, one of weft and one of the rival
    #[arg(long, value_name = "COUNT", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pairs: u16,
    /// Time of each run
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Workers of each weft node
    #[arg(long, value_name = "THREADS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// NetworkPolicies in force on weft
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    policies: usize,
    /// Where weft is; default: beside this program
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Also draw the ratios into this file, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "table")]
    output: Form,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.1 to 600".to_owned()),
    }
}

impl RaceCommand {
    /// 0 when everything was measured, 1 when weft let a packet overtake another of its flow.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let interrupt = Interrupt::install()?;
        let machine = report::Machine::here();
        let programs = match &self.programs {
            Some(programs) => programs.clone(),
            None => crate::own_folder()?,
        };
        let maker = Maker {
            programs,
            workers: self.workers,
            policies: self.policies,
        };
        let weft = maker.weft()?;
        let mut found = Vec::new();
        for rival in &self.against {
            let peer = match rival {
                Rival::Kernel => maker.kernel()?,
            };
            for underlay in &self.underlay {
                underlay::set(&weft, *underlay)?;
                underlay::set(&peer, *underlay)?;
                let track = Track {
                    sides: [&weft, &peer],
                    names: (*rival, *underlay),
                    interrupt: &interrupt,
                };
                self.race(&track, &mut found)?;
            }
        }
        if let Some(path) = &self.svg {
            let drawn = plot::draw(&found);
            std::fs::write(path, drawn)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        match self.output {
            Form::Table => report::print(&report::table(&machine, &found)),
            Form::Json => report::print(&(serde_json::to_string(&found)? + "\n")),
        }
        let overtook = found.iter().any(|one| one.reordered.weft > 0.0);
        Ok(if overtook {
            ExitCode::from(NO)
        } else {
            ExitCode::SUCCESS
        })
    }

    /// Runs every test between weft and one rival.
    fn race(&self, track: &Track<'_>, found: &mut Vec<Comparison>) -> Result<()> {
        let time = Duration::from_secs_f64(self.seconds);
        let Track { sides, names, .. } = track;
        let (rival, underlay) = *names;
        for work in self.tests.iter().flat_map(|test| test.works()) {
            if work.is_local() && underlay == Underlay::Wire {
                continue;
            }
            let work = work.prepared(*sides, time, track.interrupt)?;
            let mut pairs = Vec::with_capacity(self.pairs.into());
            for number in 0..self.pairs {
                eprintln!(
                    "{} against {}, {}: pair {} of {}",
                    work.title(),
                    rival.name(),
                    underlay.name(),
                    number + 1,
                    self.pairs
                );
                pairs.push(track.pair(&work, time, number)?);
            }
            let names = (rival.name(), underlay.name());
            found.push(Comparison::of(&work, names, &pairs));
        }
        Ok(())
    }
}

/// Who runs, and where.
struct Track<'a> {
    /// weft, and the rival.
    sides: [&'a Side; 2],
    names: (Rival, Underlay),
    interrupt: &'a Interrupt,
}

impl Track<'_> {
    /// One run of each, the first by turns.
    fn pair(&self, work: &Work, time: Duration, number: u16) -> Result<[Run; 2]> {
        let [weft, peer] = self.sides;
        if number.is_multiple_of(2) {
            let ours = work.run(weft, time, self.interrupt)?;
            Ok([ours, work.run(peer, time, self.interrupt)?])
        } else {
            let theirs = work.run(peer, time, self.interrupt)?;
            Ok([work.run(weft, time, self.interrupt)?, theirs])
        }
    }
}
