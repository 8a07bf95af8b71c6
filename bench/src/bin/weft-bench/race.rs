//! `weft-bench race`: how fast is weft beside its rivals, in the same minute and on equal ground?
//!
//! Owns the arguments and the order of runs: weft and a rival by turns, pair after pair, so that a
//! noisy machine is noisy for both. Sides are made in [`sides`], one run is in [`work`], what the
//! pairs say together in [`pairs`].

mod cpu;
mod manifests;
mod ovs;
mod pairs;
mod plot;
mod progress;
mod report;
mod sides;
mod underlay;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use weft_switch::cli::{HOST, NO};

use crate::interrupt::Interrupt;
use pairs::Comparison;
use progress::Progress;
use sides::{Maker, Side};
use work::{Run, Work};

/// Entries at which policies are to cost nothing.
const PROMISED: u64 = 100_000;

/// Whom weft is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rival {
    /// The Linux kernel's VXLAN device and veth pairs, routed as flannel does, without policies
    Kernel,
    /// Open vSwitch's userspace datapath with TAP ports and VXLAN tunnels, without policies
    Ovs,
    /// weft itself without a policy: what policies cost
    Unpoliced,
}

impl Rival {
    const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Ovs => "ovs",
            Self::Unpoliced => "unpoliced",
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
    /// Rivals [default: kernel, and ovs where it is installed]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "RIVAL")]
    against: Option<Vec<Rival>>,
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
    /// NetworkPolicies in force on weft, 200 entries each
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
    /// 0 when everything was measured, 1 when weft let a packet overtake another of its flow or a
    /// connection failed, 3 when a rival that was asked for is not installed.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let Some(rivals) = self.rivals() else {
            return Ok(ExitCode::from(HOST));
        };
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
        if rivals.contains(&Rival::Unpoliced) && weft.enforced.entries < PROMISED {
            let (policies, entries) = (weft.enforced.policies, weft.enforced.entries);
            eprintln!(
                "note: {policies} policies are {entries} entries; what is said of policies' cost is \
                 said of {PROMISED}: give --policies more"
            );
        }
        let progress = Progress::start(self.runs(&rivals));
        let mut found = Vec::new();
        for rival in &rivals {
            let peer = match rival {
                Rival::Kernel => maker.kernel()?,
                Rival::Ovs => ovs::side(&interrupt)?,
                Rival::Unpoliced => maker.unpoliced()?,
            };
            for underlay in &self.underlay {
                underlay::set(&weft, *underlay)?;
                underlay::set(&peer, *underlay)?;
                let track = Track {
                    sides: [&weft, &peer],
                    names: (*rival, *underlay),
                    interrupt: &interrupt,
                    progress: &progress,
                };
                self.race(&track, &mut found)?;
            }
        }
        drop(progress);
        if let Some(path) = &self.svg {
            let drawn = plot::draw(&found);
            std::fs::write(path, drawn)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        match self.output {
            Form::Table => report::print(&report::table(&machine, &found)),
            Form::Json => report::print(&(serde_json::to_string(&found)? + "\n")),
        }
        Ok(if found.iter().all(Comparison::is_sound) {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(NO)
        })
    }

    /// What is run on one kind of underlay.
    fn works(&self, underlay: Underlay) -> impl Iterator<Item = Work> {
        let works = self.tests.iter().flat_map(|test| test.works());
        works.filter(move |work| underlay == Underlay::PassThrough || !work.is_local())
    }

    /// How many pairs of runs there are.
    fn runs(&self, rivals: &[Rival]) -> usize {
        let works = self.underlay.iter().map(|one| self.works(*one).count());
        rivals.len() * works.sum::<usize>() * usize::from(self.pairs)
    }

    /// Whom to race against; `None` where one that was asked for is not installed, which is said.
    fn rivals(&self) -> Option<Vec<Rival>> {
        let mut rivals = self
            .against
            .clone()
            .unwrap_or_else(|| vec![Rival::Kernel, Rival::Ovs]);
        if rivals.contains(&Rival::Ovs)
            && let Some(program) = ovs::missing()
        {
            let install = "install it with: apt-get install openvswitch-switch";
            if self.against.is_some() {
                eprintln!("error: Open vSwitch is not installed (no {program}); {install}");
                return None;
            }
            eprintln!("SKIPPED: ovs: Open vSwitch is not installed (no {program}); {install}");
            rivals.retain(|rival| *rival != Rival::Ovs);
        }
        Some(rivals)
    }

    /// Runs every test between weft and one rival.
    fn race(&self, track: &Track<'_>, found: &mut Vec<Comparison>) -> Result<()> {
        let time = Duration::from_secs_f64(self.seconds);
        let (rival, underlay) = track.names;
        let names = (rival.name(), underlay.name());
        for work in self.works(underlay) {
            let work = work.prepared(track.sides, time, track.interrupt)?;
            let mut pairs = Vec::with_capacity(self.pairs.into());
            let what = format!("{} against {}, {}", work.title(), names.0, names.1);
            for number in 0..self.pairs {
                track.progress.step(&what);
                pairs.push(track.pair(&work, time, number)?);
            }
            let [weft, _] = track.sides;
            found.push(Comparison::of(&work, names, weft.enforced, &pairs));
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
    progress: &'a Progress,
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
