//! How long does each verb of the plugin take, beside the kernel's share?
//!
//! Owns the order of the measurements: what is compared is measured by turns, pod by pod, in the
//! same run. Pods stay until their batch is complete, so that a node is measured as it fills up.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;
use weft_switch::runtime::Clock;

use super::bare;
use super::node::{Node, pod_name};
use super::report::Machine;
use super::runtime::{Runtime, Sandbox, timed};
use super::space::Space;
use crate::interrupt::Interrupt;
use crate::stats::{Samples, elapsed};

/// Pods of a node before it is emptied again.
const BATCH: usize = 100;
/// Pods that are attached before anything counts.
const WARM_UP: usize = 5;
/// How often many are attached at once.
const ROUNDS: usize = 3;
/// Pods attached at the same time while their rate is measured.
const LANES: usize = 8;
/// Bytes of a record, for the disk's share.
const RECORD: [u8; 400] = [b'x'; 400];

/// One measured action.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    test: &'static str,
    unit: &'static str,
    count: usize,
    p50: f64,
    p99: f64,
    max: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_p50: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_p99: Option<f64>,
}

impl Row {
    fn new(test: &'static str, samples: &Samples, targets: [Option<f64>; 2]) -> Self {
        let [target_p50, target_p99] = targets;
        Self {
            test,
            unit: "ms",
            count: samples.len(),
            p50: samples.percentile(50),
            p99: samples.percentile(99),
            max: samples.percentile(100),
            target_p50,
            target_p99,
        }
    }

    fn met(&self) -> bool {
        let holds = |value, target: Option<f64>| target.is_none_or(|target| value <= target);
        holds(self.p50, self.target_p50) && holds(self.p99, self.target_p99)
    }

    fn text(&self) -> String {
        let targets = [("p50", self.target_p50), ("p99", self.target_p99)];
        let targets = targets
            .iter()
            .filter_map(|(name, target)| Some((name, (*target)?)));
        let mut told: Vec<String> = targets
            .map(|(name, target)| format!("{name} {target}"))
            .collect();
        if !told.is_empty() {
            told.push(if self.met() { "met" } else { "MISSED" }.to_owned());
        }
        let Self {
            test,
            count,
            p50,
            p99,
            max,
            ..
        } = self;
        let line = format!(
            "{test:<26}{count:>6}{p50:>9.2}{p99:>9.2}{max:>9.2}  {}",
            told.join(", ")
        );
        line.trim_end().to_owned() + "\n"
    }
}

/// Everything a run found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    machine: Machine,
    rows: Vec<Row>,
    /// Pods attached per second, eight at a time.
    adds_per_second: f64,
    target_adds_per_second: f64,
    /// From the first start of a plugin to the last answer, for all that started together; the
    /// median round, in milliseconds.
    parallel_total: f64,
    /// Medians: ADD to a bare interface in a namespace that is there,
    ratio: f64,
    /// and both with the making of the namespace.
    ratio_with_namespace: f64,
}

impl Answer {
    pub(super) fn met(&self) -> bool {
        self.rows.iter().all(Row::met) && self.fast()
    }

    fn fast(&self) -> bool {
        self.adds_per_second >= self.target_adds_per_second
    }

    pub(super) fn text(&self) -> String {
        let mut text = self.machine.text();
        let heading = ("TEST", "COUNT", "P50/ms", "P99/ms", "MAX/ms");
        let (test, count, p50, p99, max) = heading;
        text += &format!("{test:<26}{count:>6}{p50:>9}{p99:>9}{max:>9}  TARGETS\n");
        text.extend(self.rows.iter().map(Row::text));
        let Self {
            adds_per_second,
            target_adds_per_second,
            parallel_total,
            ..
        } = self;
        let met = if self.fast() { "met" } else { "MISSED" };
        text += &format!(
            "sustained: {adds_per_second:.0} ADD/s, {LANES} at a time (target \
             {target_adds_per_second:.0}: {met})\nparallel: all done after {parallel_total:.0} \
             ms\nADD : bare interface = {:.2} : 1; with the namespace on both sides {:.2} : 1\n",
            self.ratio, self.ratio_with_namespace
        );
        text
    }
}

/// Times of everything that is measured pod by pod.
#[derive(Debug, Default)]
struct Serial {
    namespace: Samples,
    bare: Samples,
    add: Samples,
    check: Samples,
    status: Samples,
    version: Samples,
    exec: Samples,
    sync: Samples,
    del: Samples,
}

/// Measures all.
pub(super) fn run(
    mut node: Node,
    adds: usize,
    parallel: usize,
    interrupt: &Interrupt,
) -> Result<Answer> {
    let machine = Machine::here();
    node.start(interrupt)?;
    let runtime = node.runtime();
    serial(&node, &runtime, WARM_UP, interrupt)?;
    let serial = serial(&node, &runtime, adds, interrupt)?;
    let mut together = Samples::default();
    let mut totals = Samples::default();
    for _ in 0..ROUNDS {
        interrupt.check()?;
        let sandboxes = sandboxes(0..parallel)?;
        let (each, total) = at_once(&runtime, &sandboxes, parallel)?;
        together.extend(&each);
        totals.add(total);
        remove(&runtime, &sandboxes)?;
    }
    let mut rate = Samples::default();
    for batch in batches(adds) {
        interrupt.check()?;
        let sandboxes = sandboxes(batch)?;
        rate.add(at_once(&runtime, &sandboxes, LANES)?.1);
        remove(&runtime, &sandboxes)?;
    }
    node.stop()?;
    Ok(serial.answer(machine, &together, &totals, adds as f64 / rate.seconds()))
}

