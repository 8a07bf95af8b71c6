//! What does a pod get attached to?
//!
//! Owns a node: its namespace, its files on a real disk, its cluster of pods and policies, and its
//! daemon, which dies with this process. Everything goes when it is dropped.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use weft_switch::api::{Client, Status};
use weft_sys::netlink::{Netlink, addr, link};
use weft_sys::netns::Netns;
use weft_sys::process::{Signal, die_with_parent};

use super::runtime::{NAMESPACE, Runtime};
use crate::interrupt::Interrupt;

/// The node's address; its underlay is a bridge without ports.
const ADDRESS: &str = "192.0.2.1";
const UNDERLAY: &str = "u0";
/// How long the daemon may take to start or to end.
const LIMIT: Duration = Duration::from_secs(30);
/// NetworkPolicies in force.
pub(super) const POLICIES: usize = 100;
/// Of those, how many let somebody through; the other one denies everything.
const ALLOWS: usize = POLICIES - 1;

/// Two pods that may talk, the first to the second.
pub(super) const FROM: &str = "from";
pub(super) const TO: &str = "to";
/// The port they may talk at.
pub(super) const PORT: u16 = 7000;

/// A node with its daemon.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) netns: Netns,
    files: TempDir,
    programs: PathBuf,
    daemon: Option<Child>,
}

impl Node {
    /// A node without a daemon, whose cluster knows `pods` pods, named by [`pod_name`].
    pub(super) fn new(programs: &Path, folder: &Path, pods: usize, workers: usize) -> Result<Self> {
        for program in ["weft", weft_cni::plugin::NAME] {
            if !programs.join(program).exists() {
                bail!(
                    "{} has no {program}; build it with: cargo build --release -p weft-switch -p \
                     weft-cni, or name another folder with --programs",
                    programs.display()
                );
            }
        }
        let named = || format!("cannot make a folder in {}", folder.display());
        let files = tempfile::Builder::new()
            .prefix("weft-bench.")
            .tempdir_in(folder);
        let node = Self {
            netns: Netns::anonymous()?,
            files: files.with_context(named)?,
            programs: programs.to_owned(),
            daemon: None,
        };
        node.raise()?;
        node.write("weft.toml", &node.config(workers))?;
        fs::create_dir(node.path("cluster.d")).with_context(named)?;
        node.write("cluster.d/cluster.yaml", &cluster(pods))?;
        Ok(node)
    }

    /// Gives the node its address.
    fn raise(&self) -> Result<()> {
        let mut netlink = Netlink::open_in(&self.netns)?;
        let index = link::ensure_bridge(&mut netlink, UNDERLAY)?;
        let loopback = link::index_of(&mut netlink, "lo")?;
        for index in [loopback, index] {
            link::set_up(&mut netlink, index)?;
        }
        let address = addr::Address::new(index, ADDRESS.parse()?, 24);
        Ok(addr::ensure(&mut netlink, &address)?)
    }

