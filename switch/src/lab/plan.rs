//! Which namespaces, addresses, pods and files make up this lab?
//!
//! Owns the plan: a value computed from `lab.yaml`, the manifests and, so that pods keep their
//! addresses over a reconcile, the plan before. Pure: nothing is made here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::endpoint::PodRef;
use super::error::{LabError, LabResult, Problem};
use super::expect::Expectation;
use super::file::{Family, LabFile, NodeKind, Underlay, Vxlan};
use super::manifest::Document;
use super::name::{self, LabName};
use super::place::{self, Placing};
use super::subnet;
use super::wanted::Wanted;

/// Everything a lab consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) name: LabName,
    pub(crate) underlay: Underlay,
    pub(crate) vxlan: Vxlan,
    pub(crate) nodes: Vec<Node>,
    pub(crate) pods: Vec<Pod>,
    /// The host beyond the nodes.
    pub(crate) outside: Option<Member>,
    /// Namespace objects, by name.
    pub(crate) namespaces: BTreeMap<String, Value>,
    /// Objects handed to the daemons as they are: policies, services.
    pub(crate) others: Vec<Value>,
    pub(crate) expect: Vec<Expectation>,
    /// Things in the manifests that a lab leaves out, one line each.
    #[serde(skip)]
    pub(crate) warnings: Vec<String>,
}

/// Something with a place on the underlay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Last byte of its underlay addresses.
    pub(crate) number: u16,
    pub(crate) netns: String,
    pub(crate) ipv4: Ipv4Addr,
    pub(crate) ipv6: Ipv6Addr,
}

impl Member {
    fn new(lab: &LabName, name: &str, number: u16) -> Self {
        let (ipv4, ipv6) = subnet::underlay(number);
        Self {
            number,
            netns: lab.netns(name),
            ipv4,
            ipv6,
        }
    }

    pub(crate) fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::Ipv4 => IpAddr::V4(self.ipv4),
            Family::Ipv6 => IpAddr::V6(self.ipv6),
        }
    }

    /// The name of its link on the fabric's bridge.
    pub(crate) fn fabric_link(&self) -> String {
        format!("m{}", self.number)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) kind: NodeKind,
    pub(crate) workers: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spin_us: Option<u16>,
    pub(crate) member: Member,
    #[serde(rename = "podCIDRs")]
    pub(crate) pod_cidrs: Vec<IpNetwork>,
}

impl Node {
    /// MAC address of its VXLAN end point, the same function of the name on every node.
    pub(crate) fn vtep_mac(&self) -> weft_wire::Mac {
        crate::cluster::vtep_mac(&self.name)
    }
}

/// A port on which something answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Listen {
    pub(crate) port: u16,
    pub(crate) protocol: super::endpoint::Protocol,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pod {
    pub(crate) name: PodRef,
    /// Name of its node.
    pub(crate) node: String,
    pub(crate) netns: String,
    /// IPv4 first.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) listen: Vec<Listen>,
    /// The manifest with node and addresses filled in, as the daemons read it.
    pub(crate) manifest: Value,
}

impl Plan {
    /// Makes the plan; every problem of the manifests is listed.
    pub(crate) fn new(
        file: &LabFile,
        documents: &[Document],
        before: Option<&Self>,
    ) -> LabResult<Self> {
        let mut plan = Self {
            name: file.name.clone(),
            underlay: file.underlay,
            vxlan: file.vxlan,
            nodes: nodes(file),
            pods: Vec::new(),
            outside: file
                .outside
                .then(|| Member::new(&file.name, name::OUTSIDE, 254)),
            namespaces: BTreeMap::new(),
            others: Vec::new(),
            expect: file.expect.clone(),
            warnings: Vec::new(),
        };
        let mut problems = plan.check_paths(file);
        problems.extend(plan.take_in(documents, before));
        if problems.is_empty() {
            problems.extend(plan.check_expectations(file));
        }
        if problems.is_empty() {
            Ok(plan)
        } else {
            Err(LabError::Input(problems))
        }
    }

    /// The same lab with other manifests, as `lab apply` wants it.
    pub(crate) fn with_manifests(&self, documents: &[Document]) -> LabResult<Self> {
        let mut plan = Self {
            pods: Vec::new(),
            namespaces: BTreeMap::new(),
            others: Vec::new(),
            warnings: Vec::new(),
            ..self.clone()
        };
        let problems = plan.take_in(documents, Some(self));
        if problems.is_empty() {
            Ok(plan)
        } else {
            Err(LabError::Input(problems))
        }
    }

