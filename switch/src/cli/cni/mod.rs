//! `weft cni`: how does a container runtime on this node find weft, and how does it forget it?
//!
//! Owns the plugin's binary, its second name `loopback` and the configuration list, in the
//! runtime's directories. They stay when the daemon stops: without the list a runtime cannot even
//! delete pods. Only `uninstall` removes them.

mod conflist;
mod error;
mod folder;
mod install;
mod leftovers;
mod plugin;
mod status;
mod uninstall;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;
use weft_cni::daemon::{DEFAULT_SOCKET, DEFAULT_STATE};

use self::error::SetupError;
use self::folder::{Entry, Folder};
use super::output::render;

const EXAMPLES: &str = "\
Examples:
  weft cni install --dry-run
  weft cni install --wait
  weft cni status

docs/install.md leads through a whole node.";

/// `weft cni`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CniCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Put the plugin and its configuration list where the container runtime looks
    Install(install::Install),
    /// Remove them, and what a stopped daemon left on this node
    Uninstall(uninstall::Uninstall),
    /// Tell whether the container runtime finds weft, and what to do if not
    Status(status::StatusCommand),
}

impl CniCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let done = match self.verb {
            Verb::Install(command) => command.run(),
            Verb::Uninstall(command) => command.run(),
            Verb::Status(command) => command.run(),
        };
        done.or_else(|error| match error.downcast_ref::<SetupError>() {
            Some(told) => {
                eprintln!("error: {told}");
                Ok(ExitCode::from(told.exit_code()))
            }
            None => Err(error),
        })
    }
}

/// Where the runtime looks.
#[derive(Debug, Args)]
struct Places {
    /// Directory of the runtime's network configurations
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    conf_dir: PathBuf,
    /// Directory of the runtime's plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    bin_dir: PathBuf,
    /// File name of the configuration list; runtimes take the first in order
    #[arg(long, value_name = "FILE", default_value = "10-weft.conflist", value_parser = conf_name)]
    conf_name: String,
}

/// Which daemon the plugin talks to, where the answer differs from the list or the default.
#[derive(Debug, Args)]
struct Daemon {
    /// Control socket of the daemon [default: the list's, or /run/weft/weft.sock]
    #[arg(long, env = "WEFT_SOCKET", value_name = "PATH", value_parser = absolute)]
    socket: Option<PathBuf>,
    /// State directory of the daemon [default: the list's, or /var/lib/weft]
    #[arg(long, value_name = "DIR", value_parser = absolute)]
    state_dir: Option<PathBuf>,
}

impl Daemon {
    /// What was asked for, or else what the installed list says, or else the default.
    fn or_of(&self, list: Option<&conflist::Found>) -> (PathBuf, PathBuf) {
        let socket = self
            .socket
            .as_ref()
            .or_else(|| list.map(|list| &list.socket));
        let state = self
            .state_dir
            .as_ref()
            .or_else(|| list.map(|list| &list.state));
        let or = |path: Option<&PathBuf>, default: &str| {
            path.map_or_else(|| PathBuf::from(default), Clone::clone)
        };
        (or(socket, DEFAULT_SOCKET), or(state, DEFAULT_STATE))
    }
}

/// Both sides of a connection are other processes, with other working directories.
fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.is_absolute() {
        true => Ok(path),
        false => Err("write an absolute path: the plugin runs elsewhere".to_owned()),
    }
}

fn conf_name(text: &str) -> Result<String, String> {
    let list = text.strip_suffix(".conflist");
    match list.is_some_and(|name| !name.is_empty()) && is_plain(text) {
        true => Ok(text.to_owned()),
        false => Err("write a file name that ends in .conflist, such as 10-weft.conflist".into()),
    }
}

/// The specification's network names (CNI 1.1.0, section 1).
fn network_name(text: &str) -> Result<String, String> {
    match is_plain(text) {
        true => Ok(text.to_owned()),
        false => Err("write letters, digits, '.', '_' and '-', the first a letter or digit".into()),
    }
}

fn is_plain(text: &str) -> bool {
    let other = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(other)
}

/// One thing that was looked at, and what became of it.
#[derive(Debug, Serialize)]
struct Item {
    item: &'static str,
    path: String,
    outcome: &'static str,
    note: String,
}

impl Item {
    fn new(item: &'static str, path: &Path, outcome: &'static str, note: &str) -> Self {
        Self {
            item,
            path: path.display().to_string(),
            outcome,
            note: note.to_owned(),
        }
    }
}

fn items_text(items: &[Item]) -> String {
    let row = |item: &Item| {
        vec![
            item.item.to_owned(),
            item.outcome.to_owned(),
            item.path.clone(),
            item.note.clone(),
        ]
    };
    let rows = items.iter().map(row).collect();
    render(&["ITEM", "OUTCOME", "WHERE", "NOTE"], rows, "nothing")
}

/// The list that lies under that name, if it is ours.
fn installed(folder: Option<&Folder>, name: &str) -> Result<Option<conflist::Found>, SetupError> {
    let entry = folder.map_or(Ok(Entry::Absent), |folder| folder.entry(name))?;
    Ok(match entry {
        Entry::File { bytes, .. } => conflist::read(&bytes),
        Entry::Absent | Entry::Odd => None,
    })
}

/// The names of the configurations that runtimes read, in their order.
fn configurations(folder: &Folder) -> Result<Vec<String>, SetupError> {
    let read = |name: &String| {
        let extension = Path::new(name).extension();
        let known = ["conf", "conflist", "json"];
        extension.is_some_and(|extension| known.iter().any(|known| extension == *known))
    };
    let mut names = folder.names()?;
    names.retain(read);
    Ok(names)
}

/// The configurations that runtimes try before `ours`: containerd takes the first and no other.
fn earlier(folder: &Folder, ours: &str) -> Result<Vec<String>, SetupError> {
    let mut names = configurations(folder)?;
    names.retain(|name| name.as_str() < ours);
    Ok(names)
}
