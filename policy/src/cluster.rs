//! Which pods, namespaces and policies are there?
//!
//! Owns them by name and how one change applies. Decides nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{Labels, NAMESPACE_NAME, ObjectName, Pod, Policy};

/// Everything policy depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Labels of namespaces that have an object.
    pub namespaces: BTreeMap<String, Labels>,
    /// Pods of all nodes.
    pub pods: BTreeMap<ObjectName, Arc<Pod>>,
    /// Policies.
    pub policies: BTreeMap<ObjectName, Arc<Policy>>,
}

/// One difference between two clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A namespace is new or its labels changed.
    Namespace(String, Labels),
    /// A namespace has no object any more; its pods, if any, keep the label of its name.
    NamespaceGone(String),
    /// A pod is new or changed.
    Pod(Arc<Pod>),
    /// A pod is gone.
    PodGone(ObjectName),
    /// A policy is new or changed.
    Policy(Arc<Policy>),
    /// A policy is gone.
    PolicyGone(ObjectName),
}

impl Cluster {
    /// Takes a change in; answers whether anything is different now.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Namespace(name, labels) => {
                self.namespaces.insert(name, labels.clone()) != Some(labels)
            }
            Change::NamespaceGone(name) => self.namespaces.remove(&name).is_some(),
            Change::Pod(pod) => self.pods.insert(pod.name.clone(), Arc::clone(&pod)) != Some(pod),
            Change::PodGone(name) => self.pods.remove(&name).is_some(),
            Change::Policy(policy) => {
                self.policies
                    .insert(policy.name.clone(), Arc::clone(&policy))
                    != Some(policy)
            }
            Change::PolicyGone(name) => self.policies.remove(&name).is_some(),
        }
    }

    /// The labels of a namespace: those of its object, and always the label of its name.
    #[must_use]
    pub fn namespace_labels(&self, name: &str) -> Labels {
        let mut labels = self.namespaces.get(name).cloned().unwrap_or_default();
        labels.insert(NAMESPACE_NAME.to_owned(), name.to_owned());
        labels
    }

    /// The pod that has an address; of several, the first by name. Linear.
    #[must_use]
    pub fn pod_at(&self, address: IpAddr) -> Option<&Arc<Pod>> {
        self.pods
            .values()
            .find(|pod| pod.addresses.contains(&address))
    }
}
