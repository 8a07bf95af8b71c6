//! Which attachments were deleted while the daemon could not be told?
//!
//! Owns the folder `deleted` in the daemon's state directory, both sides of it: the plugin notes a
//! DEL there, the daemon lists and settles the notes. A note is one file named
//! `CONTAINERID:IFNAME`; neither name may hold a colon or a slash, so the file name is safe and
//! says which attachment it is, whatever is inside. It is written beside, synced and renamed: a
//! note is there whole or not at all, power loss included.
//!
//! Nobody but the owner of the process may be able to write there, since whoever can, detaches
//! pods: a directory that others own or may write to, or a symbolic link in its place, is refused.
//! Paths are walked by descriptor, so none can be exchanged in between.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, fsync, mkdirat,
    openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::call::{check_container_id, check_ifname};
use crate::daemon::Identity;

/// The folder inside the state directory.
pub const FOLDER: &str = "deleted";

/// Between container id and interface in a file's name.
const BETWEEN: char = ':';

/// Begins the name of a note that is being written; no container id begins so.
const UNFINISHED: char = '.';

/// How often a note is written anew because its unfinished file went missing.
const ATTEMPTS: usize = 16;

/// More than a note ever holds.
const NOTE_LIMIT: u64 = 4096;

/// Why notes cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum TombstoneError {
    /// The directory, or something in it, cannot be used.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something else is where the directory should be.
    #[error("{} is no directory but a {what}; move it away", .path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// Somebody else owns the directory.
    #[error("{} belongs to user {uid}, not to {us}: chown it, or name another stateDir", .path.display())]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Who should be.
        us: u32,
    },
    /// Others may write to the directory.
    #[error("{} may be written by others (mode {mode:04o}): chmod go-w it", .path.display())]
    Writable {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The names would not be safe in a path.
    #[error("{0}")]
    Name(String),
}

/// A deleted attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Which one.
    pub identity: Identity,
    /// The network it was of; empty if the note does not say.
    pub network: String,
}

/// What is inside a note.
#[derive(Default, Serialize, Deserialize)]
struct Note {
    #[serde(default)]
    network: String,
}

/// The folder, open.
#[derive(Debug)]
pub struct Tombstones {
    folder: OwnedFd,
    path: PathBuf,
}

impl Tombstones {
    /// Opens the folder in `state_dir`, making both if they are missing.
    ///
    /// # Errors
    /// If either is not a directory of this user's that only it may write to.
    pub fn open(state_dir: &Path) -> Result<Self, TombstoneError> {
        let state = directory(CWD, state_dir, state_dir)?;
        let path = state_dir.join(FOLDER);
        let folder = directory(&state, Path::new(FOLDER), &path)?;
        Ok(Self { folder, path })
    }

