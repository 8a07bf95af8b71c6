//! What does weft say when it cannot do what it was asked, and what does it leave behind?
//!
//! Every case names the exit code (2: the user's files, 3: this host), the place and the next step
//! that the message must hold, and ends with nothing half-made.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use weft_switch::api;
use weft_sys::netlink::{Netlink, addr, link};
use weft_sys::netns::Netns;
use weft_sys::process::{self, Signal};

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use common::clock::wait_until;
use common::command::{self, Outcome};
use common::host::Family;
use common::lab::{Lab, Spec};
use common::lab::{as_nobody, leftovers, pod_yaml, processes, unique_name};
use common::ping::{Answer, Ping};
use common::{privileged, tool, weft};

const LIMIT: Duration = Duration::from_secs(20);
/// The address of the node in tests of the daemon alone.
const ADDRESS: &str = "192.0.2.10";
const VXLAN_PORT: u16 = 8472;

/// A file system and a name of one's own, where whatever is left shows.
struct Bench {
    folder: TempDir,
    lab: String,
}

impl Bench {
    /// Readable by everybody, since some commands run as nobody.
    fn new(tag: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("weft-e2e-")
            .tempdir_in("/tmp")
            .expect("a temporary directory");
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), everybody).expect("own directory");
        Self {
            folder,
            lab: unique_name(tag),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("own directory");
        path
    }

    /// A good lab of this name with one pod, and `more` lines.
    fn lab_yaml(&self, more: &str) -> PathBuf {
        self.write("pods.yaml", &pod_yaml("a1", "node-a"));
        let lab = &self.lab;
        let text = format!(
            "name: {lab}\nnodes:\n  - {{ name: node-a, workers: 1 }}\nmanifests: [ pods.yaml ]\n{more}"
        );
        self.write("lab.yaml", &text)
    }

    /// A good configuration and `more` lines of its `[node]`.
    fn weft_toml(&self, more: &str) -> PathBuf {
        fs::create_dir_all(self.path("cluster.d")).expect("own directory");
        let folder = self.folder.path().display();
        let text = format!(
            "[cluster]\npath = \"{folder}/cluster.d\"\n\
             [paths]\nsocket = \"{folder}/weft.sock\"\nstate = \"{folder}/state\"\n\
             [metrics]\nlisten = \"\"\n\
             [node]\nname = \"node-a\"\naddress = \"{ADDRESS}\"\nworkers = 1\n{more}"
        );
        self.write("weft.toml", &text)
    }

    fn up(&self, file: &Path) -> Outcome {
        command::run(weft().args(["lab", "up", "-f"]).arg(file), LIMIT)
    }

    fn nothing_left(&self) {
        let left = leftovers(&self.lab);
        assert!(left.is_empty(), "left behind: {left:?}");
        let folder = self.folder.path().display().to_string();
        let left = processes(&folder);
        assert!(left.is_empty(), "left behind: {left:?}");
        for half in ["weft.sock", "state"] {
            assert!(!self.path(half).exists(), "{half} was left behind");
        }
    }
}

/// The message of a refusal: exit code, no panic, and everything it must name.
fn refused(outcome: &Outcome, code: i32, names: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome}");
    assert!(
        outcome.stdout.is_empty(),
        "messages go to stderr: {outcome}"
    );
    for bug in ["panicked", "RUST_BACKTRACE", "unwrap", "Err(", "Os {"] {
        assert!(!outcome.stderr.contains(bug), "{bug} in {outcome}");
    }
    for name in names {
        assert!(outcome.stderr.contains(name), "no {name:?} in {outcome}");
    }
}

