//! Is there a lab to test in, and is nothing left of it afterwards?
//!
//! Owns [`Lab`], the guard: `weft lab up` when it is made, `weft lab down` when it goes, and the
//! proof that no namespace, process or file stays behind. Only the `weft` command is used, as a
//! user would.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use weft_switch::api;
use weft_sys::netns::Netns;

use super::command::{self, Outcome};
use super::host::{Family, Host};

/// How long `lab up` may take, on a machine that builds at the same time.
const UP: Duration = Duration::from_secs(60);
/// How long any other command may take.
const LIMIT: Duration = Duration::from_secs(20);
/// What the names of all labs of these tests begin with.
const PREFIX: &str = "e2e-";

/// One lab at a time: two of them would share two cores, and a test's limits are for one.
static TURN: Mutex<()> = Mutex::new(());

/// What a lab consists of.
pub(crate) struct Spec {
    /// Tells labs of one process apart.
    pub(crate) tag: &'static str,
    pub(crate) underlay: Family,
}

/// Two weft nodes with two workers and one kernel node, two pods on each, and an outside host.
/// Pods are named after their node: `a1` and `a2` on `node-a`.
pub(crate) const NODES: [&str; 3] = ["node-a", "node-b", "node-k"];
/// See [`NODES`].
pub(crate) const PODS: [&str; 6] = ["a1", "a2", "b1", "b2", "k1", "k2"];
/// The nodes that run the daemon.
pub(crate) const WEFT_NODES: [&str; 2] = ["node-a", "node-b"];
/// The namespace of all pods.
const NAMESPACE: &str = "default";

impl Spec {
    fn lab_yaml(&self, name: &str) -> String {
        format!(
            "name: {name}\n\
             underlay: {{ mtu: {UNDERLAY_MTU}, family: {} }}\n\
             nodes:\n\
             \x20 - {{ name: node-a, workers: 2 }}\n\
             \x20 - {{ name: node-b, workers: 2 }}\n\
             \x20 - {{ name: node-k, kind: kernel }}\n\
             outside: true\n\
             manifests: [ pods.yaml ]\n",
            self.underlay.name()
        )
    }
}

/// IP MTU of the underlay.
pub(crate) const UNDERLAY_MTU: u32 = 1500;

/// A pod manifest for a node.
pub(crate) fn pod_yaml(name: &str, node: &str) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Pod\n\
         metadata: {{ name: {name}, namespace: {NAMESPACE} }}\n\
         spec:\n\
         \x20 nodeName: {node}\n\
         \x20 containers:\n\
         \x20   - {{ name: c, image: none, ports: [ {{ containerPort: 80, protocol: TCP }} ] }}\n"
    )
}

/// The node that [`PODS`] live on.
pub(crate) fn node_of(pod: &str) -> String {
    format!("node-{}", &pod[..1])
}

/// `weft lab status -o json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) name: String,
    pub(crate) nodes: Vec<NodeStatus>,
    pub(crate) pods: Vec<PodStatus>,
}

/// One node of it.
#[derive(Debug, Deserialize)]
pub(crate) struct NodeStatus {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) netns: String,
    pub(crate) addresses: Vec<IpAddr>,
    #[serde(rename = "podCIDRs")]
    pub(crate) pod_cidrs: Vec<IpNetwork>,
    pub(crate) ready: bool,
}

/// One pod of it.
#[derive(Debug, Deserialize)]
pub(crate) struct PodStatus {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) netns: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ready: bool,
}

