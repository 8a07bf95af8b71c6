//! Which objects are there after a step?
//!
//! Owns the documents of the base and of the steps so far, as written, by kind and name. Knows of
//! a manifest what a truth table needs: which pods run where.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;

use crate::case::{End, Family, Step, folder};

/// The nodes of the lab, in its order.
pub(crate) const NODES: [&str; 2] = ["node-a", "node-b"];

/// Every object, by `Kind namespace/name`.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    documents: BTreeMap<String, Document>,
}

#[derive(Clone, Debug)]
struct Document {
    text: String,
    /// For a pod that has a network of its own.
    pod: Option<Pod>,
}

#[derive(Clone, Debug)]
struct Pod {
    node: String,
    addresses: Vec<IpAddr>,
}

#[derive(Debug, Deserialize)]
struct RawObject {
    kind: String,
    metadata: RawMetadata,
    #[serde(default)]
    spec: RawSpec,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Debug, Deserialize)]
struct RawMetadata {
    name: String,
    namespace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    node_name: Option<String>,
    #[serde(default)]
    host_network: bool,
}

#[derive(Debug, Default, Deserialize)]
struct RawStatus {
    phase: Option<String>,
    #[serde(rename = "podIPs", default)]
    pod_ips: Vec<RawIp>,
}

#[derive(Debug, Deserialize)]
struct RawIp {
    ip: IpAddr,
}

impl World {
    /// The cluster every case starts from.
    pub(crate) fn base() -> Self {
        let text = fs::read_to_string(folder().join("base.yaml")).expect("base.yaml");
        let mut world = Self::default();
        world.take_in("base", &text);
        world
    }

    /// Takes a step.
    pub(crate) fn step(&mut self, case: &str, step: &Step) {
        for name in &step.remove {
            let had = self.documents.remove(name);
            assert!(had.is_some(), "{case}: {}: no {name} to remove", step.label);
        }
        self.take_in(case, &step.apply);
    }

    fn take_in(&mut self, case: &str, text: &str) {
        let documents = text
            .split("\n---\n")
            .map(|text| text.trim_start_matches("---\n"));
        for text in documents.filter(|text| !text.trim().is_empty()) {
            let told = |line: &str| !line.is_empty() && !line.starts_with('#');
            if !text.lines().any(told) {
                continue;
            }
            let object: RawObject =
                serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{case}: {e}\n{text}"));
            let place = match (object.kind.as_str(), &object.metadata.namespace) {
                ("Namespace" | "Node", _) => String::new(),
                (_, Some(namespace)) => format!("{namespace}/"),
                (_, None) => "default/".to_owned(),
            };
            let name = format!("{} {place}{}", object.kind, object.metadata.name);
            let over = matches!(object.status.phase.as_deref(), Some("Succeeded" | "Failed"));
            let runs = object.kind == "Pod" && !object.spec.host_network && !over;
            let pod = runs.then(|| Pod {
                node: object.spec.node_name.expect("a node for every pod"),
                addresses: object.status.pod_ips.iter().map(|ip| ip.ip).collect(),
            });
            let text = format!("{}\n", text.trim_end());
            self.documents.insert(name, Document { text, pod });
        }
    }

    /// Writes one manifest per object, and nothing else, into a folder.
    pub(crate) fn write(&self, folder: &Path) {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            fs::remove_file(entry.path()).expect("a file of an earlier step");
        }
        for (name, document) in &self.documents {
            let file = name.replace([' ', '/'], "-").to_lowercase();
            fs::write(folder.join(format!("{file}.yaml")), &document.text).expect("a manifest");
        }
    }

    /// Every object's name and text.
    pub(crate) fn documents(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.documents.iter();
        all.map(|(name, document)| (name.as_str(), document.text.as_str()))
    }

    pub(crate) fn document(&self, name: &str) -> Option<&str> {
        self.documents.get(name).map(|found| found.text.as_str())
    }

    /// Pods, nodes and the host outside.
    pub(crate) fn ends(&self) -> Vec<End> {
        let pods = self.pods().map(|(name, _)| End::Pod(name.to_owned()));
        let nodes = NODES.map(|node| End::Node(node.to_owned()));
        pods.chain(nodes).chain([End::Outside]).collect()
    }

    fn pods(&self) -> impl Iterator<Item = (&str, &Pod)> {
        self.documents.iter().filter_map(|(name, document)| {
            Some((name.strip_prefix("Pod ")?, document.pod.as_ref()?))
        })
    }

    fn pod(&self, name: &str) -> &Pod {
        let found = self.pods().find(|(pod, _)| *pod == name);
        found.unwrap_or_else(|| panic!("there is no pod {name}")).1
    }

    pub(crate) fn node_of(&self, pod: &str) -> &str {
        &self.pod(pod).node
    }

    /// The address packets of an end come from.
    pub(crate) fn source(&self, end: &End, family: Family) -> IpAddr {
        match end {
            // A node's address on the pod network: the base of its podCIDR.
            End::Node(node) => address(number(node) - 1, family, "10.244.{}.0", "fd00:10:244:{}::"),
            _ => self.target(end, family),
        }
    }

    /// The address by which an end is asked.
    pub(crate) fn target(&self, end: &End, family: Family) -> IpAddr {
        match end {
            End::Pod(name) => {
                let all = &self.pod(name).addresses;
                let found = all.iter().find(|address| Family::of(**address) == family);
                *found.unwrap_or_else(|| panic!("{name} has no {} address", family.name()))
            }
            End::Node(node) => address(number(node), family, "192.0.2.{}", "2001:db8::{}"),
            End::Outside => address(0, family, "192.0.2.254", "2001:db8::fe"),
            End::Address(address) => *address,
        }
    }
}

fn number(node: &str) -> usize {
    let at = NODES.iter().position(|name| *name == node);
    at.unwrap_or_else(|| panic!("there is no node {node}")) + 1
}

fn address(number: usize, family: Family, v4: &str, v6: &str) -> IpAddr {
    let text = match family {
        Family::V4 => v4,
        Family::V6 => v6,
    };
    text.replace("{}", &number.to_string())
        .parse()
        .expect("an address")
}
