//! What did the user ask for in `lab.yaml`?
//!
//! Owns the file's form and the checks that need nothing but the file: every problem is listed with
//! its line and field. Never looks at the host, and never reads the manifests it names.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnetwork::{Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::error::{LabError, LabResult};
use super::expect::{Expectation, RawExpectation};
use super::name::LabName;
use super::yaml;

mod check;

use check::Check;

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
    /// How long a worker looks for more before it sleeps, in microseconds; absent: the daemon's
    /// default.
    pub(crate) spin_us: Option<u16>,
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
    spin_us: Option<Spanned<u16>>,
}

/// A file that holds nothing but expectations.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExpect {
    expect: Vec<Spanned<RawExpectation>>,
}

/// Reads and checks `expect:` of a file that has nothing else.
pub(crate) fn expectations(path: &Path) -> LabResult<Vec<Expectation>> {
    let raw: RawExpect = yaml::one(path, &yaml::read(path)?)?;
    let mut check = Check {
        path,
        problems: Vec::new(),
    };
    let expect = check.expectations(&raw.expect);
    if check.problems.is_empty() {
        Ok(expect)
    } else {
        Err(LabError::Input(check.problems))
    }
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
            Err(LabError::Input(check.problems))
        }
    }
}
