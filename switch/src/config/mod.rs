//! What did the operator ask of this node?
//!
//! Owns `weft.toml`: its keys, their defaults and every rule about their values. A [`Config`] is
//! valid by construction; a bad file gives all of its mistakes at once, each with the line, the
//! field and what to write instead. Never looks at the host: an absent `node.address` stays absent
//! until the daemon starts.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnetwork::IpNetwork;

mod reader;
mod rules;

use reader::Reader;

/// VXLAN network identifier of flannel and of the Linux examples.
pub const DEFAULT_VNI: u32 = 1;
/// The UDP port of the Linux kernel's VXLAN device, which flannel keeps (IANA's is 4789).
pub const DEFAULT_VXLAN_PORT: u16 = 8472;
/// How long a pod's address rests before another pod gets it, in seconds.
pub const DEFAULT_COOL_DOWN: u32 = 60;
/// How long a busy worker looks for more work before it sleeps, in microseconds: about a round trip
/// between two nodes, so that the answer finds the worker awake.
pub const DEFAULT_SPIN: u16 = 50;
/// The longest such time: more than a wake-up costs gains nothing.
pub const MAX_SPIN: u16 = 1000;
/// Where manifests are read from.
pub const DEFAULT_MANIFESTS: &str = "/etc/weft/cluster.d";
/// What survives the daemon.
pub const DEFAULT_STATE: &str = weft_cni::daemon::DEFAULT_STATE;
/// Where metrics and health are served.
pub const DEFAULT_METRICS: &str = "127.0.0.1:9568";
/// Where the configuration is read from.
pub const DEFAULT_CONFIG: &str = "/etc/weft/weft.toml";
/// More workers than this help nobody and would not fit the flow table's queue number.
pub const MAX_WORKERS: usize = 64;
/// The least MTU of a network that carries IPv6 (RFC 8200 §5).
pub const MIN_MTU: u16 = 1280;

const SECTIONS: &[(&str, &[&str])] = &[
    (
        "node",
        &["name", "address", "pod_cidrs", "workers", "mtu", "spin_us"],
    ),
    ("vxlan", &["vni", "port"]),
    ("cluster", &["source", "path"]),
    ("ipam", &["reserved", "cool_down_seconds"]),
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
    /// Who gets which address.
    pub ipam: IpamConfig,
    /// Directory of manifests, the one source of desired state so far.
    pub manifests: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Directory of what survives the daemon: which pods have which addresses.
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
    /// How long a worker that has just worked looks for more before it sleeps, at most, in
    /// microseconds; 0: never.
    pub spin_us: u16,
}

/// `[vxlan]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VxlanConfig {
    /// Network identifier, 1 to 2²⁴ − 1.
    pub vni: u32,
    /// UDP port of every node.
    pub port: u16,
}

/// `[ipam]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpamConfig {
    /// Addresses of the pod ranges that no pod gets.
    pub reserved: BTreeSet<IpAddr>,
    /// How long an address rests after its pod is gone.
    pub cool_down: Duration,
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
        let node = rules::node(&mut reader, host);
        let vxlan = rules::vxlan(&mut reader);
        let ipam = rules::ipam(&mut reader, &node.pod_cidrs);
        let manifests = rules::cluster(&mut reader);
        let socket = rules::path(&mut reader, "paths.socket", crate::api::DEFAULT_SOCKET);
        let state = rules::path(&mut reader, "paths.state", DEFAULT_STATE);
        let metrics = rules::metrics(&mut reader);
        if reader.mistakes.is_empty() {
            return Ok(Self {
                node,
                vxlan,
                ipam,
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
