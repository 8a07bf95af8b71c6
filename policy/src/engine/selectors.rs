//! Which kinds of pods do the peers of policies select?
//!
//! Owns identities (pods alike in namespace, labels and named ports), the distinct selectors of
//! peers, and who matches whom. A new one of either kind finds the other by keys.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::keys::{
    Index, Namespaces, Wanted, add_sorted, namespace_key, pod_keys, remove_sorted, selector_keys,
};
use super::slab::Slab;
use crate::model::{Labels, NamedPort, Pod, Scope, Selector};

/// The number of an [`Identity`].
pub(super) type IdentityId = u32;
/// The number of a [`PeerSelector`].
pub(super) type SelectorId = u32;

/// Pods alike: the first of them stands for all.
#[derive(Debug)]
pub(super) struct Identity {
    pod: Alike,
    /// The ports that it names, as one list for all identities that name the same.
    ports: Arc<[NamedPort]>,
    /// Those that select it, sorted.
    selectors: Vec<SelectorId>,
    users: usize,
}

/// A pod that equals all that policy cannot tell from it.
#[derive(Clone, Debug)]
struct Alike(Arc<Pod>);

impl PartialEq for Alike {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        a.name.namespace == b.name.namespace && a.labels == b.labels && a.ports == b.ports
    }
}

impl Eq for Alike {}

impl Hash for Alike {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.namespace.hash(state);
        self.0.labels.hash(state);
        self.0.ports.hash(state);
    }
}

/// One distinct peer of any number of rules.
#[derive(Debug)]
pub(super) struct PeerSelector {
    wanted: Arc<Wanted>,
    /// Whom it selects, sorted.
    members: Vec<IdentityId>,
    users: usize,
}

/// Identities, selectors and who selects whom.
#[derive(Debug, Default)]
pub(super) struct Selectors {
    identities: Slab<Identity>,
    by_pod: HashMap<Alike, IdentityId, FixedState>,
    ports: HashSet<Arc<[NamedPort]>, FixedState>,
    selectors: Slab<PeerSelector>,
    by_wanted: HashMap<Arc<Wanted>, SelectorId, FixedState>,
    namespaces: HashMap<String, Labels, FixedState>,
    identities_at: Index,
    selectors_at: Index,
}

impl Selectors {
    /// The identity of a pod, which lives until [`Self::release_identity`] was called as often
    /// as this. `namespace` gives the labels of the pod's namespace if they are wanted.
    pub(super) fn identity(
        &mut self,
        pod: &Arc<Pod>,
        namespace: impl FnOnce() -> Labels,
    ) -> IdentityId {
        let alike = Alike(Arc::clone(pod));
        let id = match self.by_pod.get(&alike) {
            Some(&id) => id,
            None => {
                let home = &pod.name.namespace;
                if !self.namespaces.contains_key(home) {
                    self.namespaces.insert(home.clone(), namespace());
                }
                let identity = Identity {
                    pod: alike.clone(),
                    ports: self.share_ports(&pod.ports),
                    selectors: Vec::new(),
                    users: 0,
                };
                let id = self.identities.insert(identity);
                self.by_pod.insert(alike, id);
                self.connect(id);
                id
            }
        };
        self.retain_identity(id);
        id
    }

    /// One user more.
    pub(super) fn retain_identity(&mut self, id: IdentityId) {
        if let Some(identity) = self.identities.get_mut(id) {
            identity.users += 1;
        }
    }

    fn share_ports(&mut self, ports: &[NamedPort]) -> Arc<[NamedPort]> {
        if let Some(ports) = self.ports.get(ports) {
            return Arc::clone(ports);
        }
        let ports: Arc<[NamedPort]> = ports.into();
        self.ports.insert(Arc::clone(&ports));
        ports
    }

    /// One user fewer.
    pub(super) fn release_identity(&mut self, id: IdentityId) {
        let Some(identity) = self.identities.get_mut(id) else {
            return;
        };
        identity.users -= 1;
        if identity.users > 0 {
            return;
        }
        let alike = identity.pod.clone();
        self.disconnect(id);
        self.by_pod.remove(&alike);
        if let Some(Identity { ports, .. }) = self.identities.remove(id)
            && Arc::strong_count(&ports) == 2
        {
            self.ports.remove(&ports);
        }
        let home = &alike.0.name.namespace;
        if self.identities_at.get(namespace_key(home)).is_empty() {
            self.namespaces.remove(home);
        }
    }

    /// The selector of a peer of a policy of namespace `home`, which lives until
    /// [`Self::release_selector`] was called as often as this.
    pub(super) fn selector(&mut self, scope: &Scope, pods: &Selector, home: &str) -> SelectorId {
        let namespaces = match scope {
            Scope::Own => Namespaces::Named(home.to_owned()),
            Scope::Matching(selector) => Namespaces::Matching(selector.clone()),
        };
        let wanted = Arc::new(Wanted {
            namespaces,
            pods: pods.clone(),
        });
        let id = match self.by_wanted.get(&wanted) {
            Some(&id) => id,
            None => self.add_selector(wanted),
        };
        if let Some(selector) = self.selectors.get_mut(id) {
            selector.users += 1;
        }
        id
    }

