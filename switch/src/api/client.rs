//! How does a program ask a running daemon?
//!
//! One method a call, over one blocking connection with a time limit.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use weft_cni::daemon::Connection;

use super::{
    Attach, Attached, Call, Check, Checked, ClientError, Collected, Detach, Detached, Drops,
    FlowReport, Gc, PeerReport, PolicyReport, PortReport, Readiness, RouteReport, Status, Synced,
    TraceQuery, TraceReport, WorkerReport,
};

/// How long one call may take. Attaching waits for the kernel to make and to destroy devices;
/// nothing the daemon does takes seconds.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// Connects to the daemon that listens at `path`.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let connection = Connection::open(path, CALL_LIMIT)?;
        Ok(Self { connection })
    }

    /// Sends `call` and waits for its answer.
    ///
    /// # Errors
    /// [`ClientError::Talk`] or [`ClientError::Refused`].
    pub fn call<T: DeserializeOwned>(&mut self, call: &Call) -> Result<T, ClientError> {
        self.connection.call(call, &[])
    }

    /// Gives the pod in `netns` an interface; returns once frames flow.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn attach(&mut self, attach: Attach, netns: impl AsFd) -> Result<Attached, ClientError> {
        let call = Call::Attach(attach);
        self.connection.call(&call, &[netns.as_fd()])
    }

    /// Compares the attachment in `netns` with what is.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn check(&mut self, check: Check, netns: impl AsFd) -> Result<Checked, ClientError> {
        let call = Call::Check(check);
        self.connection.call(&call, &[netns.as_fd()])
    }

    /// Releases what a runtime no longer wants.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn gc(&mut self, gc: Gc) -> Result<Collected, ClientError> {
        self.call(&Call::Gc(gc))
    }

    /// Asks whether pods can be attached.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn ready(&mut self) -> Result<Readiness, ClientError> {
        self.call(&Call::Ready)
    }

    /// Takes a pod's interface away.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn detach(&mut self, detach: Detach) -> Result<Detached, ClientError> {
        self.call(&Call::Detach(detach))
    }

    /// Asks for health.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        self.call(&Call::Status)
    }

    /// Asks for the ports.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn ports(&mut self) -> Result<Vec<PortReport>, ClientError> {
        self.call(&Call::Ports)
    }

    /// Asks for the other nodes.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn peers(&mut self) -> Result<Vec<PeerReport>, ClientError> {
        self.call(&Call::Peers)
    }

    /// Asks for the forwarding table.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn routes(&mut self) -> Result<Vec<RouteReport>, ClientError> {
        self.call(&Call::Routes)
    }

    /// Asks what the workers did.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn workers(&mut self) -> Result<Vec<WorkerReport>, ClientError> {
        self.call(&Call::Workers)
    }

    /// Asks for drops by reason, and starts counting anew if `reset`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn drops(&mut self, reset: bool) -> Result<Drops, ClientError> {
        self.call(&Call::Drops { reset })
    }

    /// Asks for the tracked connections, of one pod (`namespace/name`) or all.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn flows(&mut self, pod: Option<String>) -> Result<Vec<FlowReport>, ClientError> {
        self.call(&Call::Flows { pod })
    }

    /// Asks for the policies in force.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn policies(&mut self) -> Result<Vec<PolicyReport>, ClientError> {
        self.call(&Call::Policies)
    }

    /// Asks what would become of a packet.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn trace(&mut self, query: TraceQuery) -> Result<TraceReport, ClientError> {
        self.call(&Call::Trace(query))
    }

    /// Has the daemon read its desired state anew; returns once every worker uses what results, so
    /// that nothing passes any more that it denies.
    ///
    /// # Errors
    /// As [`Client::call`]; [`ClientError::Refused`] too if the tables could not be published.
    pub fn sync(&mut self) -> Result<Synced, ClientError> {
        self.call(&Call::Sync)
    }
}