impl Serial {
    fn answer(&self, machine: Machine, together: &Samples, totals: &Samples, rate: f64) -> Answer {
        let median = |samples: &Samples| samples.percentile(50);
        let (add, bare) = (median(&self.add), median(&self.bare));
        let namespace = median(&self.namespace);
        let none = [None; 2];
        let rows = vec![
            Row::new("namespace", &self.namespace, none),
            Row::new("bare interface", &self.bare, none),
            Row::new("ADD", &self.add, [Some(15.0), Some(40.0)]),
            Row::new("ADD, many at once", together, [None, Some(500.0)]),
            Row::new("DEL", &self.del, [None, Some(50.0)]),
            Row::new("CHECK", &self.check, none),
            Row::new("STATUS", &self.status, [Some(5.0), None]),
            Row::new("VERSION (own start)", &self.version, [Some(2.0), None]),
            Row::new("start of `true`", &self.exec, none),
            Row::new("sync of a record", &self.sync, none),
        ];
        Answer {
            machine,
            rows,
            adds_per_second: rate,
            target_adds_per_second: 50.0,
            parallel_total: median(totals),
            ratio: add / bare,
            ratio_with_namespace: (namespace + add) / (namespace + bare),
        }
    }
}

fn batches(pods: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..pods)
        .step_by(BATCH)
        .map(move |first| first..(first + BATCH).min(pods))
}

/// A container of the pod `number` that no runtime had before.
pub(super) fn sandbox(number: usize) -> Result<Sandbox> {
    let space = Space::new()?;
    let container = space.container();
    Ok(Sandbox {
        container,
        pod: pod_name(number),
        space,
    })
}

fn sandboxes(pods: std::ops::Range<usize>) -> Result<Vec<Sandbox>> {
    pods.map(sandbox).collect()
}

/// One pod after the other; what is compared by turns.
fn serial(node: &Node, runtime: &Runtime, pods: usize, interrupt: &Interrupt) -> Result<Serial> {
    let mut times = Serial::default();
    for batch in batches(pods) {
        let mut attached = Vec::new();
        let mut plain = Vec::new();
        for number in batch {
            interrupt.check()?;
            let clock = Clock::start();
            let sandbox = sandbox(number)?;
            times.namespace.add(elapsed(clock));
            let space = Space::new()?;
            // By turns, so that neither always comes after a namespace was made.
            if number % 2 == 0 {
                times
                    .bare
                    .add(bare::attach(&space)?.done("beside it, a bare interface")?.0);
            }
            let (took, added) = runtime.add(&sandbox)?.done("ADD")?;
            times.add.add(took);
            if number % 2 == 1 {
                times
                    .bare
                    .add(bare::attach(&space)?.done("beside it, a bare interface")?.0);
            }
            attached.push((sandbox, added));
            plain.push(space);
        }
        aside(node, runtime, &attached, &mut times)?;
        for (sandbox, _) in &attached {
            interrupt.check()?;
            times.del.add(runtime.del(sandbox)?.done("DEL")?.0);
        }
    }
    Ok(times)
}

/// The verbs that change nothing, and what they are compared with, by turns.
fn aside(
    node: &Node,
    runtime: &Runtime,
    attached: &[(Sandbox, Value)],
    times: &mut Serial,
) -> Result<()> {
    for (sandbox, added) in attached {
        times
            .check
            .add(runtime.check(sandbox, added)?.done("CHECK")?.0);
        times.status.add(runtime.status()?.done("STATUS")?.0);
        times.version.add(runtime.version()?.done("VERSION")?.0);
        times.exec.add(timed(Command::new("true"), b"")?.took);
        times.sync.add(sync(&node.path("sync"))?);
    }
    Ok(())
}

/// How long the disk takes for a record of the journal's size.
fn sync(path: &Path) -> Result<Duration> {
    let what = || format!("cannot write {}", path.display());
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(what)?;
    let clock = Clock::start();
    file.write_all(&RECORD)
        .and_then(|()| file.sync_data())
        .with_context(what)?;
    Ok(elapsed(clock))
}

/// Attaches all, `lanes` at a time: each one's time, and all together.
fn at_once(runtime: &Runtime, sandboxes: &[Sandbox], lanes: usize) -> Result<(Samples, Duration)> {
    let start = Barrier::new(lanes + 1);
    let (taken, start) = (std::sync::atomic::AtomicUsize::new(0), &start);
    let taken = &taken;
    let lane = move || -> Result<Vec<Duration>> {
        start.wait();
        let mut times = Vec::new();
        loop {
            let next = taken.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(sandbox) = sandboxes.get(next) else {
                return Ok(times);
            };
            times.push(runtime.add(sandbox)?.done("ADD")?.0);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        let clock = Clock::start();
        start.wait();
        let mut all = Samples::default();
        for thread in threads {
            let times = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a lane panicked"))??;
            all.extend(&times.into_iter().collect());
        }
        Ok((all, elapsed(clock)))
    })
}

fn remove(runtime: &Runtime, sandboxes: &[Sandbox]) -> Result<()> {
    sandboxes
        .iter()
        .try_for_each(|sandbox| runtime.del(sandbox)?.done("DEL").map(|_| ()))
}
