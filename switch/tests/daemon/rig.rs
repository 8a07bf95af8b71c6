//! A node in a network namespace of its own, with a real daemon and pods.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use socket2::{Domain, Protocol, Socket, Type};
use tempfile::TempDir;
use weft_switch::api::{
    Attach, Attached, Check, Checked, Client, ClientError, Detach, Gc, Identity, Status,
};
use weft_sys::caps;
use weft_sys::netlink::{Netlink, addr, link, route};
use weft_sys::netns::{Netns, NetnsId};
use weft_sys::process::{ProcessId, Signal};
use weft_wire::checksum::Sum;

pub(crate) const NODE_V4: &str = "192.0.2.1";
/// How long anything that has to happen may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// Whether privileged tests can run; says so if not.
pub(crate) fn privileged(test: &str) -> bool {
    match caps::check() {
        Ok(()) => true,
        Err(missing) => {
            // One write, past libtest's capture, which shows nothing of a test that passes.
            let line = format!("SKIPPED (needs root): {test}: {missing}\n");
            let _ = io::stderr().write_all(line.as_bytes());
            false
        }
    }
}

/// Asks again and again until `ready` answers something.
pub(crate) fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LIMIT.as_millis() / PAUSE.as_millis() {
        if let Some(value) = ready() {
            return value;
        }
        pause(PAUSE);
    }
    panic!("waited in vain: {what}")
}

/// Waits so long.
pub(crate) fn pause(span: Duration) {
    // A scope of threads that ended may have left a wake-up, which would end the wait at once.
    std::thread::park_timeout(Duration::ZERO);
    std::thread::park_timeout(span);
}

/// A network namespace that vanishes with its last user.
pub(crate) struct Space(pub(crate) Netns);

impl Space {
    pub(crate) fn new() -> Self {
        Self(Netns::anonymous().unwrap())
    }

    pub(crate) fn netlink(&self) -> Netlink {
        Netlink::open_in(&self.0).unwrap()
    }

    pub(crate) fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.0.run(f).unwrap()
    }

    /// Names of the interfaces, without lo.
    pub(crate) fn links(&self) -> Vec<String> {
        let links = link::list(&mut self.netlink()).unwrap();
        links
            .into_iter()
            .map(|link| link.name)
            .filter(|name| name != "lo")
            .collect()
    }

    /// Whether `to` answers an echo request; asked again for as long as a busy machine needs.
    pub(crate) fn pings(&self, to: &str) -> bool {
        let to: IpAddr = to.parse().unwrap();
        self.run(|| (0..50).any(|_| ping(to, Duration::from_millis(300)).unwrap_or(false)))
    }
}