    /// Notes that an attachment was deleted; once more is no error. On return it survives a power
    /// loss.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn note(&self, identity: &Identity, network: &str) -> Result<(), TombstoneError> {
        let name = file_name(identity)?;
        let note = Note {
            network: network.to_owned(),
        };
        let text = serde_json::to_vec(&note).map_err(io::Error::from);
        let text = text.map_err(|source| self.failed("write", &name, source))?;
        let mut written = Err(io::Error::from(Errno::NOENT));
        for _ in 0..ATTEMPTS {
            // Beside a note being written, nobody clears away unfinished ones. Without the lock it
            // may take another attempt; who holds it for long must not keep a DEL from succeeding.
            let _ = flock(&self.folder, FlockOperation::NonBlockingLockShared);
            written = self.write(&name, &text);
            match &written {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                _ => break,
            }
        }
        let _ = flock(&self.folder, FlockOperation::Unlock);
        written.map_err(|source| self.failed("write", &name, source))
    }

    fn write(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let unfinished = format!("{UNFINISHED}{name}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(openat(&self.folder, &unfinished, flags, mode)?);
        let written = file.write_all(text).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // What is to be reported is the error before.
            let _ = unlinkat(&self.folder, &unfinished, AtFlags::empty());
            return Err(error);
        }
        match renameat(&self.folder, &unfinished, &self.folder, name) {
            // Another writer of the same note has renamed it, if the note is there.
            Err(Errno::NOENT) => {
                statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            other => other?,
        }
        Ok(fsync(&self.folder)?)
    }

    /// All notes, in the order of their names. Clears away what a killed writer left unfinished,
    /// and passes over what is no note.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Tombstone>, TombstoneError> {
        let locked = flock(&self.folder, FlockOperation::NonBlockingLockExclusive).is_ok();
        let names = self.names();
        if locked {
            let mut left = names.iter().flatten();
            while let Some(name) = left.find(|name| name.starts_with(UNFINISHED)) {
                // The next listing tries again.
                let _ = unlinkat(&self.folder, name, AtFlags::empty());
            }
            let _ = flock(&self.folder, FlockOperation::Unlock);
        }
        let mut names = names.map_err(|source| self.failed("list", "", source))?;
        names.sort();
        let read = |name: &String| {
            Some(Tombstone {
                identity: identity(name)?,
                network: self.network(name),
            })
        };
        Ok(names.iter().filter_map(read).collect())
    }

    /// The network a note names; a note that says nothing still counts.
    fn network(&self, name: &str) -> String {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut text = Vec::new();
        let read = openat(&self.folder, name, flags, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|file| File::from(file).take(NOTE_LIMIT).read_to_end(&mut text));
        let note: Option<Note> = read.ok().and_then(|_| serde_json::from_slice(&text).ok());
        note.unwrap_or_default().network
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_str();
            names.extend(
                name.ok()
                    .filter(|name| ![".", ".."].contains(name))
                    .map(str::to_owned),
            );
        }
        Ok(names)
    }

    /// Whether there is a note of the attachment.
    ///
    /// # Errors
    /// If its names are not safe in a path, or the folder cannot be read.
    pub fn holds(&self, identity: &Identity) -> Result<bool, TombstoneError> {
        let name = file_name(identity)?;
        match statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.failed("look at", &name, error.into())),
        }
    }

    /// Takes a note away, once the attachment is released; returns whether there was one. On
    /// return it stays away, power loss included.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn settle(&self, identity: &Identity) -> Result<bool, TombstoneError> {
        let name = file_name(identity)?;
        let failed = |error: Errno| self.failed("remove", &name, error.into());
        match unlinkat(&self.folder, &name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(failed(error)),
        }
        fsync(&self.folder).map_err(failed)?;
        Ok(true)
    }

    fn failed(&self, what: &'static str, name: &str, source: io::Error) -> TombstoneError {
        TombstoneError::Io {
            what,
            path: self.path.join(name),
            source,
        }
    }
}

/// Opens `name` below `parent`, or makes it, and refuses it unless it is ours alone to write to;
/// `path` is for errors.
fn directory(parent: impl AsFd, name: &Path, path: &Path) -> Result<OwnedFd, TombstoneError> {
    let io = |what: &'static str| {
        move |error: Errno| TombstoneError::Io {
            what,
            path: path.to_owned(),
            source: error.into(),
        }
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(&parent, name, flags, Mode::empty());
    let opened = match open() {
        Err(Errno::NOENT) => {
            match mkdirat(&parent, name, Mode::RWXU) {
                // Another plugin may have been quicker.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(io("create")(error)),
            }
            // A note is only as durable as the entry of the folder it is in.
            let made = openat(&parent, name.join(".."), flags, Mode::empty());
            made.and_then(|above| fsync(&above))
                .map_err(io("sync the parent of"))?;
            open()
        }
        other => other,
    };
    let folder = match opened {
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
            let link = stat.is_ok_and(|s| FileType::from_raw_mode(s.st_mode).is_symlink());
            return Err(TombstoneError::NoDirectory {
                path: path.to_owned(),
                what: if link { "symbolic link" } else { "file" },
            });
        }
        other => other.map_err(io("open"))?,
    };
    let stat = fstat(&folder).map_err(io("look at"))?;
    let us = geteuid().as_raw();
    if stat.st_uid != us {
        return Err(TombstoneError::ForeignOwner {
            path: path.to_owned(),
            uid: stat.st_uid,
            us,
        });
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o022 != 0 {
        return Err(TombstoneError::Writable {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(folder)
}

fn file_name(identity: &Identity) -> Result<String, TombstoneError> {
    let Identity {
        container_id,
        ifname,
    } = identity;
    check_container_id(container_id).map_err(TombstoneError::Name)?;
    check_ifname(ifname).map_err(TombstoneError::Name)?;
    Ok(format!("{container_id}{BETWEEN}{ifname}"))
}

/// The attachment a file of this name is about, if it is a note.
fn identity(name: &str) -> Option<Identity> {
    let (container_id, ifname) = name.split_once(BETWEEN)?;
    let identity = Identity {
        container_id: container_id.to_owned(),
        ifname: ifname.to_owned(),
    };
    file_name(&identity).is_ok().then_some(identity)
}

#[cfg(test)]
mod tests;
