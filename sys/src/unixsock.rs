//! How do programs on this node talk to the daemon, and how do descriptors travel?
//!
//! Owns the control socket (unix(7)): its file, who is at the other end, and messages with
//! descriptors. What the messages say is the caller's business; every read is bounded by the
//! caller's buffer.

mod listener;
mod rights;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use crate::sockopt;
pub use listener::Listener;
pub use rights::{MAX_FDS, recv_exact_with_fds, recv_with_fds, send_with_fds};

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
