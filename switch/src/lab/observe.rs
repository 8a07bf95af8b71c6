//! How much of a lab is there, and is it healthy?
//!
//! Owns looking: at namespaces, links, processes and what the daemons say. Changes nothing.

use std::collections::BTreeSet;

use weft_sys::netns::Netns;

use super::daemon;
use super::endpoint::PodRef;
use super::error::LabResult;
use super::fabric::{self, UPLINK};
use super::file::NodeKind;
use super::kernel;
use super::name;
use super::plan::{Node, Plan};
use super::pods;
use super::procs::ProcessId;
use super::reconcile::Seen;
use super::record::Record;
use super::responders;
use super::status::Ready;

/// Compares what is there with `plan`; the record tells which processes to look at.
pub(crate) fn look(plan: &Plan, record: Option<&Record>) -> LabResult<Seen> {
    let mut seen = Seen {
        fabric: fabric::is_made(plan)?,
        ..Seen::default()
    };
    for node in &plan.nodes {
        if fabric::has_link(&node.member.netns, UPLINK)? {
            seen.members.insert(node.name.clone());
        }
        match node.kind {
            NodeKind::Weft => {
                if daemon::files_fit(plan, node) {
                    seen.files.insert(node.name.clone());
                }
                let id = record.and_then(|r| r.daemons.get(&node.name)).copied();
                if daemon_serves(plan, node, id)? {
                    seen.daemons.insert(node.name.clone());
                }
            }
            NodeKind::Kernel => {
                if kernel::is_configured(plan, node)? {
                    seen.overlays.insert(node.name.clone());
                }
            }
        }
    }
    if let Some(outside) = &plan.outside
        && fabric::has_link(&outside.netns, UPLINK)?
    {
        seen.members.insert(name::OUTSIDE.to_owned());
    }
    seen.pods = joined_pods(plan, record)?;
    seen.agent = responders::is_served(plan, record.and_then(|r| r.agent));
    Ok(seen)
}

/// Whether a node's daemon runs in the node's namespace of today and is ready.
fn daemon_serves(plan: &Plan, node: &Node, id: Option<ProcessId>) -> LabResult<bool> {
    let Some(id) = id else { return Ok(false) };
    let Ok(netns) = Netns::open(&node.member.netns) else {
        return Ok(false);
    };
    Ok(id.is_in(netns.id()?) && daemon::is_ready(plan, node))
}

/// Pods whose namespace has its interface, served by its node.
fn joined_pods(plan: &Plan, record: Option<&Record>) -> LabResult<BTreeSet<PodRef>> {
    let mut joined = BTreeSet::new();
    for pod in &plan.pods {
        let Some(node) = plan.node(&pod.node) else {
            continue;
        };
        let attached = record.is_some_and(|record| record.attached.contains(&pod.name));
        let current = match node.kind {
            NodeKind::Weft => attached && pods::is_served(plan, node, pod)?,
            NodeKind::Kernel => attached && fabric::has_link(&pod.netns, pods::IFNAME)?,
        };
        if current {
            joined.insert(pod.name.clone());
        }
    }
    Ok(joined)
}

/// What `lab status` says is ready.
pub(crate) fn ready(record: &Record) -> LabResult<Ready> {
    let plan = &record.plan;
    let seen = look(plan, Some(record))?;
    let alive = |(name, id): (&String, &ProcessId)| id.is_alive().then(|| (name.clone(), id.pid));
    let weft = |node: &Node| seen.daemons.contains(&node.name);
    let kernel = |node: &Node| seen.overlays.contains(&node.name);
    let up = |node: &&Node| {
        let serves = if node.kind == NodeKind::Weft {
            weft(node)
        } else {
            kernel(node)
        };
        serves && seen.fabric && seen.members.contains(&node.name)
    };
    Ok(Ready {
        pids: record.daemons.iter().filter_map(alive).collect(),
        nodes: plan
            .nodes
            .iter()
            .filter(up)
            .map(|node| node.name.clone())
            .collect(),
        pods: seen.pods.clone(),
    })
}
