//! What do all objects together ask of this node?
//!
//! [`ClusterState`] remembers the last good version of every object of every origin (a file,
//! later a key of another source) and derives from them [`Desired`] and the changes of the
//! [`Cluster`] that policies are compiled from. One event costs what it touches, not what there
//! is. Whoever came first keeps an address or a name; the newcomer is reported. Pure: time is an
//! argument, logging and publishing are the caller's, told by [`Effects`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use weft_policy::{Change, Cluster, Moment};

use super::manifest::Manifest;
use super::objects::{Object, ObjectKey, PodObject};

mod nodes;
mod origin;
mod pods;
mod troubles;
mod words;

pub use words::{Desired, Effects, Event, LocalNode, PeerNode, Trouble};

use nodes::Nodes;
use origin::Origin;
use pods::Addresses;
use troubles::{Subject, Troubles};

/// What most troubles are ended by.
const EDIT: &str = "correct the file; it is read again as soon as it is saved";

/// One origin's version of an object.
#[derive(Clone, Debug)]
struct Claim {
    origin: Arc<str>,
    line: usize,
    object: Arc<Object>,
}

/// All versions of an object.
#[derive(Clone, Debug)]
struct Entry {
    /// When the object was first seen, as a counter.
    first_seen: u64,
    /// The first counts; the others are reported.
    claims: Vec<Claim>,
}

/// The state machine of the desired state.
#[derive(Debug)]
pub struct ClusterState {
    /// None without a daemon, when no node's view is asked for.
    local: Option<LocalNode>,
    origins: BTreeMap<Arc<str>, Origin>,
    objects: BTreeMap<ObjectKey, Entry>,
    /// A clock of first sightings.
    next_seen: u64,
    /// Objects and origins that changed since things were last settled.
    touched: BTreeSet<ObjectKey>,
    touched_origins: BTreeSet<Arc<str>>,
    addresses: Addresses,
    /// Namespaces whose labels are unknown for want of a readable object.
    unlabelled: BTreeSet<String>,
    /// Kinds that were named as not read.
    named_kinds: BTreeSet<String>,
    source_broken: Option<Trouble>,
    synced: bool,
    /// How many origins may hold any policy, and cannot be read.
    closing: usize,
    closed: bool,
    last_event: Option<Moment>,
    desired: Desired,
    cluster: Cluster,
    troubles: Troubles,
}

impl ClusterState {
    /// The state of a node before any source has spoken.
    #[must_use]
    pub fn new(local: LocalNode) -> Self {
        Self::of(Some(local))
    }

    /// The state of no node in particular: nodes are not compared, and every pod is elsewhere.
    #[must_use]
    pub fn of_no_node() -> Self {
        Self::of(None)
    }

    fn of(local: Option<LocalNode>) -> Self {
        Self {
            local,
            origins: BTreeMap::new(),
            objects: BTreeMap::new(),
            next_seen: 0,
            touched: BTreeSet::new(),
            touched_origins: BTreeSet::new(),
            addresses: Addresses::default(),
            unlabelled: BTreeSet::new(),
            named_kinds: BTreeSet::new(),
            source_broken: None,
            synced: false,
            closing: 0,
            closed: true,
            last_event: None,
            desired: Desired::default(),
            cluster: Cluster::default(),
            troubles: Troubles::default(),
        }
    }

    /// Takes in one event.
    pub fn step(&mut self, event: Event, now: Moment) -> Effects {
        self.last_event = Some(now);
        let (was_synced, was_closed) = (self.synced, self.closed);
        let mut effects = Effects::default();
        self.take(event, &mut effects);
        let source = self.source_broken.clone();
        self.troubles
            .set(Subject::Source, source.into_iter().collect());
        if self.synced {
            effects.publish |= self.settle(&mut effects.changes);
            self.closed = self.closing > 0;
        }
        (effects.appeared, effects.resolved) = self.troubles.differences();
        effects.closed = self.closed;
        effects.publish |= self.synced != was_synced || self.closed != was_closed;
        effects.publish |= !effects.changes.is_empty();
        effects
    }

    fn take(&mut self, event: Event, effects: &mut Effects) {
        match event {
            Event::Read { origin, manifest } => {
                self.notice(&origin, &manifest, &mut effects.notices);
                let before = self.origins.get(&origin);
                let after = Origin::read(&origin, manifest, before);
                self.replace(origin, Some(after));
            }
            Event::Rejected { origin, errors } => {
                let before = self.origins.get(&origin);
                let after = Origin::rejected(&origin, &errors, before);
                self.replace(origin, Some(after));
            }
            Event::Gone { origin } => self.replace(origin, None),
            Event::Batch(events) => {
                for event in events {
                    self.take(event, effects);
                }
            }
            Event::Synced => {
                self.synced = true;
                self.source_broken = None;
            }
            Event::Broken { problem } => self.source_broken = Some(problem),
        }
    }