/// One echo request, and whether its reply came in time.
fn ping(to: IpAddr, limit: Duration) -> io::Result<bool> {
    static SEQUENCE: AtomicU16 = AtomicU16::new(1);
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let (domain, protocol, request, reply, header) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0, 20),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129, 0),
    };
    let mut socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_read_timeout(Some(limit))?;
    let [s0, s1] = sequence;
    let mut packet = [request, 0, 0, 0, 0x77, 0x65, s0, s1, 1, 2, 3, 4];
    let mut sum = Sum::default();
    sum.add_bytes(&packet);
    packet[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    socket.send_to(&packet, &SocketAddr::new(to, 0).into())?;
    // Other messages of this namespace may arrive in between, but not many.
    for _ in 0..16 {
        let mut buffer = [0; 256];
        let count = match socket.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            read => read?,
        };
        let message = buffer[..count].get(header..).unwrap_or_default();
        if message.first() == Some(&reply) && message.get(6..8) == Some(&sequence) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A node: its namespace with an underlay interface, its files, perhaps its daemon.
pub(crate) struct Node {
    pub(crate) space: Space,
    name: &'static str,
    address: String,
    /// Third part of its pod ranges.
    number: u8,
    files: TempDir,
    pub(crate) daemon: Option<Daemon>,
}

/// A running daemon, killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    log: Receiver<String>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    /// A node whose underlay is a bridge without ports that holds [`NODE_V4`].
    pub(crate) fn new() -> Self {
        let node = Self::unlinked("node-a", NODE_V4, 1);
        link::ensure_bridge(&mut node.space.netlink(), "u0").unwrap();
        node.raise();
        node
    }

    /// Two nodes joined back to back, each knowing the other, with addresses of an underlay whose
    /// first three (IPv4) or seven (IPv6) parts are `underlay`.
    pub(crate) fn pair(underlay: &str) -> [Self; 2] {
        let a = Self::unlinked("node-a", &format!("{underlay}1"), 1);
        let b = Self::unlinked("node-b", &format!("{underlay}2"), 2);
        link::add_veth(&mut a.space.netlink(), "u0", "u0", Some(b.space.0.as_fd())).unwrap();
        for (node, other) in [(&a, &b), (&b, &a)] {
            node.raise();
            node.manifest("other.yaml", &other.manifest_of_itself());
        }
        [a, b]
    }

    fn unlinked(name: &'static str, address: &str, number: u8) -> Self {
        let (space, files) = (Space::new(), tempfile::tempdir().unwrap());
        let (address, daemon) = (address.to_owned(), None);
        let node = Self {
            space,
            name,
            address,
            number,
            files,
            daemon,
        };
        fs::create_dir(node.path("cluster.d")).unwrap();
        node.configure("workers = 2");
        node
    }

    /// Raises the underlay and gives it the node's address.
    fn raise(&self) {
        let mut netlink = self.space.netlink();
        for name in ["lo", "u0"] {
            let index = link::index_of(&mut netlink, name).unwrap();
            link::set_up(&mut netlink, index).unwrap();
        }
        let index = link::index_of(&mut netlink, "u0").unwrap();
        let ip: IpAddr = self.address.parse().unwrap();
        let bits = if ip.is_ipv4() { 24 } else { 64 };
        addr::ensure(&mut netlink, &addr::Address::new(index, ip, bits)).unwrap();
    }

    fn manifest_of_itself(&self) -> String {
        let Self {
            name,
            address,
            number,
            ..
        } = self;
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nspec: {{podCIDRs: \
             [10.244.{number}.0/24, \"fd00:10:244:{number}::/64\"]}}\nstatus: {{addresses: \
             [{{type: InternalIP, address: \"{address}\"}}]}}\n"
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("weft.sock")
    }

    /// Writes the configuration, with `extra` lines in `[node]`.
    pub(crate) fn configure(&self, extra: &str) {
        let Self {
            name,
            address,
            number,
            ..
        } = self;
        let metrics = SocketAddr::new(address.parse().unwrap(), 9568);
        let text = format!(
            "[node]\nname = \"{name}\"\naddress = \"{address}\"\npod_cidrs = \
             [\"10.244.{number}.0/24\", \"fd00:10:244:{number}::/64\"]\n{extra}\n[cluster]\npath = \
             {:?}\n[paths]\nsocket = {:?}\nstate = {:?}\n[metrics]\nlisten = \"{metrics}\"\n",
            self.path("cluster.d"),
            self.socket(),
            self.path("state"),
        );
        fs::write(self.path("weft.toml"), text).unwrap();
    }

    pub(crate) fn manifest(&self, name: &str, text: &str) {
        let (path, temporary) = (self.path("cluster.d").join(name), self.path("temporary"));
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, path).unwrap();
    }

    /// What starts the daemon.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command
            .arg("daemon")
            .arg("--config")
            .arg(self.path("weft.toml"))
            .args(arguments);
        piped(command)
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn start(&mut self, arguments: &[&str]) {
        self.launch(arguments);
        eventually("the daemon is ready", || {
            let daemon = self.daemon.as_mut().unwrap();
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!(
                    "the daemon ended: {status}: {:?}",
                    daemon.log.iter().collect::<Vec<_>>()
                );
            }
            self.status().ok().filter(|status| status.ready)
        });
    }

    /// Starts the daemon.
    pub(crate) fn launch(&mut self, arguments: &[&str]) {
        self.run(self.command(arguments));
    }

    /// Has `command` start the daemon.
    pub(crate) fn run(&mut self, command: Command) {
        let mut child = self.space.0.spawn(command).unwrap();
        let (lines, log) = unbounded();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|l| lines.send(l))
        });
        self.daemon = Some(Daemon { child, log });
    }

    /// The process of the running daemon.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().child.id()
    }

    /// Starts a daemon that is expected to refuse: its exit code and what it says.
    pub(crate) fn refusal(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let child = self.space.0.spawn(self.command(arguments)).unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// Ends the daemon with SIGTERM.
    pub(crate) fn stop(&mut self) -> (ExitStatus, Vec<String>) {
        let process = ProcessId::of(self.pid()).unwrap().unwrap();
        process.signal(Signal::Terminate).unwrap();
        let status = eventually("the daemon ends", || self.ended());
        (status, self.daemon.take().unwrap().log.iter().collect())
    }

    /// How the daemon has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.daemon.as_mut().unwrap().child.try_wait().unwrap()
    }

    /// Sends the daemon SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal("HUP");
    }

    /// Sends the daemon a signal, with the shell's own `kill`.
    pub(crate) fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.pid());
        assert!(
            Command::new("sh")
                .args(["-c", &script])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Whether the daemon has a descriptor of this namespace, or of a device in it.
    pub(crate) fn holds(&self, netns: NetnsId) -> bool {
        let links = fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .flatten();
        links
            .into_iter()
            .any(|entry| fs::metadata(entry.path()).is_ok_and(|found| found.ino() == netns.inode))
    }

    pub(crate) fn client(&self) -> Client {
        self.connect().unwrap()
    }

    pub(crate) fn connect(&self) -> Result<Client, ClientError> {
        Client::connect(self.socket())
    }

    pub(crate) fn status(&self) -> Result<Status, ClientError> {
        self.connect()?.status()
    }

    /// Attaches a new pod with these addresses.
    pub(crate) fn pod(&self, name: &str, ips: &[&str]) -> Pod {
        let space = Space::new();
        let attached = self.attach(name, ips, &space).unwrap();
        Pod { space, attached }
    }

    pub(crate) fn attach(
        &self,
        name: &str,
        ips: &[&str],
        space: &Space,
    ) -> Result<Attached, ClientError> {
        self.client().attach(request(name, ips), &space.0)
    }

    /// Whether the pod is as it was attached.
    pub(crate) fn check(&self, name: &str, pod: &Pod) -> Result<Checked, ClientError> {
        let Identity {
            container_id,
            ifname,
        } = identity(name);
        let check = Check {
            container_id,
            ifname,
            ips: pod.attached.ips.clone(),
            mac: Some(pod.attached.mac.clone()),
            mtu: Some(pod.attached.mtu),
        };
        self.client().check(check, &pod.space.0)
    }

    /// Collects garbage: of the pods, only `valid` may stay. Answers how many were released.
    pub(crate) fn collect(&self, valid: &[&str]) -> usize {
        let gc = Gc {
            network: String::new(),
            valid: valid.iter().map(|name| identity(name)).collect(),
        };
        self.client().gc(gc).unwrap().released.len()
    }

    pub(crate) fn detach(&self, name: &str) -> bool {
        let (container_id, ifname) = (format!("container-{name}"), "eth0".to_owned());
        self.client()
            .detach(Detach {
                container_id,
                ifname,
            })
            .unwrap()
            .existed
    }
}

