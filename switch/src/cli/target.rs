//! Which daemon is asked?
//!
//! By its socket, or by lab and node, which must be names of a lab that is up and of a node of it
//! that runs a daemon. Never guesses between several.

use std::path::PathBuf;

use clap::Args;

use crate::api::{self, Client};
use crate::lab;

/// The daemon to ask.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// Control socket of the daemon
    #[arg(long, env = "WEFT_SOCKET", value_name = "PATH", default_value = api::DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Ask a node of this lab instead
    #[arg(long, value_name = "NAME", requires = "node")]
    lab: Option<String>,
    /// The node of the lab
    #[arg(long, value_name = "NODE", requires = "lab")]
    node: Option<String>,
}

impl Target {
    /// The control socket meant.
    pub(super) fn socket(&self) -> anyhow::Result<PathBuf> {
        Ok(match (&self.lab, &self.node) {
            (Some(lab), Some(node)) => lab::socket_of(lab, node)?,
            _ => self.socket.clone(),
        })
    }

    /// Connects to it.
    pub(super) fn connect(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(self.socket()?)?)
    }
}
