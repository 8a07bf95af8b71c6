//! How do programs on this node talk to the daemon, and how do descriptors travel?
//!
//! Owns the control socket's file (only its owner may connect, a dead predecessor's file is
//! replaced, a live one's is not), who is at the other end, and SCM_RIGHTS (unix(7)). Messages are
//! the caller's business; every read is bounded by the caller's buffer.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{FlockOperation, flock};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::{Context, Result, SysError};
use crate::sockopt;

/// The most descriptors one message carries.
pub const MAX_FDS: usize = 16;

const CONTROL_LEN: usize = rustix::cmsg_space!(ScmRights(MAX_FDS));

/// A listening socket whose file has mode 0600 and goes with it.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    inode: u64,
}

/// Who is at the other end of a connection, as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process; 0 if that is in a PID namespace this one cannot see.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
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
        let name = format!(".{}.{}", name.to_string_lossy(), process::id());
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

/// Who is at the other end of `stream`.
///
/// # Errors
/// If the socket is not connected.
pub fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let raw: libc::ucred = sockopt::get(stream.as_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED)?;
    Ok(Peer {
        pid: u32::try_from(raw.pid).unwrap_or(0),
        uid: raw.uid,
        gid: raw.gid,
    })
}

/// Sends all of `bytes`, with `fds` (at most [`MAX_FDS`]) travelling along with the first.
///
/// # Errors
/// `InvalidInput` for too many descriptors or for descriptors without a byte to carry them;
/// `BrokenPipe` if the other end is gone.
pub fn send_with_fds(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.len() > MAX_FDS || (bytes.is_empty() && !fds.is_empty()) {
        let why = format!("at most {MAX_FDS} descriptors, along with at least one byte");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut rest = bytes;
    let mut fds = fds;
    while !rest.is_empty() {
        let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        match sendmsg(
            stream,
            &[IoSlice::new(rest)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Ok(sent) => {
                rest = rest.get(sent..).unwrap_or_default();
                fds = &[];
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Receives what there is, up to the length of `buffer`, and appends descriptors that came along
/// to `fds`; they are closed on exec. Returns how many bytes; 0 if the other end has closed.
///
/// # Errors
/// `InvalidData` if more than [`MAX_FDS`] descriptors came: those of this message are lost.
pub fn recv_with_fds(
    stream: &UnixStream,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message = loop {
        let into = &mut [IoSliceMut::new(buffer)];
        match recvmsg(stream, into, &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let truncated = message.flags.contains(ReturnFlags::CTRUNC);
    for part in control.drain() {
        if let (RecvAncillaryMessage::ScmRights(received), false) = (part, truncated) {
            fds.extend(received);
        }
    }
    if truncated || fds.len() > MAX_FDS {
        let why = format!("more than {MAX_FDS} descriptors");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(message.bytes)
}

/// Fills `buffer`, appending descriptors that come along to `fds`.
///
/// # Errors
/// `UnexpectedEof` if the other end closes before; as [`recv_with_fds`].
pub fn recv_exact_with_fds(
    stream: &UnixStream,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<()> {
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match recv_with_fds(stream, room, fds)? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            count => filled += count,
        }
    }
    Ok(())
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
    // In a container every predecessor had this process number, one that crashed here too.
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
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn descriptors_travel_with_the_first_byte() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"through the socket").unwrap();
        file.rewind().unwrap();
        send_with_fds(
            &near,
            b"hello, with two files",
            &[file.as_fd(), far.as_fd()],
        )
        .unwrap();
        let (mut head, mut rest, mut fds) = ([0; 1], [0; 20], Vec::new());
        recv_exact_with_fds(&far, &mut head, &mut fds).unwrap();
        assert_eq!((head[0], fds.len()), (b'h', 2));
        recv_exact_with_fds(&far, &mut rest, &mut fds).unwrap();
        assert_eq!(&rest, b"ello, with two files");
        assert_eq!(fds.len(), 2);
        let mut text = String::new();
        File::from(fds.remove(0)).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through the socket");
    }

    #[test]
    fn too_many_descriptors_are_refused() {
        let (near, far) = UnixStream::pair().unwrap();
        let one = near.as_fd();
        let error = send_with_fds(&near, b"x", &[one; MAX_FDS + 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(send_with_fds(&near, b"", &[one]).is_err());
        send_with_fds(&near, b"a", &[one; MAX_FDS]).unwrap();
        send_with_fds(&near, b"b", &[one; MAX_FDS]).unwrap();
        let mut fds = Vec::new();
        recv_exact_with_fds(&far, &mut [0], &mut fds).unwrap();
        assert_eq!(fds.len(), MAX_FDS);
        let error = recv_exact_with_fds(&far, &mut [0], &mut fds).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_end_of_a_stream_is_told_from_a_message() {
        let (near, far) = UnixStream::pair().unwrap();
        send_with_fds(&near, b"ab", &[]).unwrap();
        drop(near);
        let mut fds = Vec::new();
        let error = recv_exact_with_fds(&far, &mut [0; 3], &mut fds).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(recv_with_fds(&far, &mut [0; 3], &mut fds).unwrap(), 0);
    }

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
        assert_eq!(peer(&accepted).unwrap().pid, process::id());
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
        let unfinished = format!(".weft.sock.{}", process::id());
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
