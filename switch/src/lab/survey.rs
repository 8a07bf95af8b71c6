//! Which pairs talk, by real packets, and is that what was expected?
//!
//! Owns sending the probes of `lab probe`, `lab matrix` and `lab check`: one thread per sender, a
//! bounded number at a time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use weft_sys::netns::Netns;

use super::endpoint::{Endpoint, Protocol, Verdict};
use super::error::{LabError, LabResult};
use super::expect::Expectation;
use super::file::Family;
use super::plan::Plan;
use super::probe::{self, Outcome, Target};
use super::progress::Progress;
use super::resolve::Resolved;
use super::verdicts::{Checked, Matrix, Pair};

/// Senders at work at the same time.
const SENDERS: usize = 16;

/// What is asked of every pair.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    /// Absent: the first family both ends have.
    pub(crate) family: Option<Family>,
    pub(crate) size: Option<u16>,
    pub(crate) limit: Duration,
}

/// How long `lab check` waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For an answer that is expected.
    pub(crate) answer: Duration,
    /// For one that is not.
    pub(crate) silence: Duration,
}

/// The answer of `lab probe -o json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Probed {
    from: Endpoint,
    to: Endpoint,
    address: IpAddr,
    port: u16,
    protocol: Protocol,
    pub(crate) verdict: Verdict,
    rtt_micros: Option<u128>,
    answer: String,
}

impl Probed {
    /// One line for people.
    pub(crate) fn text(&self) -> String {
        let Self {
            from,
            to,
            address,
            protocol,
            verdict,
            answer,
            ..
        } = self;
        let port = if *protocol == Protocol::Icmp {
            String::new()
        } else {
            format!(":{}", self.port)
        };
        let sign = if *verdict == Verdict::Allow {
            "✓"
        } else {
            "✗"
        };
        let rtt = self
            .rtt_micros
            .map(|us| format!(" in {us} µs"))
            .unwrap_or_default();
        format!("{sign} {verdict}  {from} → {to} ({address}{port}/{protocol}): {answer}{rtt}\n")
    }
}

/// One pair.
pub(crate) fn probe(
    plan: &Plan,
    from: &Endpoint,
    to: &Endpoint,
    question: Question,
) -> LabResult<Probed> {
    let (netns, target) = resolve(plan, from, to, question)?;
    let mut outcomes = probe::run(&Netns::open(&netns)?, &[target])?;
    let Some(outcome) = outcomes.pop() else {
        return Err(LabError::failed("the probe has no outcome", ""));
    };
    Ok(Probed {
        from: from.clone(),
        to: to.clone(),
        address: target.address,
        port: question.port,
        protocol: question.protocol,
        verdict: outcome.verdict,
        rtt_micros: outcome.rtt.map(|rtt| rtt.as_micros()),
        answer: outcome.answer,
    })
}

/// Where to send from and to.
fn resolve(
    plan: &Plan,
    from: &Endpoint,
    to: &Endpoint,
    question: Question,
) -> LabResult<(String, Target)> {
    let wrong =
        |message: String| LabError::usage(message, format!("weft lab status --lab {}", plan.name));
    let source = plan.member_of(from).map_err(wrong)?;
    let destination = plan.member_of(to).map_err(wrong)?;
    let Some(netns) = source.netns.clone() else {
        let message =
            format!("{from} is an address; packets can only be sent from a member of the lab");
        return Err(LabError::usage(
            message,
            "say namespace/pod, node:NAME or outside",
        ));
    };
    let address = choose(&source, &destination, question.family)
        .ok_or_else(|| wrong(format!("{from} and {to} have no address family in common")))?;
    Ok((
        netns,
        Target {
            address,
            port: question.port,
            protocol: question.protocol,
            size: question.size,
            limit: question.limit,
        },
    ))
}

fn choose(from: &Resolved, to: &Resolved, family: Option<Family>) -> Option<IpAddr> {
    let families = Plan::families(from, to);
    let family = families
        .into_iter()
        .find(|f| family.is_none_or(|wanted| wanted == *f))?;
    to.address(family)
}

