//! What is left when ten thousand pods have come and gone, and the daemon was killed in between?
//!
//! Owns the churn: lanes that attach and detach, each its own pods, as a runtime would that tries
//! again when told to; the killing of the daemon; and the judgement of what was seen. The first
//! fifth runs without kills: there nothing may be lost and memory must stay flat.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Serialize;
use weft_switch::runtime::Clock;

use super::bystanders::{Bystanders, Observed};
use super::figures::sandbox;
use super::holdings::{Holdings, Size, after_daemon};
use super::node::Node;
use super::report::Machine;
use super::runtime::{Runtime, Sandbox};
use crate::interrupt::{Interrupt, PAUSE};
use crate::stats::{elapsed, millis, slope};

/// Threads that attach and detach.
const LANES: usize = 4;
/// Pods each of them keeps.
const KEPT: usize = 12;
/// Pods at most, those that talk aside.
pub(super) const SLOTS: usize = LANES * (KEPT + 1);
/// How long a runtime tries again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(50);
/// How long the last threads and devices of pods that are gone may take to go.
const SETTLING: Duration = Duration::from_secs(20);
/// So much longer than the daemon was away may datagrams be lost: those under way when it was
/// killed, and those sent while it told that it is back.
const EDGE: Duration = Duration::from_millis(50);
/// Between two looks at the daemon's memory.
const LOOK: Duration = Duration::from_millis(100);
/// How much memory may grow beyond a tenth, in KiB.
const GROWTH: f64 = 2048.0;
/// The journal is cut well before so many bytes.
const JOURNAL: u64 = 8 << 20;

/// One absence of the daemon.
#[derive(Clone, Copy, Debug, Default)]
struct Absence {
    from: Duration,
    until: Duration,
}

/// Everything a run found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    machine: Machine,
    /// Pods attached and detached.
    pods: usize,
    seconds: f64,
    kills: usize,
    /// Calls that were told to try again.
    retries: usize,
    /// From the kill until pods could be attached again, in milliseconds: median and longest.
    absence: [f64; 2],
    /// The same for the one time it was asked to leave, before the churn.
    restart: f64,
    /// From the first datagram lost in an absence after a kill to the last one, in milliseconds: median, longest.
    gap: [f64; 2],
    datagrams: usize,
    lost_in_absences: usize,
    lost_otherwise: usize,
    stream_bytes: u64,
    /// Longest time without a byte, in milliseconds.
    stream_stall: f64,
    /// Resident memory without kills, after the warm-up, in KiB: mean, and growth in 1,000 pods.
    rss: f64,
    rss_per_thousand: f64,
    /// The same at the end of each daemon's life.
    rss_of_lives: f64,
    rss_of_lives_per_thousand: f64,
    /// The longest the journal was, in bytes.
    journal: u64,
    /// What is not as it must be.
    pub(super) failures: Vec<String>,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        let mut text = self.machine.text();
        text += &format!(
            "{} pods attached and detached in {:.0} s ({:.0}/s), {} kills of the daemon, {} calls \
             tried again\n",
            self.pods,
            self.seconds,
            self.pods as f64 / self.seconds,
            self.kills,
            self.retries
        );
        let [absence, longest] = self.absence;
        text += &format!(
            "daemon away: median {absence:.0} ms, longest {longest:.0} ms; when asked to leave {:.0} \
             ms\n",
            self.restart
        );
        let [gap, longest] = self.gap;
        text += &format!(
            "datagrams: {} sent, {} lost while the daemon was away (gap: median {gap:.0} ms, \
             longest {longest:.0} ms), {} lost otherwise\n",
            self.datagrams, self.lost_in_absences, self.lost_otherwise
        );
        text += &format!(
            "stream: {} bytes, each as it was sent; longest stall {:.0} ms\n",
            self.stream_bytes, self.stream_stall
        );
        text += &format!(
            "memory: {:.1} MiB, {:+.0} KiB in 1,000 pods; at the ends of lives {:.1} MiB, {:+.0} \
             KiB\njournal: at most {} bytes\n",
            self.rss / 1024.0,
            self.rss_per_thousand,
            self.rss_of_lives / 1024.0,
            self.rss_of_lives_per_thousand,
            self.journal
        );
        if self.failures.is_empty() {
            return text + "nothing is left, nothing was lost\n";
        }
        text.extend(
            self.failures
                .iter()
                .map(|failure| format!("FAILED: {failure}\n")),
        );
        text
    }
}

