//! What does a daemon leave on a node, and may it go?
//!
//! Owns asking whether a daemon lives, and removing the nftables table, the node's interface and
//! the state files of one that does not. It never touches what a living process uses.

use std::fs;
use std::io;
use std::path::Path;

use weft_sys::SysError;
use weft_sys::netlink::{Netlink, link};
use weft_sys::nft::NatTable;

use weft_cni::tombstone::FOLDER;

use super::Item;
use super::error::{SetupError, is_silent};
use crate::api::{Client, ClientError};
use crate::runtime::journal::{JOURNAL, LOCK};
use crate::runtime::{HOST_INTERFACE, NFT_TABLE};

const STOP: &str = "a daemon uses it: stop it (systemctl stop weft) and uninstall again";

/// Whether there is a daemon.
#[derive(Debug)]
pub(super) enum Life {
    /// With so many pods.
    Answers(usize),
    /// Somebody listens and does not answer us.
    Unclear(ClientError),
    /// Nobody listens.
    Silent,
}

impl Life {
    /// Asks at the socket.
    pub(super) fn ask(socket: &Path) -> Self {
        match Client::connect(socket).and_then(|mut daemon| daemon.status()) {
            Ok(status) => Self::Answers(status.pods),
            Err(error) if is_silent(&error) => Self::Silent,
            Err(error) => Self::Unclear(error),
        }
    }

    /// Refuses while pods are, or may be, attached: without a list no runtime can delete them.
    pub(super) fn refuse_attached(&self, socket: &Path, state: &Path) -> Result<(), SetupError> {
        let socket = socket.display();
        let why = match self {
            Self::Answers(0) => return Ok(()),
            Self::Answers(pods) => format!(
                "{pods} pods are attached by the daemon at {socket}, and without the list no \
                 runtime can delete them; delete them (kubectl drain NODE --ignore-daemonsets), \
                 or go on with --force"
            ),
            Self::Unclear(error) => {
                format!("it is not known whether pods are attached: {error}; or go on with --force")
            }
            Self::Silent => {
                let journal = state.join(JOURNAL);
                match fs::metadata(&journal) {
                    Ok(file) if file.len() > 0 => format!(
                        "no daemon answers at {socket} and {} may name pods that are attached; \
                         start the daemon (systemctl start weft) and try again, or go on with \
                         --force",
                        journal.display()
                    ),
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                    Err(error) => return Err(SetupError::file("look at", &journal)(error)),
                }
            }
        };
        Err(SetupError::Attached(why))
    }
}

/// Removes the nftables table and the interface, unless somebody uses them.
pub(super) fn network(life: &Life) -> [Item; 2] {
    let table = Path::new(NFT_TABLE);
    let device = Path::new(HOST_INTERFACE);
    let both = |outcome, note: &str| {
        [
            Item::new("nftables table", table, outcome, note),
            Item::new("interface", device, outcome, note),
        ]
    };
    if !matches!(life, Life::Silent) {
        return both("kept", STOP);
    }
    let state = match Device::look() {
        Ok(Device::Held) => return both("kept", "a process holds the interface: stop it first"),
        Ok(state) => state,
        Err(error) => return both("failed", &format!("cannot {error}")),
    };
    let table_gone = NatTable::delete(NFT_TABLE);
    let device_gone = match state {
        Device::Ours => {
            Netlink::open().and_then(|mut netlink| link::delete(&mut netlink, HOST_INTERFACE))
        }
        Device::Absent | Device::Held | Device::Foreign => Ok(false),
    };
    let interface = match (state, device_gone) {
        (Device::Foreign, _) => Item::new("interface", device, "kept", "not weft's: no TAP"),
        (_, gone) => outcome("interface", device, gone),
    };
    [outcome("nftables table", table, table_gone), interface]
}

fn outcome(item: &'static str, path: &Path, gone: Result<bool, SysError>) -> Item {
    match gone {
        Ok(true) => Item::new(item, path, "removed", ""),
        Ok(false) => Item::new(item, path, "absent", ""),
        Err(error) => Item::new(item, path, "failed", &format!("cannot {error}")),
    }
}

/// What has the name of the node's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Device {
    Absent,
    /// A TAP that a process has open: only then has one that is up a carrier.
    Held,
    /// A TAP that outlived its daemon.
    Ours,
    Foreign,
}

impl Device {
    fn look() -> Result<Self, SysError> {
        let mut netlink = Netlink::open()?;
        Ok(match link::get(&mut netlink, HOST_INTERFACE)? {
            None => Self::Absent,
            // A TUN has no hardware address.
            Some(link) if link.kind.as_deref() != Some("tun") || link.mac.is_none() => {
                Self::Foreign
            }
            Some(link) if link.carrier => Self::Held,
            Some(_) => Self::Ours,
        })
    }
}

/// Removes the state files if asked to and nobody uses them.
pub(super) fn state(life: &Life, state: &Path, purge: bool) -> Item {
    let item = |outcome, note: &str| Item::new("state", state, outcome, note);
    match (state.symlink_metadata(), purge, life) {
        (Err(error), ..) if error.kind() == io::ErrorKind::NotFound => item("absent", ""),
        (Err(error), ..) => item("failed", &error.to_string()),
        (Ok(metadata), ..) if !metadata.is_dir() => item("kept", "not a directory"),
        (Ok(_), false, _) => item("kept", "remove it with --purge"),
        (Ok(_), true, Life::Answers(_) | Life::Unclear(_)) => item("kept", STOP),
        (Ok(_), true, Life::Silent) => match clear(state) {
            Ok(None) => item("removed", ""),
            Ok(Some(other)) => item("kept", &format!("emptied but for {other}, not weft's")),
            Err(error) => item("failed", &error.to_string()),
        },
    }
}

/// Removes the files a daemon makes, and the directory if it is empty then; the name of a file that
/// is in the way.
fn clear(state: &Path) -> io::Result<Option<String>> {
    let mut other = None;
    for entry in fs::read_dir(state)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let name = name.to_string_lossy();
        if name == FOLDER && kind.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if (name == LOCK || name.starts_with(JOURNAL)) && kind.is_file() {
            fs::remove_file(entry.path())?;
        } else {
            other = Some(name.into_owned());
        }
    }
    if other.is_none() {
        fs::remove_dir(state)?;
    }
    Ok(other)
}
