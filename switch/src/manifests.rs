//! What do these files and folders say, without a daemon?
//!
//! Owns reading manifests from disk for commands that ask about policies; the daemon watches its
//! own folder instead. Understands nothing: that is [`cluster`](crate::cluster)'s.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use weft_policy::model::ObjectName;
use weft_policy::{Cluster, Moment};

use crate::cluster::objects::{NodeObject, PodObject};
use crate::cluster::{self, ClusterState, Event, Manifest, ManifestError, Trouble};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// A cluster as it stands in manifests.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// What policies are compiled from.
    pub cluster: Cluster,
    /// All pods, by name.
    pub pods: Vec<LoadedPod>,
    /// The addresses of every node: its InternalIPs and its own in the pod network, the bases of
    /// its ranges.
    pub nodes: BTreeMap<String, Vec<IpAddr>>,
    /// What is right, and may not be what was meant.
    pub notices: Vec<Trouble>,
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedPod {
    /// Its name.
    pub name: ObjectName,
    /// `spec.nodeName`
    pub node: Option<String>,
    /// Whether it uses the node's network, so that policies take it for the node.
    pub host_network: bool,
    /// Whether it is over.
    pub finished: bool,
    /// Its addresses. Of a host-network pod those of its node where the pod names none; none of
    /// a finished pod.
    pub addresses: Vec<IpAddr>,
}

/// Reads manifests: files, and the `*.yaml`, `*.yml` and `*.json` files of folders.
///
/// # Errors
/// Everything that is wrong, each with its place.
pub fn load(paths: &[PathBuf]) -> Result<Loaded, Vec<Trouble>> {
    let (mut events, mut wrong) = (Vec::new(), Vec::new());
    for path in paths {
        for file in files(path)? {
            let place = file.display().to_string();
            let manifest = match read(&file) {
                Ok(text) => cluster::parse(&text),
                Err(why) => Manifest {
                    errors: vec![ManifestError::of_file(why)],
                    ..Manifest::default()
                },
            };
            wrong.extend(manifest.errors.iter().map(|e| trouble(&place, e)));
            let origin = place.into();
            events.push(Event::Read { origin, manifest });
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    events.push(Event::Synced);
    let mut state = ClusterState::of_no_node();
    let effects = state.step(Event::Batch(events), Moment::default());
    wrong.extend(state.troubles().cloned());
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let nodes: BTreeMap<_, _> = state.nodes().map(node).collect();
    let pods = state.pods().map(|pod| loaded(pod, &nodes)).collect();
    Ok(Loaded {
        cluster: state.cluster().clone(),
        pods,
        nodes,
        notices: effects.notices,
    })
}

fn trouble(file: &str, error: &ManifestError) -> Trouble {
    Trouble {
        place: format!("{file}:{}", error.line),
        what: error.to_string(),
        next: "correct the file".into(),
    }
}

fn node(node: &NodeObject) -> (String, Vec<IpAddr>) {
    let ips = node.internal_ips.iter().map(|ip| ip.value);
    let bases = node.pod_cidrs.iter().map(|cidr| cidr.value.network());
    (node.name.clone(), ips.chain(bases).collect())
}

fn loaded(pod: &PodObject, nodes: &BTreeMap<String, Vec<IpAddr>>) -> LoadedPod {
    let mut addresses: Vec<_> = pod.ips.iter().map(|ip| ip.value).collect();
    if pod.finished {
        addresses.clear();
    } else if pod.host_network && addresses.is_empty() {
        let node = pod.node_name.as_ref().and_then(|name| nodes.get(name));
        addresses = node.cloned().unwrap_or_default();
    }
    LoadedPod {
        name: ObjectName::new(&pod.namespace, &pod.name),
        node: pod.node_name.clone(),
        host_network: pod.host_network,
        finished: pod.finished,
        addresses,
    }
}

/// The manifests of a folder in order of name, or the file itself.
fn files(path: &Path) -> Result<Vec<PathBuf>, Vec<Trouble>> {
    let cannot = |error: io::Error| {
        vec![Trouble {
            place: path.display().to_string(),
            what: format!("cannot be read: {error}"),
            next: "correct the path".into(),
        }]
    };
    if !fs::metadata(path).map_err(cannot)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(cannot)? {
        let file = entry.map_err(cannot)?.path();
        let extension = file.extension().and_then(|e| e.to_str());
        let is_manifest = matches!(extension, Some("yaml" | "yml" | "json"));
        let name = file.file_name().unwrap_or_default();
        if is_manifest && !name.as_encoded_bytes().starts_with(b".") {
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: io::Error| format!("cannot be read: {error}");
    let about = fs::metadata(path).map_err(cannot)?;
    if !about.is_file() {
        return Err("is not a file".into());
    }
    if about.len() > MAX_FILE {
        return Err(format!("is larger than {} MiB", MAX_FILE >> 20));
    }
    fs::read_to_string(path).map_err(cannot)
}