#[test]
fn labs_that_cannot_be() {
    if !privileged("labs_that_cannot_be") {
        return;
    }
    let bench = Bench::new("bad");
    let missing = bench.path("missing.yaml");
    refused(&bench.up(&missing), 2, &["missing.yaml", "No such file"]);
    bench.nothing_left();

    // What is appended to a good file, and what the message must name.
    let cases: &[(&str, &[&str])] = &[
        ("nods: 3\n", &["lab.yaml:5", "nods"]),
        ("vxlan: { vni: 1, prot: 8472 }\n", &["lab.yaml:5", "prot"]),
        (
            "vxlan: { vni: 16777216 }\n",
            &["lab.yaml:5", "vxlan.vni", "next:"],
        ),
        ("outside: perhaps\n", &["lab.yaml:5", "boolean", "next:"]),
        (
            "underlay: { family: ipv5 }\n",
            &["lab.yaml:5", "ipv5", "ipv4"],
        ),
        ("outside: [\n", &["lab.yaml:"]),
        (
            "podNetwork: { ipv4: 192.0.2.0/16 }\n",
            &["lab.yaml:5", "podNetwork.ipv4", "next:"],
        ),
        (
            "podNetwork: { ipv4: 192.0.0.0/16 }\n",
            &[
                "lab.yaml:5",
                "podNetwork.ipv4",
                "overlaps the underlay",
                "next:",
            ],
        ),
        (
            "expect:\n  - { from: default/a1, to: default/zz, port: 80, protocol: TCP, verdict: allow }\n",
            &["lab.yaml", "expect[0].to", "default/zz", "next:"],
        ),
    ];
    for (more, names) in cases {
        refused(&bench.up(&bench.lab_yaml(more)), 2, names);
        bench.nothing_left();
    }
    let unreadable = bench.write("lab.yaml", "\u{0}\u{1}not yaml: [");
    refused(&bench.up(&unreadable), 2, &["lab.yaml"]);
    bench.nothing_left();
}

#[test]
fn manifests_that_cannot_be() {
    if !privileged("manifests_that_cannot_be") {
        return;
    }
    let bench = Bench::new("pods");
    let file = bench.lab_yaml("");
    let good = pod_yaml("a1", "node-a");
    let with_address = |name: &str, address: &str| {
        let status = format!("status: {{ podIP: {address}, podIPs: [ {{ ip: {address} }} ] }}\n");
        pod_yaml(name, "node-a") + &status
    };
    let twice = with_address("a1", "10.244.0.9") + "---\n" + &with_address("a2", "10.244.0.9");
    let cases: &[(String, &[&str])] = &[
        (
            with_address("a1", "10.245.0.9"),
            &["pods.yaml:", "10.245.0.9", "10.244.0.0/24", "next:"],
        ),
        (
            with_address("a1", "10.244.0.0"),
            &["pods.yaml:", "10.244.0.0", "next:"],
        ),
        (twice, &["pods.yaml:", "10.244.0.9", "next:"]),
        (pod_yaml("a1", "node-z"), &["pods.yaml:", "node-z", "next:"]),
        (
            good.clone() + "---\n" + &good,
            &["pods.yaml:", "a1", "next:"],
        ),
        ("kind: Pod\nmetadata: [\n".to_owned(), &["pods.yaml:"]),
    ];
    for (manifest, names) in cases {
        bench.write("pods.yaml", manifest);
        refused(&bench.up(&file), 2, names);
        bench.nothing_left();
    }
    fs::remove_file(bench.path("pods.yaml")).expect("it was written");
    refused(&bench.up(&file), 2, &["pods.yaml", "next:"]);
    bench.nothing_left();
}

#[test]
fn another_lab_of_the_same_name() {
    if !privileged("another_lab_of_the_same_name") {
        return;
    }
    let lab = Lab::up(&Spec {
        tag: "twice",
        underlay: Family::V4,
    });
    let bench = Bench::new("other");
    let other = bench.lab_yaml("");
    let text = fs::read_to_string(&other).expect("it was written");
    bench.write("lab.yaml", &text.replace(&bench.lab, &lab.name));
    let first = lab.file().display().to_string();
    let names = [lab.name.as_str(), "already up", &first, "next:"];
    refused(&bench.up(&other), 2, &names);
    // The one that is up does not notice.
    let to = lab.pod("b1").address(Family::V4);
    assert_eq!(Ping::to(to).from(lab.pod("a1")), Answer::Reply(to));
    lab.weft_up().ok();
}

