//! Is the state directory ours alone, and how does a file in it change safely?
//!
//! Owns the descriptor of the directory: everything in it is reached through that and never
//! through a symbolic link, so that nobody can put another directory or file in its place.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::disk::Disk;
use super::error::JournalError;

/// Name of the journal in the state directory.
pub const JOURNAL: &str = "attachments.journal";
/// Where its successor is written.
const STAGED: &str = "attachments.journal.new";
/// Held locked while a daemon lives.
pub const LOCK: &str = "attachments.lock";

/// A journal of this length is no journal any more.
const MAX_FILE: u64 = 1 << 30;

/// The state directory of a daemon, locked.
#[derive(Debug)]
pub struct StateDirectory {
    directory: File,
    /// The journal, if there is one.
    file: Option<File>,
    path: PathBuf,
    _lock: File,
}

impl StateDirectory {
    /// Opens the directory, or makes it with mode 0700, and locks it.
    ///
    /// # Errors
    /// If it is no directory, not ours, open to others, or locked.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |what, source| JournalError::Io {
            what,
            path: path.to_owned(),
            source,
        };
        make(path).map_err(|error| failed("make", error))?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(directory) => File::from(directory),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let why = "is a symbolic link or no directory";
                return Err(refused(path, why, "name a directory of the daemon's own"));
            }
            Err(error) => return Err(failed("open", error.into())),
        };
        check(path, &directory)?;
        let lock = open_at(&directory, LOCK, OFlags::RDWR | OFlags::CREATE);
        let lock = lock.map_err(|error| failed("lock", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(JournalError::Locked(path.to_owned()));
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(failed("lock", error)),
        }
        // What a daemon that was cut off had not finished.
        match rustix::fs::unlinkat(&directory, STAGED, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("clean", error.into())),
        }
        Ok(Self {
            directory,
            file: None,
            path: path.join(JOURNAL),
            _lock: lock,
        })
    }

    fn file(&self) -> io::Result<&File> {
        self.file
            .as_ref()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it was never written"))
    }
}

impl Disk for StateDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut file = match open_at(&self.directory, JOURNAL, OFlags::RDWR | OFlags::APPEND) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no plain file"));
        }
        if metadata.len() > MAX_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        self.file = Some(file);
        Ok(Some(bytes))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file()?.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file()?.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file()?.sync_data()
    }

    fn stage(&mut self, bytes: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let mut staged = open_at(&self.directory, STAGED, flags)?;
        let written = staged.write_all(bytes).and_then(|()| staged.sync_all());
        if written.is_err() {
            // On a full disk it would take the room that the journal needs.
            let _ = rustix::fs::unlinkat(&self.directory, STAGED, AtFlags::empty());
        }
        written
    }

    fn install(&mut self) -> io::Result<()> {
        // Opened first: once the name has changed, nothing may fail.
        let file = open_at(&self.directory, STAGED, OFlags::RDWR | OFlags::APPEND)?;
        rustix::fs::renameat(&self.directory, STAGED, &self.directory, JOURNAL)?;
        self.file = Some(file);
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.directory.sync_all()
    }
}

/// Makes the directory and those above it as far as they are missing, durably.
fn make(path: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| {
        !path.as_os_str().is_empty()
            && path
                .symlink_metadata()
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in missing {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty());
        File::open(above.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// A file in the directory, never a link out of it.
fn open_at(directory: &File, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(File::from(file))
}

fn check(path: &Path, directory: &File) -> Result<(), JournalError> {
    let metadata = directory.metadata().map_err(|source| JournalError::Io {
        what: "examine",
        path: path.to_owned(),
        source,
    })?;
    let (owner, own) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != own {
        let why = format!("belongs to user {owner}, not to {own}");
        let next = format!("chown {own} {}, or name another directory", path.display());
        return Err(refused(path, &why, &next));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        let why = format!("others may write to it (mode {mode:04o})");
        let next = format!(
            "look for what they left there and chmod 0700 {}",
            path.display()
        );
        return Err(refused(path, &why, &next));
    }
    Ok(())
}

fn refused(path: &Path, why: &str, next: &str) -> JournalError {
    JournalError::Directory {
        path: path.to_owned(),
        why: why.to_owned(),
        next: next.to_owned(),
    }
}
