//! What did the user ask for in `lab.yaml`?
//!
//! Owns the file's form and the checks that need nothing but the file: every problem is listed with
//! its line and field. Never looks at the host, and never reads the manifests it names.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnetwork::{Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::error::{LabResult, Problem};
use super::expect::{Expectation, RawExpectation};
use super::name::{self, LabName};
use super::subnet;
use super::yaml;

/// The underlay's IPv4 network (TEST-NET-1, RFC 5737): node i is `.i`, the outside host `.254`.
pub(crate) const UNDERLAY_V4: (Ipv4Addr, u8) = (Ipv4Addr::new(192, 0, 2, 0), 24);
/// The underlay's IPv6 network (documentation prefix, RFC 3849).
pub(crate) const UNDERLAY_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 64);
/// Nodes are numbered 1 to 253 on the underlay.
pub(crate) const NODES_MAX: usize = 253;
/// flannel's VNI, and the port Linux gives a VXLAN device by default.
const DEFAULT_VNI: u32 = 1;
const DEFAULT_PORT: u16 = 8472;
const DEFAULT_MTU: u32 = 1500;

/// An IP family; on the underlay it picks the VTEP addresses.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// Bytes of outer IP, UDP, VXLAN and inner Ethernet headers: 50 or 70 (RFC 7348 §5).
    pub(crate) const fn overhead(self) -> u32 {
        match self {
            Self::Ipv4 => 50,
            Self::Ipv6 => 70,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Underlay {
    /// IP MTU of every underlay link, bytes.
    pub(crate) mtu: u32,
    pub(crate) family: Family,
}

impl Underlay {
    /// IP MTU of the pods, bytes.
    pub(crate) const fn pod_mtu(self) -> u32 {
        self.mtu - self.family.overhead()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vxlan {
    pub(crate) vni: u32,
    pub(crate) port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NodeKind {
    /// Runs `weft daemon`.
    Weft,
    /// The kernel's VXLAN device with static neighbour, FDB and route entries.
    Kernel,
}

#[derive(Debug, Clone)]
pub(crate) struct NodeSpec {
    pub(crate) name: String,
    pub(crate) kind: NodeKind,
    /// Workers of the daemon; absent: the daemon's default.
    pub(crate) workers: Option<u8>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct PodNetwork {
    pub(crate) ipv4: Option<Ipv4Network>,
    pub(crate) ipv6: Option<Ipv6Network>,
}

/// A file or folder of manifests, and the line that names it (0: the command line).
#[derive(Debug, Clone)]
pub(crate) struct ManifestPath {
    pub(crate) path: PathBuf,
    pub(crate) line: u64,
}

/// A checked `lab.yaml`.
#[derive(Debug, Clone)]
pub(crate) struct LabFile {
    pub(crate) path: PathBuf,
    pub(crate) name: LabName,
    pub(crate) underlay: Underlay,
    pub(crate) pod_network: PodNetwork,
    pub(crate) vxlan: Vxlan,
    pub(crate) nodes: Vec<NodeSpec>,
    pub(crate) outside: bool,
    pub(crate) manifests: Vec<ManifestPath>,
    pub(crate) expect: Vec<Expectation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawLab {
    name: Option<Spanned<String>>,
    #[serde(default)]
    underlay: RawUnderlay,
    pod_network: Option<RawPodNetwork>,
    #[serde(default)]
    vxlan: RawVxlan,
    nodes: Spanned<Vec<RawNode>>,
    #[serde(default)]
    outside: bool,
    #[serde(default)]
    manifests: Vec<Spanned<String>>,
    #[serde(default)]
    expect: Vec<Spanned<RawExpectation>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUnderlay {
    mtu: Option<Spanned<u32>>,
    family: Option<Family>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPodNetwork {
    ipv4: Option<Spanned<String>>,
    ipv6: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVxlan {
    vni: Option<Spanned<u32>>,
    port: Option<Spanned<u16>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: Spanned<String>,
    kind: Option<NodeKind>,
    workers: Option<Spanned<u8>>,
}

impl LabFile {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> LabResult<Self> {
        Self::parse(path, &yaml::read(path)?)
    }

    /// Checks the text of a file; `path` names it in messages and anchors `manifests:`.
    pub(crate) fn parse(path: &Path, text: &str) -> LabResult<Self> {
        let raw: RawLab = yaml::one(path, text)?;
        let mut check = Check {
            path,
            problems: Vec::new(),
        };
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let underlay = check.underlay(&raw.underlay);
        let nodes = check.nodes(&raw.nodes);
        let pod_network = check.pod_network(raw.pod_network.as_ref(), nodes.len());
        check.pod_mtu(&raw.underlay, underlay, pod_network);
        let expect = check.expectations(&raw.expect);
        let file = Self {
            path: path.to_owned(),
            name: check.name(raw.name.as_ref(), folder),
            underlay,
            pod_network,
            vxlan: check.vxlan(&raw.vxlan),
            nodes,
            outside: raw.outside,
            manifests: raw
                .manifests
                .iter()
                .map(|m| ManifestPath {
                    path: folder.join(&m.value),
                    line: m.referenced.line(),
                })
                .collect(),
            expect,
        };
        check.problems.sort_by_key(|problem| problem.line);
        if check.problems.is_empty() {
            Ok(file)
        } else {
            Err(super::error::LabError::Input(check.problems))
        }
    }
}

/// Collects every problem of one file.
struct Check<'a> {
    path: &'a Path,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn report(&mut self, line: u64, field: &str, message: impl Into<String>, next: &str) {
        self.problems
            .push(Problem::new(self.path, message, next).at(line).field(field));
    }

    fn name(&mut self, name: Option<&Spanned<String>>, folder: &Path) -> LabName {
        let fallback = || {
            let folder = std::fs::canonicalize(folder).ok();
            let last = folder
                .as_deref()
                .and_then(Path::file_name)
                .and_then(|n| n.to_str());
            last.and_then(|n| LabName::new(n).ok())
        };
        let parsed = match name {
            None => Ok(fallback()),
            Some(name) => LabName::new(&name.value)
                .map(Some)
                .map_err(|e| (name.referenced.line(), e)),
        };
        match parsed {
            Ok(Some(name)) => name,
            Ok(None) => {
                self.report(
                    0,
                    "name",
                    "is missing, and the folder's name is no lab name",
                    "add name: my-lab",
                );
                LabName::placeholder()
            }
            Err((line, message)) => {
                self.report(
                    line,
                    "name",
                    message,
                    "choose a short name such as two-nodes",
                );
                LabName::placeholder()
            }
        }
    }

    fn underlay(&mut self, raw: &RawUnderlay) -> Underlay {
        let mtu = raw.mtu.as_ref().map_or(DEFAULT_MTU, |m| m.value);
        if let Some(given) = &raw.mtu
            && !(1280..=65_535).contains(&mtu)
        {
            let message = format!("{mtu} is not between 1280 (RFC 8200 §5) and 65535 bytes");
            self.report(
                given.referenced.line(),
                "underlay.mtu",
                message,
                "1500 is usual, 9000 for jumbo frames",
            );
            return Underlay {
                mtu: DEFAULT_MTU,
                family: Family::Ipv4,
            };
        }
        Underlay {
            mtu,
            family: raw.family.unwrap_or(Family::Ipv4),
        }
    }

    fn pod_mtu(&mut self, raw: &RawUnderlay, underlay: Underlay, pods: PodNetwork) {
        let mtu = underlay.pod_mtu();
        if pods.ipv6.is_some() && mtu < 1280 {
            let message = format!(
                "{} leaves pods {mtu} bytes, less than the 1280 that IPv6 needs (RFC 8200 §5)",
                underlay.mtu
            );
            let line = raw.mtu.as_ref().map_or(0, |m| m.referenced.line());
            let next = format!(
                "use at least {}, or leave out podNetwork.ipv6",
                1280 + underlay.family.overhead()
            );
            self.report(line, "underlay.mtu", message, &next);
        }
    }

    fn vxlan(&mut self, raw: &RawVxlan) -> Vxlan {
        let vni = raw.vni.as_ref().map_or(DEFAULT_VNI, |v| v.value);
        if !(1..=0xff_ffff).contains(&vni) {
            let line = raw.vni.as_ref().map_or(0, |v| v.referenced.line());
            self.report(
                line,
                "vxlan.vni",
                format!("{vni} is not between 1 and 16777215"),
                "flannel's default is 1",
            );
        }
        let port = raw.port.as_ref().map_or(DEFAULT_PORT, |p| p.value);
        if port == 0 {
            let line = raw.port.as_ref().map_or(0, |p| p.referenced.line());
            self.report(
                line,
                "vxlan.port",
                "0 is not a UDP port",
                "Linux uses 8472, RFC 7348 says 4789",
            );
        }
        Vxlan { vni, port }
    }

    fn nodes(&mut self, raw: &Spanned<Vec<RawNode>>) -> Vec<NodeSpec> {
        let all = raw.referenced.line();
        if raw.value.is_empty() {
            self.report(
                all,
                "nodes",
                "is empty",
                "add at least one: - { name: node-a }",
            );
        }
        if raw.value.len() > NODES_MAX {
            let message = format!("{} nodes do not fit the underlay", raw.value.len());
            self.report(all, "nodes", message, "use at most 253");
        }
        let mut seen: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
        for (index, node) in raw.value.iter().enumerate() {
            let line = node.name.referenced.line();
            let field = format!("nodes[{index}].name");
            if let Err(message) = name::check_node(&node.name.value) {
                self.report(line, &field, message, "choose a name such as node-a");
            }
            if let Some(first) = seen.insert(&node.name.value, line) {
                let message = format!(
                    "\"{}\" is already the node of line {first}",
                    node.name.value
                );
                self.report(line, &field, message, "give each node its own name");
            }
            if let Some(workers) = node
                .workers
                .as_ref()
                .filter(|w| !(1..=64).contains(&w.value))
            {
                let message = format!("{} is not between 1 and 64", workers.value);
                let field = format!("nodes[{index}].workers");
                self.report(
                    workers.referenced.line(),
                    &field,
                    message,
                    "leave it out for one per core",
                );
            }
        }
        let kind = |node: &RawNode| node.kind.unwrap_or(NodeKind::Weft);
        raw.value
            .iter()
            .map(|node| NodeSpec {
                name: node.name.value.clone(),
                kind: kind(node),
                workers: node.workers.as_ref().map(|w| w.value),
            })
            .collect()
    }

    fn pod_network(&mut self, raw: Option<&RawPodNetwork>, nodes: usize) -> PodNetwork {
        let Some(raw) = raw else {
            return PodNetwork {
                ipv4: subnet::check_v4(subnet::DEFAULT_IPV4, nodes).ok(),
                ipv6: subnet::check_v6(subnet::DEFAULT_IPV6, nodes).ok(),
            };
        };
        if raw.ipv4.is_none() && raw.ipv6.is_none() {
            let next = "give ipv4, ipv6 or both, or leave podNetwork out";
            self.report(0, "podNetwork", "names no network", next);
        }
        let ipv4 = raw
            .ipv4
            .as_ref()
            .map(|n| (n.referenced.line(), subnet::check_v4(&n.value, nodes)));
        let ipv6 = raw
            .ipv6
            .as_ref()
            .map(|n| (n.referenced.line(), subnet::check_v6(&n.value, nodes)));
        PodNetwork {
            ipv4: self.keep("podNetwork.ipv4", ipv4),
            ipv6: self.keep("podNetwork.ipv6", ipv6),
        }
    }

    /// The good value; a bad one is reported.
    fn keep<T>(
        &mut self,
        field: &str,
        checked: Option<(u64, Result<T, subnet::Wrong>)>,
    ) -> Option<T> {
        let (line, result) = checked?;
        result
            .map_err(|(message, next)| self.report(line, field, message, &next))
            .ok()
    }

    fn expectations(&mut self, raw: &[Spanned<RawExpectation>]) -> Vec<Expectation> {
        let mut good = Vec::new();
        for (index, one) in raw.iter().enumerate() {
            match Expectation::check(&one.value) {
                Ok(expectation) => good.push(expectation),
                Err((field, message)) => {
                    let field = format!("expect[{index}].{field}");
                    let next = "for example { from: default/a, to: default/b, port: 80, protocol: TCP, verdict: allow }";
                    self.report(one.referenced.line(), &field, message, next);
                }
            }
        }
        good
    }
}