#[test]
fn configurations_that_cannot_be() {
    // Reading a file needs no privilege.
    let bench = Bench::new("toml");
    let check = |file: &Path| {
        let mut command = weft();
        command.args(["daemon", "--check", "--config"]).arg(file);
        command::run(&mut command, LIMIT)
    };
    let good = "pod_cidrs = [\"10.244.0.0/24\", \"fd00:10:244::/64\"]\n";
    check(&bench.weft_toml(good)).ok();
    refused(&check(&bench.path("missing.toml")), 2, &["missing.toml"]);
    let cases: &[(&str, &[&str])] = &[
        (
            "pod_cidrs = [\"10.244.0.0/24\"]\npod_cdirs = []\n",
            &["weft.toml:13", "pod_cdirs", "pod_cidrs"],
        ),
        (
            "pod_cidrs = [\"10.244.0.0/24\", \"10.244.0.0/25\"]\n",
            &["weft.toml:12", "node.pod_cidrs", "overlaps"],
        ),
        (
            "pod_cidrs = [\"10.244.0.7/24\"]\n",
            &["weft.toml:12", "host bits", "write \"10.244.0.0/24\""],
        ),
        ("pod_cidrs = [\n", &["weft.toml:"]),
        ("", &["weft.toml", "node.pod_cidrs", "is missing"]),
    ];
    for (more, names) in cases {
        refused(&check(&bench.weft_toml(more)), 2, names);
        bench.nothing_left();
    }
}

#[test]
fn without_root() {
    // A place that nobody can enter and execute from.
    let bench = Bench::new("nobody");
    let program = bench.path("weft");
    fs::copy(env!("CARGO_BIN_EXE_weft"), &program).expect("own directory");
    let as_user = |args: &[&str], file: PathBuf| {
        let mut command = common::command_of(&program);
        command.args(args).arg(file);
        if rustix::process::geteuid().is_root() {
            as_nobody(&mut command);
        }
        command::run(&mut command, LIMIT)
    };
    let good = bench.weft_toml("pod_cidrs = [\"10.244.0.0/24\"]\n");
    let outcome = as_user(&["daemon", "--config"], good);
    refused(&outcome, 3, &["CAP_NET_ADMIN", "root"]);
    let outcome = as_user(&["lab", "up", "-f"], bench.lab_yaml(""));
    refused(&outcome, 3, &["CAP_NET_ADMIN", "root", "next:"]);
    bench.nothing_left();
}

#[test]
fn without_a_tun_device() {
    let test = "without_a_tun_device";
    let why = "it hides /dev/net/tun from the command alone";
    let (true, Some(unshare)) = (privileged(test), tool("unshare", test, why)) else {
        return;
    };
    let bench = Bench::new("notun");
    let hidden = |args: &[&str], file: PathBuf| {
        let mut command = common::command_of(&unshare);
        let script = "mount -t tmpfs none /dev/net && exec \"$@\"";
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .arg(env!("CARGO_BIN_EXE_weft"))
            .args(args)
            .arg(file);
        command::run(&mut command, LIMIT)
    };
    let good = bench.weft_toml("pod_cidrs = [\"10.244.0.0/24\"]\n");
    let outcome = hidden(&["daemon", "--config"], good);
    refused(&outcome, 3, &["/dev/net/tun", "modprobe tun"]);
    let outcome = hidden(&["lab", "up", "-f"], bench.lab_yaml(""));
    refused(&outcome, 3, &["/dev/net/tun", "modprobe tun", "next:"]);
    bench.nothing_left();
}

/// A namespace with one interface that has [`ADDRESS`].
fn node_alone() -> Netns {
    let netns = Netns::anonymous().expect("root");
    let make = || -> weft_sys::Result<()> {
        let mut netlink = Netlink::open()?;
        let loopback = link::index_of(&mut netlink, "lo")?;
        link::set_up(&mut netlink, loopback)?;
        let index = link::ensure_bridge(&mut netlink, "eth0")?;
        link::set_up(&mut netlink, index)?;
        let address = ADDRESS.parse().expect("an address");
        addr::ensure(&mut netlink, &addr::Address::new(index, address, 24))
    };
    netns.run(make).expect("root").expect("a new namespace");
    netns
}

