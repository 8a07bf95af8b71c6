//! Where does the daemon listen, and who may connect?
//!
//! Owns the control socket's file: only its owner may connect, a dead predecessor's file is
//! replaced, a live one's is not. It never reads a message.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::{Context, Result, SysError};

/// A listening socket whose file has mode 0600 and goes with it.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Listener {
    /// Listens at `path`. The directory is made with mode 0700 if it is missing; one that others
    /// may write to is refused, unless it is sticky.
    ///
    /// # Errors
    /// [`SysError::is_busy`] if somebody listens there already; [`SysError::is_exists`] if a file
    /// that is no socket is in the way.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let what = || format!("listen at {}", path.display());
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(SysError::invalid(what(), "the path names no file"));
        };
        prepare_directory(directory).context(what)?;
        // One maker at a time, or two could find the same file stale and both replace it.
        let lock = File::open(directory).context(what)?;
        flock(&lock, FlockOperation::LockExclusive).context(what)?;
        refuse_living(path).context(what)?;
        // A name of its own first: nobody can connect before the mode is right.
        // Always the same, so that what a maker that was killed has left is replaced.
        let name = format!(".{}.new", name.to_string_lossy());
        let temporary = directory.join(name);
        let bound = bind_private(&temporary, path);
        if bound.is_err() {
            // The error to report is the one before; the file may never have been made.
            let _ = fs::remove_file(&temporary);
        }
        let (socket, metadata) = bound.context(what)?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            inode: metadata.ino(),
        })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// `WouldBlock` in non-blocking mode; too many open files.
    pub fn accept(&self) -> io::Result<UnixStream> {
        self.socket.accept().map(|(stream, _)| stream)
    }

    /// Sets whether [`Self::accept`] fails instead of waiting.
    ///
    /// # Errors
    /// If fcntl(2) fails.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.socket.set_nonblocking(on)
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours {
            // A file left behind is replaced by the next listener.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn prepare_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mode = fs::metadata(directory)?.mode();
    let (open_to_others, sticky) = (mode & 0o022 != 0, mode & 0o1000 != 0);
    if open_to_others && !sticky {
        let why = format!("others may write to {}", directory.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

/// An error if there is something at `path` that must not be replaced.
fn refuse_living(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    // Non-blocking, since a listener that accepts nobody any more would make us wait.
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
    }
}

fn bind_private(temporary: &Path, path: &Path) -> io::Result<(UnixListener, Metadata)> {
    // Under the lock nobody else is at work on it.
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(temporary)?;
    fs::set_permissions(temporary, Permissions::from_mode(0o600))?;
    fs::rename(temporary, path)?;
    let metadata = fs::symlink_metadata(path)?;
    Ok((socket, metadata))
}

#[cfg(test)]
mod tests {
    use super::super::peer;
    use super::*;

    #[test]
    fn only_the_owner_may_connect_and_the_file_goes_with_the_listener() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run/weft.sock");
        let listener = Listener::bind(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let stream = UnixStream::connect(&path).unwrap();
        let accepted = listener.accept().unwrap();
        assert_eq!(peer(&accepted).unwrap().pid, std::process::id());
        assert_eq!(
            peer(&stream).unwrap().uid,
            rustix::process::geteuid().as_raw()
        );
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_listeners_file_is_replaced_and_a_live_ones_is_not() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("weft.sock");
        let unfinished = ".weft.sock.new";
        drop(UnixListener::bind(root.path().join(unfinished)).unwrap());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the standard library leaves the file");
        let listener = Listener::bind(&path).unwrap();
        assert!(Listener::bind(&path).unwrap_err().is_busy());
        UnixStream::connect(&path).unwrap();
        drop(listener);
        fs::write(&path, "not a socket").unwrap();
        assert!(Listener::bind(&path).unwrap_err().is_exists());
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(Listener::bind(root.path().join("s")).is_err());
        fs::set_permissions(root.path(), Permissions::from_mode(0o1777)).unwrap();
        assert!(Listener::bind(root.path().join("s")).is_ok());
    }
}
