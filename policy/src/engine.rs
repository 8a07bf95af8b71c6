//! How do policies become the table workers decide by?
//!
//! Owns the compiled state of one node and how one change moves it.

use crate::model::ObjectName;
use crate::{Change, Cluster, PolicySetId, Table};

/// The compiler.
#[derive(Debug)]
pub struct Engine {
    cluster: Cluster,
}

impl Engine {
    /// Without pods and policies. `seed` is random, so that nobody outside can choose addresses
    /// that collide in the table.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let _ = seed;
        Self {
            cluster: Cluster::default(),
        }
    }

    /// Takes a change in.
    pub fn apply(&mut self, change: Change) {
        self.cluster.apply(change);
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
        let _ = pod;
    }

    /// The pod has left this node.
    pub fn release(&mut self, pod: &ObjectName) {
        let _ = pod;
    }

    /// While closed, every enforced pod is isolated in both directions and nothing is allowed:
    /// for a cluster that is not known well enough.
    pub fn set_closed(&mut self, closed: bool) {
        let _ = closed;
    }

    /// Compiles what changed and gives the table of this moment; cheap to clone.
    pub fn table(&mut self) -> Table {
        Table::allow_all()
    }

    /// The policies of an enforced pod, as of the last [`Engine::table`].
    #[must_use]
    pub fn set_of(&self, pod: &ObjectName) -> PolicySetId {
        let _ = pod;
        PolicySetId::UNSELECTED
    }
}
