//! What should this node's network look like?
//!
//! Owns the Kubernetes objects weft reads ([`manifest`], [`objects`]) and the desired state they
//! add up to ([`state`]), and how that becomes [`Tables`](crate::path::Tables) ([`compile`]). Pure: no file, no clock, no thread; sources of events live in
//! `runtime`. Policies of traffic are `weft_policy`'s.

pub mod compile;
pub mod manifest;
pub mod objects;
pub mod state;
mod vtep;

pub use compile::{NodeFacts, compile};
pub use manifest::{Broken, Closes, Manifest, ManifestError, parse};
pub use objects::Object;
pub use state::{ClusterState, Desired, Effects, Event, LocalNode, PeerNode, Trouble};
pub use vtep::vtep_mac;
