//! Who decides what the workers do?
//!
//! The control thread. Owns the desired state, the ports and the tables: it takes in events of
//! the source and calls of the control socket one at a time, compiles a new [`Tables`], publishes
//! it, and keeps the node's own routes in step. Never touches a frame.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use weft_policy::{Conntrack, Moment, Span};

pub(super) use self::open::{Port, host_port};
use self::policy::Policies;
use self::publish::Publications;
pub(super) use self::unread::Unread;
use super::attachments::Attachments;
use super::clock::Clock;
use super::host::Host;
use super::mailbox::{Message, WorkerHandle};
use super::memory::Memory;
use super::reaper::Reaper;
use super::source::SourceHandle;
use super::worker::{Offload, Snapshot};
use super::{Backend, StartError};
use crate::api::{Call, Failure, Identity, Problem};
use crate::cluster::{ClusterState, Effects, Event, NodeFacts, Trouble};
use crate::path::{PortEntry, PortId, Tables};

mod attach;
mod exposition;
mod flows;
mod open;
mod paths;
mod policy;
mod publish;
mod reconcile;
mod report;
mod request;
mod revive;
mod trace;
mod unread;
mod verdicts;

/// How long pods of an earlier daemon wait for the first word of the source, which says what they
/// may do. After that they get their ports all the same, closed to all but the node.
const SOURCE_PATIENCE: Span = Span::from_secs(5);

/// Between two times that connections are written down.
const SAVE_INTERVAL: Span = Span::from_secs(2);

/// What control is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    /// The source of desired state speaks: one change, to be taken in whole.
    Source(Vec<Event>),
    /// The source has read everything anew, as a caller asked.
    SourceRead { reply: CallReply },
    /// Somebody calls.
    Call {
        call: Box<Call>,
        fds: Vec<OwnedFd>,
        reply: CallReply,
    },
    /// The metrics page, and whether the daemon is ready.
    Metrics { reply: Sender<(String, bool)> },
    /// A worker found a port's device gone.
    PortDied(PortId),
    /// A worker ended.
    WorkerFailed(String),
    /// The kernel refused an offload, and workers do without it now.
    OffloadLost { offload: Offload, what: String },
    /// Datagrams were longer than the way to their peer carries.
    TooLong,
    /// Leave.
    Stop,
}

/// The answer to a call: JSON, or a refusal.
pub(super) type CallResult = Result<serde_json::Value, Failure>;
/// Where a caller waits for it.
pub(super) type CallReply = Sender<CallResult>;

/// What control is made with.
#[derive(Debug)]
pub(super) struct ControlParts {
    pub(super) facts: NodeFacts,
    pub(super) clock: Clock,
    pub(super) backend: Backend,
    pub(super) cluster: ClusterState,
    /// Random: see [`weft_policy::Engine::new`].
    pub(super) seed: u64,
    pub(super) source: String,
    pub(super) source_handle: SourceHandle,
    pub(super) tables: Arc<ArcSwap<Tables>>,
    pub(super) workers: Vec<WorkerHandle>,
    pub(super) conntrack: Arc<Conntrack>,
    pub(super) host: Host,
    pub(super) host_port: Port,
    pub(super) attachments: Attachments,
    pub(super) memory: Memory,
    pub(super) reaper: Reaper,
    pub(super) unread: Unread,
}

/// The control thread's state.
pub(super) struct Control {
    facts: NodeFacts,
    clock: Clock,
    backend: Backend,
    cluster: ClusterState,
    policies: Policies,
    source: String,
    source_handle: SourceHandle,
    tables: Arc<ArcSwap<Tables>>,
    workers: Vec<WorkerHandle>,
    conntrack: Arc<Conntrack>,
    host: Host,
    /// The node's own addresses, as they were at the last look.
    addresses: Vec<IpAddr>,
    ports: BTreeMap<PortId, Port>,
    attachments: Attachments,
    memory: Memory,
    /// Attachments whose namespace looked dead at the last look.
    suspects: BTreeSet<Identity>,
    /// When what is remembered is compared with what is,
    next_look: Moment,
    /// and whether it ever was.
    looked: bool,
    /// When connections are written down.
    next_save: Moment,
    /// When the ways to the peers are looked at, at the latest.
    next_path: Moment,
    reaper: Reaper,
    /// Where the search for a free port number begins: numbers are not used again at once.
    next_port: u16,
    /// What is wrong apart from the desired state, by subject.
    problems: BTreeMap<String, Problem>,
    publications: Publications,
    /// The previous report of each worker, for shares of time.
    last_reports: Vec<Snapshot>,
    unread: Unread,
}

