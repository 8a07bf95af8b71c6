//! Two nodes of Open vSwitch's userspace datapath, without files or names that outlive this process.
//!
//! Each node has a database and a switch of its own. Its pods are TAP ports of `br-int`, whose VXLAN
//! port leads to the other node; the switch encapsulates itself and finds the way by the routes and
//! the address of `br-phy`, whose port is the node's end of the underlay (Open vSwitch's "Userspace
//! Datapath - Tunneling"). Everything else is as it comes: learning bridges, no policies, no
//! checksum of the outer UDP header, packets handled on the switch's main thread since neither TAP
//! nor packet sockets have poll-mode threads.
//!
//! This datapath reads TAP devices without vnet header, so that the kernel offers it neither
//! segmentation nor checksums to finish: what a pod sends has the size of its MTU.

use std::fs::{self, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use weft_sys::netlink::{Netlink, addr, link, neigh};
use weft_sys::netns::Netns;
use weft_sys::process::{Signal, die_with_parent};

use super::sides::{Owner, PORT, Pod, Side, UPLINK};
use crate::interrupt::Interrupt;

/// What has to be installed.
const PROGRAMS: [&str; 4] = ["ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl"];
/// The interface of a pod.
const POD_INTERFACE: &str = "eth0";
/// What VXLAN leaves of the underlay's 1500 bytes.
const POD_MTU: u32 = 1450;
/// As flannel's.
const VXLAN_PORT: u16 = 8472;
/// How long a daemon may take to start, and pods to hear each other.
const LIMIT: Duration = Duration::from_secs(20);
/// How long one datagram may take there.
const ANSWER: Duration = Duration::from_millis(50);

/// The daemons of both nodes and their files.
#[derive(Debug)]
pub(super) struct Daemons {
    /// In the order in which they started.
    children: Vec<Child>,
    files: TempDir,
}

impl Drop for Daemons {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            // One that has ended cannot be killed any more.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The program that is not installed; `None` where all are.
pub(super) fn missing() -> Option<&'static str> {
    PROGRAMS.into_iter().find(|program| !is_installed(program))
}

/// Two nodes.
pub(super) fn side(interrupt: &Interrupt) -> Result<Side> {
    let files = tempfile::Builder::new().prefix("weft-race.").tempdir();
    let mut daemons = Daemons {
        children: Vec::new(),
        files: files.context("cannot make a temporary folder")?,
    };
    let fabric = Netns::anonymous()?;
    let netns = [Netns::anonymous()?, Netns::anonymous()?];
    let mut start = |netns, number| {
        join(&fabric, netns, number)?;
        Node::start(&mut daemons, netns, number, interrupt)
    };
    let [first, second] = &netns;
    let (first, second) = (start(first, 1)?, start(second, 2)?);
    let from = first.pod(Ipv4Addr::new(10, 244, 1, 2))?;
    let to = second.pod(Ipv4Addr::new(10, 244, 2, 2))?;
    let near = first.pod(Ipv4Addr::new(10, 244, 1, 3))?;
    for pod in [&to, &near] {
        acquaint(&from, pod, interrupt)?;
    }
    let pods = [from, to, near];
    let owner = Owner::Ovs(daemons);
    Ok(Side::new(owner, pods, netns.into(), fabric))
}

fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null());
    command.output().is_ok_and(|said| said.status.success())
}

/// Gives a node its end of the underlay.
fn join(fabric: &Netns, node: &Netns, number: u8) -> Result<()> {
    let mut netlink = Netlink::open_in(fabric)?;
    let bridge = link::ensure_bridge(&mut netlink, "br0")?;
    link::set_up(&mut netlink, bridge)?;
    let port = format!("node{number}");
    link::add_veth(&mut netlink, &port, UPLINK, Some(node.as_fd()))?;
    let port = link::index_of(&mut netlink, &port)?;
    let change = link::Change {
        up: Some(true),
        master: Some(bridge),
        ..link::Change::default()
    };
    link::change(&mut netlink, port, &change)?;
    let mut netlink = Netlink::open_in(node)?;
    for name in ["lo", UPLINK] {
        let index = link::index_of(&mut netlink, name)?;
        link::set_up(&mut netlink, index)?;
    }
    Ok(())
}

/// The underlay address of a node.
const fn underlay(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number)
}

/// A node whose switch works.
struct Node<'a> {
    netns: &'a Netns,
    folder: PathBuf,
}

impl<'a> Node<'a> {
    /// Starts both daemons and makes the bridges. On the main thread: the daemons end with the
    /// thread that started them.
    fn start(
        daemons: &mut Daemons,
        netns: &'a Netns,
        number: u8,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let folder = daemons.files.path().join(format!("node{number}"));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let node = Self { netns, folder };
        let database = node.path("conf.db");
        succeed(node.command("ovsdb-tool").args(["create", &database]))?;
        let mut server = node.command("ovsdb-server");
        server.arg(format!("--remote=punix:{}", node.path("db.sock")));
        server.arg(&database);
        daemons.children.push(node.spawn(server)?);
        interrupt.wait("the database of Open vSwitch answers", LIMIT, || {
            Ok(Path::new(&node.path("db.sock")).exists().then_some(()))
        })?;
        node.configure(&["--no-wait", "init"])?;
        let mut switch = node.command("ovs-vswitchd");
        // The kernel's datapath is another contestant's.
        switch.arg("--disable-system").arg(node.database());
        daemons.children.push(node.spawn(switch)?);
        node.make_bridges(number)?;
        Ok(node)
    }