/// With what it says in the hands of the test.
pub(crate) fn piped(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What tells the attachment of the pod `name` from others.
pub(crate) fn identity(name: &str) -> Identity {
    Identity {
        container_id: format!("container-{name}"),
        ifname: "eth0".to_owned(),
    }
}

pub(crate) fn request(name: &str, ips: &[&str]) -> Attach {
    Attach {
        container_id: format!("container-{name}"),
        ifname: "eth0".to_owned(),
        namespace: "default".to_owned(),
        pod: name.to_owned(),
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        ..Attach::default()
    }
}

/// An attached pod.
pub(crate) struct Pod {
    pub(crate) space: Space,
    pub(crate) attached: Attached,
}

/// Routes through weft0 in a namespace.
pub(crate) fn routes_to(space: &Space, interface: &str) -> Vec<String> {
    let mut netlink = space.netlink();
    let Some(held) = link::get(&mut netlink, interface).unwrap() else {
        return Vec::new();
    };
    let routes = route::list(&mut netlink, route::MAIN_TABLE)
        .unwrap()
        .into_iter();
    let through =
        routes.filter(|r| matches!(r.hop, route::Hop::Via { index, .. } if index == held.index));
    let mut texts: Vec<_> = through
        .map(|r| format!("{}/{}", r.destination, r.prefix_len))
        .collect();
    texts.sort();
    texts
}

/// Sends bytes to a socket as a caller of its own making would, and returns what comes back.
pub(crate) fn raw_call(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // The daemon may close before everything is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Sends 1 MB from one namespace to a listener in another, which counts it.
pub(crate) fn tcp(from: &Space, to: &Space, at: SocketAddr) {
    let listener = to.run(|| TcpListener::bind(at).unwrap());
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    from.run(|| {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(&vec![7; 1_000_000]).unwrap();
    });
    assert_eq!(receiver.join().unwrap(), 1_000_000);
}