    /// What a manifest says that may not be meant, where that is new; skipped kinds once.
    fn notice(&mut self, origin: &str, manifest: &Manifest, notices: &mut Vec<Trouble>) {
        let before = self.origins.get(origin);
        for notice in &manifest.notices {
            let notice = origin::notice(origin, notice);
            if before.is_none_or(|before| !before.notices.contains(&notice)) {
                notices.push(notice);
            }
        }
        for (kind, line) in &manifest.skipped {
            if self.named_kinds.insert(kind.clone()) {
                notices.push(origin::skipped(origin, *line, kind));
            }
        }
    }

    /// Puts an origin's objects in the place of those it held before.
    fn replace(&mut self, origin: Arc<str>, after: Option<Origin>) {
        let before = self.origins.remove(&origin).unwrap_or_default();
        let after = after.unwrap_or_default();
        self.closing -= usize::from(before.closes_all);
        self.closing += usize::from(after.closes_all);
        let mut claims: BTreeMap<&ObjectKey, Vec<Claim>> = BTreeMap::new();
        for held in &before.held {
            claims.entry(&held.key).or_default();
        }
        for held in &after.held {
            self.first_sight(&held.key);
            claims.entry(&held.key).or_default().push(Claim {
                origin: Arc::clone(&origin),
                line: held.line,
                object: Arc::clone(&held.object),
            });
        }
        for (key, claims) in claims {
            self.claim(key, &origin, claims);
        }
        let unlabelled = before.unlabelled.iter().chain(&after.unlabelled);
        self.touched.extend(unlabelled.cloned().map(namespace_key));
        if after.was_read || after.closes_all {
            self.origins.insert(Arc::clone(&origin), after);
        }
        self.touched_origins.insert(origin);
    }

    fn first_sight(&mut self, key: &ObjectKey) {
        if !self.objects.contains_key(key) {
            self.next_seen += 1;
            let entry = Entry {
                first_seen: self.next_seen,
                claims: Vec::new(),
            };
            self.objects.insert(key.clone(), entry);
        }
    }

    /// Replaces what an origin says of an object; who said so first keeps the first place.
    fn claim(&mut self, key: &ObjectKey, origin: &Arc<str>, claims: Vec<Claim>) {
        self.touched.insert(key.clone());
        let Some(entry) = self.objects.get_mut(key) else {
            return;
        };
        let place = entry.claims.iter().position(|c| c.origin == *origin);
        entry.claims.retain(|claim| claim.origin != *origin);
        let place = place.unwrap_or(entry.claims.len());
        entry.claims.splice(place..place, claims);
    }

    /// Derives what follows from everything touched; whether `desired` changed.
    fn settle(&mut self, changes: &mut Vec<Change>) -> bool {
        for origin in std::mem::take(&mut self.touched_origins) {
            let troubles = self.origins.get(&origin).map(|o| o.troubles.clone());
            self.troubles
                .set(Subject::Origin(origin), troubles.unwrap_or_default());
        }
        let touched = std::mem::take(&mut self.touched);
        let counts = (self.desired.namespaces, self.desired.policies);
        let mut pods = BTreeSet::new();
        let mut nodes = false;
        for key in touched {
            self.report_doubles(&key);
            match key.kind {
                "Node" => nodes = true,
                "Namespace" => self.settle_namespace(&key, &mut pods, changes),
                "NetworkPolicy" => self.settle_policy(&key, changes),
                _ => {
                    pods.insert(key);
                    continue;
                }
            }
            self.forget_unclaimed(&key);
        }
        let pods_changed = self.settle_pods(pods, changes);
        let nodes_changed = nodes && self.settle_nodes();
        self.desired.namespaces = self.cluster.namespaces.len();
        self.desired.policies = self.cluster.policies.len();
        let counts_changed = counts != (self.desired.namespaces, self.desired.policies);
        pods_changed | nodes_changed | counts_changed
    }

    fn forget_unclaimed(&mut self, key: &ObjectKey) {
        if self.objects.get(key).is_some_and(|e| e.claims.is_empty()) {
            self.objects.remove(key);
        }
    }

    /// The version of an object that counts.
    fn object(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        Some(&self.objects.get(key)?.claims.first()?.object)
    }

    /// Objects that several places define, or one place twice.
    fn report_doubles(&mut self, key: &ObjectKey) {
        let claims = self.objects.get(key).map_or(&[][..], |e| &e.claims);
        let doubles = claims.split_first().map(|(first, others)| {
            let what = format!(
                "{key}: is already defined at {}:{}",
                first.origin, first.line
            );
            let trouble = |other: &Claim| Trouble {
                place: format!("{}:{}", other.origin, other.line),
                what: what.clone(),
                next: EDIT.into(),
            };
            others.iter().map(trouble).collect()
        });
        self.troubles
            .set(Subject::Double(key.clone()), doubles.unwrap_or_default());
    }

