//! Does anything that runs break when the daemon is exchanged under it?
//!
//! A hundred connections between pods of two nodes carry checked data, half of their clients
//! isolated by policies, while the daemon of one node ends and starts again. Datagrams at a steady
//! pace beside them tell how long nobody forwarded, apart from TCP's own patience.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use weft_policy::Moment;
use weft_switch::runtime::Clock;

use super::busy::say;
use super::rig::{Node, Space, eventually, privileged, request};

/// Connections from each client pod.
const EACH: usize = 25;
/// Bytes of one message.
const MESSAGE: usize = 4096;
/// Between two messages of a connection.
const PACE: Duration = Duration::from_millis(5);
/// Between two datagrams of a flow.
const BEAT: Duration = Duration::from_millis(1);
/// Nothing may stop for longer, on a busy machine. A connection may be silent for longer: TCP waits
/// twice as long after each attempt.
const BOUND: Duration = Duration::from_secs(5);
/// Any end of a connection gives up after that.
const PATIENCE: Duration = Duration::from_secs(30);

/// Name, node and address of every pod.
const PODS: [(&str, &str, &str); 6] = [
    ("open-a", "node-a", "10.244.1.2"),
    ("shut-a", "node-a", "10.244.1.3"),
    ("server-a", "node-a", "10.244.1.4"),
    ("open-b", "node-b", "10.244.2.2"),
    ("shut-b", "node-b", "10.244.2.3"),
    ("server-b", "node-b", "10.244.2.4"),
];

/// Clients named shut hear only answers; the servers say nothing but answers.
const POLICIES: &str = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: \
    {name: shut, namespace: default}\nspec: {podSelector: {matchLabels: {role: shut}}, \
    policyTypes: [Ingress]}\n---\napiVersion: networking.k8s.io/v1\nkind: \
    NetworkPolicy\nmetadata: {name: servers, namespace: default}\nspec: {podSelector: \
    {matchLabels: {role: server}}, policyTypes: [Egress]}\n";

fn manifests() -> String {
    let pods = PODS.map(|(name, node, ip)| {
        let (role, _) = name.split_once('-').unwrap();
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: \
             {{role: {role}}}}}\nspec: {{nodeName: {node}}}\nstatus: {{podIP: {ip}}}\n"
        )
    });
    pods.concat() + POLICIES
}

/// What a connection has done, as its client saw it.
#[derive(Debug, Default)]
struct Progress {
    rounds: AtomicU64,
    /// Nanoseconds between two messages that came back.
    longest: AtomicU64,
}

/// Time from a moment until now.
fn since(clock: Clock, moment: Moment) -> Duration {
    Duration::from_nanos(clock.now().since(moment).as_nanos())
}

/// Connections under load.
struct Load {
    clock: Clock,
    stop: Arc<AtomicBool>,
    progress: Vec<Arc<Progress>>,
    /// Bytes sent and received back.
    clients: Vec<JoinHandle<io::Result<u64>>>,
    /// Bytes seen on the way.
    servers: Vec<JoinHandle<io::Result<u64>>>,
}

impl Load {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            stop: Arc::default(),
            progress: Vec::new(),
            clients: Vec::new(),
            servers: Vec::new(),
        }
    }

    /// Connects one pod to a server of its own in another, several times.
    fn connect(&mut self, from: &Space, to: &Space, at: &str) {
        let at: SocketAddr = at.parse().unwrap();
        let listener = to.run(|| TcpListener::bind(at).unwrap());
        for _ in 0..EACH {
            let client = from.run(|| TcpStream::connect_timeout(&at, PATIENCE).unwrap());
            let (server, _) = listener.accept().unwrap();
            for stream in [&client, &server] {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                stream.set_nodelay(true).unwrap();
            }
            let (stop, progress) = (Arc::clone(&self.stop), Arc::<Progress>::default());
            let seed = self.clients.len() as u64 + 1;
            self.progress.push(Arc::clone(&progress));
            let clock = self.clock;
            let body = move || exchange(client, seed, clock, &stop, &progress);
            self.clients.push(std::thread::spawn(body));
            self.servers.push(std::thread::spawn(move || echo(server)));
        }
    }

    /// Waits until every connection has carried messages from now on.
    fn carries(&self) {
        let rounds = || self.progress.iter().map(|p| p.rounds.load(Relaxed));
        let before: Vec<u64> = rounds().collect();
        let ended = || self.clients.iter().filter(|c| c.is_finished()).count();
        eventually("every connection carries data", || {
            assert_eq!(ended(), 0, "connections that broke");
            let mut all = rounds().zip(&before);
            all.all(|(now, before)| now > before + 3).then_some(())
        });
    }

    /// The longest silences of the connections since the last call, in order.
    fn silences(&self) -> Vec<Duration> {
        let all = self.progress.iter();
        let mut all: Vec<_> = all
            .map(|p| Duration::from_nanos(p.longest.swap(0, Relaxed)))
            .collect();
        all.sort();
        all
    }

    /// Ends all connections in good order; whatever was said must have been heard.
    fn finish(self) {
        self.stop.store(true, Relaxed);
        let bytes = |ends: Vec<JoinHandle<io::Result<u64>>>| -> Vec<u64> {
            let ends = ends.into_iter();
            ends.map(|end| end.join().unwrap().unwrap()).collect()
        };
        let sent = bytes(self.clients);
        assert_eq!(sent, bytes(self.servers), "bytes at both ends");
        assert!(sent.iter().all(|bytes| *bytes > 0));
    }
}

