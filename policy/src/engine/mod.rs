//! How do policies become the table workers decide by?
//!
//! Owns the compiled state of one node and how one change moves it. Pods alike in namespace,
//! labels and named ports are one identity; addresses that no policy tells apart are one class;
//! local pods that obey the same policies share one gate for each direction, which says for each
//! class which ports it gets. A change is taken in where it falls and marks what depends on it;
//! [`Engine::table`] brings that up to date and publishes.
//!
//! | module | answers |
//! |---|---|
//! | `selectors` | which kinds of pods do the peers of policies select? |
//! | `keys` | where do a selector and the pods it selects meet? |
//! | `blocks` | where does the longest matching block change? |
//! | `owners` | whose address is it? |
//! | `places` | which kind of peer is at which address? |
//! | `policies` | what do the policies say, in the words of the compiler? |
//! | `locals` | which policies does each pod of this node obey? |
//! | `gates` | what does a list of policies allow whom? |
//! | `lines`, `index` | which of its rules speak of whom? |
//! | `trail` | which rules has each class met? |
//! | `names` | which ports do their names mean? |
//! | `paint` | which of them decides about each port? |

mod blocks;
mod gates;
mod index;
mod keys;
mod lines;
mod locals;
mod names;
mod owners;
mod paint;
mod places;
mod policies;
mod selectors;
mod slab;
#[cfg(test)]
mod tests;
mod trail;

use crate::model::{ObjectName, Pod};
use crate::table::gate::Gate;
use crate::table::{Book, Size};
use crate::{Change, Cluster, PolicySetId, Table};
use gates::{Gates, World};
use locals::Locals;
use places::Places;
use policies::Policies;
use selectors::Selectors;

/// The compiler.
#[derive(Debug)]
pub struct Engine {
    cluster: Cluster,
    selectors: Selectors,
    places: Places,
    policies: Policies,
    gates: Gates,
    locals: Locals,
    closed: bool,
    /// As of the last change; none if something changed since.
    table: Option<Table>,
}

impl Engine {
    /// Without pods and policies. `seed` is random, so that nobody outside can choose addresses
    /// that collide in the table.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            cluster: Cluster::default(),
            selectors: Selectors::default(),
            places: Places::new(seed),
            policies: Policies::default(),
            gates: Gates::default(),
            locals: Locals::new(),
            closed: false,
            table: None,
        }
    }

    /// Takes a change in.
    pub fn apply(&mut self, change: Change) {
        match &change {
            Change::Namespace(name, _) | Change::NamespaceGone(name) => {
                let name = name.clone();
                self.note(change, |engine| engine.relabel(&name));
            }
            Change::Pod(pod) => {
                let name = pod.name.clone();
                self.apply_pod(change, &name);
            }
            Change::PodGone(name) => {
                let name = name.clone();
                self.apply_pod(change, &name);
            }
            Change::Policy(policy) => {
                let name = policy.name.clone();
                self.note(change, |engine| engine.policy(&name));
            }
            Change::PolicyGone(name) => {
                let name = name.clone();
                self.note(change, |engine| engine.policy(&name));
            }
        }
    }

    fn apply_pod(&mut self, change: Change, name: &ObjectName) {
        let before = self.cluster.pods.get(name).cloned();
        self.note(change, |engine| engine.pod(name, before.as_deref()));
    }

    /// Follows a change up, unless it changes nothing.
    fn note(&mut self, change: Change, follow_up: impl FnOnce(&mut Self)) {
        if self.cluster.apply(change) {
            self.table = None;
            follow_up(self);
        }
    }

    fn relabel(&mut self, namespace: &str) {
        let labels = self.cluster.namespace_labels(namespace);
        for identity in self.selectors.relabel(namespace, labels) {
            self.places.reselected(identity);
        }
    }

    fn pod(&mut self, name: &ObjectName, before: Option<&Pod>) {
        let after = self.cluster.pods.get(name);
        self.places.pod(name, before, after);
        self.locals
            .pod(name, after.map(|pod| &**pod), &self.policies);
    }

    fn policy(&mut self, name: &ObjectName) {
        let after = self.cluster.policies.get(name);
        match after {
            Some(policy) => self
                .policies
                .set(policy, &mut self.selectors, &mut self.places),
            None => self
                .policies
                .remove(name, &mut self.selectors, &mut self.places),
        }
        let after = after.map(|policy| &**policy);
        self.locals.policy(name, after, &self.cluster);
    }

    /// Everything taken in so far.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// From now on the table has an answer for this pod of this node, whether or not the pod is
    /// known yet. While it is not, it is closed in each direction in which any policy of its
    /// namespace isolates pods.
    pub fn enforce(&mut self, pod: &ObjectName) {
        self.table = None;
        let known = self.cluster.pods.get(pod).map(|pod| &**pod);
        self.locals.add(pod, known, &self.policies);
    }

    /// The pod has left this node.
    pub fn release(&mut self, pod: &ObjectName) {
        self.table = None;
        self.locals.remove(pod, &mut self.gates);
    }

    /// While closed, every enforced pod is isolated in both directions and nothing is allowed:
    /// for a cluster that is not known well enough.
    pub fn set_closed(&mut self, closed: bool) {
        if self.closed != closed {
            self.table = None;
            self.closed = closed;
        }
    }

    /// Compiles what changed and gives the table of this moment; cheap to clone.
    pub fn table(&mut self) -> Table {
        if let Some(table) = &self.table {
            return table.clone();
        }
        let shift = self.places.settle(&mut self.selectors, &self.cluster);
        self.locals
            .settle(&self.cluster, &self.policies, &mut self.gates);
        let world = World {
            selectors: &self.selectors,
            places: &self.places,
            policies: &self.policies,
        };
        self.gates.settle(world, &shift);
        self.locals.set_closed(self.closed);
        let table = Table::new(self.book());
        self.table = Some(table.clone());
        table
    }

    fn book(&self) -> Book {
        let addresses = self.places.addresses().clone();
        let sets = self.locals.sets(&self.gates);
        let rules = self.policies.rules().clone();
        let gates = self.gates.iter();
        let size = Size {
            identities: self.selectors.len(),
            addresses: addresses.len(),
            sets: self.locals.len(),
            entries: gates.clone().map(Gate::entries).sum(),
            bytes: size_of_val(&*sets)
                + addresses.bytes()
                + rules.bytes()
                + gates.map(Gate::bytes).sum::<usize>(),
        };
        Book {
            addresses,
            sets,
            rules,
            size,
        }
    }

    /// The policies of an enforced pod, as of the last [`Engine::table`]; closed if the pod was
    /// not enforced then.
    #[must_use]
    pub fn set_of(&self, pod: &ObjectName) -> PolicySetId {
        self.locals.set_of(pod)
    }

    /// Whether nothing is left of anything.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.selectors.is_empty()
            && self.places.is_empty()
            && self.policies.is_empty()
            && self.gates.iter().count() == 0
            && self.locals.len() == 0
    }
}
