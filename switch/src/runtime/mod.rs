//! How does the pure road meet the kernel?
//!
//! The shell around `path`: threads, file descriptors, the clock, the control socket. Decides
//! nothing about a frame.
//!
//! | thread | file | owns |
//! |---|---|---|
//! | `weft-worker-N` | [`worker`] | one `Path`, one queue of every TAP, one tunnel socket |
//! | `weft` (the main one) | [`control`] | desired state, ports, tables, routes of the node |
//! | `weft-source` | [`source`] | the manifest directory |
//! | `weft-api` | [`server`] | the control socket |
//! | `weft-metrics` | [`metrics`] | the metrics and health port |

mod clock;
mod control;
pub mod daemon;
mod host;
pub mod journal;
mod mailbox;
mod metrics;
mod ports;
mod queue;
mod server;
mod source;
mod start;
mod underlay;
mod worker;

pub use clock::Clock;
pub use start::{Backend, StartError};