fn links(netns: &Netns) -> Vec<String> {
    let look = || link::list(&mut Netlink::open()?);
    let links = netns.run(look).expect("root").expect("a list");
    links.into_iter().map(|link| link.name).collect()
}

#[test]
fn the_tunnel_port_is_taken() {
    if !privileged("the_tunnel_port_is_taken") {
        return;
    }
    let bench = Bench::new("port");
    let netns = node_alone();
    let before = links(&netns);
    let taken = netns.run(|| UdpSocket::bind((ADDRESS, VXLAN_PORT)));
    let taken = taken.expect("root").expect("a free port");
    let mut command = weft();
    command
        .args(["daemon", "--config"])
        .arg(bench.weft_toml("pod_cidrs = [\"10.244.0.0/24\"]\n"));
    netns.enter_on_exec(&mut command).expect("root");
    let outcome = command::run(&mut command, LIMIT);
    refused(&outcome, 3, &["8472", ADDRESS, "taken", "vxlan.port"]);
    assert_eq!(links(&netns), before, "interfaces of the node");
    bench.nothing_left();
    drop(taken);
}

/// A daemon that ends with this value.
struct Daemon(Child);

impl Daemon {
    fn start(netns: &Netns, config: &Path) -> Self {
        let mut command = weft();
        command.args(["daemon", "--config"]).arg(config);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        process::die_with_parent(&mut command, Signal::Kill);
        Self(netns.spawn(command).expect("the daemon starts"))
    }

    /// SIGTERM; answers the exit code.
    fn end(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("own child");
        command::wait("the daemon", &mut self.0, LIMIT)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Manifests come and go while the daemon runs: what is wrong is left out and shown, with its
/// place, in the status; everything else works.
#[test]
fn nodes_that_overlap() {
    if !privileged("nodes_that_overlap") {
        return;
    }
    let bench = Bench::new("overlap");
    let netns = node_alone();
    let config = bench.weft_toml("pod_cidrs = [\"10.244.0.0/24\"]\n");
    let node = |name: &str, cidr: &str, address: &str| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{ name: {name} }}\n\
             spec: {{ podCIDR: {cidr}, podCIDRs: [ {cidr} ] }}\n\
             status: {{ addresses: [ {{ type: InternalIP, address: {address} }} ] }}\n"
        )
    };
    bench.write(
        "cluster.d/b.yaml",
        &node("node-b", "10.244.1.0/24", "192.0.2.11"),
    );
    bench.write(
        "cluster.d/c.yaml",
        &node("node-c", "10.244.1.128/25", "192.0.2.12"),
    );
    bench.write(
        "cluster.d/d.yaml",
        &node("node-d", "10.244.0.0/16", "192.0.2.13"),
    );
    let before = links(&netns);
    let daemon = Daemon::start(&netns, &config);
    let socket = bench.path("weft.sock");
    let ask = || -> Option<(Option<i32>, api::Status)> {
        let mut command: Command = weft();
        command
            .args(["status", "-o", "json", "--socket"])
            .arg(&socket);
        let outcome = command::run(&mut command, LIMIT);
        let status = serde_json::from_str(&outcome.stdout).ok()?;
        Some((outcome.code, status))
    };
    let (code, status) = wait_until("three problems", LIMIT, || {
        ask().filter(|(_, status)| status.problems.len() >= 2)
    });
    assert_eq!(code, Some(1), "an unhealthy daemon is a no");
    assert_eq!(status.peers, 1, "node-b, which came first, stays");
    for (file, words) in [("c.yaml", "10.244.1.128/25"), ("d.yaml", "10.244.0.0/16")] {
        let found = status.problems.iter().find(|p| p.place.contains(file));
        let problem =
            found.unwrap_or_else(|| panic!("no problem of {file} in {:#?}", status.problems));
        assert!(problem.what.contains("overlaps"), "{problem:?}");
        assert!(problem.what.contains(words), "{problem:?}");
        assert!(!problem.next.is_empty(), "{problem:?}");
    }
    for file in ["cluster.d/c.yaml", "cluster.d/d.yaml"] {
        fs::remove_file(bench.path(file)).expect("it was written");
    }
    wait_until("health", LIMIT, || {
        ask().filter(|(code, status)| status.healthy && *code == Some(0))
    });
    assert_eq!(daemon.end(), Some(0), "SIGTERM is a clean end");
    assert_eq!(links(&netns), before, "interfaces of the node");
    fs::remove_dir_all(bench.path("state")).ok();
    bench.nothing_left();
}

