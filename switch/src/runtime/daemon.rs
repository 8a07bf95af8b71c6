//! How does a daemon start, and how does it leave?
//!
//! Everything that can refuse is asked before anything is changed; what was made is taken away
//! again on SIGTERM and SIGINT, and when a later step fails.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use crossbeam_channel::{Sender, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use weft_encap::{Lanes, Vni};
use weft_policy::{Conntrack, Moment, Span};
use weft_sys::unixsock::Listener;
use weft_sys::{SysError, caps};

use super::attachments::Attachments;
use super::clock::Clock;
use super::control::{Command, Control, ControlParts, Unread, host_port};
use super::host::Host;
use super::mailbox::WorkerHandle;
use super::memory::Memory;
use super::queue::PortQueues;
use super::reaper::Reaper;
use super::server::Server;
use super::source::{ManifestSource, SourceHandle};
use super::underlay::{self, UnderlayFacts, UnderlaySockets};
use super::worker::{Offloads, Worker, WorkerParts};
use super::{Backend, StartError, metrics};
use crate::cluster::{ClusterState, LocalNode, NodeFacts};
use crate::config::Config;
use crate::path::{Cidr, MAX_PORTS, Path, PathConfig, Tables};

/// Room around the largest packet in a frame buffer: Ethernet, VXLAN and vnet headers, and enough
/// beyond to tell a frame that is too long from one that just fits.
const FRAME_MARGIN: usize = 256;
/// The least a frame buffer holds, in bytes.
const LEAST_FRAME: usize = 2048;

/// When a daemon's time begins. The silence of connections that it takes over lies before.
const BEGINNING: Moment = Moment::from_secs(30 * 86_400);

/// What was asked of the host before anything was changed.
struct Prepared {
    facts: NodeFacts,
    underlay: UnderlayFacts,
    sockets: UnderlaySockets,
    listener: Listener,
    metrics: Option<TcpListener>,
    signals: Signals,
    attachments: Attachments,
}

/// Runs a daemon until a signal ends it.
///
/// # Errors
/// Why it does not start; nothing is left behind then.
pub fn run(config: &Config, backend: Backend) -> Result<(), StartError> {
    let Prepared {
        facts,
        underlay,
        sockets,
        listener,
        metrics,
        signals,
        attachments,
    } = Prepared::new(config)?;
    let clock = Clock::start_at(BEGINNING);
    let (commands, inbox) = unbounded();
    let (source, source_handle) = watch(config, &commands)?;

    let (host, queues) = Host::create(&config.node, &underlay, backend)?;
    let tables = Arc::new(ArcSwap::from_pointee(Tables::empty()));
    let conntrack = Arc::new(Conntrack::new(conntrack_config()));
    let crew = Crew {
        clock,
        offloads: Arc::clone(&sockets.offloads),
        tables: Arc::clone(&tables),
        conntrack: Arc::clone(&conntrack),
    };
    let unread = Unread::of(&sockets.receive)?;
    let (handles, threads) = crew.start(config, &underlay, sockets, &commands)?;
    let mut control = Control::new(ControlParts {
        host_port: host_port(&facts, &host, PortQueues::new(queues, 0)),
        cluster: ClusterState::new(local_node(config, &facts)),
        seed: random(),
        source: format!("manifests in {}", config.manifests.display()),
        source_handle: source_handle.clone(),
        facts,
        clock,
        backend,
        tables,
        workers: handles,
        conntrack,
        host,
        attachments,
        memory: Memory::open(&config.socket),
        reaper: Reaper::start().map_err(|error| cannot("start the reaper", &error))?,
        unread,
    });
    let doors = Doors {
        listener,
        metrics,
        signals,
        source,
        source_handle,
    };
    let outcome = control
        .start()
        .and_then(|()| doors.open(&commands))
        .map(|open| {
            tracing::info!(underlay = underlay.interface, "the daemon is up");
            control.serve(&inbox);
            open.close();
        });
    control.dismiss_workers();
    threads.into_iter().for_each(join);
    control.shut_down();
    outcome
}

/// Everything through which the daemon hears of the world, apart from frames.
struct Doors {
    listener: Listener,
    metrics: Option<TcpListener>,
    signals: Signals,
    source: ManifestSource,
    source_handle: SourceHandle,
}

/// The same once their threads run.
struct OpenDoors {
    server: Server,
    signals: signal_hook::iterator::Handle,
    awaiting: JoinHandle<()>,
}

impl Doors {
    fn open(self, commands: &Sender<Command>) -> Result<OpenDoors, StartError> {
        let Self {
            listener,
            metrics,
            mut signals,
            source,
            source_handle,
        } = self;
        named("weft-source", move || source.run())?;
        let server = Server::start(listener, commands.clone())
            .map_err(|error| cannot("serve the control socket", &error))?;
        if let Some(listener) = metrics {
            let commands = commands.clone();
            named("weft-metrics", move || metrics::run(&listener, &commands))?;
        }
        let (handle, commands) = (signals.handle(), commands.clone());
        let body = move || await_signals(&mut signals, &commands, &source_handle);
        let awaiting = named("weft-signals", body)?;
        Ok(OpenDoors {
            server,
            signals: handle,
            awaiting,
        })
    }
}

impl OpenDoors {
    fn close(self) {
        self.server.stop();
        self.signals.close();
        join(self.awaiting);
    }
}

