//! How does a lab come up, and what happens if it cannot?
//!
//! Owns the order of things: lock, look, compare, take the steps of `reconcile`. A first `up` that fails removes everything; a later one removes what it added and leaves the rest.

use std::path::{Path, PathBuf};

use super::daemon;
use super::down;
use super::error::{LabError, LabResult};
use super::file::NodeKind;
use super::name::LabName;
use super::observe;
use super::plan::Plan;
use super::procs::{self, ProcessId};
use super::progress::Progress;
use super::reconcile;
use super::record::{Folder, Lock, Record};
use super::time::Interrupt;
use super::work::{self, Work};

/// What a reconcile did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) record: Record,
    /// How many steps were taken; none if everything was as it should be.
    pub(crate) steps: usize,
}

/// What this host must have.
pub(crate) fn check_host() -> LabResult<()> {
    weft_sys::caps::check().map_err(|missing| LabError::host(missing.why, missing.next))
}

/// What looking at a lab, or removing one, takes: root, but no TUN device.
pub(crate) fn check_privilege() -> LabResult<()> {
    let have = weft_sys::caps::Capabilities::current()?;
    if have.net_admin && have.sys_admin {
        return Ok(());
    }
    Err(LabError::host(
        "CAP_NET_ADMIN and CAP_SYS_ADMIN are missing",
        "run it as root, for example with sudo",
    ))
}

/// Brings a lab to what `file` describes; `plan` gets the plan before, if there is one.
pub(crate) fn up(
    lab: &LabName,
    file: &Path,
    replace: bool,
    interrupt: &Interrupt,
    plan: impl FnOnce(Option<&Plan>) -> LabResult<Plan>,
) -> LabResult<Done> {
    check_host()?;
    Lock::hold(lab, || up_locked(lab, file, replace, interrupt, plan))
}

fn up_locked(
    lab: &LabName,
    file: &Path,
    replace: bool,
    interrupt: &Interrupt,
    plan: impl FnOnce(Option<&Plan>) -> LabResult<Plan>,
) -> LabResult<Done> {
    let file = absolute(file);
    let before = Record::load(lab)?;
    if let Some(other) = before
        .as_ref()
        .filter(|record| record.file != file && !replace)
    {
        return Err(LabError::usage(
            format!(
                "lab {lab} is already up from {}, and this is {}",
                other.file.display(),
                file.display()
            ),
            format!(
                "weft lab up -f {} --replace to turn that lab into this one, or give this one another name",
                file.display()
            ),
        ));
    }
    let plan = plan(before.as_ref().map(|record| &record.plan))?;
    if before.is_none() && down::exists(lab)? {
        // A lab that lost its notes cannot be reconciled.
        down::sweep(lab)?;
    }
    reconcile(before, file, plan, interrupt)
}

/// The file's path as later commands will know it.
pub(crate) fn absolute(file: &Path) -> PathBuf {
    std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned())
}

/// Replaces the manifests of a lab that is up.
pub(crate) fn apply(
    lab: &LabName,
    interrupt: &Interrupt,
    plan: impl FnOnce(&Plan) -> LabResult<Plan>,
) -> LabResult<Done> {
    check_host()?;
    Lock::hold(lab, || {
        let Some(before) = Record::load(lab)? else {
            return Err(LabError::usage(
                format!("lab {lab} is not up"),
                "weft lab up",
            ));
        };
        let plan = plan(&before.plan)?;
        let file = before.file.clone();
        reconcile(Some(before), file, plan, interrupt)
    })
}

/// Ends helpers that nobody wrote down, as a command leaves them that was killed after starting one.
fn end_strangers(lab: &LabName, record: Option<&Record>) -> LabResult<()> {
    let known: Vec<ProcessId> = record.map(Record::processes).unwrap_or_default();
    let all = procs::helpers(Folder::of(lab).path());
    all.into_iter()
        .filter(|id| !known.contains(id))
        .try_for_each(ProcessId::end)
}

/// Takes the steps from what is to `plan`.
fn reconcile(
    before: Option<Record>,
    file: PathBuf,
    plan: Plan,
    interrupt: &Interrupt,
) -> LabResult<Done> {
    end_strangers(&plan.name, before.as_ref())?;
    let seen = observe::look(&plan, before.as_ref())?;
    let steps = reconcile::steps(before.as_ref().map(|r| &r.plan), &plan, &seen);
    let mut record = before
        .clone()
        .unwrap_or_else(|| Record::new(file.clone(), plan.clone()));
    record.file = file;
    let old = before.as_ref().map(|r| r.plan.clone());
    let mut work = Work {
        old,
        plan,
        record,
        made: Vec::new(),
        interrupt,
    };
    if steps.is_empty() {
        // The files fit; an interrupted command may not have waited for the daemons.
        for node in work.plan.nodes_of(NodeKind::Weft) {
            daemon::sync(&work.plan, node)?;
        }
        let steps = work.finish()?;
        return Ok(Done {
            record: work.record,
            steps,
        });
    }
    let progress = Progress::start(steps.len());
    let mut result = work.record.save();
    for step in &steps {
        if result.is_err() {
            break;
        }
        progress.step(&work::describe(step));
        result = interrupt.check().and_then(|()| work.take(step));
    }
    progress.finish();
    match result.and_then(|()| work.finish()) {
        Ok(healed) => Ok(Done {
            record: work.record,
            steps: steps.len() + healed,
        }),
        Err(error) => Err(work.roll_back(before.is_none(), error)),
    }
}
