//! How does a whole cluster come up on one machine, and go again without a trace?
//!
//! Owns labs: nodes and pods as network namespaces on an underlay, real daemons, a kernel VXLAN
//! node, an outside host, probes by real packets. From `file` and `manifest` through `plan` (with
//! `place`, `subnet`) to `reconcile` everything is pure; `up` and `down` carry it out with
//! `weft_sys`. Never touches the host's own network namespace, and runs no other program.

pub mod cli;

mod agent;
mod daemon;
mod demo;
mod down;
mod echo;
mod endpoint;
mod error;
mod expect;
mod fabric;
mod file;
mod helper;
mod kernel;
mod manifest;
mod name;
mod observe;
mod place;
mod plan;
mod plugin;
mod pods;
mod probe;
mod procs;
mod progress;
mod reconcile;
mod record;
mod relay;
mod relay_loop;
mod render;
mod resolve;
mod responders;
mod run;
mod sctp;
mod select;
mod status;
mod subnet;
mod survey;
mod throughput;
mod time;
mod up;
mod verbs;
mod verdicts;
mod wanted;
mod work;
mod yaml;

pub(crate) use error::LabError;
pub(crate) use select::socket_of;

#[cfg(test)]
mod tests;
