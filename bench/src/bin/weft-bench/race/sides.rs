//! Between which pods, on which nodes, does traffic run?
//!
//! A side is two nodes, a pod on each and a second pod on the first, all network namespaces on an
//! underlay with an MTU of 1500. weft and the kernel are labs ([`weft_switch::lab`]): one with two
//! weft nodes under as many NetworkPolicies as asked for, one with two nodes of `kind: kernel`.
//! Everything is removed when a side is dropped.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use weft_sys::netlink::{Netlink, link};
use weft_sys::netns::Netns;
use weft_sys::nft::NatTable;

/// The namespace of the pods.
const NAMESPACE: &str = "race";
/// The pod that sends, the one on the other node, and the one beside the sender.
const PODS: [(&str, &str); 3] = [("from", "node-a"), ("to", "node-b"), ("near", "node-a")];
/// The port that policies allow.
pub(super) const PORT: u16 = 7000;
/// The underlay interface inside a node, and the fabric that joins them.
const UPLINK: &str = "eth0";
const FABRIC: &str = "fabric";
/// The table by which nodes of a lab masquerade.
const LAB_TABLE: &str = "weft-lab";

/// A pod.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) netns: Netns,
    pub(super) address: String,
}

/// One contestant.
#[derive(Debug)]
pub(super) struct Side {
    /// As [`PODS`].
    pub(super) pods: [Pod; 3],
    nodes: Vec<Netns>,
    fabric: Netns,
    _lab: Lab,
}

impl Side {
    /// Every end of every link of the underlay.
    pub(super) fn links(&self) -> Result<Vec<(&Netns, String)>> {
        let nodes = self.nodes.iter().map(|netns| (netns, UPLINK.to_owned()));
        let links = link::list(&mut Netlink::open_in(&self.fabric)?)?;
        let ports = links.into_iter();
        let ports = ports.filter(|link| link.kind.as_deref() == Some("veth"));
        let ports = ports.map(|link| (&self.fabric, link.name));
        Ok(nodes.chain(ports).collect())
    }
}

/// A lab that goes when this does.
#[derive(Debug)]
struct Lab {
    program: PathBuf,
    name: String,
    files: TempDir,
}

impl Lab {
    fn weft(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.program)
            .arg("lab")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("weft lab {} failed: {said}", arguments.join(" "));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.weft(&["down", &self.name]) {
            eprintln!("{error:#}; remove it with: weft lab down {}", self.name);
        }
    }
}

/// Makes sides.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) programs: PathBuf,
    pub(super) workers: u16,
    pub(super) policies: usize,
}

impl Maker {
    /// Two weft nodes under policies.
    pub(super) fn weft(&self) -> Result<Side> {
        let kind = format!("workers: {}", self.workers);
        self.lab("race-weft", &kind, &(pods() + &policies(self.policies)))
    }

    /// Two plain Linux nodes.
    pub(super) fn kernel(&self) -> Result<Side> {
        let side = self.lab("race-kernel", "kind: kernel", &pods())?;
        // Masquerading would track every connection, which is no part of carrying packets.
        for node in &side.nodes {
            node.run(|| NatTable::delete(LAB_TABLE))??;
        }
        Ok(side)
    }

    fn lab(&self, name: &str, kind: &str, manifest: &str) -> Result<Side> {
        let program = self.programs.join("weft");
        if !program.exists() {
            bail!(
                "{} has no weft; build it with: cargo build --release -p weft-switch -p weft-bench, \
                 or name another folder with --programs",
                self.programs.display()
            );
        }
        let files = tempfile::Builder::new().prefix("weft-race.").tempdir();
        let files = files.context("cannot make a temporary folder")?;
        let name = format!("{name}-{}", std::process::id());
        let lab = Lab {
            program,
            name,
            files,
        };
        let mut text = format!("name: {}\nnodes:\n", lab.name);
        for node in ["node-a", "node-b"] {
            let _ = writeln!(text, "  - {{ name: {node}, {kind} }}");
        }
        text += "manifests: [ cluster.yaml ]\n";
        let file = lab.files.path().join("lab.yaml");
        for (path, text) in [
            (&file, text.as_str()),
            (&lab.files.path().join("cluster.yaml"), manifest),
        ] {
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        lab.weft(&["up", "-f", &file.to_string_lossy()])?;
        Self::side(lab)
    }

    fn side(lab: Lab) -> Result<Side> {
        let status = lab.weft(&["status", &lab.name, "-o", "json"])?;
        let status: Value = serde_json::from_str(&status).context("weft lab status")?;
        let find = |list: &str, name: &str, field: &str| -> Option<Value> {
            let all = status.get(list)?.as_array()?;
            let one = all
                .iter()
                .find(|one| one.get("name") == Some(&name.into()))?;
            one.get(field).cloned()
        };
        let netns = |list: &str, name: &str| -> Result<Netns> {
            let found = find(list, name, "netns");
            let named = found.as_ref().and_then(Value::as_str);
            Ok(Netns::open(
                named.with_context(|| format!("the lab has no {name}"))?,
            )?)
        };
        let pod = |(name, _): (&str, &str)| -> Result<Pod> {
            let addresses = find("pods", name, "addresses");
            let first = addresses.as_ref().and_then(|all| all.get(0)?.as_str());
            Ok(Pod {
                netns: netns("pods", name)?,
                address: first.context("a pod has no address")?.to_owned(),
            })
        };
        let [from, to, near] = PODS;
        Ok(Side {
            pods: [pod(from)?, pod(to)?, pod(near)?],
            nodes: vec![netns("nodes", "node-a")?, netns("nodes", "node-b")?],
            fabric: Netns::open(format!("weft.{}.{FABRIC}", lab.name))?,
            _lab: lab,
        })
    }
}

fn pods() -> String {
    let mut text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n");
    for (name, node) in PODS {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {NAMESPACE}, \
             labels: {{app: {name}}}}}\nspec: {{nodeName: {node}}}\n"
        );
    }
    text
}

/// Policies that isolate all pods both ways: one lets the measured traffic through, the others let
/// pods through that are not there, each at a port of its own.
fn policies(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let (peer, ports) = match number {
            0 => (
                "{}".to_owned(),
                format!("{{port: {PORT}, protocol: TCP}}, {{port: {PORT}, protocol: UDP}}"),
            ),
            _ => (
                format!("{{matchLabels: {{app: other-{}}}}}", number % 97),
                format!(
                    "{{port: {}, endPort: {}}}",
                    10_000 + number,
                    10_010 + number
                ),
            ),
        };
        let peers = format!("[{{podSelector: {peer}}}], ports: [{ports}]");
        let _ = write!(
            text,
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: \
             p{number}, namespace: {NAMESPACE}}}\nspec:\n  podSelector: {{}}\n  policyTypes: \
             [Ingress, Egress]\n  ingress: [{{from: {peers}}}]\n  egress: [{{to: {peers}}}]\n"
        );
    }
    text
}