    /// Sorts the documents and places the pods; answers what is wrong.
    fn take_in(&mut self, documents: &[Document], before: Option<&Self>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut pods = Vec::new();
        for document in documents {
            match self.sort(document) {
                Ok(Some(pod)) => pods.push(pod),
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        match Placing::new(&self.nodes, before).place(&self.name, pods) {
            Ok(pods) => self.pods = pods,
            Err(more) => problems.extend(more),
        }
        self.fill_namespaces();
        problems
    }

    /// Takes a document in; a pod is handed back for placing.
    fn sort<'d>(&mut self, document: &'d Document) -> Result<Option<Wanted<'d>>, Problem> {
        let object = &document.object;
        let name = object
            .metadata
            .name
            .as_ref()
            .map_or("", |n| n.value.as_str());
        match object.kind.as_str() {
            // Nothing runs for these, but policies may speak of them.
            "Pod" if object.spec.host_network == Some(true) || object.status.is_over() => {
                self.others.push(document.whole.clone());
            }
            "Pod" => return Wanted::new(document).map(Some),
            "Namespace" => {
                if let Err(message) = name::check_label(name) {
                    return Err(document.place.problem(0, message, "name the namespace").field("metadata.name"));
                }
                self.namespaces.insert(name.to_owned(), document.whole.clone());
            }
            "Node" => self.warn(document, "is left out: lab.yaml says which nodes there are"),
            "NetworkPolicy" | "Service" | "EndpointSlice" => self.others.push(document.whole.clone()),
            _ => self.warn(document, "is left out: a lab runs Pods and reads Namespace, NetworkPolicy, Service, EndpointSlice"),
        }
        Ok(None)
    }

    fn warn(&mut self, document: &Document, message: &str) {
        let name = document
            .object
            .metadata
            .name
            .as_ref()
            .map_or("", |n| n.value.as_str());
        let place = &document.place;
        self.warnings.push(format!(
            "{}:{}: {} \"{name}\" {message}",
            place.path.display(),
            place.line,
            document.object.kind
        ));
    }

    /// Adds the namespaces that pods live in, and the label that every namespace has.
    fn fill_namespaces(&mut self) {
        for pod in &self.pods {
            let namespace = &pod.name.namespace;
            self.namespaces.entry(namespace.clone()).or_insert_with(|| {
                serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
            });
        }
        for (name, object) in &mut self.namespaces {
            place::set(
                object,
                &["metadata", "labels", "kubernetes.io/metadata.name"],
                Value::from(name.as_str()),
            );
        }
    }

    /// Socket paths have a limit of 107 bytes, namespace names one of 255.
    fn check_paths(&self, file: &LabFile) -> Vec<Problem> {
        let too_long = self.nodes.iter().enumerate().filter_map(|(index, node)| {
            let socket = crate::api::lab_socket(self.name.as_str(), &node.name);
            (socket.as_os_str().len() > 107).then(|| {
                let message = format!(
                    "the path of its control socket, {}, is longer than 107 bytes",
                    socket.display()
                );
                Problem::new(
                    &file.path,
                    message,
                    "shorten the name of the node or of the lab",
                )
                .field(format!("nodes[{index}].name"))
            })
        });
        too_long.collect()
    }

    /// Expectations that name a pod or node the lab does not have.
    fn check_expectations(&self, file: &LabFile) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, one) in self.expect.iter().enumerate() {
            for (field, endpoint) in [("from", &one.from), ("to", &one.to)] {
                if let Err(message) = self.member_of(endpoint) {
                    let next = "correct the name, or add it to the lab";
                    let field = format!("expect[{index}].{field}");
                    problems.push(Problem::new(&file.path, message, next).field(field));
                }
            }
        }
        problems
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    pub(crate) fn pod(&self, name: &PodRef) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.name == *name)
    }

    /// Nodes of one kind.
    pub(crate) fn nodes_of(&self, kind: NodeKind) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.kind == kind)
    }
}

fn nodes(file: &LabFile) -> Vec<Node> {
    (0u16..)
        .zip(&file.nodes)
        .map(|(index, spec)| Node {
            name: spec.name.clone(),
            kind: spec.kind,
            workers: spec.workers,
            spin_us: spec.spin_us,
            member: Member::new(&file.name, &spec.name, index + 1),
            pod_cidrs: subnet::pod_cidrs(file.pod_network, index),
        })
        .collect()
}
