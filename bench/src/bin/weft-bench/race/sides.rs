//! Between which pods, on which nodes, does traffic run?
//!
//! A side is two nodes, a pod on each and a second pod on the first, all network namespaces on an
//! underlay with an MTU of 1500. weft and the kernel are labs ([`weft_switch::lab`]): one with two
//! weft nodes under as many NetworkPolicies as asked for, one with two nodes of `kind: kernel`. Open
//! vSwitch's is made in [`ovs`]. Everything is removed when a side is dropped.

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

use super::manifests::{pods, policies};
use super::ovs;

/// The pod that sends, the one on the other node, and the one beside the sender.
pub(super) const PODS: [(&str, &str); 3] =
    [("from", "node-a"), ("to", "node-b"), ("near", "node-a")];
/// The port that policies allow.
pub(super) const PORT: u16 = 7000;
/// The underlay interface inside a node, and the fabric that joins them.
pub(super) const UPLINK: &str = "eth0";
const FABRIC: &str = "fabric";
/// The table by which nodes of a lab masquerade.
const LAB_TABLE: &str = "weft-lab";
/// What a lab says of a plain Linux node.
const KERNEL: &str = "kind: kernel";

/// A pod.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) netns: Netns,
    pub(super) address: String,
}

impl Pod {
    /// Where it listens.
    pub(super) fn target(&self) -> String {
        format!("{}:{PORT}", self.address)
    }
}

/// One contestant.
#[derive(Debug)]
pub(super) struct Side {
    /// First, so that what runs in the namespaces ends before they go.
    _owner: Owner,
    /// As [`PODS`].
    pub(super) pods: [Pod; 3],
    /// What weft's policies are; nothing on other sides.
    pub(super) enforced: Enforced,
    nodes: Vec<Netns>,
    fabric: Netns,
}

/// Policies as a daemon tells of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Enforced {
    /// NetworkPolicy objects in force.
    pub(super) policies: usize,
    /// Port ranges over all (pod, direction, class of peer) that they compiled to.
    pub(super) entries: u64,
}

/// What keeps a side alive.
#[derive(Debug)]
#[expect(dead_code, reason = "kept for what happens when it is dropped")]
pub(super) enum Owner {
    Lab(Lab),
    Ovs(ovs::Daemons),
}

impl Side {
    /// A side of `pods`: the sender, the one on the other node, the one beside the sender.
    pub(super) fn new(owner: Owner, pods: [Pod; 3], nodes: Vec<Netns>, fabric: Netns) -> Self {
        Self {
            _owner: owner,
            pods,
            enforced: Enforced::default(),
            nodes,
            fabric,
        }
    }

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
pub(super) struct Lab {
    program: PathBuf,
    name: String,
    files: TempDir,
}

impl Lab {
    fn weft(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("weft {} failed: {said}", arguments.join(" "));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Lab {
    /// What a node's daemon says of its policies.
    fn enforced(&self) -> Result<Enforced> {
        let [.., (_, node)] = PODS;
        let words = ["status", "--lab", &self.name, "--node", node, "-o", "json"];
        let status: Value = serde_json::from_str(&self.weft(&words)?).context("weft status")?;
        let count = |field| {
            let count = status.get(field).and_then(Value::as_u64);
            count.with_context(|| format!("weft status does not tell its {field}"))
        };
        Ok(Enforced {
            policies: usize::try_from(count("policies")?)?,
            entries: count("policyEntries")?,
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.weft(&["lab", "down", &self.name]) {
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
    /// Two weft nodes under policies, all of them in force.
    pub(super) fn weft(&self) -> Result<Side> {
        self.policed("race-weft", self.policies)
    }

    /// Two weft nodes without a policy.
    pub(super) fn unpoliced(&self) -> Result<Side> {
        self.policed("race-unpoliced", 0)
    }

    fn policed(&self, name: &str, count: usize) -> Result<Side> {
        let kind = format!("workers: {}", self.workers);
        let side = self.lab(name, &kind, &(pods() + &policies(count)))?;
        let known = side.enforced.policies;
        if known != count {
            bail!("{known} policies are in force on weft instead of {count}");
        }
        Ok(side)
    }

    /// Two plain Linux nodes.
    pub(super) fn kernel(&self) -> Result<Side> {
        let side = self.lab("race-kernel", KERNEL, &pods())?;
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
        lab.weft(&["lab", "up", "-f", &file.to_string_lossy()])?;
        let enforced = match kind {
            KERNEL => Enforced::default(),
            _ => lab.enforced()?,
        };
        Ok(Side {
            enforced,
            ..Self::side(lab)?
        })
    }

    fn side(lab: Lab) -> Result<Side> {
        let status = lab.weft(&["lab", "status", &lab.name, "-o", "json"])?;
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
        let pods = [pod(from)?, pod(to)?, pod(near)?];
        let nodes = vec![netns("nodes", "node-a")?, netns("nodes", "node-b")?];
        let fabric = Netns::open(format!("weft.{}.{FABRIC}", lab.name))?;
        Ok(Side::new(Owner::Lab(lab), pods, nodes, fabric))
    }
}
