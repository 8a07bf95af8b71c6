//! What answers in the pods, and is it still the right thing?
//!
//! Owns the description of all responders (`agent.json`) and the life of the one agent process that
//! serves them. The agent itself is `agent`.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use weft_sys::netns::{Netns, NetnsId};

use super::endpoint::Protocol;
use super::error::{LabError, LabResult};
use super::expect::DEFAULT_PORT;
use super::helper;
use super::plan::{Listen, Member, Plan};
use super::procs::{self, ProcessId};
use super::record::{self, Folder};
use super::time::Interrupt;

/// Everything the agent serves.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Responders {
    pub(crate) all: Vec<Responder>,
}

/// Who answers in one namespace.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Responder {
    pub(crate) netns: String,
    /// A namespace that was made anew needs new sockets.
    inode: u64,
    /// The line it answers with.
    pub(crate) name: String,
    /// Whether it adds the address it was asked from, as nodes and the outside host do.
    pub(crate) tells_peer: bool,
    /// Where UDP answers come from.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) listen: Vec<Listen>,
}

impl Responders {
    /// What should answer, given the namespaces as they are now.
    pub(crate) fn of(plan: &Plan) -> LabResult<Self> {
        let everywhere = ports(plan);
        let mut all = Vec::new();
        for pod in plan.pods.iter().filter(|pod| !pod.listen.is_empty()) {
            all.push(Responder {
                inode: id(&pod.netns)?.inode,
                netns: pod.netns.clone(),
                name: pod.name.to_string(),
                tells_peer: false,
                addresses: pod.addresses.clone(),
                listen: pod.listen.clone(),
            });
        }
        let underlay = |member: &Member| vec![IpAddr::V4(member.ipv4), IpAddr::V6(member.ipv6)];
        for node in &plan.nodes {
            let bases = node.pod_cidrs.iter().map(|cidr| cidr.network());
            let addresses = underlay(&node.member).into_iter().chain(bases).collect();
            all.push(Responder::member(
                &node.member,
                format!("node:{}", node.name),
                addresses,
                &everywhere,
            )?);
        }
        if let Some(outside) = &plan.outside {
            let addresses = underlay(outside);
            all.push(Responder::member(
                outside,
                "outside".to_owned(),
                addresses,
                &everywhere,
            )?);
        }
        Ok(Self { all })
    }
}

impl Responder {
    fn member(
        member: &Member,
        name: String,
        addresses: Vec<IpAddr>,
        listen: &[Listen],
    ) -> LabResult<Self> {
        Ok(Self {
            inode: id(&member.netns)?.inode,
            netns: member.netns.clone(),
            name,
            tells_peer: true,
            addresses,
            listen: listen.to_vec(),
        })
    }
}

/// The ports nodes and the outside host answer on: the default one and every port of a pod, but
/// for the overlay's own and the daemon's metrics.
fn ports(plan: &Plan) -> Vec<Listen> {
    let default = [Protocol::Tcp, Protocol::Udp].map(|protocol| Listen {
        port: DEFAULT_PORT,
        protocol,
    });
    let pods = plan.pods.iter().flat_map(|pod| pod.listen.iter().copied());
    let taken = |listen: &Listen| match listen.protocol {
        Protocol::Udp => listen.port == plan.vxlan.port,
        _ => listen.port == 9568,
    };
    let all: BTreeSet<Listen> = default
        .into_iter()
        .chain(pods)
        .filter(|l| !taken(l))
        .collect();
    all.into_iter().collect()
}

fn id(netns: &str) -> LabResult<NetnsId> {
    Ok(Netns::open(netns)?.id()?)
}

/// Whether the agent runs and serves what the plan says.
pub(crate) fn is_served(plan: &Plan, agent: Option<ProcessId>) -> bool {
    let path = Folder::of(&plan.name).agent_file();
    let written = fs::read_to_string(path)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok());
    agent.is_some_and(ProcessId::is_alive)
        && Responders::of(plan)
            .ok()
            .is_some_and(|wanted| written.as_ref() == Some(&wanted))
}

/// Starts the agent anew and waits until it listens everywhere.
pub(crate) fn serve(
    plan: &Plan,
    old: Option<ProcessId>,
    interrupt: &Interrupt,
) -> LabResult<ProcessId> {
    if let Some(old) = old {
        old.end()?;
    }
    let folder = Folder::of(&plan.name);
    let text = serde_json::to_string_pretty(&Responders::of(plan)?)
        .map_err(|e| LabError::failed(format!("cannot describe the responders: {e}"), ""))?;
    record::write(&folder.agent_file(), &text)?;
    let log = folder.log("agent");
    let mut command = procs::weft()?;
    command.args(["lab", "agent", "--state"]).arg(folder.path());
    helper::start(
        "the agent that answers in the pods",
        command,
        None,
        &log,
        interrupt,
    )
}
