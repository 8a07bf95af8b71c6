//! `weft-bench cni`: what does a container runtime wait for, and what stays when its pods are gone?
//!
//! Owns the arguments. Both answers come from the real plugin, started as a runtime starts it, and
//! a real daemon under policies: [`figures`] times the verbs, [`churn`] wears the node out.

mod bare;
mod bystanders;
mod churn;
mod figures;
mod holdings;
mod node;
mod report;
mod runtime;
mod space;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use weft_switch::cli::NO;

pub(crate) use bare::{BARE, bare};

use crate::interrupt::Interrupt;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Columns for people
    Table,
    /// One JSON object with stable field names
    Json,
}

/// `weft-bench cni`
#[derive(Debug, Args)]
pub(crate) struct CniCommand {
    /// Pods attached one after the other, and again eight at a time
    #[arg(long, value_name = "PODS", default_value_t = 200)]
    adds: usize,
    /// Pods attached at the same time
    #[arg(long, value_name = "PODS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
    /// Instead: attach and detach that many pods beside running ones, and look for what is left
    #[arg(long, value_name = "PODS", conflicts_with_all = ["adds", "parallel"])]
    churn: Option<usize>,
    /// Kill the daemon after every so many pods of the churn, once a fifth of it is over; 0: never
    #[arg(long, value_name = "PODS", default_value_t = 200, requires = "churn")]
    kill_every: usize,
    /// Workers of the daemon
    #[arg(long, value_name = "THREADS", default_value_t = 2)]
    workers: usize,
    /// Where the daemon's state is: on the disk whose syncs are to count
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    folder: PathBuf,
    /// Where weft and weft-cni are; default: beside this program
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "table")]
    output: Form,
}

impl CniCommand {
    /// 0 if every target was met and nothing is left, 1 otherwise.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let interrupt = Interrupt::install()?;
        space::sweep()?;
        let programs = match &self.programs {
            Some(programs) => programs.clone(),
            None => crate::own_folder()?,
        };
        let make = |pods| node::Node::new(&programs, &self.folder, pods, self.workers);
        let good = if let Some(pods) = self.churn {
            let node = make(churn::SLOTS)?;
            let answer = churn::run(node, pods, self.kill_every, &interrupt)?;
            report::print(self.output, &answer, churn::Answer::text)?;
            answer.failures.is_empty()
        } else {
            let parallel = usize::from(self.parallel);
            let node = make(self.adds.max(parallel))?;
            let answer = figures::run(node, self.adds, parallel, &interrupt)?;
            report::print(self.output, &answer, figures::Answer::text)?;
            answer.met()
        };
        Ok(if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(NO)
        })
    }
}
