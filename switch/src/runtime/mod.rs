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
//! | `weft-reaper` | [`reaper`] | devices that are to go |
//! | `weft-metrics` | [`metrics`] | the metrics and health port |

mod attachments;
mod clock;
mod control;
pub mod daemon;
mod host;
mod inspect;
pub mod journal;
mod mailbox;
mod memory;
mod metrics;
mod ports;
mod queue;
mod reaper;
mod server;
mod source;
mod start;
mod underlay;
mod worker;

pub use clock::Clock;
pub(crate) use host::{HOST_INTERFACE, NFT_TABLE};
pub use start::{Backend, StartError};
