//! What has to be remembered of an attachment, and what may happen to it?

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use weft_cni::daemon::{Bandwidth, Identity, PortMapping};

/// A pod's interface, as much of it as is needed to serve it again after a restart and to answer
/// a repeated request alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// What tells it from others.
    pub identity: Identity,
    /// Name of the CNI network.
    pub network: String,
    /// The pod's namespace; empty without a pod.
    pub namespace: String,
    /// The pod's name; empty without a pod.
    pub pod: String,
    /// The pod's UID, where it is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Where the network namespace was; a hint.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub netns_path: String,
    /// Device and inode of the network namespace; they name it until it goes, and in one boot.
    pub netns: (u64, u64),
    /// The boot in which it was attached.
    pub boot: String,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Whether another IPAM plugin chose them.
    #[serde(default)]
    pub delegated: bool,
    /// The MAC address inside the pod.
    pub mac: String,
    /// In bytes.
    pub mtu: u16,
    /// How the interface is served: `fast` or `plain`.
    pub backend: String,
    /// Ports of the node that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// Limits of its traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pod.is_empty() {
            write!(f, "container {}", self.identity.container_id)
        } else {
            write!(f, "pod {}/{}", self.namespace, self.pod)
        }
    }
}

/// A moment in the life of a host, whatever its clock on the wall says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uptime {
    /// Which boot: the kernel's random boot id.
    pub boot: String,
    /// Time since then, suspension included.
    pub nanos: u64,
}

/// One change of a [`Ledger`](super::Ledger).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// An attachment is about to be made; its addresses are held from now on.
    Reserve(Box<Attachment>),
    /// It has been made.
    Commit(Identity),
    /// It is gone, or was never finished; its addresses rest from now on.
    Release {
        /// Which.
        identity: Identity,
        /// When.
        at: Uptime,
    },
    /// An address that nobody holds rests; only in snapshots.
    Freed {
        /// Which.
        ip: IpAddr,
        /// Since when.
        at: Uptime,
    },
    /// A daemon started: rests that began in another boot, or later than this, begin anew.
    Restart {
        /// When.
        at: Uptime,
    },
}

impl Record {
    /// [`Self::Reserve`].
    #[must_use]
    pub fn reserve(attachment: Attachment) -> Self {
        Self::Reserve(Box::new(attachment))
    }
}
