//! What must happen so that the lab becomes what the plan says?
//!
//! Owns the comparison of plan and reality, as a list of steps in the order they must be taken.
//! Pure: reality is told to it, and an empty list means that nothing would change.

use std::collections::BTreeSet;

use super::endpoint::PodRef;
use super::file::NodeKind;
use super::name;
use super::plan::{Node, Plan};

/// What was found to be as the plan wants it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// The fabric's namespace with its bridge.
    pub(crate) fabric: bool,
    /// Nodes, and `outside`, whose namespace is linked to the fabric.
    pub(crate) members: BTreeSet<String>,
    /// Weft nodes whose files say what the plan says.
    pub(crate) files: BTreeSet<String>,
    /// Weft nodes whose daemon runs in its namespace and answers that it is ready.
    pub(crate) daemons: BTreeSet<String>,
    /// Kernel nodes whose VXLAN device knows the peers of the plan.
    pub(crate) overlays: BTreeSet<String>,
    /// Pods whose namespace is joined to their node.
    pub(crate) pods: BTreeSet<PodRef>,
    /// The responders run and answer what the plan says.
    pub(crate) agent: bool,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    RemovePod(PodRef),
    /// A node or the outside host, with everything in its namespace.
    RemoveMember(String),
    Fabric,
    /// The namespace of a node or of the outside host, and its link.
    Member(String),
    Files(String),
    Start(String),
    /// Waits until a daemon that was started is ready.
    Await(String),
    /// Has a daemon that runs take in its new files; it enforces them when this is done.
    Sync(String),
    Overlay(String),
    Pod(PodRef),
    Agent,
}

/// The steps from what is to what should be.
pub(crate) fn steps(old: Option<&Plan>, new: &Plan, seen: &Seen) -> Vec<Step> {
    let rebuilt = rebuilt_members(old, new, seen);
    let mut steps = removals(old, new, &rebuilt);
    let missing = |member: &str| rebuilt.contains(member) || !seen.members.contains(member);
    if !seen.fabric {
        steps.push(Step::Fabric);
    }
    let outside = new.outside.iter().map(|_| name::OUTSIDE);
    let names = new
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .chain(outside);
    steps.extend(
        names
            .filter(|name| missing(name))
            .map(|name| Step::Member(name.to_owned())),
    );
    let mut restarted = BTreeSet::new();
    let mut told = Vec::new();
    for node in new.nodes_of(NodeKind::Weft) {
        let files = missing(&node.name) || !seen.files.contains(&node.name);
        if files {
            steps.push(Step::Files(node.name.clone()));
        }
        if missing(&node.name) || !seen.daemons.contains(&node.name) {
            restarted.insert(node.name.as_str());
            steps.push(Step::Start(node.name.clone()));
        } else if files {
            told.push(Step::Sync(node.name.clone()));
        }
    }
    steps.extend(restarted.iter().map(|name| Step::Await((*name).to_owned())));
    // Before pods come: a daemon then knows whose policies are theirs.
    steps.extend(told);
    for node in new.nodes_of(NodeKind::Kernel) {
        if missing(&node.name) || !seen.overlays.contains(&node.name) {
            restarted.insert(node.name.as_str());
            steps.push(Step::Overlay(node.name.clone()));
        }
    }
    let changed = |pod: &PodRef| old.is_none_or(|old| moved(old, new, pod));
    let before = steps.len();
    for pod in &new.pods {
        let rejoin = restarted.contains(pod.node.as_str()) || changed(&pod.name);
        if rejoin || !seen.pods.contains(&pod.name) {
            steps.push(Step::Pod(pod.name.clone()));
        }
    }
    if steps.len() > before || !seen.agent {
        steps.push(Step::Agent);
    }
    steps
}

/// Members that cannot stay as they are because what they were made from changed.
fn rebuilt_members<'p>(old: Option<&'p Plan>, new: &'p Plan, seen: &Seen) -> BTreeSet<&'p str> {
    let Some(old) = old else {
        return BTreeSet::new();
    };
    let everything = old.underlay != new.underlay || old.vxlan != new.vxlan || !seen.fabric;
    let same = |node: &Node| old.node(&node.name).is_none_or(|before| before == node);
    let nodes = new.nodes.iter().filter(|node| everything || !same(node));
    // The default route of a node leads to the outside host.
    let routes = old.outside.is_some() != new.outside.is_some();
    let all = new.nodes.iter().filter(|_| routes);
    let mut rebuilt: BTreeSet<&str> = nodes.chain(all).map(|node| node.name.as_str()).collect();
    if everything && new.outside.is_some() {
        rebuilt.insert(name::OUTSIDE);
    }
    rebuilt
}

/// What is there and should not be, or not as it is. Pods go before their nodes.
fn removals(old: Option<&Plan>, new: &Plan, rebuilt: &BTreeSet<&str>) -> Vec<Step> {
    let Some(old) = old else {
        return Vec::new();
    };
    let gone_pods = old.pods.iter().filter(|pod| new.pod(&pod.name).is_none());
    let moved_pods = old
        .pods
        .iter()
        .filter(|pod| new.pod(&pod.name).is_some() && moved(old, new, &pod.name));
    let pods = gone_pods
        .chain(moved_pods)
        .map(|pod| Step::RemovePod(pod.name.clone()));
    let gone_nodes = old.nodes.iter().map(|node| node.name.as_str());
    let gone_nodes = gone_nodes.filter(|name| new.node(name).is_none() || rebuilt.contains(name));
    let outside = old.outside.iter().map(|_| name::OUTSIDE);
    let outside = outside.filter(|name| new.outside.is_none() || rebuilt.contains(name));
    let members = gone_nodes
        .chain(outside)
        .map(|name| Step::RemoveMember(name.to_owned()));
    pods.chain(members).collect()
}

/// Whether a pod has another node or other addresses than before.
fn moved(old: &Plan, new: &Plan, pod: &PodRef) -> bool {
    match (old.pod(pod), new.pod(pod)) {
        (Some(before), Some(after)) => {
            before.node != after.node || before.addresses != after.addresses
        }
        _ => true,
    }
}
