//! A real container runtime as the plugin's client: containerd with runc on two nodes, each in its
//! namespace, containers that talk to each other, to their nodes and to a host outside.
//!
//! `ctr` looks for its network in `/etc/cni/net.d` and `/opt/cni/bin` alone, so each call sees
//! folders of the test there, in a mount namespace of its own.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use weft_sys::netlink::{addr, link};

use super::rig::{Node, Space, eventually, privileged};

const TOOLS: [&str; 5] = ["containerd", "ctr", "runc", "busybox", "unshare"];

/// Whether the tools are there; says so if not.
fn installed(test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |tool: &str| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    let missing: Vec<_> = TOOLS.into_iter().filter(|tool| !found(tool)).collect();
    if !missing.is_empty() {
        use std::io::Write;
        let missing = missing.join(", ");
        let line = format!("SKIPPED (needs {missing}): {test}: not installed\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    missing.is_empty()
}

/// containerd of one node.
struct Runtime<'n> {
    node: &'n Node,
    daemon: Child,
}

impl Drop for Runtime<'_> {
    fn drop(&mut self) {
        // A failed test leaves containers.
        let _ = self.ctr(&["task", "ls", "-q"]).map(|listed| {
            for name in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
                let _ = self.ctr(&["task", "delete", "--force", name]);
            }
        });
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl<'n> Runtime<'n> {
    fn start(node: &'n Node) -> Self {
        let home = node.path("containerd");
        fs::create_dir_all(home.join("cni")).unwrap();
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = \
             [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
            home.join("root"),
            home.join("state"),
            home.join("containerd.sock"),
        );
        fs::write(home.join("config.toml"), text).unwrap();
        let log = fs::File::create(home.join("log")).unwrap();
        let mut command = Command::new("containerd");
        command
            .arg("--config")
            .arg(home.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let daemon = node.space.0.spawn(command).unwrap();
        let runtime = Self { node, daemon };
        rootfs(&home.join("rootfs"));
        install(node, &home);
        eventually("containerd answers", || {
            let said = runtime.ctr(&["version"]).ok()?;
            said.status.success().then_some(())
        });
        runtime
    }

    fn home(&self) -> PathBuf {
        self.node.path("containerd")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let home = self.home();
        let script = "mount -t tmpfs none /opt && mkdir -p /opt/cni/bin \
                      && mount --bind \"$0/cni/bin\" /opt/cni/bin \
                      && mount --bind \"$0/etc\" /etc \
                      && exec ctr --address \"$0/containerd.sock\" \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script])
            .arg(&home)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.node.space.0.enter_on_exec(&mut command).unwrap();
        command
    }

    fn ctr(&self, arguments: &[&str]) -> std::io::Result<Output> {
        self.command(arguments).output()
    }

    /// The same, with its words when it fails.
    fn must(&self, arguments: &[&str]) -> String {
        let output = self.ctr(arguments).unwrap();
        let (out, err) = (output.stdout, output.stderr);
        let (out, err) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
        assert!(output.status.success(), "ctr {arguments:?}: {out}{err}");
        out.into_owned()
    }

    /// Starts a container that waits. This `ctr` removes the network of a container in whose
    /// foreground it is, and forgets that of one it has left alone (`--detach`).
    fn run(&self, name: &str, how: &str) -> Container {
        let rootfs = self.home().join("rootfs");
        let rootfs = rootfs.to_str().unwrap();
        let ctr = self
            .command(&[
                "run",
                how,
                "--cni",
                "--rootfs",
                rootfs,
                name,
                "/bin/sleep",
                "1000",
            ])
            .spawn()
            .unwrap();
        let id = format!("default-{name}");
        let addresses = eventually("the container has its port", || {
            let ports = self.node.client().ports().unwrap();
            let port = ports.into_iter().find(|port| port.container_id == id)?;
            Some(port.addresses)
        });
        eventually("the container runs", || {
            let listed = self.must(&["task", "ls"]);
            let runs = |line: &str| line.starts_with(name) && line.contains("RUNNING");
            listed.lines().any(runs).then_some(())
        });
        let of = |v4: bool| {
            addresses
                .iter()
                .find(|ip| ip.is_ipv4() == v4)
                .unwrap()
                .to_string()
        };
        let addresses = [of(true), of(false)];
        let name = name.to_owned();
        Container {
            name,
            addresses,
            ctr,
        }
    }

    fn pings(&self, container: &str, to: &str) {
        let id = to.replace([':', '.'], "");
        self.must(&[
            "task",
            "exec",
            "--exec-id",
            &id,
            container,
            "/bin/ping",
            "-c",
            "1",
            "-W",
            "5",
            to,
        ]);
    }

    /// Kills a container, and deletes what is left of it.
    fn delete(&self, container: Container) {
        let (name, ctr) = (container.name, container.ctr);
        self.must(&["task", "kill", "--signal", "SIGKILL", &name]);
        // 137: its container was killed.
        let output = ctr.wait_with_output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 137)), "{output:?}");
        eventually("the container's process has ended", || {
            let listed = self.must(&["task", "ls"]);
            let running = |line: &str| line.starts_with(&name) && line.contains("RUNNING");
            (!listed.lines().any(running)).then_some(())
        });
        for what in ["task", "container"] {
            // With `--rm` it has gone by itself.
            let _ = self.ctr(&[what, "delete", &name]);
        }
        assert!(!self.must(&["container", "ls", "--quiet"]).contains(&name));
    }
}

