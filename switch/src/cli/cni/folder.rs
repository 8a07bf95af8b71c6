//! How does a file get into a directory that a container runtime watches, whole and safe?
//!
//! Owns the two rules of such directories. Nobody but root may change what lies there or on the way
//! there, symbolic links followed, since runtimes run it as root. A file appears by a rename from a
//! name in the same directory that no runtime reads: containerd's watcher reacts to that rename and
//! to no creation, and a program that runs is never written to. It knows nothing of what the files
//! say.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use super::error::SetupError;

/// As many symbolic links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// Others than the owner may write.
const WRITABLE: u32 = 0o022;
const STICKY: u32 = 0o1000;
const PERMISSIONS: u32 = 0o7777;

/// A directory only root can change; in a test, only who runs it.
#[derive(Debug)]
pub(super) struct Folder {
    /// As the user named it.
    path: PathBuf,
    /// Without symbolic links.
    real: PathBuf,
}

/// What has a name in a directory.
#[derive(Debug)]
pub(super) enum Entry {
    Absent,
    /// A link, directory, socket or device.
    Odd,
    File {
        bytes: Vec<u8>,
        metadata: Metadata,
    },
}

/// What became of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Unchanged,
    Replaced,
    New,
}

impl Folder {
    /// The directory; `None` if it is not there yet.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, SetupError> {
        let path = std::path::absolute(path).map_err(SetupError::file("find", path))?;
        let (real, missing) = resolve(&path)?;
        if !missing.is_empty() {
            return Ok(None);
        }
        trusted(&real, 0)?;
        Ok(Some(Self { path, real }))
    }

    /// The directory, made with mode 0755 if it is missing.
    pub(super) fn make(path: &Path) -> Result<Self, SetupError> {
        let path = std::path::absolute(path).map_err(SetupError::file("find", path))?;
        let (mut real, missing) = resolve(&path)?;
        for part in missing {
            real.push(part);
            DirBuilder::new()
                .mode(0o755)
                .create(&real)
                .map_err(SetupError::file("make", &real))?;
            // Whatever the caller's umask is, the runtime and its users look in.
            fs::set_permissions(&real, Permissions::from_mode(0o755))
                .map_err(SetupError::file("make", &real))?;
        }
        trusted(&real, 0)?;
        Ok(Self { path, real })
    }

    /// Where `name` is, in the user's words.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What `name` is.
    pub(super) fn entry(&self, name: &str) -> Result<Entry, SetupError> {
        let path = self.real.join(name);
        let read = || -> io::Result<Entry> {
            let metadata = fs::symlink_metadata(&path)?;
            if !metadata.is_file() {
                return Ok(Entry::Odd);
            }
            let bytes = fs::read(&path)?;
            Ok(Entry::File { bytes, metadata })
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Entry::Absent),
            entry => entry.map_err(SetupError::file("read", &self.path_of(name))),
        }
    }

    /// What [`Self::put`] would do.
    pub(super) fn plan(&self, name: &str, bytes: &[u8], mode: u32) -> Result<Put, SetupError> {
        Ok(match self.entry(name)? {
            Entry::Absent => Put::New,
            Entry::File {
                bytes: old,
                metadata,
            } if metadata.mode() & PERMISSIONS == mode && old == bytes && owned(&metadata) => {
                Put::Unchanged
            }
            Entry::File { .. } | Entry::Odd => Put::Replaced,
        })
    }

    /// Has `name` hold `bytes`, whole and on the disk; a file that does already is left alone.
    pub(super) fn put(&self, name: &str, bytes: &[u8], mode: u32) -> Result<Put, SetupError> {
        let path = self.path_of(name);
        let directory = self.lock()?;
        let put = self.plan(name, bytes, mode)?;
        if put == Put::Unchanged {
            return Ok(put);
        }
        let temporary = self.real.join(format!(".{name}.tmp"));
        let written = write_new(&temporary, bytes, mode)
            .and_then(|()| fs::rename(&temporary, self.real.join(name)))
            .and_then(|()| directory.sync_all());
        if written.is_err() {
            // The error to report is the one before; the file may never have been made.
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(SetupError::file("write", &path))?;
        Ok(put)
    }

    /// Removes `name`.
    pub(super) fn remove(&self, name: &str) -> Result<(), SetupError> {
        let directory = self.lock()?;
        fs::remove_file(self.real.join(name))
            .and_then(|()| directory.sync_all())
            .map_err(SetupError::file("remove", &self.path_of(name)))
    }

    /// The names of its entries, sorted as runtimes sort them.
    pub(super) fn names(&self) -> Result<Vec<String>, SetupError> {
        let list = || -> io::Result<Vec<String>> {
            let names = fs::read_dir(&self.real)?.map(|entry| Ok(entry?.file_name()));
            let names: Vec<OsString> = names.collect::<io::Result<_>>()?;
            let name = |name: OsString| name.to_string_lossy().into_owned();
            Ok(names.into_iter().map(name).collect())
        };
        let mut names = list().map_err(SetupError::file("list", &self.path))?;
        names.sort_unstable();
        Ok(names)
    }

    /// One writer at a time, or two would share a temporary name.
    fn lock(&self) -> Result<File, SetupError> {
        let lock = || -> io::Result<File> {
            let directory = File::open(&self.real)?;
            directory.lock()?;
            Ok(directory)
        };
        lock().map_err(SetupError::file("lock", &self.path))
    }
}

