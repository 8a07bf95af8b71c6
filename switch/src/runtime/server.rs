//! Who may talk to the daemon, and how much?
//!
//! Owns the control socket: root only, by file mode and by the kernel's word on who connected; a
//! bounded number of connections, each with a time limit, each message bounded in size. Passes
//! calls to control one by one and knows nothing of what they do.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use weft_sys::unixsock::{self, Listener};

use super::control::{CallResult, Command};
use crate::api::codec::{self, CodecError};
use crate::api::{Code, Failure, Outcome, Reply, Request, VERSION};

/// Connections served at once; one more is told so and closed.
const MOST_CONNECTIONS: usize = 64;
/// How long a caller may be silent, in the middle of a message or between two.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// How long control may take for a call.
const CALL_LIMIT: Duration = Duration::from_secs(25);

/// The listening thread.
#[derive(Debug)]
pub(super) struct Server {
    leaving: Arc<AtomicBool>,
    path: PathBuf,
    thread: JoinHandle<()>,
}

impl Server {
    pub(super) fn start(listener: Listener, control: Sender<Command>) -> io::Result<Self> {
        let leaving = Arc::new(AtomicBool::new(false));
        let path = listener.path().to_owned();
        let told = Arc::clone(&leaving);
        let builder = thread::Builder::new().name("weft-api".to_owned());
        let thread = builder.spawn(move || accept_callers(&listener, &control, &told))?;
        Ok(Self {
            leaving,
            path,
            thread,
        })
    }

    /// Stops listening and removes the socket.
    pub(super) fn stop(self) {
        self.leaving.store(true, Ordering::Release);
        // Wakes the thread; if nobody listens there any more, it has ended by itself.
        let _ = UnixStream::connect(&self.path);
        let _ = self.thread.join();
    }
}

fn accept_callers(listener: &Listener, control: &Sender<Command>, leaving: &AtomicBool) {
    let connections = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept() {
            _ if leaving.load(Ordering::Acquire) => return,
            Ok(stream) => stream,
            Err(error) if is_passing(&error) => continue,
            Err(error) => {
                tracing::error!(%error, "the control socket is closed");
                return;
            }
        };
        let place = Place::take(&connections);
        let control = control.clone();
        let serving = thread::Builder::new().name("weft-caller".to_owned());
        let spawned = serving.spawn(move || serve(stream, &control, &place));
        if let Err(error) = spawned {
            tracing::warn!(%error, "a caller was turned away");
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}

/// One of the places for connections, given back when dropped.
struct Place {
    count: Arc<AtomicUsize>,
    number: usize,
}

impl Place {
    fn take(count: &Arc<AtomicUsize>) -> Self {
        let number = count.fetch_add(1, Ordering::Relaxed);
        Self {
            count: Arc::clone(count),
            number,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve(stream: UnixStream, control: &Sender<Command>, place: &Place) {
    let mut connection = Connection {
        stream,
        fds: Vec::new(),
    };
    if let Err(refusal) = admit(&connection.stream, place) {
        connection.answer(Err(refusal));
        return;
    }
    while let Some(request) = connection.next_request() {
        let (answer, goes_on) = match request {
            Ok(request) => (
                ask(control, request, std::mem::take(&mut connection.fds)),
                true,
            ),
            Err(refusal) => (Err(refusal), false),
        };
        if !connection.answer(answer) || !goes_on {
            return;
        }
    }
}

/// Whether this caller is served.
fn admit(stream: &UnixStream, place: &Place) -> Result<(), Failure> {
    let host = |error: io::Error| Failure::new(Code::Host, error.to_string(), "");
    stream.set_read_timeout(Some(SILENCE_LIMIT)).map_err(host)?;
    stream
        .set_write_timeout(Some(SILENCE_LIMIT))
        .map_err(host)?;
    let peer = unixsock::peer(stream).map_err(host)?;
    if peer.uid != 0 {
        let what = format!("user {} may not talk to the daemon", peer.uid);
        return Err(Failure::new(
            Code::NotAllowed,
            what,
            "only root may: try again with sudo",
        ));
    }
    if place.number >= MOST_CONNECTIONS {
        let what = format!("{MOST_CONNECTIONS} connections are open already");
        return Err(Failure::new(
            Code::Unavailable,
            what,
            "try again in a moment",
        ));
    }
    Ok(())
}

fn ask(control: &Sender<Command>, request: Request, fds: Vec<OwnedFd>) -> CallResult {
    let (reply, answer) = bounded(1);
    let gone = || {
        Failure::new(
            Code::Unavailable,
            "the daemon is leaving",
            "try again later",
        )
    };
    control
        .send(Command::Call {
            call: Box::new(request.call),
            fds,
            reply,
        })
        .map_err(|_| gone())?;
    answer
        .recv_timeout(CALL_LIMIT)
        .unwrap_or_else(|_| Err(gone()))
}

struct Connection {
    stream: UnixStream,
    /// Descriptors that came with the message being read.
    fds: Vec<OwnedFd>,
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        unixsock::recv_with_fds(&self.stream, buffer, &mut self.fds)
    }
}

impl Connection {
    /// The next request, a refusal to send, or nothing when the caller is done or silent.
    fn next_request(&mut self) -> Option<Result<Request, Failure>> {
        let request = codec::read_frame(self).and_then(|frame| match frame {
            Some(frame) => codec::decode::<Request>(&frame).map(Some),
            None => Ok(None),
        });
        match request {
            Ok(request) => request.map(Ok),
            Err(CodecError::Io(_)) => None,
            Err(error @ CodecError::Version { .. }) => {
                let next = format!("use the weft of version {}", env!("CARGO_PKG_VERSION"));
                Some(Err(Failure::new(Code::Version, error.to_string(), next)))
            }
            Err(error) => {
                let next = format!("send a message of version {VERSION}");
                Some(Err(Failure::new(Code::BadMessage, error.to_string(), next)))
            }
        }
    }

    /// Whether the answer was sent.
    fn answer(&mut self, answer: CallResult) -> bool {
        let outcome = answer.map_or_else(Outcome::Error, Outcome::Ok);
        let sent = codec::write_message(&mut self.stream, &Reply::new(outcome));
        let sent = match sent {
            Err(CodecError::TooLong(bytes)) => {
                let what = format!("the answer is too long: {bytes} bytes");
                let failure = Failure::new(Code::Unavailable, what, "ask for less");
                codec::write_message(&mut self.stream, &Reply::new(Outcome::Error(failure)))
            }
            other => other,
        };
        sent.is_ok()
    }
}
