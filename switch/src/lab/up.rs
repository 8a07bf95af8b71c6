//! How does a lab come up, and what happens if it cannot?
//!
//! Owns carrying out the steps of `reconcile`. Notes are written before each thing is made. A first
//! `up` that fails removes everything; a later one removes what it added and leaves the rest.

use std::path::{Path, PathBuf};

use weft_sys::netns::Netns;

use super::daemon;
use super::down;
use super::error::{LabError, LabResult};
use super::fabric;
use super::file::NodeKind;
use super::kernel;
use super::name::{self, LabName};
use super::observe;
use super::plan::{Node, Plan};
use super::pods;
use super::procs;
use super::progress::Progress;
use super::reconcile::{self, Step};
use super::record::{Folder, Lock, Record};
use super::relay;
use super::responders;
use super::time::Interrupt;

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

/// Brings a lab to what `file` describes; `plan` gets the plan before, if there is one.
pub(crate) fn up(
    lab: &LabName,
    file: &Path,
    replace: bool,
    interrupt: &Interrupt,
    plan: impl FnOnce(Option<&Plan>) -> LabResult<Plan>,
) -> LabResult<Done> {
    check_host()?;
    let lock = Lock::take(lab)?;
    let result = up_locked(lab, file, replace, interrupt, plan);
    if result.is_err() && !down::exists(lab)? {
        lock.remove();
    }
    result
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
    let _lock = Lock::take(lab)?;
    let Some(before) = Record::load(lab)? else {
        return Err(LabError::usage(
            format!("lab {lab} is not up"),
            "weft lab up",
        ));
    };
    let plan = plan(&before.plan)?;
    let file = before.file.clone();
    reconcile(Some(before), file, plan, interrupt)
}

/// Takes the steps from what is to `plan`.
fn reconcile(
    before: Option<Record>,
    file: PathBuf,
    plan: Plan,
    interrupt: &Interrupt,
) -> LabResult<Done> {
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
        work.finish()?;
        return Ok(Done {
            record: work.record,
            steps: 0,
        });
    }
    let progress = Progress::start(steps.len());
    let mut result = work.record.save();
    for step in &steps {
        if result.is_err() {
            break;
        }
        progress.step(&describe(step));
        result = interrupt.check().and_then(|()| work.take(step));
    }
    progress.finish();
    if let Err(error) = result.and_then(|()| work.finish()) {
        return Err(work.roll_back(before, error));
    }
    Ok(Done {
        record: work.record,
        steps: steps.len(),
    })
}

/// A reconcile under way.
struct Work<'i> {
    old: Option<Plan>,
    plan: Plan,
    record: Record,
    /// Namespaces this command made.
    made: Vec<String>,
    interrupt: &'i Interrupt,
}

