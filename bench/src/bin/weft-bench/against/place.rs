//! Between which pods of which lab, on which nodes?
//!
//! Asks `weft lab status`, which this program is too when it is called so, and opens the pods'
//! namespaces. What is misspelt is answered with what there is.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use weft_switch::api::Client;
use weft_switch::cli::{HOST, NO, USAGE};
use weft_sys::netns::Netns;

use super::{Ends, Family, Refusal};

/// What to do about a lab that is not whole.
const HEAL: &str = "weft lab up with the lab's file, which heals it";

/// `weft lab status -o json`, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Status {
    name: String,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
}

#[derive(Debug, Deserialize)]
struct Node {
    name: String,
    netns: String,
    socket: Option<PathBuf>,
    ready: bool,
}

#[derive(Debug, Deserialize)]
struct Pod {
    namespace: String,
    name: String,
    node: String,
    netns: String,
    addresses: Vec<IpAddr>,
    ready: bool,
}

/// A pod that takes part.
#[derive(Debug)]
pub(super) struct End {
    /// `namespace/name`.
    pub(super) pod: String,
    pub(super) node: String,
    pub(super) netns: Netns,
    /// Its address, of the family that both pods have, and the port.
    pub(super) address: SocketAddr,
    /// The namespace of its node.
    pub(super) node_netns: Netns,
}

/// A daemon on the way.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    pub(super) node: String,
    pub(super) socket: PathBuf,
    pub(super) pid: u32,
}

/// Two pods of a lab that is up.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) lab: String,
    pub(super) from: End,
    pub(super) to: End,
    /// Of the weft nodes among the two.
    pub(super) daemons: Vec<Daemon>,
}

impl Place {
    /// Finds both pods; a [`Refusal`] says what there is instead.
    pub(super) fn find(ends: &Ends, family: Option<Family>) -> Result<Self> {
        let status = status(ends.lab.as_deref())?;
        if ends.from == ends.to {
            let message = format!("{} is both ends; name two pods", ends.from);
            return Err(Refusal::of(USAGE, message + "\n  next: " + &next(&status)));
        }
        let from = pod(&status, &ends.from)?;
        let to = pod(&status, &ends.to)?;
        let nodes = [node(&status, from)?, node(&status, to)?];
        let daemons = daemons(&status, nodes)?;
        for (pod, node) in [(from, nodes[0]), (to, nodes[1])] {
            // Of a weft node its daemon has spoken, whoever started it.
            if !pod.ready || !(node.ready || node.socket.is_some()) {
                let what = format!("{} on {} is not ready", pod.title(), node.name);
                return Err(Refusal::of(NO, format!("{what}\n  next: {HEAL}")));
            }
        }
        let family = shared(from, to, family)?;
        let end = |pod: &Pod, node: &Node| -> Result<End> {
            let of_family = |ip: &&IpAddr| ip.is_ipv4() == (family == Family::Ipv4);
            let address = pod.addresses.iter().find(of_family);
            Ok(End {
                pod: pod.title(),
                node: node.name.clone(),
                netns: Netns::open(&pod.netns)?,
                address: SocketAddr::new(*address.context("an address")?, ends.port),
                node_netns: Netns::open(&node.netns)?,
            })
        };
        Ok(Self {
            from: end(from, nodes[0])?,
            to: end(to, nodes[1])?,
            daemons,
            lab: status.name,
        })
    }

    /// The command that tries the same way once.
    pub(super) fn probe(&self, protocol: &str) -> String {
        format!(
            "weft lab probe {} {} --port {} --protocol {protocol} --lab {}",
            self.from.pod,
            self.to.pod,
            self.to.address.port(),
            self.lab
        )
    }
}

impl Pod {
    fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Asks for the lab's status; a lab that is not all well has one too.
fn status(lab: Option<&str>) -> Result<Status> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.arg0("weft").args(["lab", "status", "-o", "json"]);
    if let Some(lab) = lab {
        command.args(["--lab", lab]);
    }
    let output = command.output().context("cannot start weft")?;
    if output.stdout.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("error: ").to_owned();
        let code = output
            .status
            .code()
            .and_then(|code| u8::try_from(code).ok());
        return Err(Refusal::of(code.unwrap_or(HOST), said));
    }
    serde_json::from_slice(&output.stdout).context("weft lab status")
}