    /// The bridge of the pods and the one that holds the node's address.
    fn make_bridges(&self, number: u8) -> Result<()> {
        for bridge in ["br-phy", "br-int"] {
            let kind = "datapath_type=netdev";
            let fail = "fail_mode=standalone";
            // A sink only listens: what was learned of it has to last.
            let aging = "other_config:mac-aging-time=3600";
            self.configure(&[
                "add-br", bridge, "--", "set", "bridge", bridge, kind, fail, aging,
            ])?;
        }
        self.configure(&["add-port", "br-phy", UPLINK])?;
        let remote = format!("options:remote_ip={}", underlay(3 - number));
        let port = format!("options:dst_port={VXLAN_PORT}");
        self.configure(&[
            "add-port",
            "br-int",
            "vxlan0",
            "--",
            "set",
            "interface",
            "vxlan0",
            "type=vxlan",
            &remote,
            &port,
            "options:key=1",
        ])?;
        let mut netlink = Netlink::open_in(self.netns)?;
        let index = link::index_of(&mut netlink, "br-phy")?;
        link::set_up(&mut netlink, index)?;
        let address = addr::Address::new(index, underlay(number).into(), 24);
        Ok(addr::ensure(&mut netlink, &address)?)
    }

    /// A pod at a TAP port of its own.
    fn pod(&self, address: Ipv4Addr) -> Result<Pod> {
        let [.., last] = address.octets();
        let port = format!("pod{last}");
        self.configure(&[
            "add-port",
            "br-int",
            &port,
            "--",
            "set",
            "interface",
            &port,
            "type=tap",
        ])?;
        let netns = Netns::anonymous()?;
        let mut netlink = Netlink::open_in(self.netns)?;
        let index = link::index_of(&mut netlink, &port)?;
        let moved = link::Change {
            name: Some(POD_INTERFACE),
            netns: Some(netns.as_fd()),
            ..link::Change::default()
        };
        link::change(&mut netlink, index, &moved)?;
        let mut netlink = Netlink::open_in(&netns)?;
        let loopback = link::index_of(&mut netlink, "lo")?;
        link::set_up(&mut netlink, loopback)?;
        let index = link::index_of(&mut netlink, POD_INTERFACE)?;
        let change = link::Change {
            up: Some(true),
            mtu: Some(POD_MTU),
            ..link::Change::default()
        };
        link::change(&mut netlink, index, &change)?;
        let held = addr::Address::new(index, address.into(), 16);
        addr::ensure(&mut netlink, &held)?;
        Ok(Pod {
            netns,
            address: address.to_string(),
        })
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    fn database(&self) -> String {
        format!("unix:{}", self.path("db.sock"))
    }

    /// Asks the database for something and waits until the switch has done it.
    fn configure(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.command("ovs-vsctl");
        let database = format!("--db={}", self.database());
        let timeout = format!("--timeout={}", LIMIT.as_secs());
        succeed(command.args([database, timeout]).args(arguments))
            .with_context(|| format!("the switch said: {}", self.last_words()))
    }

    /// A program of Open vSwitch that finds everything in the node's folder.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for folder in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"] {
            command.env(folder, &self.folder);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Starts a daemon in the foreground, inside the node.
    fn spawn(&self, mut command: Command) -> Result<Child> {
        let log = self.path("log");
        let opened = File::options().create(true).append(true).open(&log);
        command
            .args(["--no-chdir", "-vconsole:warn", "-vsyslog:off"])
            .stdout(Stdio::null())
            .stderr(opened.with_context(|| format!("cannot write {log}"))?);
        die_with_parent(&mut command, Signal::Kill);
        Ok(self.netns.spawn(command)?)
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(self.path("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(8)..);
        last.unwrap_or_default().join("\n")
    }
}

fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed ({}): {}", output.status, said.trim());
    }
    Ok(())
}

/// Waits until two pods hear each other, which also teaches the bridges where they are. Then writes
/// down what they found out about each other, as the other sides' pods have it: who sends frames
/// must know whom to send them to.
fn acquaint(one: &Pod, other: &Pod, interrupt: &Interrupt) -> Result<()> {
    let socket = |pod: &Pod| -> Result<UdpSocket> {
        let bound = pod
            .netns
            .run(|| UdpSocket::bind((pod.address.as_str(), PORT)));
        let socket = bound?.context("cannot bind a socket in a pod")?;
        socket.set_read_timeout(Some(ANSWER))?;
        Ok(socket)
    };
    let ends = [socket(one)?, socket(other)?];
    let hear = |from: usize, to: usize, pod: &Pod| -> Option<()> {
        let mut byte = [0];
        let (from, to) = (ends.get(from)?, ends.get(to)?);
        from.send_to(&byte, (pod.address.as_str(), PORT)).ok()?;
        to.recv(&mut byte).ok().map(|_| ())
    };
    interrupt.wait("pods of Open vSwitch hear each other", LIMIT, || {
        Ok(hear(0, 1, other).and_then(|()| hear(1, 0, one)))
    })?;
    for (pod, peer) in [(one, other), (other, one)] {
        let found = link::get(&mut Netlink::open_in(&peer.netns)?, POD_INTERFACE)?;
        let mac = found.and_then(|link| link.mac);
        let mut netlink = Netlink::open_in(&pod.netns)?;
        let neighbor = neigh::Neighbor {
            index: link::index_of(&mut netlink, POD_INTERFACE)?,
            ip: peer.address.parse()?,
            mac: mac.context("a pod's interface has no MAC")?,
        };
        neigh::ensure(&mut netlink, &neighbor)?;
    }
    Ok(())
}
