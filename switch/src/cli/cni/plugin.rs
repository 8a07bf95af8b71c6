//! Which program is the plugin, and is that one there ours?
//!
//! Owns finding the binary to install, and telling weft's programs, of any release, from others of
//! the same name. It never runs them.

use std::fs;
use std::path::PathBuf;

use super::conflist::PLUGIN;
use super::error::SetupError;
use super::folder::{Entry, Folder};

/// The name under which runtimes start a plugin for `lo`.
pub(super) const LOOPBACK: &str = "loopback";

/// What a program is called in answers, by its file name.
pub(super) fn label(name: &str) -> &'static str {
    if name == PLUGIN { "plugin" } else { "loopback" }
}

/// Mode of programs: never setuid.
pub(super) const MODE: u32 = 0o755;

/// What the plugin says of itself, so every release of it holds these bytes. So does this program,
/// which is the plugin too when it is started under that name.
const MARK: &[u8] = b"the CNI plugin of weft, a userspace dataplane";

/// The program to install.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

impl Source {
    /// The `weft-cni` beside this program, or this program.
    pub(super) fn find() -> Result<Self, SetupError> {
        let link = PathBuf::from("/proc/self/exe");
        let this = std::env::current_exe().map_err(SetupError::file("find", &link))?;
        let beside = this.with_file_name(PLUGIN);
        let path = if beside.is_file() { beside } else { this };
        let bytes = fs::read(&path).map_err(SetupError::file("read", &path))?;
        Ok(Self { path, bytes })
    }
}

/// Whose a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// There is none.
    Nobody,
    /// Exactly what would be installed.
    ThisBuild,
    /// weft's, of another build.
    OtherBuild,
    /// Not weft's.
    Foreign,
}

/// Whose the program `name` is.
pub(super) fn owner(folder: &Folder, name: &str, source: &Source) -> Result<Owner, SetupError> {
    Ok(match folder.entry(name)? {
        Entry::Absent => Owner::Nobody,
        Entry::Odd => Owner::Foreign,
        Entry::File { bytes, .. } if bytes == source.bytes => Owner::ThisBuild,
        Entry::File { bytes, .. } if holds_mark(&bytes) => Owner::OtherBuild,
        Entry::File { .. } => Owner::Foreign,
    })
}

fn holds_mark(bytes: &[u8]) -> bool {
    bytes.windows(MARK.len()).any(|window| window == MARK)
}