fn pod<'a>(status: &'a Status, name: &str) -> Result<&'a Pod> {
    let found = status.pods.iter().find(|pod| pod.title() == name);
    found.ok_or_else(|| {
        let lab = &status.name;
        let all = list(status.pods.iter().map(Pod::title));
        let message = format!("there is no pod {name} in lab {lab}; it has {all}");
        Refusal::of(USAGE, format!("{message}\n  next: {}", next(status)))
    })
}

fn node<'a>(status: &'a Status, pod: &Pod) -> Result<&'a Node> {
    let mut nodes = status.nodes.iter();
    nodes
        .find(|node| node.name == pod.node)
        .with_context(|| format!("weft lab status lists no node {}", pod.node))
}

/// The daemons of two nodes; there must be one at least, or weft would carry nothing.
fn daemons(status: &Status, nodes: [&Node; 2]) -> Result<Vec<Daemon>> {
    let mut daemons: Vec<Daemon> = Vec::new();
    for node in nodes {
        let known = daemons.iter().any(|daemon| daemon.node == node.name);
        if let (Some(socket), false) = (&node.socket, known) {
            daemons.push(daemon(&node.name, socket)?);
        }
    }
    if !daemons.is_empty() {
        return Ok(daemons);
    }
    let serves = |pod: &&Pod| {
        let node = status.nodes.iter().find(|node| node.name == pod.node);
        node.is_some_and(|node| node.socket.is_some())
    };
    let those = list(status.pods.iter().filter(serves).map(Pod::title));
    let [from, to] = nodes.map(|node| &node.name);
    let who = if from == to {
        format!("{from} does not run weft")
    } else {
        format!("neither {from} nor {to} runs weft")
    };
    let message = format!(
        "{who}, which would carry nothing; pods on nodes with weft: {those}\n  next: name one of \
         them"
    );
    Err(Refusal::of(USAGE, message))
}

/// The daemon that answers on a node.
fn daemon(node: &str, socket: &Path) -> Result<Daemon> {
    let status = Client::connect(socket).and_then(|mut client| client.status());
    match status {
        Ok(status) if status.ready => Ok(Daemon {
            node: node.to_owned(),
            socket: socket.to_owned(),
            pid: status.pid,
        }),
        Ok(_) => {
            let message = format!("the daemon of {node} is not ready\n  next: {HEAL}");
            Err(Refusal::of(NO, message))
        }
        Err(error) => {
            let message = format!("the daemon of {node} does not answer: {error}\n  next: {HEAL}");
            Err(Refusal::of(HOST, message))
        }
    }
}

/// The family to use: the one asked for, else IPv4 where both have it.
fn shared(from: &Pod, to: &Pod, family: Option<Family>) -> Result<Family> {
    let has = |pod: &Pod, family| {
        let mut addresses = pod.addresses.iter();
        addresses.any(|ip| ip.is_ipv4() == (family == Family::Ipv4))
    };
    let candidates = family.map_or_else(|| vec![Family::Ipv4, Family::Ipv6], |one| vec![one]);
    let mut shared = candidates.into_iter();
    let shared = shared.find(|family| has(from, *family) && has(to, *family));
    shared.ok_or_else(|| {
        let named = match family {
            Some(Family::Ipv4) => "no IPv4 addresses, which this takes",
            Some(Family::Ipv6) => "no IPv6 addresses",
            None => "no address family in common",
        };
        let ends = [from, to].map(|pod| {
            let addresses = list(pod.addresses.iter().map(ToString::to_string));
            format!("{} has {addresses}", pod.title())
        });
        Refusal::of(USAGE, format!("they have {named}: {}", ends.join("; ")))
    })
}

fn next(status: &Status) -> String {
    format!("weft lab status --lab {}", status.name)
}

fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}
