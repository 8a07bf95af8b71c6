//! How does a pod get its interface, and how does it go?
//!
//! Owns pods: a namespace each, joined to its node by the control message that a CNI plugin sends,
//! or to a kernel node by a veth pair.

use ipnetwork::IpNetwork;
use weft_sys::netns::Netns;

use super::daemon;
use super::error::{LabError, LabResult};
use super::fabric::{ensure_netns, has_link};
use super::file::NodeKind;
use super::kernel;
use super::plan::{Node, Plan, Pod};
use crate::api::{Attach, Detach};

/// The pod's interface.
pub(crate) const IFNAME: &str = "eth0";

/// Makes a pod's namespace and joins it to its node; again heals what is missing.
pub(crate) fn join(plan: &Plan, pod: &Pod) -> LabResult<()> {
    let node = node_of(plan, pod)?;
    if !has_link(&pod.netns, "lo")? {
        Netns::delete(&pod.netns)?;
    }
    let netns = ensure_netns(&pod.netns)?;
    super::fabric::prepare(&netns, false)?;
    match node.kind {
        NodeKind::Kernel => kernel::join_pod(plan, node, pod, &netns),
        NodeKind::Weft => {
            detach(plan, node, pod)?;
            attach(plan, node, pod, &netns)
        }
    }
}

/// Gives a pod its interface through the daemon, as a CNI plugin would.
fn attach(plan: &Plan, node: &Node, pod: &Pod, netns: &Netns) -> LabResult<()> {
    let request = Attach {
        container_id: pod.netns.clone(),
        ifname: IFNAME.to_owned(),
        namespace: pod.name.namespace.clone(),
        pod: pod.name.name.clone(),
        ips: pod
            .addresses
            .iter()
            .map(|ip| IpNetwork::from(*ip))
            .collect(),
        ..Attach::default()
    };
    let attached = daemon::connect(plan, node).and_then(|mut client| client.attach(request, netns));
    attached.map(|_| ()).map_err(|error| {
        LabError::failed(
            format!("cannot attach pod {} to {}: {error}", pod.name, node.name),
            format!("weft status --lab {} --node {}", plan.name, node.name),
        )
    })
}

/// Takes a pod's interface away; a daemon that is gone took it along.
fn detach(plan: &Plan, node: &Node, pod: &Pod) -> LabResult<()> {
    let Ok(mut client) = daemon::connect(plan, node) else {
        return Ok(());
    };
    let request = Detach {
        container_id: pod.netns.clone(),
        ifname: IFNAME.to_owned(),
    };
    client.detach(request).map(|_| ()).map_err(|error| {
        LabError::failed(
            format!("cannot detach pod {} from {}: {error}", pod.name, node.name),
            "",
        )
    })
}

/// Removes a pod and its namespace.
pub(crate) fn remove(plan: &Plan, pod: &Pod) -> LabResult<()> {
    if let Some(node) = plan
        .node(&pod.node)
        .filter(|node| node.kind == NodeKind::Weft)
    {
        detach(plan, node, pod)?;
    }
    Netns::delete(&pod.netns)?;
    Ok(())
}

fn node_of<'p>(plan: &'p Plan, pod: &Pod) -> LabResult<&'p Node> {
    plan.node(&pod.node).ok_or_else(|| {
        LabError::failed(
            format!("pod {} has no node {}", pod.name, pod.node),
            "weft lab up",
        )
    })
}
