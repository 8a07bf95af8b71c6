//! The CNI plugin of weft, and what it says to the daemon.
//!
//! Small and quick, because a runtime starts it for every verb: no async runtime, no argument
//! parser. It imports nothing of the dataplane.

#![forbid(unsafe_code)]

pub mod daemon;
mod deadline;