/// A lab that is up. It goes down with this value.
pub(crate) struct Lab {
    pub(crate) name: String,
    pub(crate) underlay: Family,
    pub(crate) status: Status,
    /// The pods, in the order of [`PODS`].
    pub(crate) pods: Vec<Host>,
    /// The nodes, in the order of [`NODES`].
    pub(crate) nodes: Vec<Host>,
    directory: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// Builds the lab and waits until it is ready.
    pub(crate) fn up(spec: &Spec) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        reap();
        let name = unique_name(spec.tag);
        let directory = TempDir::new().expect("a temporary directory");
        let pods: Vec<String> = PODS
            .iter()
            .map(|pod| pod_yaml(pod, &node_of(pod)))
            .collect();
        write(directory.path(), "lab.yaml", &spec.lab_yaml(&name));
        write(directory.path(), "pods.yaml", &pods.join("---\n"));
        // From here on, whatever fails, the guard takes the lab down.
        let mut lab = Self {
            status: Status {
                name: name.clone(),
                nodes: Vec::new(),
                pods: Vec::new(),
            },
            name,
            underlay: spec.underlay,
            pods: Vec::new(),
            nodes: Vec::new(),
            directory,
            _turn: turn,
        };
        lab.weft_up().ok();
        lab.look();
        lab
    }

    /// `lab up`, again if need be.
    pub(crate) fn weft_up(&self) -> Outcome {
        let file = self.file();
        let mut up = super::weft();
        up.args(["lab", "up", "-f"]).arg(&file);
        command::run(&mut up, UP)
    }

    /// Path of `lab.yaml`.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("lab.yaml")
    }

    /// The folder of the lab's files, free for the test's own.
    pub(crate) fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// Reads the status and opens every namespace.
    fn look(&mut self) {
        self.status = json(command::run(
            super::weft().args(["lab", "status", "--lab", &self.name, "-o", "json"]),
            LIMIT,
        ));
        assert_eq!(self.status.name, self.name);
        for pod in &self.status.pods {
            assert!(pod.ready, "pod {} is not ready", pod.name);
            assert_eq!(pod.namespace, NAMESPACE);
            self.pods
                .push(host(&pod.name, &pod.node, &pod.netns, &pod.addresses));
        }
        self.pods.sort_by(|a, b| a.name.cmp(&b.name));
        for node in &self.status.nodes {
            assert!(node.ready, "node {} is not ready", node.name);
            let base: Vec<IpAddr> = node.pod_cidrs.iter().map(IpNetwork::network).collect();
            self.nodes
                .push(host(&node.name, &node.name, &node.netns, &base));
        }
        let named = |hosts: &[Host]| -> Vec<String> {
            hosts.iter().map(|host| host.name.clone()).collect()
        };
        assert_eq!(named(&self.pods), PODS);
        assert_eq!(named(&self.nodes), NODES);
    }

    /// Every pod and node.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.pods.iter().chain(&self.nodes)
    }

    pub(crate) fn pod(&self, name: &str) -> &Host {
        find(&self.pods, name)
    }

    pub(crate) fn node(&self, name: &str) -> &Host {
        find(&self.nodes, name)
    }

    /// The host beyond the nodes, with its underlay addresses.
    pub(crate) fn outside(&self) -> Host {
        let addresses = ["192.0.2.254", "2001:db8::fe"].map(|a| a.parse().expect("an address"));
        let netns = format!("weft.{}.outside", self.name);
        host("outside", "outside", &netns, &addresses)
    }

    /// The address of a node's tunnel end.
    pub(crate) fn vtep(&self, node: &str) -> IpAddr {
        self.underlay_address(node, self.underlay)
    }

    /// A node's address on the underlay.
    pub(crate) fn underlay_address(&self, node: &str, family: Family) -> IpAddr {
        let status = self.status.nodes.iter().find(|status| status.name == node);
        let addresses = &status.expect("a node of the lab").addresses;
        *addresses
            .iter()
            .find(|address| Family::of(**address) == family)
            .unwrap_or_else(|| panic!("{node} has no such address: {addresses:?}"))
    }

    /// IP MTU of the pods.
    pub(crate) fn pod_mtu(&self) -> u32 {
        UNDERLAY_MTU - self.underlay.overhead()
    }

    /// Asks the daemon of a node: `weft ARGS -o json --lab … --node …`.
    pub(crate) fn ask<T: DeserializeOwned>(&self, node: &str, args: &[&str]) -> T {
        let mut command = super::weft();
        command
            .args(args)
            .args(["-o", "json", "--lab", &self.name, "--node", node]);
        json(command::run(&mut command, LIMIT))
    }

    /// Frames dropped by a node, by reason.
    pub(crate) fn drops(&self, node: &str) -> BTreeMap<String, u64> {
        let drops: api::Drops = self.ask(node, &["drops"]);
        drops
            .drops
            .into_iter()
            .map(|drop| (drop.reason, drop.packets))
            .collect()
    }

    /// Runs `weft lab ARGS…` and answers how it ended.
    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        let mut command = super::weft();
        command.arg("lab").args(args);
        command::run(&mut command, LIMIT)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let down = self.run(&["down", &self.name]);
        let left = leftovers(&self.name);
        if thread::panicking() {
            eprintln!("{down}\nleft behind: {left:?}");
            return;
        }
        assert_eq!(down.code, Some(0), "{down}");
        assert!(left.is_empty(), "left behind after\n{down}\n{left:?}");
    }
}

