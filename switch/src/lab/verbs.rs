//! `weft lab …`: what does each word start?
//!
//! Owns output and exit codes of the lab's commands. Answers go to stdout, messages to stderr.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::cli::{CheckArgs, LabArg, NetemArgs, ProbeArgs, QuestionArgs, Verb};
use super::daemon;
use super::demo;
use super::down;
use super::endpoint::{PodRef, Verdict};
use super::error::{LabError, LabResult};
use super::file::{self, LabFile, ManifestPath, NodeKind};
use super::manifest;
use super::name::{self, LabName};
use super::observe;
use super::plan::Plan;
use super::record::{Lock, Record};
use super::relay::{self, Faults};
use super::status::Status;
use super::survey::{self, Limits, Question};
use super::time::{Interrupt, Stopwatch};
use super::up::{self, Done};
use super::verdicts;
use super::{agent, relay_loop, run, select};
use crate::cli::Output;
use crate::text::say;

/// The answer is yes, or no.
fn answer(yes: bool) -> ExitCode {
    if yes {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

impl Verb {
    /// Does it.
    pub(crate) fn run(self) -> LabResult<ExitCode> {
        // These tell mistakes in files first, and then check more than privileges.
        if !matches!(
            self,
            Self::Plan { .. } | Self::Up { .. } | Self::Demo { .. }
        ) {
            up::check_privilege()?;
        }
        match self {
            Self::Demo { keep, name } => demo::run(&name, keep).map(answer),
            Self::Plan { file, output } => plan(&file.path(), output.output),
            Self::Up { file, replace } => up_verb(&file.path(), replace),
            Self::Apply { paths, lab } => apply(&paths, &lab),
            Self::Down { name, all } => down_verb(name.as_deref(), all),
            Self::Status { which, lab, output } => {
                status(which.or(lab.name).as_deref(), output.output)
            }
            Self::Exec { lab, pod, command } => exec(&pod, &command, &lab),
            Self::Node { lab, node, command } => on_node(&node, &command, &lab),
            Self::Probe(args) => probe(&args),
            Self::Matrix {
                question,
                lab,
                output,
            } => matrix(&question, &lab, output.output),
            Self::Check(args) => check(&args),
            Self::Netem(args) => netem(&args),
            Self::Agent { state } => agent::run(&state).map(|()| ExitCode::SUCCESS),
            Self::Relay(args) => relay_loop::run(&args).map(|()| ExitCode::SUCCESS),
        }
    }
}

fn probe(args: &ProbeArgs) -> LabResult<ExitCode> {
    let record = select::record(args.lab.name.as_deref())?;
    let probed = survey::probe(
        &record.plan,
        &args.from,
        &args.to,
        question_of(&args.question),
    )?;
    print(args.output.output, &probed, || probed.text());
    Ok(answer(probed.verdict == Verdict::Allow))
}

fn matrix(question: &QuestionArgs, lab: &LabArg, form: Output) -> LabResult<ExitCode> {
    let record = select::record(lab.name.as_deref())?;
    let matrix = survey::matrix(&record.plan, question_of(question))?;
    print(form, &matrix, || matrix.table().to_string());
    Ok(ExitCode::SUCCESS)
}

fn exec(pod: &PodRef, command: &[String], lab: &LabArg) -> LabResult<ExitCode> {
    let record = select::record(lab.name.as_deref())?;
    let found = record.plan.pod(pod);
    let pod = found.ok_or_else(|| unknown("pod", &pod.to_string(), &record))?;
    run::command(&pod.netns, command)
}

fn on_node(node: &str, command: &[String], lab: &LabArg) -> LabResult<ExitCode> {
    let record = select::record(lab.name.as_deref())?;
    let outside = record
        .plan
        .outside
        .as_ref()
        .filter(|_| node == name::OUTSIDE);
    let member = record.plan.node(node).map(|node| &node.member).or(outside);
    let member = member.ok_or_else(|| unknown("node", node, &record))?;
    run::command(&member.netns, command)
}

fn unknown(what: &str, name: &str, record: &Record) -> LabError {
    let lab = &record.plan.name;
    LabError::usage(
        format!("there is no {what} {name} in lab {lab}"),
        format!("weft lab status --lab {lab}"),
    )
}

const fn question_of(args: &QuestionArgs) -> Question {
    Question {
        port: args.port,
        protocol: args.protocol,
        family: args.family,
        size: args.size,
        limit: args.timeout,
    }
}

/// Reads the manifests a file names and makes the plan; warnings go to stderr.
fn read_plan(file: &LabFile, before: Option<&Plan>) -> LabResult<Plan> {
    let documents = manifest::read(&file.manifests, &file.path)?;
    let plan = Plan::new(file, &documents, before)?;
    warn(&plan);
    Ok(plan)
}

fn warn(plan: &Plan) {
    for warning in &plan.warnings {
        eprintln!("warning: {warning}");
    }
}

fn plan(path: &Path, form: Output) -> LabResult<ExitCode> {
    let plan = read_plan(&LabFile::read(path)?, None)?;
    let status = Status::planned(&plan);
    print(form, &status, || status.text());
    Ok(ExitCode::SUCCESS)
}

fn up_verb(path: &Path, replace: bool) -> LabResult<ExitCode> {
    let file = LabFile::read(path)?;
    // Mistakes in manifests are told before anything is asked of this host.
    let documents = manifest::read(&file.manifests, &file.path)?;
    warn(&Plan::new(&file, &documents, None)?);
    let interrupt = Interrupt::install()?;
    let watch = Stopwatch::start();
    let done = up::up(&file.name, path, replace, &interrupt, |before| {
        Plan::new(&file, &documents, before)
    })?;
    tell(&done, watch);
    Ok(ExitCode::SUCCESS)
}

/// What the daemons complain about, each thing once.
fn complaints(plan: &Plan) -> Vec<String> {
    let nodes = plan.nodes_of(NodeKind::Weft);
    let told = nodes.filter_map(|node| daemon::connect(plan, node).ok()?.status().ok());
    let problems = told.flat_map(|status| status.problems);
    let mut lines: Vec<String> = problems
        .map(|problem| format!("{} ({}); {}", problem.what, problem.place, problem.next))
        .collect();
    lines.sort();
    lines.dedup();
    lines
}

fn apply(paths: &[PathBuf], lab: &LabArg) -> LabResult<ExitCode> {
    let name = select::lab(lab.name.as_deref())?;
    let paths: Vec<ManifestPath> = paths
        .iter()
        .map(|path| ManifestPath {
            path: path.clone(),
            line: 0,
        })
        .collect();
    let documents = manifest::read(&paths, Path::new(""))?;
    let interrupt = Interrupt::install()?;
    let watch = Stopwatch::start();
    let done = up::apply(&name, &interrupt, |before| {
        let plan = before.with_manifests(&documents)?;
        warn(&plan);
        Ok(plan)
    })?;
    tell(&done, watch);
    Ok(ExitCode::SUCCESS)
}

fn tell(done: &Done, watch: Stopwatch) {
    let plan = &done.record.plan;
    for complaint in complaints(plan) {
        eprintln!("warning: {complaint}");
    }
    let size = format!("{} nodes, {} pods", plan.nodes.len(), plan.pods.len());
    if done.steps == 0 {
        eprintln!(
            "lab {} is up as its files say: {size}; nothing changed",
            plan.name
        );
        return;
    }
    eprintln!(
        "lab {} is up: {size}, after {} steps in {:.1?}",
        plan.name,
        done.steps,
        watch.elapsed()
    );
    eprintln!(
        "next: weft lab status --lab {}, weft lab matrix --lab {}",
        plan.name, plan.name
    );
}

fn down_verb(named: Option<&str>, all: bool) -> LabResult<ExitCode> {
    let labs = if all {
        down::all()?
    } else {
        vec![named_or_only(named)?]
    };
    if labs.is_empty() {
        eprintln!("no lab is up");
    }
    let mut result = Ok(ExitCode::SUCCESS);
    for lab in labs {
        match Lock::hold(&lab, || down::sweep(&lab)) {
            Ok(removed) => {
                if removed.anything() {
                    eprintln!(
                        "lab {lab} is gone: {} processes, {} namespaces; nothing is left",
                        removed.processes, removed.namespaces
                    );
                } else {
                    eprintln!("lab {lab} is not up; nothing is left of it");
                }
            }
            Err(error) => result = Err(error),
        }
    }
    result
}

/// Like other commands, but a lab that lost its folder can still be named.
fn named_or_only(named: Option<&str>) -> LabResult<LabName> {
    match (named, down::all()?.as_slice()) {
        (None, [only]) => Ok(only.clone()),
        _ => select::lab(named),
    }
}

fn status(lab: Option<&str>, form: Output) -> LabResult<ExitCode> {
    let record = select::record(lab)?;
    let status = Status::new(&record.plan, &observe::ready(&record)?);
    print(form, &status, || status.text());
    if !status.all_ready() {
        eprintln!(
            "not everything is ready; next: weft lab up -f {}",
            record.file.display()
        );
    }
    Ok(answer(status.all_ready()))
}

fn check(args: &CheckArgs) -> LabResult<ExitCode> {
    let record = select::record(args.lab.name.as_deref())?;
    let expect = match &args.file {
        Some(file) => file::expectations(file)?,
        None => record.plan.expect.clone(),
    };
    if expect.is_empty() {
        let file = args.file.as_ref().unwrap_or(&record.file);
        eprintln!(
            "lab {} expects nothing; add expect: to {}",
            record.plan.name,
            file.display()
        );
    }
    let limits = Limits {
        answer: args.timeout,
        silence: args.silence,
    };
    let checked = survey::check(&record.plan, &expect, limits)?;
    let good = checked.iter().filter(|one| one.holds()).count();
    print(args.output.output, &checked, || {
        let misses = if good < checked.len() {
            verdicts::misses(&checked).to_string()
        } else {
            String::new()
        };
        format!("{misses}{good} of {} expectations hold\n", checked.len())
    });
    if let Some(path) = &args.junit {
        let xml = verdicts::junit(record.plan.name.as_str(), &checked);
        fs::write(path, xml).map_err(|error| {
            LabError::usage(
                format!("cannot write {}: {error}", path.display()),
                "name a file that can be written with --junit",
            )
        })?;
    }
    Ok(answer(good == checked.len()))
}

fn netem(args: &NetemArgs) -> LabResult<ExitCode> {
    let NetemArgs { node, clear, .. } = args;
    let faults = Faults {
        delay_us: args.delay.unwrap_or(0),
        loss_ppm: args.loss.unwrap_or(0),
        seed: args.seed,
    };
    if !*clear && faults.delay_us == 0 && faults.loss_ppm == 0 {
        return Err(LabError::usage(
            "no fault is named",
            "weft lab netem NODE --delay 20ms --loss 1%, or --clear",
        ));
    }
    let name = select::lab(args.lab.name.as_deref())?;
    Lock::hold(&name, || {
        let mut record = select::record(Some(name.as_str()))?;
        if *clear {
            let had = relay::clear(&mut record, node)?;
            eprintln!(
                "{node} has {} faults on its underlay",
                if had { "no more" } else { "no" }
            );
        } else {
            relay::set(&mut record, node, faults, &Interrupt::install()?)?;
            eprintln!(
                "{node}: +{} µs and {}% loss each way",
                faults.delay_us,
                f64::from(faults.loss_ppm) / 1e4
            );
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn print(form: Output, value: &impl serde::Serialize, text: impl FnOnce() -> String) {
    say(&match form {
        Output::Table | Output::Wide => text(),
        Output::Json => {
            serde_json::to_string(value).unwrap_or_default()
                + "
"
        }
        Output::Yaml => serde_saphyr::to_string(value).unwrap_or_default(),
    });
}