/// What the lanes share.
struct Shared<'a> {
    runtime: &'a Runtime,
    interrupt: &'a Interrupt,
    pods: usize,
    begun: AtomicUsize,
    done: AtomicUsize,
    retries: AtomicUsize,
    /// The first failure of anybody; the others end then.
    failed: Mutex<Option<anyhow::Error>>,
    ended: AtomicBool,
}

/// What was seen while the lanes worked.
#[derive(Debug, Default)]
struct Seen {
    absences: Vec<Absence>,
    /// When the daemon was asked to leave, and was back.
    restart: Absence,
    /// Memory by pods done, without kills and at the end of each life.
    calm: Vec<(f64, f64)>,
    lives: Vec<(f64, f64)>,
    journal: u64,
}

/// Churns, and judges.
pub(super) fn run(
    mut node: Node,
    pods: usize,
    kill_every: usize,
    interrupt: &Interrupt,
) -> Result<Answer> {
    let machine = Machine::here();
    node.start(interrupt)?;
    let runtime = node.runtime();
    let empty = settled(&node, None, interrupt)?;
    let clock = Clock::start();
    let bystanders = Bystanders::start(&runtime, clock)?;
    let shared = Shared {
        runtime: &runtime,
        interrupt,
        pods,
        begun: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        retries: AtomicUsize::new(0),
        failed: Mutex::default(),
        ended: AtomicBool::new(false),
    };
    // A daemon that leaves writes down the connections it knows; one that is killed has written
    // them down some seconds ago, and younger ones would break.
    let from = elapsed(clock);
    node.stop()?;
    node.start(interrupt)?;
    let until = elapsed(clock);
    let mut seen = wear_out(&mut node, &shared, kill_every, clock)?;
    seen.restart = Absence { from, until };
    let seconds = elapsed(clock).as_secs_f64();
    let observed = bystanders.finish(&runtime)?;
    let now = settled(&node, Some(&empty), interrupt)?;
    let mut failures = empty.differences(&now);
    let left = node.status()?.pods;
    if left != 0 {
        failures.push(format!("the daemon still has {left} pods"));
    }
    node.stop()?;
    let after = after_daemon(&node)?;
    failures.extend(
        after
            .into_iter()
            .map(|left| format!("left by the daemon: {left}")),
    );
    let mut answer = judge(machine, &seen, &observed, failures);
    answer.pods = pods;
    answer.seconds = seconds;
    answer.retries = shared.retries.into_inner();
    Ok(answer)
}

/// What an idle node holds, once it holds what it held before or time is up.
fn settled(node: &Node, before: Option<&Holdings>, interrupt: &Interrupt) -> Result<Holdings> {
    let clock = Clock::start();
    let mut last = Holdings::of(node)?;
    loop {
        interrupt.check()?;
        std::thread::park_timeout(LOOK);
        let now = Holdings::of(node)?;
        let calm = before.map_or_else(|| now == last, |before| now == *before);
        if calm || elapsed(clock) > SETTLING {
            return Ok(now);
        }
        last = now;
    }
}

/// Has the lanes work, and kills the daemon meanwhile.
fn wear_out(node: &mut Node, shared: &Shared<'_>, kill_every: usize, clock: Clock) -> Result<Seen> {
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| scope.spawn(move || shared.note(shared.work(lane))))
            .collect();
        let seen = shared.note(watch(node, shared, kill_every, clock));
        for lane in lanes {
            lane.join().map_err(|_| anyhow!("a lane panicked"))?;
        }
        let failed = shared
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(error) = failed {
            return Err(error.context(format!("the daemon's last words:\n{}", node.last_words())));
        }
        seen.context("the churn ended early")
    })
}