impl Control {
    pub(super) fn new(parts: ControlParts) -> Self {
        Self {
            facts: parts.facts,
            clock: parts.clock,
            backend: parts.backend,
            cluster: parts.cluster,
            policies: Policies::new(parts.seed),
            source: parts.source,
            source_handle: parts.source_handle,
            tables: parts.tables,
            workers: parts.workers,
            conntrack: parts.conntrack,
            host: parts.host,
            addresses: Vec::new(),
            ports: BTreeMap::from([(PortId::HOST, parts.host_port)]),
            attachments: parts.attachments,
            memory: parts.memory,
            suspects: BTreeSet::new(),
            next_look: parts.clock.now() + SOURCE_PATIENCE,
            reaper: parts.reaper,
            looked: false,
            next_save: parts.clock.now() + SAVE_INTERVAL,
            next_path: parts.clock.now() + SOURCE_PATIENCE,
            next_port: 1,
            problems: BTreeMap::new(),
            publications: Publications::default(),
            last_reports: Vec::new(),
            unread: parts.unread,
        }
    }

    /// Publishes first tables, opens the node's own port and raises it.
    pub(super) fn start(&mut self) -> Result<(), StartError> {
        let refused = |failure: Failure| StartError::host(failure.message, failure.next);
        self.refresh_addresses();
        self.publish().map_err(refused)?;
        if let Some(port) = self.ports.get(&PortId::HOST) {
            let queues = Arc::clone(&port.queues);
            self.register(PortId::HOST, &queues).map_err(refused)?;
        }
        Ok(self.host.bring_up()?)
    }

    /// Serves commands until told to stop.
    pub(super) fn serve(&mut self, inbox: &Receiver<Command>) {
        let mut held = None;
        loop {
            self.keep_time();
            let command = match held.take() {
                Some(command) => command,
                None => match inbox.recv_timeout(self.idle()) {
                    Ok(command) => command,
                    Err(RecvTimeoutError::Timeout) => continue,
                    // Nobody is left to give any.
                    Err(RecvTimeoutError::Disconnected) => return,
                },
            };
            match command {
                Command::Source(events) => held = self.on_source(events, inbox),
                Command::SourceRead { reply } => {
                    let _ = reply.send(json(self.synced()));
                }
                Command::Call { call, fds, reply } => self.on_call(*call, fds, reply),
                Command::Metrics { reply } => {
                    let _ = reply.send((self.exposition(), self.is_ready()));
                }
                Command::PortDied(port) => self.on_port_died(port),
                Command::WorkerFailed(why) => {
                    self.unread.release();
                    self.problem(
                        "worker",
                        format!("a worker ended: {why}"),
                        "restart the daemon",
                    );
                }
                Command::OffloadLost { offload, what } => self.problem(
                    offload.name(),
                    format!("{what}: packets go one by one, which is slower"),
                    "use a newer kernel, or look at the devices' offloads with `ethtool -k`",
                ),
                Command::TooLong => self.follow_paths(),
                Command::Stop => return,
            }
        }
    }

    /// Does what is due, however many commands wait.
    fn keep_time(&mut self) {
        if self.now() >= self.next_look {
            self.look();
        }
        if self.now() >= self.next_save {
            self.save();
        }
        if self.now() >= self.next_path {
            self.follow_paths();
        }
    }

    /// How long nothing is due.
    fn idle(&self) -> Duration {
        let next = self.next_look.min(self.next_save).min(self.next_path);
        Duration::from_nanos(next.since(self.now()).as_nanos())
    }

    /// Reconciles, and says when to do so again.
    fn look(&mut self) {
        self.looked = true;
        self.reconcile();
        self.next_look = self.now() + reconcile::INTERVAL;
        self.follow_paths();
    }

    /// Writes down what is known of connections, if there are any, for a daemon after a kill.
    fn save(&mut self) {
        if !self.conntrack.is_empty() {
            self.memory.save(&self.conntrack, self.now());
        }
        self.next_save = self.now() + SAVE_INTERVAL;
    }

    /// Takes in what the source says, and what it has said meanwhile, and publishes once. Returns
    /// the command behind, if one waits.
    fn on_source(&mut self, events: Vec<Event>, inbox: &Receiver<Command>) -> Option<Command> {
        let begun = self.now();
        let mut publish = self.take_in(events);
        let behind = loop {
            match inbox.try_recv() {
                Ok(Command::Source(events)) => publish |= self.take_in(events),
                other => break other.ok(),
            }
        };
        if publish {
            self.publish_change(begun);
        }
        if !self.looked && self.cluster.is_synced() {
            self.look();
        }
        behind
    }