impl Work<'_> {
    fn take(&mut self, step: &Step) -> LabResult<()> {
        match step {
            Step::RemovePod(name) => {
                let old = self
                    .old
                    .as_ref()
                    .and_then(|old| Some((old, old.pod(name)?)));
                self.record.attached.remove(name);
                old.map_or(Ok(()), |(old, pod)| pods::remove(old, pod))?;
                self.record.save()
            }
            Step::RemoveMember(name) => self.remove_member(name),
            Step::Fabric => {
                self.note_new(&self.plan.name.netns(name::FABRIC));
                fabric::make(&self.plan)
            }
            Step::Member(name) => self.join(name),
            Step::Files(name) => daemon::write_files(&self.plan, self.node(name)?),
            Step::Start(name) => self.start(name),
            Step::Await(name) => {
                let node = self.node(name)?;
                let id = self.record.daemons.get(name).copied();
                id.map_or(Ok(()), |id| {
                    daemon::wait_ready(&self.plan, node, id, self.interrupt)
                })
            }
            Step::Overlay(name) => {
                let node = self.node(name)?;
                let netns = Netns::open(&node.member.netns)?;
                if !kernel::has_device(&self.plan, node)? {
                    daemon::check_port(&self.plan, node, &netns)?;
                }
                kernel::configure(&self.plan, node)
            }
            Step::Pod(name) => self.pod(name),
            Step::Agent => {
                let agent = responders::serve(&self.plan, self.record.agent, self.interrupt)?;
                self.record.agent = Some(agent);
                self.record.save()
            }
        }
    }

    fn node(&self, name: &str) -> LabResult<&Node> {
        self.plan
            .node(name)
            .ok_or_else(|| LabError::failed(format!("there is no node {name}"), ""))
    }

    fn note_new(&mut self, netns: &str) {
        if !Netns::exists(netns) {
            self.made.push(netns.to_owned());
        }
    }

    fn join(&mut self, name: &str) -> LabResult<()> {
        let outside = self.plan.outside.clone().filter(|_| name == name::OUTSIDE);
        let (member, forwards) = match outside {
            Some(outside) => (outside, false),
            None => (self.node(name)?.member.clone(), true),
        };
        self.note_new(&member.netns);
        fabric::join(&self.plan, &member, forwards)
    }

    fn start(&mut self, name: &str) -> LabResult<()> {
        if let Some(old) = self.record.daemons.remove(name) {
            old.end()?;
        }
        let id = daemon::start(&self.plan, self.node(name)?)?;
        self.record.daemons.insert(name.to_owned(), id);
        self.record.save()
    }

    fn pod(&mut self, name: &super::endpoint::PodRef) -> LabResult<()> {
        let Some(pod) = self.plan.pod(name).cloned() else {
            return Ok(());
        };
        self.note_new(&pod.netns);
        let daemon = self.record.daemons.get(&pod.node).copied();
        pods::join(&self.plan, &pod)?;
        self.record.attached.insert(name.clone(), daemon);
        self.record.save()
    }

    /// Ends a node or the outside host with everything inside.
    fn remove_member(&mut self, name: &str) -> LabResult<()> {
        let netns = self.plan.name.netns(name);
        if let Some(id) = self.record.daemons.remove(name) {
            id.end()?;
        }
        if let Some(netem) = self.record.netem.remove(name) {
            relay::end(&netem)?;
        }
        if Netns::exists(&netns) {
            let id = Netns::open(&netns)?.id()?;
            for process in procs::inside(&[id].into()) {
                process.end()?;
            }
        }
        Netns::delete(&netns)?;
        let folder = Folder::of(&self.plan.name).node(name);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(LabError::file("remove", &folder, &error));
            }
            _ => {}
        }
        self.record.save()
    }

    /// From here on the plan is what is.
    fn finish(&mut self) -> LabResult<()> {
        relay::heal(&self.plan, &mut self.record, self.interrupt)?;
        self.record.plan = self.plan.clone();
        self.record.save()
    }

    /// Removes what this command made; the error says so where that failed too.
    fn roll_back(&mut self, before: Option<Record>, error: LabError) -> LabError {
        let undone = match before {
            None => down::sweep(&self.plan.name).map(|_| ()),
            Some(_) => self.remove_made(),
        };
        match (undone, error) {
            (Ok(()), error) => error,
            (Err(more), error) => LabError::failed(
                format!("{error}\nand then: {more}"),
                format!("weft lab down {}", self.plan.name),
            ),
        }
    }

    fn remove_made(&mut self) -> LabResult<()> {
        for netns in &self.made {
            if let Ok(id) = Netns::open(netns).and_then(|n| n.id()) {
                for process in procs::inside(&[id].into()) {
                    process.end()?;
                }
            }
            Netns::delete(netns)?;
        }
        // The daemons go on with the manifests of before.
        if let Some(old) = &self.old {
            for node in old.nodes_of(NodeKind::Weft) {
                daemon::write_files(old, node)?;
            }
        }
        self.record.save()
    }
}

fn describe(step: &Step) -> String {
    match step {
        Step::RemovePod(pod) => format!("remove pod {pod}"),
        Step::RemoveMember(name) => format!("remove {name}"),
        Step::Fabric => "make the underlay".to_owned(),
        Step::Member(name) => format!("join {name} to the underlay"),
        Step::Files(name) => format!("write the files of {name}"),
        Step::Start(name) => format!("start the daemon of {name}"),
        Step::Await(name) => format!("wait for the daemon of {name}"),
        Step::Overlay(name) => format!("set up the VXLAN device of {name}"),
        Step::Pod(pod) => format!("attach pod {pod}"),
        Step::Agent => "start the responders".to_owned(),
    }
}
