//! Which pod has which address?
//!
//! An address two pods claim is the first claimant's; the other is reported and has no such
//! address until the first gives it up. Pods of the host's network and finished pods claim none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use weft_policy::Change;
use weft_policy::model::ObjectName;

use super::super::objects::{Located, Object, ObjectKey, PodObject};
use super::troubles::Subject;
use super::{ClusterState, EDIT, LocalNode, Trouble, not_for_pods};

/// Who claims which address, in the order the claims were made.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    claims: BTreeMap<IpAddr, Vec<ObjectKey>>,
    /// The addresses each pod claims.
    by_pod: BTreeMap<ObjectKey, Vec<IpAddr>>,
}

impl Addresses {
    /// The pod that has an address.
    fn holder(&self, ip: IpAddr) -> Option<&ObjectKey> {
        self.claims.get(&ip)?.first()
    }

    /// Gives up the claims a pod makes no more; pods that may have gained by it go to `moved`.
    fn release(&mut self, pod: &ObjectKey, keep: &[IpAddr], moved: &mut BTreeSet<ObjectKey>) {
        let Some(ips) = self.by_pod.get_mut(pod) else {
            return;
        };
        for ip in ips.extract_if(.., |ip| !keep.contains(ip)) {
            let Some(claims) = self.claims.get_mut(&ip) else {
                continue;
            };
            claims.retain(|claimant| claimant != pod);
            moved.extend(claims.iter().cloned());
            if claims.is_empty() {
                self.claims.remove(&ip);
            }
        }
        if ips.is_empty() {
            self.by_pod.remove(pod);
        }
    }

    fn claim(&mut self, pod: &ObjectKey, ip: IpAddr) {
        let claims = self.claims.entry(ip).or_default();
        if !claims.contains(pod) {
            claims.push(pod.clone());
            self.by_pod.entry(pod.clone()).or_default().push(ip);
        }
    }
}

impl ClusterState {
    /// The keys of a namespace's pods.
    pub(super) fn pods_of(&self, namespace: &str) -> Vec<ObjectKey> {
        let first = ObjectKey {
            kind: "Pod",
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        let keys = self.objects.range(first..).map(|(key, _)| key);
        keys.take_while(|key| key.kind == "Pod" && key.namespace == namespace)
            .cloned()
            .collect()
    }

    /// Derives what follows from pods that may have changed; whether `desired` did.
    pub(super) fn settle_pods(
        &mut self,
        pods: BTreeSet<ObjectKey>,
        changes: &mut Vec<Change>,
    ) -> bool {
        let claimed: Vec<_> = pods.iter().map(|key| (key, self.claimed(key))).collect();
        let mut moved = BTreeSet::new();
        // All releases come first: an address may go from one of these pods to another.
        for (key, ips) in &claimed {
            self.addresses.release(key, ips, &mut moved);
        }
        let mut claimed = claimed;
        claimed.sort_by_key(|(key, _)| self.objects.get(key).map(|entry| entry.first_seen));
        for (key, ips) in claimed {
            for ip in ips {
                self.addresses.claim(key, ip);
            }
        }
        moved.extend(pods);
        let mut changed = false;
        for key in moved {
            changed |= self.settle_pod(&key, changes);
            self.forget_unclaimed(&key);
        }
        changed
    }

    /// The addresses a pod may claim as far as it is concerned.
    fn claimed(&self, key: &ObjectKey) -> Vec<IpAddr> {
        let Some(Object::Pod(pod)) = self.object(key).map(Arc::as_ref) else {
            return Vec::new();
        };
        if pod.host_network || pod.finished {
            return Vec::new();
        }
        let local = self.local.as_ref().filter(|local| is_at(pod, local));
        let ips = pod.ips.iter().map(|ip| ip.value);
        ips.filter(|ip| {
            local.is_none_or(|local| not_for_pods(&local.name, &local.pod_cidrs, *ip).is_none())
        })
        .collect()
    }

    fn settle_pod(&mut self, key: &ObjectKey, changes: &mut Vec<Change>) -> bool {
        let claim = self
            .objects
            .get(key)
            .and_then(|e| e.claims.first().cloned());
        let Some(claim) = claim else {
            self.troubles.set(Subject::Pod(key.clone()), Vec::new());
            self.tell(Change::PodGone(name_of(key)), changes);
            return self.remove_local(key);
        };
        let Object::Pod(pod) = claim.object.as_ref() else {
            return false;
        };
        let active = !pod.host_network && !pod.finished;
        let (mut accepted, mut troubles) = (Vec::<Located<IpAddr>>::new(), Vec::new());
        for ip in pod.ips.iter().filter(|_| active) {
            if accepted.iter().any(|earlier| earlier.value == ip.value) {
                continue;
            }
            match self.refused(key, pod, ip.value) {
                None => accepted.push(ip.clone()),
                Some(what) => troubles.push(Trouble {
                    place: format!("{}:{}", claim.origin, ip.line.max(claim.line)),
                    what: format!("{key}: status.podIPs: {what}"),
                    next: EDIT.into(),
                }),
            }
        }
        self.troubles.set(Subject::Pod(key.clone()), troubles);
        let addresses = accepted.iter().map(|ip| ip.value).collect();
        let policy_pod = pod
            .policy_pod(addresses)
            .filter(|_| !self.unlabelled.contains(&pod.namespace));
        let change = policy_pod.map_or_else(
            || Change::PodGone(name_of(key)),
            |pod| Change::Pod(Arc::new(pod)),
        );
        self.tell(change, changes);
        let here = self.local.as_ref().is_some_and(|local| is_at(pod, local));
        if !here || !active {
            return self.remove_local(key);
        }
        let mut here = pod.clone();
        here.ips = accepted;
        let name = (key.namespace.clone(), key.name.clone());
        let changed = self.desired.pods.get(&name) != Some(&here);
        self.desired.pods.insert(name, here);
        changed
    }

    fn remove_local(&mut self, key: &ObjectKey) -> bool {
        let name = (key.namespace.clone(), key.name.clone());
        self.desired.pods.remove(&name).is_some()
    }

    /// Why a pod cannot have `ip`.
    fn refused(&self, key: &ObjectKey, pod: &PodObject, ip: IpAddr) -> Option<String> {
        let local = self.local.as_ref().filter(|local| is_at(pod, local));
        let unfit = local.and_then(|local| not_for_pods(&local.name, &local.pod_cidrs, ip));
        unfit.or_else(|| {
            let holder = self.addresses.holder(ip).filter(|holder| *holder != key)?;
            Some(format!("{ip} is already the address of {holder}"))
        })
    }
}

fn is_at(pod: &PodObject, node: &LocalNode) -> bool {
    pod.node_name.as_deref() == Some(node.name.as_str())
}

pub(super) fn name_of(key: &ObjectKey) -> ObjectName {
    ObjectName::new(&key.namespace, &key.name)
}
