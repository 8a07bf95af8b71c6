//! The weft dataplane.
#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod lab;
pub mod path;
pub mod runtime;
#[cfg(feature = "sim")]
pub mod sim;
