//! Would super-frames inside the tunnel, cut and merged by the kernel, be faster than ours?
//!
//! Compares weft's own road, segments cut and merged in userspace and sent by UDP sockets (P1),
//! with TAPs that take and give tunnel super-frames whole (P3, Linux 6.17), by turns in one process
//! over veth pairs that pass super-frames or cut them. Tells the time of processors: for one
//! super-frame of TCP sent and received, for small packets received, and for the same payload of a
//! whole transfer between two pods. Needs root and tc(8).
//!
//!     cargo run --release -p weft-bench --example tunnel_gso

mod report;
mod rig;
mod roads;
mod stages;
mod stream;

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use weft_sys::affinity;

use rig::{FAR, Link, NOBODY, Underlay};
use roads::{Road, Segments, Straight, Tunnel};
use stages::{Burst, Cost, carry, check};
use stream::{Pods, Transfer};

/// Compares tunnel super-frames cut by the kernel with segments cut in userspace
#[derive(Debug, Parser)]
struct Options {
    /// Turns of every measurement
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Eights of super-frames in one measurement of a stage
    #[arg(long, default_value_t = 150)]
    eights: usize,
    /// Milliseconds of one transfer
    #[arg(long, default_value_t = 1000)]
    millis: u64,
}

/// Nanoseconds of processors.
type Nanos = u64;

fn cpu_of_thread() -> Nanos {
    nanos(ClockId::ThreadCPUTime)
}

fn cpu_of_process() -> Nanos {
    nanos(ClockId::ProcessCPUTime)
}

fn nanos(clock: ClockId) -> Nanos {
    let time = clock_gettime(clock);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// A road of each kind, and the same to nobody.
struct Rig {
    /// P1 and P3 with receivers, then without.
    links: [Link; 4],
    segments: [Segments; 2],
    tunnel: [Tunnel; 2],
    bursts: [Burst; 2],
    straight: Straight,
    pods: Pods,
}

impl Rig {
    fn new() -> Result<Self> {
        let cores = affinity::allowed_cores()?;
        let first = *cores.first().context("a core")?;
        let last = *cores.last().context("a core")?;
        affinity::pin_current_thread(first)?;
        let mut links = [Link::new()?, Link::new()?, Link::new()?, Link::new()?];
        let [p1, p3, p1_nobody, p3_nobody] = &mut links;
        let pods = Pods::new(last)?;
        Ok(Self {
            segments: [Segments::new(p1, FAR)?, Segments::new(p1_nobody, NOBODY)?],
            tunnel: [Tunnel::new(p3, FAR)?, Tunnel::new(p3_nobody, NOBODY)?],
            bursts: [Burst::new(p1)?, Burst::new(p3)?],
            straight: Straight(pods.far_tap()?),
            links,
            pods,
        })
    }

    fn set(&self, underlay: Underlay) -> Result<()> {
        for (link, merges) in self.links.iter().zip([true, true, false, false]) {
            link.set(underlay, merges)?;
        }
        Ok(())
    }
}

/// What one round measured over one underlay; pairs are P1 and P3.
struct Round {
    underlay: Underlay,
    sent: [Cost; 2],
    carried: Option<[Cost; 2]>,
    /// Of small packets.
    bursts: Option<[Cost; 2]>,
    transfers: Option<Transfers>,
}

struct Transfers {
    straight: Transfer,
    p1: Transfer,
    p3: Transfer,
}

fn round(rig: &mut Rig, options: &Options, underlay: Underlay, swap: bool) -> Result<Round> {
    rig.set(underlay)?;
    let Rig {
        segments: [p1, p1_nobody],
        tunnel: [p3, p3_nobody],
        bursts: [p1_burst, p3_burst],
        straight,
        pods,
        ..
    } = rig;
    let both = |p1: &mut dyn Road, p3: &mut dyn Road| -> Result<[Cost; 2]> {
        if swap {
            let p3 = carry(p3, options.eights)?;
            return Ok([carry(p1, options.eights)?, p3]);
        }
        Ok([carry(p1, options.eights)?, carry(p3, options.eights)?])
    };
    let mut round = Round {
        underlay,
        sent: both(p1_nobody, p3_nobody)?,
        carried: None,
        bursts: None,
        transfers: None,
    };
    if underlay == Underlay::Cuts {
        // A veth gives its peer unfinished checksums, which no merging inside tunnels takes.
        return Ok(round);
    }
    check(p1).context("P1")?;
    check(p3).context("P3")?;
    round.carried = Some(both(p1, p3)?);
    if underlay == Underlay::Wire {
        // Elsewhere P3 would have to cut super-frames of tunnel packets itself.
        let p1 = p1_burst.received_by(p1, options.eights)?;
        round.bursts = Some([p1, p3_burst.received_by(p3, options.eights)?]);
    }
    let time = Duration::from_millis(options.millis);
    let mut transfer = |road: &mut dyn Road| pods.transfer(road, time);
    let straight = transfer(straight).context("straight")?;
    let (p1, p3) = if swap {
        let p3 = transfer(p3).context("P3")?;
        (transfer(p1).context("P1")?, p3)
    } else {
        let p1 = transfer(p1).context("P1")?;
        (p1, transfer(p3).context("P3")?)
    };
    round.transfers = Some(Transfers { straight, p1, p3 });
    Ok(round)
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut rig = Rig::new()?;
    let mut rounds = Vec::new();
    for number in 0..options.rounds {
        for underlay in Underlay::ALL {
            rounds.push(round(&mut rig, &options, underlay, number % 2 == 1)?);
        }
    }
    report::tell(&rounds, options.rounds);
    Ok(())
}