/// A policy with this specification.
fn policy(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{ name: p, namespace: x }}\nspec: {spec}\n"
    )
}

/// Rules that no cluster would take, and what the message must name besides file and line.
fn impossible_rules() -> Vec<(String, &'static [&'static str])> {
    let ingress = |rule: &str| policy(&format!("{{ podSelector: {{}}, ingress: [ {rule} ] }}"));
    let block = |block: &str| ingress(&format!("{{ from: [ {{ ipBlock: {block} }} ] }}"));
    let port = |port: &str| ingress(&format!("{{ ports: [ {port} ] }}"));
    vec![
        (
            ingress("{ form: [] }"),
            &["spec.ingress[0]", "form", "from"],
        ),
        (block("{ cidr: 10.0.0.0/33 }"), &["10.0.0.0/33"]),
        (block("{ cidr: example.com }"), &["example.com"]),
        (
            block("{ cidr: 10.0.0.0/8, except: [ 11.0.0.0/16 ] }"),
            &["except", "11.0.0.0/16"],
        ),
        (port("{ port: 80, endPort: 79 }"), &["endPort", "79"]),
        (port("{ port: http, endPort: 90 }"), &["endPort"]),
        (port("{ port: 0 }"), &["port"]),
        (port("{ port: 80, protocol: ICMP }"), &["ICMP", "SCTP"]),
    ]
}

/// Selectors, fields and kinds that no cluster would take, or that weft would not enforce.
fn impossible_objects() -> Vec<(String, &'static [&'static str])> {
    let select = |expression: &str| {
        policy(&format!(
            "{{ podSelector: {{ matchExpressions: [ {expression} ] }} }}"
        ))
    };
    let kind = |version: &str, kind: &str| {
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{ name: p }}\nspec: {{}}\n")
    };
    vec![
        (policy("{ podSelectr: {} }"), &["podSelectr", "podSelector"]),
        (
            select("{ key: app, operator: Is, values: [ a ] }"),
            &["operator", "NotIn"],
        ),
        (select("{ key: app, operator: In }"), &["values"]),
        (
            select("{ key: app, operator: Exists, values: [ a ] }"),
            &["values"],
        ),
        (
            policy("{ podSelector: {}, policyTypes: [ Ingres ] }"),
            &["policyTypes", "Ingres"],
        ),
        (
            kind("cilium.io/v2", "CiliumNetworkPolicy"),
            &["CiliumNetworkPolicy", "not enforce"],
        ),
        (
            kind("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"),
            &["AdminNetworkPolicy", "not enforce"],
        ),
    ]
}

/// What `weft policy` says to manifests that no cluster would take, or that would mean more than
/// is written; needs no privilege.
#[test]
fn policies_that_cannot_be() {
    let bench = Bench::new("policies");
    for (text, names) in impossible_rules().into_iter().chain(impossible_objects()) {
        let file = bench.write("p.yaml", &text);
        for verb in [&["validate"][..], &["matrix", "--port", "80"]] {
            let mut command = weft();
            command.arg("policy").args(verb).arg("-f").arg(&file);
            let outcome = command::run(&mut command, LIMIT);
            refused(&outcome, 2, &["p.yaml:"]);
            refused(&outcome, 2, names);
        }
    }
    let harmless = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: c }\n";
    let harmless = bench.write("p.yaml", harmless);
    let mut command = weft();
    command.args(["policy", "validate", "-f"]).arg(harmless);
    let outcome = command::run(&mut command, LIMIT);
    assert!(
        outcome.stderr.contains("ConfigMap"),
        "an unknown kind is named: {outcome}"
    );
    outcome.ok();
}
