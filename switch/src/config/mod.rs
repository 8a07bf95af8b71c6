//! What did the operator ask of this node?
//!
//! Owns `weft.toml`: its keys, their defaults and every rule about their values. A [`Config`] is
//! valid by construction; a bad file gives all of its mistakes at once, each with the line, the
//! field and what to write instead. Never looks at the host: an absent `node.address` stays absent
//! until the daemon starts.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;

mod reader;

use reader::{Placed, Reader};

/// VXLAN network identifier of flannel and of the Linux examples.
pub const DEFAULT_VNI: u32 = 1;
/// The UDP port of the Linux kernel's VXLAN device, which flannel keeps (IANA's is 4789).
pub const DEFAULT_VXLAN_PORT: u16 = 8472;
/// Where manifests are read from.
pub const DEFAULT_MANIFESTS: &str = "/etc/weft/cluster.d";
/// What survives the daemon.
pub const DEFAULT_STATE: &str = "/var/lib/weft";
/// Where metrics and health are served.
pub const DEFAULT_METRICS: &str = "127.0.0.1:9568";
/// Where the configuration is read from.
pub const DEFAULT_CONFIG: &str = "/etc/weft/weft.toml";
/// More workers than this help nobody and would not fit the flow table's queue number.
pub const MAX_WORKERS: usize = 64;
/// The least MTU of a network that carries IPv6 (RFC 8200 §5).
pub const MIN_MTU: u16 = 1280;

const SECTIONS: &[(&str, &[&str])] = &[
    ("node", &["name", "address", "pod_cidrs", "workers", "mtu"]),
    ("vxlan", &["vni", "port"]),
    ("cluster", &["source", "path"]),
    ("paths", &["socket", "state"]),
    ("metrics", &["listen"]),
];

/// What `weft.toml` says, with defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node.
    pub node: NodeConfig,
    /// The overlay.
    pub vxlan: VxlanConfig,
    /// Directory of manifests, the one source of desired state so far.
    pub manifests: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Directory of what survives the daemon.
    pub state: PathBuf,
    /// Where metrics and health are served; `None` turns them off.
    pub metrics: Option<SocketAddr>,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// The name its Node object carries.
    pub name: String,
    /// Address of the tunnel end point; `None`: that of the default route's interface.
    pub address: Option<IpAddr>,
    /// Its pod ranges, at most one of each family, at least one.
    pub pod_cidrs: Vec<IpNetwork>,
    /// Worker threads, 1 to [`MAX_WORKERS`].
    pub workers: usize,
    /// MTU of pod interfaces in bytes; `None`: what the underlay leaves.
    pub mtu: Option<u16>,
}

/// `[vxlan]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VxlanConfig {
    /// Network identifier, 1 to 2²⁴ − 1.
    pub vni: u32,
    /// UDP port of every node.
    pub port: u16,
}

/// What the host would answer for keys the file leaves out.
#[derive(Clone, Debug)]
pub struct HostDefaults {
    /// For `node.name`.
    pub hostname: String,
    /// For `node.workers`.
    pub cores: usize,
}

impl HostDefaults {
    /// Asks this host.
    #[must_use]
    pub fn of_this_host() -> Self {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            hostname: hostname.trim().to_owned(),
            cores: cores.min(MAX_WORKERS),
        }
    }
}

/// One thing to correct in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// `section.key`; empty for a mistake of syntax.
    pub field: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub next: String,
}

/// Why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}; write the file, or name another with --config", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file says something that cannot be.
    #[error("{}", Listing(.file, .mistakes))]
    Mistakes {
        /// The file.
        file: PathBuf,
        /// All of them, in the order of the file.
        mistakes: Vec<Mistake>,
    },
}

