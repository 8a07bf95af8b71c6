//! Whose address is it?
//!
//! Owns the pods by address. Where several claim one, the first by name has it, until it goes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::model::{ObjectName, Pod};

/// Pods by address, each list in the order of names.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<IpAddr, Vec<Arc<Pod>>, FixedState>);

impl Owners {
    /// A pod came, changed or went.
    pub(super) fn change(
        &mut self,
        name: &ObjectName,
        before: Option<&Pod>,
        after: Option<&Arc<Pod>>,
    ) {
        for address in before.iter().flat_map(|pod| &pod.addresses) {
            let Some(owners) = self.0.get_mut(address) else {
                continue;
            };
            owners.retain(|pod| pod.name != *name);
            if owners.is_empty() {
                self.0.remove(address);
            }
        }
        let Some(pod) = after else {
            return;
        };
        for &address in &pod.addresses {
            let owners = self.0.entry(address).or_default();
            if let Err(place) = owners.binary_search_by(|pod| pod.name.cmp(name)) {
                owners.insert(place, Arc::clone(pod));
            }
        }
    }

    /// The pod that has an address.
    pub(super) fn at(&self, address: IpAddr) -> Option<&Arc<Pod>> {
        self.0.get(&address)?.first()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
