//! A real daemon in network namespaces: pods get interfaces, packets flow, and everything is gone
//! afterwards. Needs root; says which tests it skipped otherwise.

#![expect(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test fails"
)]
#![expect(clippy::panic, reason = "a failed expectation is how a test fails")]
#![expect(
    clippy::indexing_slicing,
    reason = "a failed expectation is how a test fails"
)]

mod bandwidth;
#[path = "../common/bulk.rs"]
mod bulk;
mod busy;
mod containerd;
mod doors;
mod first_instant;
mod host_ports;
mod life;
mod live_change;
mod load;
mod offloads;
mod overlay;
mod plugin;
mod pods;
mod policies;
mod restart;
mod rig;
mod scale;
mod unread;

/// The Node object of another node.
const PEER: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: node-b}\nspec: {podCIDRs: \
                    [10.244.2.0/24, \"fd00:10:244:2::/64\"]}\nstatus: {addresses: [{type: \
                    InternalIP, address: 192.0.2.2}]}\n";
