//! What do all objects together ask of this node?
//!
//! [`ClusterState`] remembers the last good version of every origin (a file, later a key of
//! another source) and derives [`Desired`] from them: the other nodes, this node's pods, what
//! contradicts what. Whoever came first keeps an address; the newcomer is reported. Pure: time is
//! an argument, logging and publishing are the caller's, told by [`Effects`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use weft_policy::Moment;
use weft_wire::Mac;

use super::objects::{Located, NodeObject, Object, ObjectKey, PodObject};
use super::{ManifestError, vtep_mac};

mod derive;

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
    /// An origin was read: its objects replace those it held before.
    Read {
        /// The file.
        origin: Arc<str>,
        /// All of its objects.
        objects: Vec<Located<Object>>,
    },
    /// An origin cannot be read or understood: its last good version stays.
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
    /// [`ClusterState::desired`] changed: compile and publish.
    pub publish: bool,
    /// Newly wrong: say so.
    pub appeared: Vec<Trouble>,
    /// No longer wrong: say so.
    pub resolved: Vec<Trouble>,
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
    /// Number of NetworkPolicy objects. They decide nothing yet.
    pub policies: usize,
}

/// One remembered origin.
#[derive(Clone, Debug, Default)]
struct Origin {
    objects: Vec<Located<Object>>,
    errors: Vec<ManifestError>,
}

/// The state machine of the desired state.
#[derive(Debug)]
pub struct ClusterState {
    local: LocalNode,
    origins: BTreeMap<Arc<str>, Origin>,
    /// When each object was first seen, as a counter: decides who keeps a contested address.
    first_seen: BTreeMap<ObjectKey, u64>,
    next_seen: u64,
    broken: Option<Trouble>,
    synced: bool,
    last_event: Option<Moment>,
    desired: Desired,
    troubles: BTreeSet<Trouble>,
}

impl ClusterState {
    /// The state before any source has spoken.
    #[must_use]
    pub const fn new(local: LocalNode) -> Self {
        Self {
            local,
            origins: BTreeMap::new(),
            first_seen: BTreeMap::new(),
            next_seen: 0,
            broken: None,
            synced: false,
            last_event: None,
            desired: Desired {
                peers: Vec::new(),
                own_mac: None,
                pods: BTreeMap::new(),
                namespaces: 0,
                policies: 0,
            },
            troubles: BTreeSet::new(),
        }
    }

    /// Takes in one event.
    pub fn step(&mut self, event: Event, now: Moment) -> Effects {
        self.last_event = Some(now);
        let was_synced = self.synced;
        match event {
            Event::Read { origin, objects } => {
                self.origins.insert(
                    origin,
                    Origin {
                        objects,
                        errors: Vec::new(),
                    },
                );
            }
            Event::Rejected { origin, errors } => {
                self.origins.entry(origin).or_default().errors = errors;
            }
            Event::Gone { origin } => {
                self.origins.remove(&origin);
            }
            Event::Synced => {
                self.synced = true;
                self.broken = None;
            }
            Event::Broken { problem } => self.broken = Some(problem),
        }
        let (desired, troubles) = if self.synced {
            self.remember_order();
            derive::derive(self)
        } else {
            (Desired::default(), self.broken.iter().cloned().collect())
        };
        let troubles: BTreeSet<_> = troubles.into_iter().collect();
        let effects = Effects {
            publish: desired != self.desired || self.synced != was_synced,
            appeared: troubles.difference(&self.troubles).cloned().collect(),
            resolved: self.troubles.difference(&troubles).cloned().collect(),
        };
        self.desired = desired;
        self.troubles = troubles;
        effects
    }

    /// Numbers new objects and forgets those that are gone.
    fn remember_order(&mut self) {
        let origins = self.origins.values();
        let present: Vec<_> = origins
            .flat_map(|o| &o.objects)
            .map(|o| o.value.key())
            .collect();
        for key in &present {
            if !self.first_seen.contains_key(key) {
                self.first_seen.insert(key.clone(), self.next_seen);
                self.next_seen += 1;
            }
        }
        let present: BTreeSet<_> = present.into_iter().collect();
        self.first_seen.retain(|key, _| present.contains(key));
    }

    /// What this node should do, as of the last step.
    #[must_use]
    pub const fn desired(&self) -> &Desired {
        &self.desired
    }

    /// What is wrong, as of the last step.
    pub fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        self.troubles.iter()
    }

    /// Whether the source has reported everything once.
    #[must_use]
    pub const fn is_synced(&self) -> bool {
        self.synced
    }

    /// When the source last spoke.
    #[must_use]
    pub const fn last_event(&self) -> Option<Moment> {
        self.last_event
    }

    /// Number of origins with at least one object.
    #[must_use]
    pub fn origins(&self) -> usize {
        self.origins
            .values()
            .filter(|origin| !origin.objects.is_empty())
            .count()
    }

    /// The origins known so far, for a source that compares them with what it finds.
    pub fn known_origins(&self) -> impl Iterator<Item = &Arc<str>> {
        self.origins.keys()
    }
}

/// Why no pod of node `name` may have `ip`, if so: it lies outside the node's ranges, or is the
/// base of one (the node's own address), the next (kept free, operators expect a gateway there)
/// or the last of an IPv4 one (a broadcast address to nodes that treat the range as a link).
#[must_use]
pub fn not_for_pods(name: &str, pod_cidrs: &[IpNetwork], ip: IpAddr) -> Option<String> {
    let Some(cidr) = pod_cidrs.iter().find(|cidr| cidr.contains(ip)) else {
        let cidrs = derive::list(pod_cidrs);
        return Some(format!(
            "{ip} is outside the pod ranges of node {name} ({cidrs})"
        ));
    };
    let next = match cidr.network() {
        IpAddr::V4(base) => IpAddr::V4((base.to_bits() | 1).into()),
        IpAddr::V6(base) => IpAddr::V6((base.to_bits() | 1).into()),
    };
    let reserved = ip == cidr.network() || ip == next || (ip.is_ipv4() && ip == cidr.broadcast());
    reserved.then(|| format!("{ip} is reserved in {cidr}; pods start at the third address"))
}