    fn settle_namespace(
        &mut self,
        key: &ObjectKey,
        pods: &mut BTreeSet<ObjectKey>,
        changes: &mut Vec<Change>,
    ) {
        let name = &key.name;
        let labels = match self.object(key).map(Arc::as_ref) {
            Some(Object::Namespace(namespace)) => Some(namespace.labels.clone()),
            _ => None,
        };
        let unlabelled =
            labels.is_none() && self.origins.values().any(|o| o.unlabelled.contains(name));
        if unlabelled != self.unlabelled.contains(name) {
            if unlabelled {
                self.unlabelled.insert(name.clone());
            } else {
                self.unlabelled.remove(name);
            }
            pods.extend(self.pods_of(name));
        }
        let change = labels.map_or_else(
            || Change::NamespaceGone(name.clone()),
            |labels| Change::Namespace(name.clone(), labels),
        );
        self.tell(change, changes);
    }

    fn settle_policy(&mut self, key: &ObjectKey, changes: &mut Vec<Change>) {
        let change = match self.object(key).map(Arc::as_ref) {
            Some(Object::NetworkPolicy(policy)) => Change::Policy(Arc::clone(policy)),
            _ => Change::PolicyGone(pods::name_of(key)),
        };
        self.tell(change, changes);
    }

    /// Notes a change if it is one.
    fn tell(&mut self, change: Change, changes: &mut Vec<Change>) {
        if self.cluster.apply(change.clone()) {
            changes.push(change);
        }
    }

    /// Whether `desired` changed.
    fn settle_nodes(&mut self) -> bool {
        let Some(local) = &self.local else {
            return false;
        };
        let first = ObjectKey {
            kind: "Node",
            namespace: String::new(),
            name: String::new(),
        };
        let entries = self
            .objects
            .range(first..)
            .take_while(|(key, _)| key.kind == "Node");
        let mut entries: Vec<_> = entries.map(|(_, entry)| entry).collect();
        entries.sort_by_key(|entry| entry.first_seen);
        let mut nodes = Nodes::new(local);
        for claim in entries.iter().filter_map(|entry| entry.claims.first()) {
            if let Object::Node(node) = claim.object.as_ref() {
                nodes.add(&claim.origin, claim.line, node);
            }
        }
        let (peers, own_mac, troubles) = nodes.finish();
        self.troubles.set(Subject::Nodes, troubles);
        let changed = peers != self.desired.peers || own_mac != self.desired.own_mac;
        (self.desired.peers, self.desired.own_mac) = (peers, own_mac);
        changed
    }

    /// What this node should do, as of the last step.
    #[must_use]
    pub const fn desired(&self) -> &Desired {
        &self.desired
    }

    /// What policies are compiled from, as of the last step: the sum of all changes.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Whether too little is known to let anything pass, as of the last step.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// What is wrong, as of the last step.
    pub fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        self.troubles.iter()
    }

    /// All pods there are, those of the host's network and finished ones too.
    pub fn pods(&self) -> impl Iterator<Item = &PodObject> {
        let objects = self.objects.values().filter_map(|e| e.claims.first());
        objects.filter_map(|claim| match claim.object.as_ref() {
            Object::Pod(pod) => Some(pod),
            _ => None,
        })
    }

    /// All nodes there are.
    pub fn nodes(&self) -> impl Iterator<Item = &super::objects::NodeObject> {
        let objects = self.objects.values().filter_map(|e| e.claims.first());
        objects.filter_map(|claim| match claim.object.as_ref() {
            Object::Node(node) => Some(node),
            _ => None,
        })
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
        let origins = self.origins.values();
        origins.filter(|origin| !origin.held.is_empty()).count()
    }

    /// The origins known so far, for a source that compares them with what it finds.
    pub fn known_origins(&self) -> impl Iterator<Item = &Arc<str>> {
        self.origins.keys()
    }
}

const fn namespace_key(name: String) -> ObjectKey {
    ObjectKey {
        kind: "Namespace",
        namespace: String::new(),
        name,
    }
}

/// Why no pod of node `name` may have `ip`, if so: it lies outside the node's ranges, or is the
/// base of one (the node's own address), the next (kept free, operators expect a gateway there)
/// or the last of an IPv4 one (a broadcast address to nodes that treat the range as a link).
#[must_use]
pub fn not_for_pods(name: &str, pod_cidrs: &[IpNetwork], ip: IpAddr) -> Option<String> {
    let Some(cidr) = pod_cidrs.iter().find(|cidr| cidr.contains(ip)) else {
        let cidrs = nodes::list(pod_cidrs);
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
