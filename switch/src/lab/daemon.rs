//! How does a weft node's daemon start, and when can it be trusted with pods?
//!
//! Owns writing a node's files and running `weft daemon` inside the node's namespace. Talks to it
//! over the control socket only.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use weft_sys::netns::Netns;
use weft_sys::udp;

use super::error::{LabError, LabResult};
use super::plan::{Node, Plan};
use super::procs::{self, ProcessId};
use super::record::{self, Folder};
use super::render;
use super::time::Interrupt;
use crate::api::{self, Client};

/// How long a daemon may take until it is ready.
const READY: Duration = Duration::from_secs(20);

/// Nodes, namespaces, pods and policies.
const MANIFESTS: &str = "cluster.yaml";

/// Writes what the daemon reads; files that say the same stay untouched.
pub(crate) fn write_files(plan: &Plan, node: &Node) -> LabResult<()> {
    let folder = Folder::of(&plan.name).node(&node.name);
    let cluster = folder.join("cluster.d");
    Folder::make(&cluster)?;
    Folder::make(&Folder::of(&plan.name).state(&node.name))?;
    record::write(
        &folder.join("weft.toml"),
        &render::weft_toml(plan, node, &folder),
    )?;
    record::write(&cluster.join(MANIFESTS), &render::cluster(plan))?;
    Ok(())
}

/// Whether the files say what the plan says.
pub(crate) fn files_fit(plan: &Plan, node: &Node) -> bool {
    let folder = Folder::of(&plan.name).node(&node.name);
    let says = |path: &Path, text: &str| fs::read_to_string(path).is_ok_and(|old| old == text);
    let toml = render::weft_toml(plan, node, &folder);
    let manifests = folder.join("cluster.d").join(MANIFESTS);
    says(&folder.join("weft.toml"), &toml) && says(&manifests, &render::cluster(plan))
}

/// Starts the daemon; [`wait_ready`] tells when it serves.
pub(crate) fn start(plan: &Plan, node: &Node) -> LabResult<ProcessId> {
    let netns = Netns::open(&node.member.netns)?;
    let folder = Folder::of(&plan.name).node(&node.name);
    check_port(plan, node, &netns)?;
    let mut command = procs::weft()?;
    command
        .args(["daemon", "--config"])
        .arg(folder.join("weft.toml"));
    procs::start(command, Some(&netns), &folder.join("weft.log"))
}

/// The VXLAN port of a node must be free before its daemon, or the kernel's device, takes it.
pub(crate) fn check_port(plan: &Plan, node: &Node, netns: &Netns) -> LabResult<()> {
    let port = plan.vxlan.port;
    let address = node.member.address(plan.underlay.family);
    if netns.run(|| udp::port_is_free(SocketAddr::new(address, port)))?? {
        return Ok(());
    }
    let inside = procs::inside(&BTreeSet::from([netns.id()?]));
    let holders: Vec<String> = inside
        .iter()
        .map(|id| format!("{} ({})", procs::name_of(*id), id.pid))
        .collect();
    let who = if holders.is_empty() {
        "something".to_owned()
    } else {
        holders.join(", ")
    };
    Err(LabError::host(
        format!(
            "UDP port {port} of {} is taken in {}; inside runs {who}",
            node.name, node.member.netns
        ),
        "end that process, or choose another vxlan.port in lab.yaml",
    ))
}

/// Waits until the daemon says it is ready; a daemon that ends instead is quoted.
pub(crate) fn wait_ready(
    plan: &Plan,
    node: &Node,
    id: ProcessId,
    interrupt: &Interrupt,
) -> LabResult<()> {
    let log = Folder::of(&plan.name).node(&node.name).join("weft.log");
    let next = format!("read {}", log.display());
    let ready = interrupt.wait(READY, || {
        if !id.is_alive() {
            let message = format!(
                "the daemon of {} ended:\n  {}",
                node.name,
                procs::tail(&log)
            );
            return Err(LabError::failed(message, &next));
        }
        Ok(is_ready(plan, node).then_some(()))
    })?;
    ready.ok_or_else(|| {
        let message = format!(
            "the daemon of {} was not ready within {READY:?}:\n  {}",
            node.name,
            procs::tail(&log)
        );
        LabError::failed(message, next)
    })
}

pub(crate) fn is_ready(plan: &Plan, node: &Node) -> bool {
    connect(plan, node)
        .and_then(|mut client| client.status())
        .is_ok_and(|status| status.ready)
}

/// Returns once the daemon enforces what its files say now.
pub(crate) fn sync(plan: &Plan, node: &Node) -> LabResult<()> {
    let synced = connect(plan, node).and_then(|mut client| client.sync());
    synced.map(|_| ()).map_err(|error| {
        LabError::failed(
            format!(
                "the daemon of {} did not take in its files: {error}",
                node.name
            ),
            format!("weft status --lab {} --node {}", plan.name, node.name),
        )
    })
}

/// A connection to a node's daemon.
pub(crate) fn connect(plan: &Plan, node: &Node) -> Result<Client, api::ClientError> {
    Client::connect(api::lab_socket(plan.name.as_str(), &node.name))
}
