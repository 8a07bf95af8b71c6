//! How does a pod get its interface, and how does it go?
//!
//! Owns pods: a namespace each, joined to its node by the CNI plugin, or to a kernel node by a veth
//! pair.

use weft_sys::netlink::{Netlink, link};
use weft_sys::netns::Netns;

use super::daemon;
use super::error::{LabError, LabResult};
use super::fabric::{ensure_netns, has_link};
use super::file::NodeKind;
use super::kernel;
use super::plan::{Node, Plan, Pod};
use super::plugin::Sandbox;
use crate::api::PortReport;

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
        NodeKind::Weft if is_served(plan, node, pod)? => Ok(()),
        NodeKind::Weft => {
            let sandbox = Sandbox::new(plan, node, pod);
            sandbox.del()?;
            // Of a daemon that was removed with all it knew.
            link::delete(&mut Netlink::open_in(&netns)?, IFNAME)?;
            sandbox.add()
        }
    }
}

/// Whether the pod has its interface, and the node's daemon serves it there.
pub(crate) fn is_served(plan: &Plan, node: &Node, pod: &Pod) -> LabResult<bool> {
    let ports = daemon::connect(plan, node).and_then(|mut client| client.ports());
    let own = |port: &PortReport| {
        port.container_id == pod.netns && pod.addresses.iter().all(|ip| port.addresses.contains(ip))
    };
    Ok(ports.is_ok_and(|ports| ports.iter().any(own)) && has_link(&pod.netns, IFNAME)?)
}

/// Removes a pod and its namespace.
pub(crate) fn remove(plan: &Plan, pod: &Pod) -> LabResult<()> {
    if let Some(node) = plan
        .node(&pod.node)
        .filter(|node| node.kind == NodeKind::Weft)
    {
        Sandbox::new(plan, node, pod).del()?;
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