    fn config(&self, workers: usize) -> String {
        format!(
            "[node]\nname = \"node-a\"\naddress = \"{ADDRESS}\"\npod_cidrs = [\"10.244.0.0/16\", \
             \"fd00:10:244::/64\"]\nworkers = {workers}\n[cluster]\npath = {:?}\n[paths]\nsocket = \
             {:?}\nstate = {:?}\n[metrics]\nlisten = \"\"\n",
            self.path("cluster.d"),
            self.socket(),
            self.state(),
        )
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// The daemon's state directory.
    pub(super) fn state(&self) -> PathBuf {
        self.path("state")
    }

    fn socket(&self) -> PathBuf {
        self.path("weft.sock")
    }

    pub(super) fn runtime(&self) -> Runtime {
        Runtime::new(&self.programs, self.socket(), self.state())
    }

    pub(super) fn status(&self) -> Result<Status> {
        Ok(Client::connect(self.socket())?.status()?)
    }

    /// The daemon's process.
    pub(super) fn pid(&self) -> Result<u32> {
        let daemon = self.daemon.as_ref().map(Child::id);
        daemon.context("the node has no daemon")
    }

    /// Starts the daemon and waits until pods can be attached. On the main thread: the daemon ends
    /// with the thread that started it.
    pub(super) fn start(&mut self, interrupt: &Interrupt) -> Result<()> {
        let log = self.path("daemon.log");
        let opened = OpenOptions::new().create(true).append(true).open(&log);
        let opened = opened.with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(self.programs.join("weft"));
        command
            .args(["daemon", "--config"])
            .arg(self.path("weft.toml"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(opened)
            // Ctrl-C is for this process, which ends the daemon in its own time.
            ;
        die_with_parent(&mut command, Signal::Kill);
        let mut child = self.netns.spawn(command)?;
        let ready = interrupt.wait("the daemon is ready", LIMIT, || {
            if let Some(status) = child.try_wait()? {
                bail!("the daemon ended ({status}): {}", self.last_words());
            }
            Ok(self.status().ok().filter(|status| status.ready))
        });
        self.daemon = Some(child);
        let policies = ready?.policies;
        if policies != POLICIES {
            bail!(
                "{policies} policies are in force, not {POLICIES}: {}",
                self.last_words()
            );
        }
        Ok(())
    }

    /// The end of the daemon's log.
    pub(super) fn last_words(&self) -> String {
        let text = fs::read_to_string(self.path("daemon.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(8)..)
            .unwrap_or_default()
            .join("\n")
    }

    /// Ends the daemon without warning.
    pub(super) fn kill(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().context("cannot kill the daemon")?;
            daemon.wait().context("cannot await the daemon's end")?;
        }
        Ok(())
    }

    /// Asks the daemon to leave, and waits until it has.
    pub(super) fn stop(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else {
            return Ok(());
        };
        let id = weft_sys::process::ProcessId::of(daemon.id())?;
        if let Some(id) = id {
            id.end(LIMIT)?;
        }
        let status = daemon.wait().context("cannot await the daemon's end")?;
        if !status.success() {
            bail!(
                "the daemon did not leave well ({status}): {}",
                self.last_words()
            );
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
    }
}

/// The name of the pod `number`.
pub(super) fn pod_name(number: usize) -> String {
    format!("p{number}")
}

/// A namespace of pods of as many kinds as there are allows, each kind reachable from the next at
/// one port; all isolated in both directions. The last allow is for the two pods that talk.
fn cluster(pods: usize) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n---\n{}",
        policy("deny", "{}", "policyTypes: [Ingress, Egress]")
    );
    let kinds = ALLOWS - 2;
    for kind in 0..kinds {
        let select = format!("{{matchLabels: {{kind: k{kind}}}}}");
        let next = (kind + 1) % kinds;
        let rules = format!(
            "ingress: [{{from: [{{podSelector: {{matchLabels: {{kind: k{next}}}}}}}], ports: \
             [{{port: {}}}]}}]",
            8000 + kind
        );
        text += &policy(&format!("allow-{kind}"), &select, &rules);
    }
    let (from, to) = (
        format!("{{matchLabels: {{kind: {FROM}}}}}"),
        format!("{{matchLabels: {{kind: {TO}}}}}"),
    );
    let ports =
        format!("ports: [{{port: {PORT}, protocol: TCP}}, {{port: {PORT}, protocol: UDP}}]");
    let ingress = format!("ingress: [{{from: [{{podSelector: {from}}}], {ports}}}]");
    let egress =
        format!("policyTypes: [Egress]\n  egress: [{{to: [{{podSelector: {to}}}], {ports}}}]");
    text += &policy("talk-to", &to, &ingress);
    text += &policy("talk-from", &from, &egress);
    let kinds = (0..pods).map(|number| (pod_name(number), format!("k{}", number % kinds)));
    let talking = [FROM, TO].map(|name| (name.to_owned(), name.to_owned()));
    for (name, kind) in kinds.chain(talking) {
        text += &format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {NAMESPACE}, \
             labels: {{kind: {kind}}}}}\nspec: {{nodeName: node-a}}\n"
        );
    }
    text
}

fn policy(name: &str, select: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, \
         namespace: {NAMESPACE}}}\nspec:\n  podSelector: {select}\n  {rules}\n"
    )
}