impl Prepared {
    fn new(config: &Config) -> Result<Self, StartError> {
        // A pod costs one descriptor per worker; the usual limit of 1024 is soon reached.
        weft_sys::limits::raise_open_files()?;
        caps::check()?;
        let underlay = underlay::find(config)?;
        let facts = node_facts(config, &underlay)?;
        let listener = Listener::bind(&config.socket).map_err(|error| taken(config, error))?;
        let metrics = config.metrics.map(listen_for_metrics).transpose()?;
        let sockets = underlay::open(underlay.vtep, config.vxlan.port, config.node.workers)?;
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
            .map_err(|error| cannot("await signals", &error))?;
        Ok(Self {
            facts,
            underlay,
            sockets,
            listener,
            metrics,
            signals,
            attachments: Attachments::open(config)?,
        })
    }
}

fn watch(
    config: &Config,
    commands: &Sender<Command>,
) -> Result<(ManifestSource, SourceHandle), StartError> {
    ManifestSource::new(&config.manifests, commands.clone())
        .map_err(|error| cannot("watch the manifests", &error))
}

fn cannot(what: &str, error: &io::Error) -> StartError {
    StartError::host(format!("cannot {what}: {error}"), "")
}

fn taken(config: &Config, error: SysError) -> StartError {
    let socket = config.socket.display();
    if error.is_busy() {
        let what = format!("another weft daemon answers at {socket}");
        return StartError::host(
            what,
            "stop it first, or set paths.socket and vxlan.port apart",
        );
    }
    error.into()
}

fn listen_for_metrics(listen: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(listen).map_err(|error| {
        StartError::host(
            format!("cannot serve metrics at {listen}: {error}"),
            "set metrics.listen to another address, or to \"\" for none",
        )
    })
}

fn node_facts(config: &Config, underlay: &UnderlayFacts) -> Result<NodeFacts, StartError> {
    // Both were checked when the configuration was read.
    let wrong = || StartError::config("the configuration holds an impossible value", "");
    let cidrs = config
        .node
        .pod_cidrs
        .iter()
        .map(|cidr| Cidr::try_from(*cidr));
    Ok(NodeFacts {
        name: config.node.name.clone(),
        vni: Vni::new(config.vxlan.vni).ok_or_else(wrong)?,
        vxlan_port: config.vxlan.port,
        vtep: underlay.vtep,
        pod_mtu: underlay.pod_mtu.get(),
        cidrs: cidrs.collect::<Result<_, _>>().map_err(|_| wrong())?,
        narrow: BTreeMap::new(),
    })
}

fn local_node(config: &Config, facts: &NodeFacts) -> LocalNode {
    LocalNode {
        name: facts.name.clone(),
        vtep: facts.vtep,
        pod_cidrs: config.node.pod_cidrs.clone(),
    }
}

/// A seed nobody outside can know.
fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

fn conntrack_config() -> weft_policy::Config {
    weft_policy::Config {
        owners: MAX_PORTS,
        seed: [random(), random()],
        ..weft_policy::Config::default()
    }
}

/// What all workers share.
struct Crew {
    clock: Clock,
    offloads: Arc<Offloads>,
    tables: Arc<ArcSwap<Tables>>,
    conntrack: Arc<Conntrack>,
}

impl Crew {
    /// Starts one thread per receiving socket.
    fn start(
        self,
        config: &Config,
        underlay: &UnderlayFacts,
        sockets: UnderlaySockets,
        commands: &Sender<Command>,
    ) -> Result<(Vec<WorkerHandle>, Vec<JoinHandle<()>>), StartError> {
        let seed = random();
        let count = u8::try_from(config.node.workers).unwrap_or(u8::MAX);
        let lanes = Lanes::for_workers(config.node.workers);
        let frame_capacity = usize::from(underlay.pod_mtu.get()) + FRAME_MARGIN;
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        for (worker, receive) in (0..count).zip(sockets.receive) {
            let path = PathConfig {
                worker,
                workers: count,
                lanes,
                seed,
            };
            let (worker_thread, handle) = Worker::new(WorkerParts {
                number: worker.into(),
                clock: self.clock,
                path: Path::new(path, Arc::clone(&self.conntrack)),
                tables: Arc::clone(&self.tables),
                receive,
                lanes: Arc::clone(&sockets.lanes),
                frame_capacity: frame_capacity.max(LEAST_FRAME),
                spin: Span::from_nanos(u64::from(config.node.spin_us) * 1000),
                offloads: Arc::clone(&self.offloads),
                control: commands.clone(),
            })
            .map_err(|error| cannot("start a worker", &error))?;
            handles.push(handle);
            threads.push(named(&format!("weft-worker-{worker}"), move || {
                worker_thread.run()
            })?);
        }
        Ok((handles, threads))
    }
}

fn named(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder
        .spawn(body)
        .map_err(|error| cannot(&format!("start thread {name}"), &error))
}

/// A thread that panicked has said so already.
fn join(thread: JoinHandle<()>) {
    let _ = thread.join();
}

fn await_signals(signals: &mut Signals, commands: &Sender<Command>, source: &SourceHandle) {
    for signal in signals.forever() {
        if signal == SIGHUP {
            tracing::info!("reading all manifests anew");
            source.rescan();
        } else {
            tracing::info!(signal, "asked to leave");
            let _ = commands.send(Command::Stop);
        }
    }
    source.stop();
}