    /// Whether pods can be attached: the source was read, and no worker is lost.
    fn is_ready(&self) -> bool {
        self.cluster.is_synced() && !self.problems.contains_key("worker")
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Whether the events ask for a publication.
    fn take_in(&mut self, events: Vec<Event>) -> bool {
        let Effects {
            publish,
            appeared,
            resolved,
            notices,
            changes,
            closed,
        } = self.cluster.step(Event::Batch(events), self.clock.now());
        for Trouble { place, what, next } in &appeared {
            tracing::warn!(%place, %next, "{what}");
        }
        for Trouble { place, what, .. } in &resolved {
            tracing::info!(%place, "no longer: {what}");
        }
        for Trouble { place, what, .. } in &notices {
            tracing::info!(%place, "{what}");
        }
        for change in changes {
            self.policies.apply(change);
        }
        if self.policies.set_closed(closed) && closed {
            tracing::error!("all pods are closed: policies are not known well enough");
        }
        publish
    }

    fn publish_change(&mut self, begun: Moment) {
        if let Err(failure) = self.publish_since(begun) {
            tracing::error!("{failure}");
            return;
        }
        let desired = self.cluster.desired();
        tracing::info!(
            peers = desired.peers.len(),
            policies = desired.policies,
            epoch = self.tables.load().epoch.0,
            "tables published"
        );
    }

    fn on_call(&mut self, call: Call, fds: Vec<OwnedFd>, reply: CallReply) {
        let answer = match call {
            Call::Attach(request) => json(self.attach(&request, fds)),
            Call::Detach(request) => json(self.detach(&request)),
            Call::Check(request) => json(self.check(&request, fds)),
            Call::Gc(request) => json(Ok(self.gc(&request))),
            Call::Ready => json(Ok(self.readiness())),
            Call::Status => json(self.status()),
            Call::Ports => json(self.port_reports()),
            Call::Peers => json(Ok(self.peer_reports())),
            Call::Routes => json(Ok(self.route_reports())),
            Call::Workers => json(self.worker_reports()),
            Call::Drops { reset } => json(self.drops(reset)),
            Call::Policies => json(self.policy_reports()),
            Call::Trace(query) => json(self.trace(&query)),
            Call::Flows { pod } => json(self.flows(pod.as_deref())),
            // Answered behind everything the source finds.
            Call::Sync => return self.source_handle.sync(reply),
        };
        // A caller may have left.
        let _ = reply.send(answer);
    }

    /// Notes (and logs once) that something is wrong.
    fn problem(&mut self, subject: &str, what: impl Into<String>, next: &str) {
        let (what, next) = (what.into(), next.to_owned());
        let problem = Problem {
            what,
            place: subject.to_owned(),
            next,
        };
        if self.problems.get(subject) != Some(&problem) {
            tracing::error!(subject, next = problem.next, "{}", problem.what);
            self.problems.insert(subject.to_owned(), problem);
        }
    }

    /// The ports as the path sees them, each with its pod's policies in the compiler's last table.
    fn entries(&self) -> impl Iterator<Item = (PortId, PortEntry)> {
        self.ports.iter().map(|(id, port)| {
            let policy = self.policies.set_of(port.entry.pod.as_deref());
            let entry = port.entry.clone();
            (*id, PortEntry { policy, ..entry })
        })
    }

    /// Tells the workers to leave.
    pub(super) fn dismiss_workers(&self) {
        tracing::info!("leaving");
        for worker in &self.workers {
            // A worker that is gone needs no telling.
            let _ = worker.send(Message::Stop);
        }
    }

    /// Takes the node's interface away, once no worker adds to what is known of connections. Pods
    /// keep theirs, for the next daemon.
    pub(super) fn shut_down(mut self) {
        if self.attachments.iter().next().is_some() {
            self.memory.save(&self.conntrack, self.now());
        } else {
            self.memory.forget();
        }
        self.ports.clear();
        if let Err(error) = Host::remove() {
            tracing::warn!(%error, "the nftables table stays; remove it with: nft delete table inet weft");
        }
    }
}

fn json<T: serde::Serialize>(value: Result<T, Failure>) -> CallResult {
    let unfit = |error: serde_json::Error| {
        let what = format!("cannot write an answer: {error}");
        Failure::new(crate::api::Code::Host, what, "")
    };
    value.and_then(|value| serde_json::to_value(value).map_err(unfit))
}
