//! Which pods does policy see, and with which addresses?
//!
//! Owns the compiler and what it is told: changes of the cluster, and the ports of this node. A
//! port's pod has the port's addresses, whatever its manifest says of them, and nobody else has
//! them: here the port is the truth. A pod of this node is enforced from before its port opens
//! until after its last one has closed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weft_policy::model::{ObjectName, Pod};
use weft_policy::{Change, Cluster, Engine, PolicySetId, Table};

use crate::path::PodName;

/// The compiler and its input.
#[derive(Debug)]
pub(super) struct Policies {
    engine: Engine,
    /// Pods as the source tells of them.
    told: BTreeMap<ObjectName, Arc<Pod>>,
    /// Addresses of ports, and the pod behind each, if it has a name.
    held: BTreeMap<IpAddr, Option<ObjectName>>,
    closed: bool,
}

/// The name of a port's pod in the words of policy.
pub(super) fn object_name(pod: &PodName) -> ObjectName {
    ObjectName::new(&pod.namespace, &pod.name)
}

impl Policies {
    /// Closed, until told otherwise. `seed` is as for [`Engine::new`].
    pub(super) fn new(seed: u64) -> Self {
        let mut engine = Engine::new(seed);
        engine.set_closed(true);
        Self {
            engine,
            told: BTreeMap::new(),
            held: BTreeMap::new(),
            closed: true,
        }
    }

    /// Takes a change of the cluster in.
    pub(super) fn apply(&mut self, change: Change) {
        let change = match change {
            Change::Pod(pod) => {
                self.told.insert(pod.name.clone(), Arc::clone(&pod));
                Change::Pod(self.joined(&pod))
            }
            Change::PodGone(name) => {
                self.told.remove(&name);
                Change::PodGone(name)
            }
            other => other,
        };
        self.engine.apply(change);
    }

