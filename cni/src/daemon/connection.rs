//! How does a program ask a running daemon?
//!
//! Blocking, one connection, a time limit on every call. Errors name the socket and the next step.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use weft_sys::unixsock;

use super::codec::{self, CodecError};
use super::{Failure, Outcome, Reply, Request};

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
}

impl Connection {
    /// Connects to the daemon that listens at `path`; neither side of a call may take longer than
    /// `limit`.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn open(path: impl AsRef<Path>, limit: Duration) -> Result<Self, ClientError> {
        let path = path.as_ref().to_owned();
        let connected = UnixStream::connect(&path).and_then(|stream| {
            stream.set_read_timeout(Some(limit))?;
            stream.set_write_timeout(Some(limit))?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => Ok(Self { path, stream }),
            Err(source) => Err(ClientError::Connect { path, source }),
        }
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
        let sent = codec::encode(&Request::new(call))
            .and_then(|bytes| Ok(unixsock::send_with_fds(&self.stream, &bytes, fds)?));
        let reply = match sent {
            // A daemon that refuses a caller says so and closes without having read the call.
            Err(CodecError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.read_reply().map_err(|_| CodecError::Io(error))
            }
            Err(error) => Err(error),
            Ok(()) => self.read_reply(),
        };
        let value = match reply.map_err(|source| self.talk(source))?.outcome {
            Outcome::Ok(value) => value,
            Outcome::Error(failure) => return Err(ClientError::Refused(failure)),
        };
        serde_json::from_value(value).map_err(|error| self.talk(error.into()))
    }

    fn read_reply(&mut self) -> Result<Reply, CodecError> {
        let frame = codec::read_frame(&mut self.stream)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        codec::decode(&frame)
    }

    fn talk(&self, source: CodecError) -> ClientError {
        ClientError::Talk {
            path: self.path.clone(),
            source,
        }
    }
}