/// A name that no other test, process or earlier run has.
pub(crate) fn unique_name(tag: &str) -> String {
    format!("{PREFIX}{tag}-{}", std::process::id())
}

/// Everything on this host that belongs to a lab: namespaces, processes, files.
pub(crate) fn leftovers(lab: &str) -> Vec<String> {
    let mut left = Netns::list(&format!("weft.{lab}.")).expect("the namespaces");
    let runtime = PathBuf::from("/run/weft/lab").join(lab);
    if runtime.exists() {
        left.push(runtime.display().to_string());
    }
    left.extend(processes(lab));
    left
}

/// Processes other than this one whose command line holds these words.
pub(crate) fn processes(words: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").expect("the processes");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    pids.filter(|pid| pid.bytes().all(|b| b.is_ascii_digit()) && *pid != own)
        .filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(words)
                .then(|| format!("process {pid}: {line}"))
        })
        .collect()
}

/// Takes down labs of test processes that were killed.
fn reap() {
    let all = Netns::list(&format!("weft.{PREFIX}")).expect("the namespaces");
    let mut labs: Vec<&str> = all
        .iter()
        .filter_map(|name| name.split('.').nth(1))
        .collect();
    labs.dedup();
    for lab in labs {
        let pid = lab.rsplit('-').next().unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() {
            let _ = command::run(super::weft().args(["lab", "down", lab]), LIMIT);
        }
    }
}

/// Parses what a command that must have succeeded printed.
fn json<T: DeserializeOwned>(outcome: Outcome) -> T {
    let what = outcome.what.clone();
    let text = outcome.ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{what}: {error}\n{text}"))
}

fn host(name: &str, node: &str, netns: &str, addresses: &[IpAddr]) -> Host {
    let v4 = addresses.iter().find_map(|address| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    let v6 = addresses.iter().find_map(|address| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(*v6),
    });
    Host {
        name: name.to_owned(),
        node: node.to_owned(),
        v4: v4.unwrap_or_else(|| panic!("{name} has no IPv4 address: {addresses:?}")),
        v6: v6.unwrap_or_else(|| panic!("{name} has no IPv6 address: {addresses:?}")),
        netns: Netns::open(netns).unwrap_or_else(|error| panic!("{name}: {error}")),
    }
}

fn find<'a>(hosts: &'a [Host], name: &str) -> &'a Host {
    hosts
        .iter()
        .find(|host| host.name == name)
        .unwrap_or_else(|| panic!("no {name} in the lab"))
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap_or_else(|error| panic!("write {name}: {error}"));
}

/// Runs a command as root would, but as nobody.
pub(crate) fn as_nobody(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt as _;
    command.uid(65_534).gid(65_534)
}