    fn add_selector(&mut self, wanted: Arc<Wanted>) -> SelectorId {
        let keys = selector_keys(&wanted);
        let candidates: HashSet<IdentityId, FixedState> = keys
            .iter()
            .flat_map(|&key| self.identities_at.get(key))
            .copied()
            .collect();
        let mut members: Vec<IdentityId> = candidates
            .into_iter()
            .filter(|&id| self.selects(&wanted, id))
            .collect();
        members.sort_unstable();
        let id = self.selectors.insert(PeerSelector {
            wanted: Arc::clone(&wanted),
            members: members.clone(),
            users: 0,
        });
        self.by_wanted.insert(wanted, id);
        for key in keys {
            self.selectors_at.add(key, id);
        }
        for member in members {
            if let Some(identity) = self.identities.get_mut(member) {
                add_sorted(&mut identity.selectors, id);
            }
        }
        id
    }

    fn selects(&self, wanted: &Wanted, id: IdentityId) -> bool {
        let pod = self.identities.get(id).map(|identity| &*identity.pod.0);
        pod.is_some_and(|pod| {
            let namespace = self.namespaces.get(&pod.name.namespace);
            namespace.is_some_and(|labels| wanted.matches(pod, labels))
        })
    }

    /// One user fewer.
    pub(super) fn release_selector(&mut self, id: SelectorId) {
        let Some(selector) = self.selectors.get_mut(id) else {
            return;
        };
        selector.users -= 1;
        if selector.users > 0 {
            return;
        }
        let Some(selector) = self.selectors.remove(id) else {
            return;
        };
        self.by_wanted.remove(&selector.wanted);
        for key in selector_keys(&selector.wanted) {
            self.selectors_at.remove(key, id);
        }
        for member in selector.members {
            if let Some(identity) = self.identities.get_mut(member) {
                remove_sorted(&mut identity.selectors, id);
            }
        }
    }

    /// A namespace has other labels now; whose selection changed.
    pub(super) fn relabel(&mut self, namespace: &str, labels: Labels) -> Vec<IdentityId> {
        if self
            .namespaces
            .get(namespace)
            .is_none_or(|old| *old == labels)
        {
            return Vec::new();
        }
        let there: Vec<IdentityId> = self.identities_at.get(namespace_key(namespace)).to_vec();
        let before: Vec<_> = there
            .into_iter()
            .map(|id| (id, self.disconnect(id)))
            .collect();
        self.namespaces.insert(namespace.to_owned(), labels);
        for &(id, _) in &before {
            self.connect(id);
        }
        before
            .into_iter()
            .filter(|(id, before)| self.selected_by(*id) != before)
            .map(|(id, _)| id)
            .collect()
    }

    /// Enters an identity in the index, and in the selectors that match it.
    fn connect(&mut self, id: IdentityId) {
        let keys = self.identity_keys(id);
        let mut candidates: Vec<SelectorId> = keys
            .iter()
            .flat_map(|&key| self.selectors_at.get(key))
            .copied()
            .collect();
        candidates.sort_unstable();
        candidates.dedup();
        candidates.retain(|&selector| {
            let wanted = self
                .selectors
                .get(selector)
                .map(|selector| &selector.wanted);
            wanted.is_some_and(|wanted| self.selects(wanted, id))
        });
        for &selector in &candidates {
            if let Some(selector) = self.selectors.get_mut(selector) {
                add_sorted(&mut selector.members, id);
            }
        }
        if let Some(identity) = self.identities.get_mut(id) {
            identity.selectors = candidates;
        }
        for key in keys {
            self.identities_at.add(key, id);
        }
    }

    /// The contrary; answers who selected it.
    fn disconnect(&mut self, id: IdentityId) -> Vec<SelectorId> {
        for key in self.identity_keys(id) {
            self.identities_at.remove(key, id);
        }
        let selectors = self.identities.get_mut(id);
        let selectors = selectors.map(|identity| std::mem::take(&mut identity.selectors));
        let selectors = selectors.unwrap_or_default();
        for &selector in &selectors {
            if let Some(selector) = self.selectors.get_mut(selector) {
                remove_sorted(&mut selector.members, id);
            }
        }
        selectors
    }

    fn identity_keys(&self, id: IdentityId) -> Vec<u64> {
        let identity = self.identities.get(id);
        identity.map_or_else(Vec::new, |identity| {
            let pod = &*identity.pod.0;
            pod_keys(pod, self.namespaces.get(&pod.name.namespace))
        })
    }

    /// Whom a selector selects.
    pub(super) fn members(&self, selector: SelectorId) -> &[IdentityId] {
        let selector = self.selectors.get(selector);
        selector.map_or(&[], |selector| &selector.members)
    }

    /// Who selects an identity, sorted.
    pub(super) fn selected_by(&self, identity: IdentityId) -> &[SelectorId] {
        let identity = self.identities.get(identity);
        identity.map_or(&[], |identity| &identity.selectors)
    }

    /// The ports that pods of an identity name.
    pub(super) fn ports(&self, identity: IdentityId) -> Option<&Arc<[NamedPort]>> {
        self.identities
            .get(identity)
            .map(|identity| &identity.ports)
    }

    /// How many identities there are.
    pub(super) const fn len(&self) -> usize {
        self.identities.len()
    }

    /// Whether nothing is left.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.identities.len() == 0
            && self.selectors.len() == 0
            && self.by_pod.is_empty()
            && self.by_wanted.is_empty()
            && self.ports.is_empty()
            && self.namespaces.is_empty()
            && self.identities_at.is_empty()
            && self.selectors_at.is_empty()
    }
}
