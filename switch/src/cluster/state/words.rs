//! What sources say, what callers are told, and what a node should do.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use weft_policy::Change;
use weft_wire::Mac;

use super::super::manifest::{Manifest, ManifestError};
use super::super::objects::PodObject;

/// This node, as configured.
#[derive(Clone, Debug)]
pub struct LocalNode {
    /// Its name.
    pub name: String,
    /// Address of its tunnel end point; its family is the underlay's.
    pub vtep: IpAddr,
    /// Its pod ranges.
    pub pod_cidrs: Vec<IpNetwork>,
}

/// What a source of state reports.
#[derive(Clone, Debug)]
pub enum Event {
    /// An origin was read: its objects replace those it held before, except where there are
    /// errors.
    Read {
        /// The file.
        origin: Arc<str>,
        /// What it says.
        manifest: Manifest,
    },
    /// An origin cannot be read at all: its last good version stays. Without one it may hold
    /// any policy, so everything is closed.
    Rejected {
        /// The file.
        origin: Arc<str>,
        /// Why.
        errors: Vec<ManifestError>,
    },
    /// An origin is gone, and its objects with it.
    Gone {
        /// The file.
        origin: Arc<str>,
    },
    /// Several events at one moment: what moves from one origin to another is never absent.
    Batch(Vec<Self>),
    /// The source has reported everything there was when it started.
    Synced,
    /// The source does not work; what is known stays.
    Broken {
        /// What happened, where, and what to do.
        problem: Trouble,
    },
}

/// Something wrong with the desired state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    /// `file:line`
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub next: String,
}

/// What the caller has to do after a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// [`ClusterState::desired`](super::ClusterState::desired), the cluster of policies or `closed` changed: compile and
    /// publish.
    pub publish: bool,
    /// What is different for policies since the last step.
    pub changes: Vec<Change>,
    /// Too little is known to let anything pass: nothing was read yet, or a manifest that may
    /// hold policies cannot be read.
    pub closed: bool,
    /// Newly wrong: say so.
    pub appeared: Vec<Trouble>,
    /// No longer wrong: say so.
    pub resolved: Vec<Trouble>,
    /// Not wrong, but worth a line of the log.
    pub notices: Vec<Trouble>,
}

/// Another node, complete and without contradiction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerNode {
    /// Its name.
    pub name: String,
    /// Its underlay address.
    pub vtep: IpAddr,
    /// The MAC address of its tunnel end point.
    pub mac: Mac,
    /// Its pod ranges.
    pub pod_cidrs: Vec<IpNetwork>,
}

/// What this node should do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The other nodes, by name.
    pub peers: Vec<PeerNode>,
    /// The MAC address an annotation of the own Node object asks for.
    pub own_mac: Option<Mac>,
    /// Pods placed here, by `(namespace, name)`.
    pub pods: BTreeMap<(String, String), PodObject>,
    /// Number of namespaces.
    pub namespaces: usize,
    /// Number of NetworkPolicy objects in force.
    pub policies: usize,
}
