//! How is each step of a reconcile taken, and taken back?
//!
//! Owns carrying out [`Step`]s: notes are written with each, namespaces made are remembered, so that a
//! command that fails can remove them.

use weft_sys::netns::Netns;

use super::daemon;
use super::down;
use super::endpoint::PodRef;
use super::error::{LabError, LabResult};
use super::fabric;
use super::file::NodeKind;
use super::kernel;
use super::name;
use super::plan::{Node, Plan};
use super::pods;
use super::procs;
use super::reconcile::Step;
use super::record::{Folder, Record};
use super::relay;
use super::responders;
use super::time::Interrupt;

/// A reconcile under way.
pub(crate) struct Work<'i> {
    pub(crate) old: Option<Plan>,
    pub(crate) plan: Plan,
    pub(crate) record: Record,
    /// Namespaces this command made.
    pub(crate) made: Vec<String>,
    pub(crate) interrupt: &'i Interrupt,
}

impl Work<'_> {
    pub(crate) fn take(&mut self, step: &Step) -> LabResult<()> {
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
            Step::Sync(name) => daemon::sync(&self.plan, self.node(name)?),
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
        if let Some(netem) = self.record.netem.get(name) {
            // It holds the link of before; `finish` starts it again on the new one.
            relay::end(netem)?;
        }
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

    fn pod(&mut self, name: &PodRef) -> LabResult<()> {
        let Some(pod) = self.plan.pod(name).cloned() else {
            return Ok(());
        };
        self.note_new(&pod.netns);
        pods::join(&self.plan, &pod)?;
        self.record.attached.insert(name.clone());
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
    pub(crate) fn finish(&mut self) -> LabResult<usize> {
        let healed = relay::heal(&self.plan, &mut self.record, self.interrupt)?;
        self.record.plan = self.plan.clone();
        self.record.save()?;
        Ok(healed)
    }

    /// Removes what this command made; the error says so where that failed too.
    pub(crate) fn roll_back(&mut self, first: bool, error: LabError) -> LabError {
        let undone = if first {
            down::sweep(&self.plan.name).map(|_| ())
        } else {
            self.remove_made()
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

/// What a person sees while a step is taken.
pub(crate) fn describe(step: &Step) -> String {
    match step {
        Step::RemovePod(pod) => format!("remove pod {pod}"),
        Step::RemoveMember(name) => format!("remove {name}"),
        Step::Fabric => "make the underlay".to_owned(),
        Step::Member(name) => format!("join {name} to the underlay"),
        Step::Files(name) => format!("write the files of {name}"),
        Step::Start(name) => format!("start the daemon of {name}"),
        Step::Await(name) => format!("wait for the daemon of {name}"),
        Step::Sync(name) => format!("have {name} take in its files"),
        Step::Overlay(name) => format!("set up the VXLAN device of {name}"),
        Step::Pod(pod) => format!("attach pod {pod}"),
        Step::Agent => "start the responders".to_owned(),
    }
}
