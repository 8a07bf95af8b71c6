//! How does a program ask a running daemon?
//!
//! Blocking, one connection, a time limit on every call. Errors name the socket and the next step.

use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weft_sys::unixsock;

use super::codec::{self, CodecError};
use super::{Failure, Outcome, Reply, Request};
use crate::deadline::Deadline;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error("cannot reach the weft daemon at {}: {source}; {}", .path.display(), next_for(.source))]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke, or the bytes were not ours.
    #[error("the weft daemon at {}: {source}; {}", .path.display(), next_for_codec(.source))]
    Talk {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: CodecError,
    },
    /// The daemon answered with a refusal.
    #[error("the weft daemon refused: {0}")]
    Refused(#[source] Failure),
}

fn next_for(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "start it with `weft daemon`, or name its socket with --socket or WEFT_SOCKET"
        }
        io::ErrorKind::PermissionDenied => "only root may talk to it: try again with sudo",
        io::ErrorKind::ConnectionRefused => {
            "the socket is a left-over of a daemon that is gone: start it with `weft daemon`"
        }
        _ => "see whether `weft daemon` runs and read its log",
    }
}

const fn next_for_codec(error: &CodecError) -> &'static str {
    match error {
        CodecError::Version { .. } => "use the weft command of the daemon's version",
        _ => "read the daemon's log",
    }
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Connection {
    path: PathBuf,
    stream: UnixStream,
    limit: Duration,
}

impl Connection {
    /// Connects to the daemon that listens at `path`. Neither connecting nor the answer to a call
    /// may take longer than `limit`.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn open(path: impl AsRef<Path>, limit: Duration) -> Result<Self, ClientError> {
        let path = path.as_ref().to_owned();
        match connect_within(&path, limit) {
            Ok(stream) => Ok(Self {
                path,
                stream,
                limit,
            }),
            Err(error) => {
                let source = late(error, limit);
                Err(ClientError::Connect { path, source })
            }
        }
    }

    /// Changes how long the answers to the calls from now on may take.
    pub const fn limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Sends `call` with `fds` beside it, at most [`unixsock::MAX_FDS`], and waits for its answer.
    ///
    /// # Errors
    /// [`ClientError::Talk`] or [`ClientError::Refused`].
    pub fn call<T: DeserializeOwned>(
        &mut self,
        call: impl Serialize,
        fds: &[BorrowedFd<'_>],
    ) -> Result<T, ClientError> {
        let deadline = Deadline::after(self.limit);
        let sent = codec::encode(&Request::new(call)).and_then(|bytes| {
            self.stream.set_write_timeout(Some(self.limit))?;
            Ok(unixsock::send_with_fds(&self.stream, &bytes, fds)?)
        });
        let reply = match sent {
            // A daemon that refuses a caller says so and closes without having read the call.
            Err(CodecError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.read_reply(deadline).map_err(|_| CodecError::Io(error))
            }
            Err(error) => Err(error),
            Ok(()) => self.read_reply(deadline),
        };
        let value = match reply.map_err(|source| self.talk(source))?.outcome {
            Outcome::Ok(value) => value,
            Outcome::Error(failure) => return Err(ClientError::Refused(failure)),
        };
        serde_json::from_value(value).map_err(|error| self.talk(error.into()))
    }

    fn read_reply(&self, deadline: Deadline) -> Result<Reply, CodecError> {
        let mut stream = Bounded {
            stream: &self.stream,
            deadline,
        };
        let frame = codec::read_frame(&mut stream)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        codec::decode(&frame)
    }

    fn talk(&self, source: CodecError) -> ClientError {
        let source = match source {
            CodecError::Io(error) => CodecError::Io(late(error, self.limit)),
            other => other,
        };
        ClientError::Talk {
            path: self.path.clone(),
            source,
        }
    }
}

/// Reads until a deadline, however few bytes come at a time.
struct Bounded<'a> {
    stream: &'a UnixStream,
    deadline: Deadline,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.left().ok_or(io::ErrorKind::WouldBlock)?;
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

/// A listener that accepts nobody lets as many wait as its backlog holds; the next connect(2)
/// would wait without end but for the time to send, which unix(7) sockets apply to it too.
fn connect_within(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// What the kernel calls "try again" is that the time is over.
fn late(error: io::Error, limit: Duration) -> io::Error {
    if error.kind() != io::ErrorKind::WouldBlock {
        return error;
    }
    let text = format!("no answer within {} ms", limit.as_millis());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::net::UnixListener;
    use std::thread;

    const LIMIT: Duration = Duration::from_millis(200);

    fn is_late(error: &ClientError) -> bool {
        let source = match error {
            ClientError::Connect { source, .. } => source,
            ClientError::Talk {
                source: CodecError::Io(source),
                ..
            } => source,
            _ => return false,
        };
        source.kind() == io::ErrorKind::TimedOut
    }

    #[test]
    fn a_listener_that_accepts_nobody_costs_no_more_than_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        );
        let listener = listener.unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 3).unwrap();
        let mut waiting = Vec::new();
        // As many as the backlog holds get in, and then one does not.
        let error = loop {
            match Connection::open(&path, LIMIT) {
                Ok(connection) => waiting.push(connection),
                Err(error) => break error,
            }
        };
        assert!(is_late(&error), "{error}");
        let error = waiting[0].call::<()>("x", &[]).unwrap_err();
        assert!(is_late(&error), "{error}");
        assert!(error.to_string().contains("no answer within 200 ms"));
    }

    #[test]
    fn an_answer_that_trickles_costs_no_more_than_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(LIMIT / 8)).unwrap();
            stream.write_all(&[0xff, 0xff, 0, 0]).unwrap();
            // A byte at a time, for as long as somebody reads them; reading is the pause.
            while stream.write_all(b" ").is_ok() {
                let _ = stream.read(&mut [0; 64]);
            }
        });
        let mut connection = Connection::open(&path, LIMIT).unwrap();
        let error = connection.call::<()>("x", &[]).unwrap_err();
        assert!(is_late(&error), "{error}");
        drop(connection);
        server.join().unwrap();
    }
}