/// A container that runs, and the `ctr` that started it.
struct Container {
    name: String,
    /// IPv4 and IPv6.
    addresses: [String; 2],
    ctr: Child,
}

/// A root file system of busybox and nothing else.
fn rootfs(at: &Path) {
    let bin = at.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let busybox = std::env::split_paths(&path).map(|dir| dir.join("busybox"));
    let busybox = busybox.into_iter().find(|path| path.is_file()).unwrap();
    fs::copy(busybox, bin.join("busybox")).unwrap();
    for applet in ["sh", "sleep", "ping", "ip"] {
        symlink("busybox", bin.join(applet)).unwrap();
    }
}

/// `weft cni install`, into folders that `ctr` will see in place of the host's.
fn install(node: &Node, home: &Path) {
    let copied = Command::new("cp")
        .args(["-a", "/etc"])
        .arg(home.join("etc"))
        .status();
    assert!(copied.unwrap().success());
    let status = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["cni", "install", "--conf-dir"])
        .arg(home.join("etc/cni/net.d"))
        .arg("--bin-dir")
        .arg(home.join("cni/bin"))
        .arg("--socket")
        .arg(node.socket())
        .arg("--state-dir")
        .arg(node.path("state"))
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

/// A host outside that only the first node is linked to, and its address.
fn outside(node: &Node) -> (Space, &'static str) {
    let outside = Space::new();
    let mut netlink = node.space.netlink();
    link::add_veth(&mut netlink, "out0", "u0", Some(outside.0.as_fd())).unwrap();
    for (space, name, ip) in [
        (&node.space, "out0", "198.51.100.1"),
        (&outside, "u0", "198.51.100.2"),
    ] {
        let mut netlink = space.netlink();
        let index = link::index_of(&mut netlink, name).unwrap();
        link::set_up(&mut netlink, index).unwrap();
        let address = addr::Address::new(index, ip.parse().unwrap(), 24);
        addr::ensure(&mut netlink, &address).unwrap();
    }
    (outside, "198.51.100.2")
}

#[test]
fn containers_on_two_nodes_talk() {
    const TEST: &str = "containers_on_two_nodes_talk";
    if !privileged(TEST) || !installed(TEST) {
        return;
    }
    let [mut a, mut b] = Node::pair("192.0.2.");
    a.start(&[]);
    b.start(&[]);
    let (_outside, beyond) = outside(&a);
    let (first, second) = (Runtime::start(&a), Runtime::start(&b));
    let one = first.run("one", "--rm");
    let two = second.run("two", "--rm");
    let near = first.run("near", "--detach");
    let a1 = one.addresses.clone();
    assert!(a1[0].starts_with("10.244.1.") && two.addresses[0].starts_with("10.244.2."));
    for family in [0, 1] {
        first.pings("one", &two.addresses[family]);
        first.pings("one", &near.addresses[family]);
        second.pings("two", &a1[family]);
        assert!(a.space.pings(&a1[family]), "the node reaches its container");
        assert!(b.space.pings(&two.addresses[family]));
    }
    first.pings("one", "192.0.2.1");
    first.pings("one", "10.244.1.0");
    first.pings("one", beyond);
    first.delete(one);
    second.delete(two);
    let ports = |node: &Node| node.client().ports().unwrap().len();
    assert_eq!(
        (ports(&a), ports(&b)),
        (2, 1),
        "DEL was answered when all was gone"
    );
    first.delete(near);
    eventually("the container whose DEL never came is let go", || {
        (ports(&a) == 1).then_some(())
    });
    for node in [&a, &b] {
        assert_eq!(node.status().unwrap().problems, []);
    }
    let again = first.run("one", "--rm");
    assert_ne!(
        again.addresses[0], a1[0],
        "an address rests before it is used again"
    );
    first.delete(again);
}