struct Listing<'a>(&'a Path, &'a [Mistake]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (
            index,
            Mistake {
                line,
                field,
                what,
                next,
            },
        ) in self.1.iter().enumerate()
        {
            let separator = if index == 0 { "" } else { "\n" };
            let colon = if field.is_empty() { "" } else { ": " };
            let file = self.0.display();
            write!(f, "{separator}{file}:{line}: {field}{colon}{what}; {next}")?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads and checks `file`.
    ///
    /// # Errors
    /// [`ConfigError`], with every mistake of the file.
    pub fn load(file: &Path, host: &HostDefaults) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Unreadable {
            file: file.to_owned(),
            source,
        })?;
        Self::parse(&text, host).map_err(|mistakes| ConfigError::Mistakes {
            file: file.to_owned(),
            mistakes,
        })
    }

    /// Checks the text of a file.
    ///
    /// # Errors
    /// Every mistake, in the order of the file.
    pub fn parse(text: &str, host: &HostDefaults) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader::new(text, SECTIONS);
        let node = node(&mut reader, host);
        let vxlan = vxlan(&mut reader);
        let manifests = cluster(&mut reader);
        let socket = path(&mut reader, "paths.socket", crate::api::DEFAULT_SOCKET);
        let state = path(&mut reader, "paths.state", DEFAULT_STATE);
        let metrics = metrics(&mut reader);
        if reader.mistakes.is_empty() {
            return Ok(Self {
                node,
                vxlan,
                manifests,
                socket,
                state,
                metrics,
            });
        }
        reader.mistakes.sort_by_key(|mistake| mistake.line);
        Err(reader.mistakes)
    }
}

fn node(reader: &mut Reader<'_>, host: &HostDefaults) -> NodeConfig {
    let name = node_name(reader, host);
    let pod_cidrs = pod_cidrs(reader);
    let address = reader.string("node.address").and_then(|text| {
        let address = text.value.parse().ok();
        let usable = address.filter(|address| is_usable(*address));
        if usable.is_none() {
            let what = format!("\"{}\" is not an address a node can have", text.value);
            let next = "write the address other nodes reach this one at, such as \"192.0.2.1\"";
            reader.mistake(text.line, "node.address", what, next);
        }
        let inside = pod_cidrs
            .iter()
            .find(|cidr| usable.is_some_and(|a| cidr.contains(a)));
        if let Some(cidr) = inside {
            let what = format!("{} is inside the pod range {cidr}", text.value);
            let next = "write the address of the underlay, not one of the pods'";
            reader.mistake(text.line, "node.address", what, next);
        }
        usable
    });
    let range = 1..=MAX_WORKERS as i64;
    let workers = number(
        reader,
        "node.workers",
        range,
        "or leave it out for one per core",
    );
    let mtu = number(
        reader,
        "node.mtu",
        MIN_MTU.into()..=65_000,
        "or leave it out to derive it",
    );
    NodeConfig {
        name,
        address,
        pod_cidrs,
        workers: workers
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(host.cores),
        mtu: mtu.and_then(|n| u16::try_from(n).ok()),
    }
}

/// A name as Kubernetes gives nodes: a DNS subdomain (RFC 1123).
fn node_name(reader: &mut Reader<'_>, host: &HostDefaults) -> String {
    let given = reader.string("node.name");
    let line = given
        .as_ref()
        .map_or_else(|| reader.section_line("node"), |text| text.line);
    let name = given.map_or_else(|| host.hostname.to_lowercase(), |text| text.value);
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        let what = format!("{name:?} is not a node name");
        let next = "write lower-case letters, digits, '-' and '.', such as \"node-a\"";
        reader.mistake(line, "node.name", what, next);
    }
    name
}

fn is_usable(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || broadcast)
}

fn pod_cidrs(reader: &mut Reader<'_>) -> Vec<IpNetwork> {
    const FIELD: &str = "node.pod_cidrs";
    const EXAMPLE: &str =
        "write one range per family, such as [\"10.244.1.0/24\", \"fd00:10:244:1::/64\"]";
    let Some(list) = reader.strings(FIELD) else {
        if !reader.mistakes.iter().any(|mistake| mistake.field == FIELD) {
            let line = reader.section_line("node");
            reader.mistake(line, FIELD, "is missing", EXAMPLE);
        }
        return Vec::new();
    };
    if list.value.is_empty() {
        reader.mistake(list.line, FIELD, "is empty", EXAMPLE);
    }
    let mut accepted: Vec<IpNetwork> = Vec::new();
    for text in list.value {
        let Some(cidr) = pod_cidr(reader, FIELD, &text) else {
            continue;
        };
        let same_family = accepted
            .iter()
            .find(|other| other.is_ipv4() == cidr.is_ipv4());
        if let Some(other) = same_family {
            let what = if other.contains(cidr.network()) || cidr.contains(other.network()) {
                format!("{cidr} overlaps {other}")
            } else {
                format!("{cidr} is the second range of its family, after {other}")
            };
            reader.mistake(text.line, FIELD, what, "keep one range of each family");
        } else {
            accepted.push(cidr);
        }
    }
    accepted
}