/// Sends messages nobody could guess and takes each back whole, until told to stop.
fn exchange(
    mut stream: TcpStream,
    mut random: u64,
    clock: Clock,
    stop: &AtomicBool,
    progress: &Progress,
) -> io::Result<u64> {
    let (mut said, mut heard) = ([0; MESSAGE], [0; MESSAGE]);
    let (mut bytes, mut last) = (0, clock.now());
    while !stop.load(Relaxed) {
        for word in said.chunks_exact_mut(8) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            word.copy_from_slice(&random.to_be_bytes());
        }
        stream.write_all(&said)?;
        stream.read_exact(&mut heard)?;
        if said != heard {
            return Err(io::Error::other("what came back is not what was sent"));
        }
        bytes += MESSAGE as u64;
        let silence = clock.now().since(last).as_nanos();
        progress.longest.fetch_max(silence, Relaxed);
        last = clock.now();
        progress.rounds.fetch_add(1, Relaxed);
        std::thread::park_timeout(PACE);
    }
    stream.shutdown(Shutdown::Write)?;
    match stream.read_to_end(&mut Vec::new())? {
        0 => Ok(bytes),
        more => Err(io::Error::other(format!("{more} bytes too many"))),
    }
}

/// Sends back what comes, until its end.
fn echo(mut stream: TcpStream) -> io::Result<u64> {
    let (mut buffer, mut bytes) = ([0; 2 * MESSAGE], 0);
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(bytes);
        }
        stream.write_all(&buffer[..count])?;
        bytes += count as u64;
    }
}

/// Datagrams at a steady pace, each with its number and when it was sent.
struct Flow {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<()>,
    receiver: JoinHandle<()>,
    seen: Arc<Seen>,
}

/// What a receiver of datagrams saw.
#[derive(Debug, Default)]
struct Seen {
    received: AtomicU64,
    lost: AtomicU64,
    /// The longest time, by the sender's clock, of which nothing arrived; nanoseconds.
    longest: AtomicU64,
}

impl Flow {
    fn start(from: &Space, to: &Space, at: &str, clock: Clock) -> Self {
        let at: SocketAddr = at.parse().unwrap();
        let stop = Arc::<AtomicBool>::default();
        let seen = Arc::<Seen>::default();
        let receiver = to.run(|| UdpSocket::bind(at).unwrap());
        receiver.set_read_timeout(Some(BEAT * 50)).unwrap();
        let sender = from.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        let (told, noted) = (Arc::clone(&stop), Arc::clone(&seen));
        let receiver = std::thread::spawn(move || hear(&receiver, &told, &noted));
        let told = Arc::clone(&stop);
        let sender = std::thread::spawn(move || beat(&sender, at, clock, &told));
        Self {
            stop,
            sender,
            receiver,
            seen,
        }
    }

    /// Waits until datagrams arrive from now on.
    fn carries(&self) {
        let before = self.seen.received.load(Relaxed);
        eventually("datagrams arrive", || {
            (self.seen.received.load(Relaxed) > before + 10).then_some(())
        });
    }

    /// How many were lost since the last call, and the longest time of which nothing arrived.
    fn gap(&self) -> (u64, Duration) {
        let lost = self.seen.lost.swap(0, Relaxed);
        (
            lost,
            Duration::from_nanos(self.seen.longest.swap(0, Relaxed)),
        )
    }

    fn finish(self) {
        self.stop.store(true, Relaxed);
        self.sender.join().unwrap();
        self.receiver.join().unwrap();
    }
}

fn beat(socket: &UdpSocket, to: SocketAddr, clock: Clock, stop: &AtomicBool) {
    let mut number = 0_u64;
    while !stop.load(Relaxed) {
        let now = clock.now();
        let mut datagram = [0; 16];
        datagram[..8].copy_from_slice(&number.to_be_bytes());
        datagram[8..].copy_from_slice(&now.as_nanos().to_be_bytes());
        // What the kernel does not take is lost too.
        let _ = socket.send_to(&datagram, to);
        number += 1;
        std::thread::park_timeout(BEAT.saturating_sub(since(clock, now)));
    }
}