/// Writes a file that was not there, and has the disk hold it.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // Left by one that was killed; a link in its place goes, not what it leads to.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Follows `path` as the kernel does: where it leads, and what of it is missing. Every directory
/// and link on the way must be one that nobody else can turn elsewhere.
fn resolve(path: &Path) -> Result<(PathBuf, Vec<OsString>), SetupError> {
    let (mut here, mut rest) = (PathBuf::from("/"), parts(path));
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == OsStr::new("..") {
            here.pop();
            continue;
        }
        trusted(&here, STICKY)?;
        let next = here.join(&part);
        let metadata = match fs::symlink_metadata(&next) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                rest.push_front(part);
                return Ok((here, rest.into()));
            }
            metadata => metadata.map_err(SetupError::file("look at", &next))?,
        };
        if !metadata.is_symlink() {
            here = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            let error = io::Error::other("too many symbolic links");
            return Err(SetupError::file("follow", path)(error));
        }
        if !owned(&metadata) {
            return Err(foreign(&next, &metadata));
        }
        let target = fs::read_link(&next).map_err(SetupError::file("follow", &next))?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        let mut target = parts(&target);
        target.append(&mut rest);
        rest = target;
    }
    Ok((here, Vec::new()))
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(part).collect()
}

/// A directory of root's that nobody else may write to, unless it has the bit `excuse`.
fn trusted(path: &Path, excuse: u32) -> Result<(), SetupError> {
    let metadata = fs::symlink_metadata(path).map_err(SetupError::file("look at", path))?;
    if !metadata.is_dir() {
        let error = io::Error::from(io::ErrorKind::NotADirectory);
        return Err(SetupError::file("use", path)(error));
    }
    if !owned(&metadata) {
        return Err(foreign(path, &metadata));
    }
    let mode = metadata.mode() & PERMISSIONS;
    if mode & WRITABLE != 0 && mode & excuse == 0 {
        return Err(SetupError::Untrusted {
            path: path.to_owned(),
            why: format!("may be written to by others than its owner (mode {mode:04o})"),
            next: format!("chmod go-w {} and try again", path.display()),
        });
    }
    Ok(())
}

/// Whether it is root's, or the caller's own.
fn owned(metadata: &Metadata) -> bool {
    let caller = || fs::metadata("/proc/self").map(|me| me.uid());
    metadata.uid() == 0 || caller().is_ok_and(|caller| caller == metadata.uid())
}

fn foreign(path: &Path, metadata: &Metadata) -> SetupError {
    SetupError::Untrusted {
        path: path.to_owned(),
        why: format!("belongs to user {}, not to root", metadata.uid()),
        next: format!("chown -h root:root {} and try again", path.display()),
    }
}