    /// While closed, every pod of this node with a name is isolated and nothing is allowed.
    /// Answers whether that is new.
    pub(super) fn set_closed(&mut self, closed: bool) -> bool {
        self.engine.set_closed(closed);
        std::mem::replace(&mut self.closed, closed) != closed
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// A port of this node is about to open.
    pub(super) fn open(
        &mut self,
        pod: Option<&PodName>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) {
        let name = pod.map(object_name);
        if let Some(name) = &name {
            self.engine.enforce(name);
        }
        let addresses: Vec<IpAddr> = addresses.into_iter().collect();
        for address in &addresses {
            self.held.insert(*address, name.clone());
        }
        self.refresh(name.as_ref(), &addresses);
    }

    /// A port of this node has closed.
    pub(super) fn close(
        &mut self,
        pod: Option<&PodName>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) {
        let name = pod.map(object_name);
        let addresses: Vec<IpAddr> = addresses.into_iter().collect();
        for address in &addresses {
            self.held.remove(address);
        }
        let last = !self.held.values().any(|holder| *holder == name);
        if let Some(name) = name.as_ref().filter(|_| last) {
            self.engine.release(name);
        }
        self.refresh(name.as_ref(), &addresses);
    }

    /// Tells the compiler anew of the pods that a port's addresses concern.
    fn refresh(&mut self, name: Option<&ObjectName>, addresses: &[IpAddr]) {
        let concerned = self.told.values().filter(|pod| {
            name == Some(&pod.name) || pod.addresses.iter().any(|ip| addresses.contains(ip))
        });
        let concerned: Vec<Arc<Pod>> = concerned.map(|pod| self.joined(pod)).collect();
        for pod in concerned {
            self.engine.apply(Change::Pod(pod));
        }
    }

    /// A pod with the addresses it has in truth.
    fn joined(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        let own = |ip: &IpAddr| {
            let holder = self.held.get(ip);
            holder.is_none_or(|holder| holder.as_ref() == Some(&pod.name))
        };
        let mut addresses: Vec<IpAddr> = pod.addresses.iter().copied().filter(own).collect();
        for (address, holder) in &self.held {
            if holder.as_ref() == Some(&pod.name) && !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        if addresses == pod.addresses {
            return Arc::clone(pod);
        }
        Arc::new(Pod {
            addresses,
            ..Pod::clone(pod)
        })
    }

    /// The table of this moment.
    pub(super) fn table(&mut self) -> Table {
        self.engine.table()
    }

    /// The policies of a port's pod in the last [`Self::table`]. A port without a pod's name is
    /// selected by nothing.
    pub(super) fn set_of(&self, pod: Option<&PodName>) -> PolicySetId {
        pod.map_or(PolicySetId::UNSELECTED, |pod| {
            self.engine.set_of(&object_name(pod))
        })
    }

    /// Everything known, with the addresses of ports.
    pub(super) const fn cluster(&self) -> &Cluster {
        self.engine.cluster()
    }

    /// Whether the source tells of this pod.
    pub(super) fn knows(&self, pod: &PodName) -> bool {
        self.told.contains_key(&object_name(pod))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, addresses: &[&str]) -> Change {
        Change::Pod(Arc::new(Pod {
            name: ObjectName::new("x", name),
            labels: BTreeMap::new(),
            addresses: ips(addresses),
            ports: Vec::new(),
        }))
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    fn name(name: &str) -> PodName {
        PodName {
            namespace: "x".to_owned(),
            name: name.to_owned(),
        }
    }

    fn addresses(policies: &Policies, name: &str) -> Vec<String> {
        let pod = policies.cluster().pods.get(&ObjectName::new("x", name));
        let addresses = pod.iter().flat_map(|pod| &pod.addresses);
        addresses.map(ToString::to_string).collect()
    }

    #[test]
    fn a_port_gives_its_pod_its_addresses_and_nobody_else() {
        let mut policies = Policies::new(1);
        policies.apply(pod("a", &[]));
        policies.apply(pod("b", &["10.0.0.2", "fd00::2"]));
        let held = ips(&["10.0.0.2"]);
        policies.open(Some(&name("a")), held.clone());
        assert_eq!(addresses(&policies, "a"), ["10.0.0.2"]);
        assert_eq!(addresses(&policies, "b"), ["fd00::2"]);
        // What the source tells later is joined alike.
        policies.apply(pod("a", &["10.0.0.9"]));
        assert_eq!(addresses(&policies, "a"), ["10.0.0.9", "10.0.0.2"]);
        policies.apply(pod("b", &["10.0.0.2"]));
        assert!(addresses(&policies, "b").is_empty());
        policies.close(Some(&name("a")), held);
        assert_eq!(addresses(&policies, "a"), ["10.0.0.9"]);
        assert_eq!(addresses(&policies, "b"), ["10.0.0.2"]);
    }

    #[test]
    fn a_pod_told_of_after_its_port_has_the_port_s_addresses() {
        let mut policies = Policies::new(1);
        policies.open(Some(&name("a")), ips(&["10.0.0.2", "fd00::2"]));
        assert!(!policies.knows(&name("a")));
        policies.apply(pod("a", &[]));
        assert!(policies.knows(&name("a")));
        assert_eq!(addresses(&policies, "a"), ["10.0.0.2", "fd00::2"]);
        policies.apply(Change::PodGone(ObjectName::new("x", "a")));
        assert!(addresses(&policies, "a").is_empty());
    }

    #[test]
    fn an_address_of_a_port_without_a_name_is_no_pod_s() {
        let mut policies = Policies::new(1);
        policies.apply(pod("a", &["10.0.0.2"]));
        policies.open(None, ips(&["10.0.0.2"]));
        assert!(addresses(&policies, "a").is_empty());
        assert_eq!(policies.set_of(None), PolicySetId::UNSELECTED);
        policies.close(None, ips(&["10.0.0.2"]));
        assert_eq!(addresses(&policies, "a"), ["10.0.0.2"]);
    }
}
