//! In which words do a runtime and a plugin talk?
//!
//! Owns the types of the CNI specification: versions, the network configuration, results and
//! errors, each with the forms of every version we speak (0.3.1, 0.4.0, 1.0.0, 1.1.0). Never acts.

mod config;
mod error;
mod result;
mod version;

pub use config::{
    AttachmentKey, Bandwidth, CniArgs, Config, Dns, Ipam, PortMapping, RuntimeConfig, RuntimeDns,
};
pub use error::{CniError, Code};
pub use result::{Interface, IpConfig, ResultError, Route, Success};
pub use version::{Supported, Version};