/// A range in which the node's own address (the base), one reserved address and at least one pod
/// have room.
fn pod_cidr(reader: &mut Reader<'_>, field: &str, text: &Placed<String>) -> Option<IpNetwork> {
    let Some(cidr) = text
        .value
        .contains('/')
        .then(|| text.value.parse().ok())
        .flatten()
    else {
        let what = format!("\"{}\" is not a range", text.value);
        let next = "write address/length, such as \"10.244.1.0/24\"";
        reader.mistake(text.line, field, what, next);
        return None;
    };
    let cidr: IpNetwork = cidr;
    let (shortest, longest) = if cidr.is_ipv4() { (8, 30) } else { (16, 126) };
    if cidr.ip() != cidr.network() {
        let next = format!("write \"{}/{}\"", cidr.network(), cidr.prefix());
        reader.mistake(text.line, field, format!("{cidr} has host bits set"), next);
        return None;
    }
    if !(shortest..=longest).contains(&cidr.prefix()) {
        let next = format!("write a length between /{shortest} and /{longest}");
        reader.mistake(
            text.line,
            field,
            format!("{cidr} is no size for a pod range"),
            next,
        );
        return None;
    }
    if !is_usable(cidr.network()) || cidr.network().is_loopback() {
        let next = "write a unicast range, such as \"10.244.1.0/24\"";
        reader.mistake(text.line, field, format!("{cidr} cannot hold pods"), next);
        return None;
    }
    Some(cidr)
}

fn number(
    reader: &mut Reader<'_>,
    field: &str,
    range: std::ops::RangeInclusive<i64>,
    otherwise: &str,
) -> Option<i64> {
    let Placed { line, value } = reader.integer(field)?;
    if range.contains(&value) {
        return Some(value);
    }
    let separator = if otherwise.is_empty() { "" } else { ", " };
    let next = format!(
        "write {} to {}{separator}{otherwise}",
        range.start(),
        range.end()
    );
    reader.mistake(line, field, format!("{value} is out of range"), next);
    None
}

fn vxlan(reader: &mut Reader<'_>) -> VxlanConfig {
    let vni = number(reader, "vxlan.vni", 1..=0xff_ffff, "");
    let port = number(reader, "vxlan.port", 1..=0xffff, "");
    VxlanConfig {
        vni: vni
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(DEFAULT_VNI),
        port: port
            .and_then(|n| u16::try_from(n).ok())
            .unwrap_or(DEFAULT_VXLAN_PORT),
    }
}

fn cluster(reader: &mut Reader<'_>) -> PathBuf {
    if let Some(source) = reader
        .string("cluster.source")
        .filter(|s| s.value != "manifests")
    {
        let what = format!("\"{}\" is not a source this version knows", source.value);
        reader.mistake(source.line, "cluster.source", what, "write \"manifests\"");
    }
    path(reader, "cluster.path", DEFAULT_MANIFESTS)
}

fn path(reader: &mut Reader<'_>, field: &str, default: &str) -> PathBuf {
    let Some(text) = reader.string(field) else {
        return default.into();
    };
    let path = PathBuf::from(&text.value);
    if !path.is_absolute() {
        let what = format!("\"{}\" is not an absolute path", text.value);
        reader.mistake(
            text.line,
            field,
            what,
            format!("write one, such as \"{default}\""),
        );
    }
    path
}

fn metrics(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let text = reader.string("metrics.listen").unwrap_or_else(|| Placed {
        line: 0,
        value: DEFAULT_METRICS.to_owned(),
    });
    if text.value.is_empty() {
        return None;
    }
    let listen = text.value.parse().ok();
    if listen.is_none() {
        let what = format!("\"{}\" is not an address and port", text.value);
        let next = "write \"127.0.0.1:9568\", or \"\" to serve no metrics";
        reader.mistake(text.line, "metrics.listen", what, next);
    }
    listen
}