/// Every pod to every pod; to itself is always allowed.
pub(crate) fn matrix(plan: &Plan, question: Question) -> LabResult<Matrix> {
    let mut jobs = Vec::new();
    let mut pairs = Vec::new();
    for from in &plan.pods {
        for to in &plan.pods {
            let me = Endpoint::Pod(from.name.clone());
            let other = Endpoint::Pod(to.name.clone());
            if from.name != to.name {
                jobs.push(resolve(plan, &me, &other, question)?);
            }
            pairs.push(Pair {
                from: from.name.clone(),
                to: to.name.clone(),
                verdict: Verdict::Allow,
            });
        }
    }
    let mut outcomes = all(&jobs)?.into_iter();
    for pair in pairs.iter_mut().filter(|pair| pair.from != pair.to) {
        pair.verdict = outcomes
            .next()
            .map_or(Verdict::Deny, |outcome| outcome.verdict);
    }
    Ok(Matrix {
        port: question.port,
        protocol: question.protocol,
        verdicts: pairs,
    })
}

/// Every expectation, in every family it means.
pub(crate) fn check(
    plan: &Plan,
    expect: &[Expectation],
    limits: Limits,
) -> LabResult<Vec<Checked>> {
    let mut jobs = Vec::new();
    let mut owners = Vec::new();
    for (index, one) in expect.iter().enumerate() {
        for family in families(plan, one)? {
            let question = Question {
                port: one.port,
                protocol: one.protocol,
                family: Some(family),
                size: one.size,
                limit: match one.verdict {
                    Verdict::Allow => limits.answer,
                    Verdict::Deny => limits.silence,
                },
            };
            jobs.push(resolve(plan, &one.from, &one.to, question)?);
            owners.push((index, family));
        }
    }
    let outcomes = all(&jobs)?;
    let mut seen: BTreeMap<usize, Vec<(Family, Outcome)>> = BTreeMap::new();
    for ((index, family), outcome) in owners.into_iter().zip(outcomes) {
        seen.entry(index).or_default().push((family, outcome));
    }
    let judge = |(index, one): (usize, &Expectation)| {
        judge(one, seen.get(&index).map_or(&[], Vec::as_slice))
    };
    Ok(expect.iter().enumerate().map(judge).collect())
}

fn families(plan: &Plan, one: &Expectation) -> LabResult<Vec<Family>> {
    if let Some(family) = one.family {
        return Ok(vec![family]);
    }
    let wrong = |message| LabError::usage(message, "weft lab status");
    let from = plan.member_of(&one.from).map_err(wrong)?;
    Ok(Plan::families(
        &from,
        &plan.member_of(&one.to).map_err(wrong)?,
    ))
}

/// An expectation holds if every family agrees; the first that does not is told.
fn judge(one: &Expectation, outcomes: &[(Family, Outcome)]) -> Checked {
    let against = outcomes
        .iter()
        .find(|(_, outcome)| outcome.verdict != one.verdict);
    let (seen, detail) = match (against.or_else(|| outcomes.first()), against.is_some()) {
        (None, _) => (
            None,
            "both ends have no address family in common".to_owned(),
        ),
        (Some((family, outcome)), true) => {
            let family = if *family == Family::Ipv4 {
                "IPv4"
            } else {
                "IPv6"
            };
            (
                Some(outcome.verdict),
                format!("{family}: {}", outcome.answer),
            )
        }
        (Some((_, outcome)), false) => (Some(outcome.verdict), outcome.answer.clone()),
    };
    Checked {
        expectation: one.clone(),
        seen,
        detail,
    }
}

/// Outcomes in the order of the jobs.
fn all(jobs: &[(String, Target)]) -> LabResult<Vec<Outcome>> {
    let mut by_sender: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, (netns, _)) in jobs.iter().enumerate() {
        by_sender.entry(netns).or_default().push(index);
    }
    // A socket per probe may be more than a shell's limit.
    weft_sys::limits::raise_open_files()?;
    let progress = Progress::start(by_sender.len());
    let work = Mutex::new(by_sender.into_iter());
    let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
    let results: Mutex<Vec<(usize, Outcome)>> = Mutex::new(Vec::new());
    let one = |netns: &str, indices: &[usize]| -> LabResult<()> {
        let targets: Vec<Target> = indices
            .iter()
            .filter_map(|i| jobs.get(*i))
            .map(|job| job.1)
            .collect();
        let outcomes = probe::run(&Netns::open(netns)?, &targets)?;
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        results.extend(indices.iter().copied().zip(outcomes));
        Ok(())
    };
    let worker = || -> LabResult<()> {
        while let Some((netns, indices)) = next() {
            progress.step(&format!("probe from {netns}"));
            one(netns, &indices)?;
        }
        Ok(())
    };
    thread::scope(|scope| -> LabResult<()> {
        let workers: Vec<_> = (0..SENDERS).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            worker
                .join()
                .unwrap_or_else(|_| Err(LabError::failed("a prober broke off", "")))?;
        }
        Ok(())
    })?;
    progress.finish();
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, outcome)| outcome).collect())
}