fn watch(node: &mut Node, shared: &Shared<'_>, kill_every: usize, clock: Clock) -> Result<Seen> {
    let mut seen = Seen::default();
    let calm = shared.pods / 5;
    let mut next_kill = calm;
    let mut next_look = Duration::ZERO;
    loop {
        let done = shared.done.load(Ordering::Relaxed);
        if done >= shared.pods || shared.ended.load(Ordering::Relaxed) {
            return Ok(seen);
        }
        shared.interrupt.check()?;
        let due = kill_every > 0 && done >= next_kill;
        if due || elapsed(clock) >= next_look {
            let size = Size::of(node)?;
            seen.journal = seen.journal.max(size.journal);
            let point = (done as f64, size.rss as f64);
            if due {
                seen.lives.push(point);
            } else if done > calm / 4 && (done <= calm || kill_every == 0) {
                seen.calm.push(point);
            }
            next_look = elapsed(clock) + LOOK;
        }
        if due {
            next_kill = done + kill_every;
            let from = elapsed(clock);
            node.kill()?;
            node.start(shared.interrupt)?;
            let until = elapsed(clock);
            seen.absences.push(Absence { from, until });
        }
        std::thread::park_timeout(PAUSE);
    }
}

impl Shared<'_> {
    /// One lane: attaches the next pod, and detaches the oldest one once it has enough.
    fn work(&self, lane: usize) -> Result<()> {
        let mut kept = VecDeque::new();
        let mut number = 0;
        while self.begun.fetch_add(1, Ordering::Relaxed) < self.pods {
            let slot = lane * (KEPT + 1) + number % (KEPT + 1);
            number += 1;
            let sandbox = sandbox(slot)?;
            self.attach(&sandbox)?;
            kept.push_back(sandbox);
            if kept.len() > KEPT
                && let Some(oldest) = kept.pop_front()
            {
                self.detach(&oldest)?;
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        kept.iter().try_for_each(|sandbox| self.detach(sandbox))
    }

    fn note<T>(&self, outcome: Result<T>) -> Option<T> {
        let error = match outcome {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_none() {
            *failed = Some(error);
        }
        self.ended.store(true, Ordering::Relaxed);
        None
    }

    fn goes_on(&self) -> Result<()> {
        if self.ended.load(Ordering::Relaxed) {
            bail!("the churn ended early");
        }
        self.interrupt.check()
    }

    /// As a runtime does: what failed is deleted before it is tried again.
    fn attach(&self, sandbox: &Sandbox) -> Result<()> {
        let clock = Clock::start();
        loop {
            self.goes_on()?;
            let outcome = self.runtime.add(sandbox)?;
            if !outcome.is_passing() || elapsed(clock) > PATIENCE {
                return outcome.done("ADD").map(|_| ());
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            self.detach(sandbox)?;
            std::thread::park_timeout(RETRY);
        }
    }

    /// DEL is never told to try again: a daemon that is away finds a note.
    fn detach(&self, sandbox: &Sandbox) -> Result<()> {
        self.goes_on()?;
        self.runtime.del(sandbox)?.done("DEL").map(|_| ())
    }
}

/// Datagrams that were lost: in each absence, when the first and the last one were sent; and how
/// many otherwise.
fn losses(observed: &Observed, absences: &[Absence]) -> (Vec<Vec<Duration>>, usize) {
    let mut inside: Vec<Vec<Duration>> = absences.iter().map(|_| Vec::new()).collect();
    let mut otherwise = 0;
    let lost = observed
        .sent
        .iter()
        .zip(&observed.arrived)
        .filter(|(_, arrived)| !**arrived);
    for (sent, _) in lost {
        let within =
            |absence: &Absence| *sent + EDGE >= absence.from && *sent <= absence.until + EDGE;
        match absences
            .iter()
            .zip(&mut inside)
            .find(|(absence, _)| within(absence))
        {
            Some((_, times)) => times.push(*sent),
            None => otherwise += 1,
        }
    }
    (inside, otherwise)
}

/// Median and longest, in milliseconds.
fn spread(durations: impl Iterator<Item = Duration>) -> [f64; 2] {
    let mut sorted: Vec<_> = durations.map(millis).collect();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    [median, sorted.last().copied().unwrap_or(0.0)]
}

/// Mean, and growth in 1,000 pods; says if it is not flat.
fn flat(what: &str, points: &[(f64, f64)], failures: &mut Vec<String>) -> [f64; 2] {
    let mean = points.iter().map(|point| point.1).sum::<f64>() / points.len().max(1) as f64;
    let slope = slope(points);
    let span = points.last().map_or(0.0, |last| last.0) - points.first().map_or(0.0, |p| p.0);
    if slope * span > mean / 10.0 + GROWTH {
        failures.push(format!("{what} grew by {:.0} KiB", slope * span));
    }
    [mean, slope * 1000.0]
}

fn judge(machine: Machine, seen: &Seen, observed: &Observed, mut failures: Vec<String>) -> Answer {
    let restart = seen.restart.until - seen.restart.from;
    let absences: Vec<Absence> = seen
        .absences
        .iter()
        .copied()
        .chain([seen.restart])
        .collect();
    let (inside, lost_otherwise) = losses(observed, &absences);
    if lost_otherwise > 0 {
        failures.push(format!(
            "{lost_otherwise} datagrams were lost while the daemon was there"
        ));
    }
    if let Some(why) = &observed.broken {
        failures.push(format!("the stream broke: {why}"));
    }
    if seen.journal > JOURNAL {
        failures.push(format!("the journal grew to {} bytes", seen.journal));
    }
    let [rss, rss_per_thousand] = flat("memory", &seen.calm, &mut failures);
    let lives = flat("memory at the end of lives", &seen.lives, &mut failures);
    let gaps = inside
        .iter()
        .filter_map(|times| Some(*times.last()? - *times.first()?));
    Answer {
        machine,
        pods: 0,
        seconds: 0.0,
        kills: seen.absences.len(),
        retries: 0,
        absence: spread(
            seen.absences
                .iter()
                .map(|absence| absence.until - absence.from),
        ),
        restart: millis(restart),
        gap: spread(gaps),
        datagrams: observed.sent.len(),
        lost_in_absences: inside.iter().map(Vec::len).sum(),
        lost_otherwise,
        stream_bytes: observed.streamed,
        stream_stall: millis(observed.stall),
        rss,
        rss_per_thousand,
        rss_of_lives: lives[0],
        rss_of_lives_per_thousand: lives[1],
        journal: seen.journal,
        failures,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_loss_belongs_to_the_absence_it_falls_into() {
        let sent: Vec<Duration> = (0..10).map(|n| ms(n * 100)).collect();
        let arrived = (0..10).map(|n| ![3, 4, 8].contains(&n)).collect();
        let observed = Observed {
            sent,
            arrived,
            ..Observed::default()
        };
        let absences = [Absence {
            from: ms(310),
            until: ms(390),
        }];
        let (inside, otherwise) = losses(&observed, &absences);
        assert_eq!(inside, [vec![ms(300), ms(400)]]);
        assert_eq!(otherwise, 1);
    }

    #[test]
    fn growth_is_told_and_noise_is_not() {
        let mut failures = Vec::new();
        let points = |grows: f64| -> Vec<_> {
            (0..100u8)
                .map(f64::from)
                .map(|x| (x * 20.0, 20_000.0 + grows * x + x % 7.0))
                .collect()
        };
        flat("memory", &points(0.0), &mut failures);
        assert!(failures.is_empty(), "{failures:?}");
        flat("memory", &points(100.0), &mut failures);
        assert_eq!(failures.len(), 1);
    }
}