fn hear(socket: &UdpSocket, stop: &AtomicBool, seen: &Seen) {
    let mut last: Option<[u64; 2]> = None;
    let mut datagram = [0; 16];
    while !stop.load(Relaxed) {
        let Ok(16) = socket.recv(&mut datagram) else {
            continue;
        };
        let word = |at: usize| u64::from_be_bytes(datagram[at..at + 8].try_into().unwrap());
        let now = [word(0), word(8)];
        seen.received.fetch_add(1, Relaxed);
        let [number, nanos] = last.unwrap_or(now);
        if now[0] < number {
            // Counted as lost, and only late.
            seen.lost.fetch_sub(1, Relaxed);
            continue;
        }
        seen.lost
            .fetch_add((now[0] - number).saturating_sub(1), Relaxed);
        seen.longest.fetch_max(now[1] - nanos, Relaxed);
        last = Some(now);
    }
}

/// A pod whose namespace can be found by its path again, as a runtime's can.
fn pod(node: &Node, name: &str, ip: &str) -> Space {
    let space = Space::new();
    let fd = space.0.as_fd().as_raw_fd();
    let mut attach = request(name, &[ip]);
    attach.netns = format!("/proc/{}/fd/{fd}", std::process::id());
    node.client().attach(attach, &space.0).unwrap();
    space
}

/// Until the connections of this moment are written down for the next daemon.
fn written_down(node: &Node) {
    let file = node.path("connections");
    let stamp = || {
        fs::metadata(&file)
            .ok()
            .map(|f| (f.mtime(), f.mtime_nsec()))
    };
    let before = stamp();
    eventually("connections are written down", || {
        (stamp() != before).then_some(())
    });
}

/// How a daemon ends, and what has to be true before.
struct Ending {
    name: &'static str,
    prepare: fn(&Node),
    end: fn(&mut Node),
}

const ENDINGS: [Ending; 2] = [
    Ending {
        name: "SIGTERM",
        prepare: |_| {},
        end: |node| assert!(node.stop().0.success()),
    },
    Ending {
        name: "SIGKILL",
        prepare: written_down,
        // Dropped, it is killed.
        end: |node| node.daemon = None,
    },
];

#[test]
fn a_hundred_connections_outlive_the_daemon() {
    if !privileged("a_hundred_connections_outlive_the_daemon") {
        return;
    }
    let [mut a, mut b] = Node::pair("192.0.2.");
    for node in [&mut a, &mut b] {
        node.manifest("pods.yaml", &manifests());
        node.start(&[]);
    }
    let pods = PODS.map(|(name, node, ip)| pod(if node == "node-a" { &a } else { &b }, name, ip));
    let [open_a, shut_a, server_a, open_b, shut_b, server_b] = &pods;
    let clock = Clock::start();
    let mut load = Load::new(clock);
    for (client, server, at) in [
        (open_a, server_b, "10.244.2.4:1"),
        (shut_a, server_b, "10.244.2.4:2"),
        (open_b, server_a, "10.244.1.4:1"),
        (shut_b, server_a, "10.244.1.4:2"),
    ] {
        load.connect(client, server, at);
    }
    assert_eq!(load.clients.len(), 100);
    let out = Flow::start(open_a, open_b, "10.244.2.2:9", clock);
    let into = Flow::start(open_b, open_a, "10.244.1.2:9", clock);
    let settled = || {
        load.carries();
        out.carries();
        into.carries();
    };
    for ending in ENDINGS {
        settled();
        (ending.prepare)(&a);
        settled();
        let usual = load.silences();
        let beats = [out.gap(), into.gap()];
        let begun = clock.now();
        (ending.end)(&mut a);
        let ended = since(clock, begun);
        a.start(&[]);
        let ready = since(clock, begun);
        settled();
        let silences = load.silences();
        report(ending.name, [ended, ready], &usual, &silences);
        for (name, flow, (_, usual)) in [("out", &out, beats[0]), ("in", &into, beats[1])] {
            let (lost, gap) = flow.gap();
            say(&format!(
                "  datagrams {name}: {lost} lost, nothing for {gap:.0?} (before: {usual:.0?})"
            ));
            assert!(gap < BOUND, "{gap:?}");
        }
        let longest = *silences.last().unwrap();
        assert!(longest < BOUND + 2 * ready, "{silences:?}");
        assert_eq!(a.status().unwrap().problems, []);
    }
    out.finish();
    into.finish();
    load.finish();
}

fn report(ending: &str, [ended, ready]: [Duration; 2], usual: &[Duration], silences: &[Duration]) {
    let middle = silences[silences.len() / 2];
    let (longest, before) = (silences.last().unwrap(), usual.last().unwrap());
    say(&format!(
        "{ending}: gone after {ended:.0?}, ready after {ready:.0?}; silence of a connection: \
         median {middle:.0?}, longest {longest:.0?} (before: {before:.0?})"
    ));
}
