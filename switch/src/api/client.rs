//! How does a program ask a running daemon?
//!
//! Blocking, one connection, a time limit on every call. Errors name the socket and the next step.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use weft_sys::unixsock;

use super::codec::{self, CodecError};
use super::{
    Attach, Attached, Call, Detach, Detached, Drops, Failure, FlowReport, Outcome, PeerReport,
    PolicyReport, PortReport, Reply, Request, RouteReport, Status, Synced, TraceQuery, TraceReport,
    WorkerReport,
};

/// How long one call may take. Attaching waits for the kernel to make and to destroy devices;
/// nothing the daemon does takes seconds.
const CALL_LIMIT: Duration = Duration::from_secs(30);

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
pub struct Client {
    path: PathBuf,
    stream: UnixStream,
}

impl Client {
    /// Connects to the daemon that listens at `path`.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let path = path.as_ref().to_owned();
        let connected = UnixStream::connect(&path).and_then(|stream| {
            stream.set_read_timeout(Some(CALL_LIMIT))?;
            stream.set_write_timeout(Some(CALL_LIMIT))?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => Ok(Self { path, stream }),
            Err(source) => Err(ClientError::Connect { path, source }),
        }
    }

    /// Sends `call` and waits for its answer.
    ///
    /// # Errors
    /// [`ClientError::Talk`] or [`ClientError::Refused`].
    pub fn call<T: DeserializeOwned>(&mut self, call: Call) -> Result<T, ClientError> {
        let sent = codec::write_message(&mut self.stream, &Request::new(call));
        self.answer(sent)
    }

    fn answer<T: DeserializeOwned>(
        &mut self,
        sent: Result<(), CodecError>,
    ) -> Result<T, ClientError> {
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

    /// Gives the pod in `netns` an interface; returns once frames flow.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn attach(&mut self, attach: Attach, netns: impl AsFd) -> Result<Attached, ClientError> {
        let sent = codec::encode(&Request::new(Call::Attach(attach))).and_then(|bytes| {
            Ok(unixsock::send_with_fds(
                &self.stream,
                &bytes,
                &[netns.as_fd()],
            )?)
        });
        self.answer(sent)
    }

    /// Takes a pod's interface away.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn detach(&mut self, detach: Detach) -> Result<Detached, ClientError> {
        self.call(Call::Detach(detach))
    }

    /// Asks for health.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        self.call(Call::Status)
    }

    /// Asks for the ports.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn ports(&mut self) -> Result<Vec<PortReport>, ClientError> {
        self.call(Call::Ports)
    }

    /// Asks for the other nodes.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn peers(&mut self) -> Result<Vec<PeerReport>, ClientError> {
        self.call(Call::Peers)
    }

    /// Asks for the forwarding table.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn routes(&mut self) -> Result<Vec<RouteReport>, ClientError> {
        self.call(Call::Routes)
    }

    /// Asks what the workers did.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn workers(&mut self) -> Result<Vec<WorkerReport>, ClientError> {
        self.call(Call::Workers)
    }

    /// Asks for drops by reason, and starts counting anew if `reset`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn drops(&mut self, reset: bool) -> Result<Drops, ClientError> {
        self.call(Call::Drops { reset })
    }

    /// Asks for the tracked connections, of one pod (`namespace/name`) or all.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn flows(&mut self, pod: Option<String>) -> Result<Vec<FlowReport>, ClientError> {
        self.call(Call::Flows { pod })
    }

    /// Asks for the policies in force.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn policies(&mut self) -> Result<Vec<PolicyReport>, ClientError> {
        self.call(Call::Policies)
    }

    /// Asks what would become of a packet.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn trace(&mut self, query: TraceQuery) -> Result<TraceReport, ClientError> {
        self.call(Call::Trace(query))
    }

    /// Has the daemon read its desired state anew; returns once every worker uses what results, so
    /// that nothing passes any more that it denies.
    ///
    /// # Errors
    /// As [`Client::call`]; [`ClientError::Refused`] too if the tables could not be published.
    pub fn sync(&mut self) -> Result<Synced, ClientError> {
        self.call(Call::Sync)
    }
}
