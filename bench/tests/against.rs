//! Do `weft-bench rate | stream | latency | soak` say of a lab that is up what is true of it, and do
//! they say what is wrong otherwise?

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use weft_switch::api::{self, Client};
use weft_sys::caps;
use weft_sys::netlink::{Netlink, link};
use weft_sys::netns::Netns;
use weft_sys::process::ProcessId;

const PROGRAM: &str = env!("CARGO_BIN_EXE_weft-bench");

/// Two weft nodes and one of plain Linux; `shut` lets nobody in.
const NODES: &str = "nodes:\n  - { name: node-a, workers: 1 }\n  - { name: node-b, workers: 1 }\n  \
                     - { name: node-k, kind: kernel }\nmanifests: [ cluster.yaml ]\n";
const PODS: [(&str, &str); 5] = [
    ("a", "node-a"),
    ("b", "node-b"),
    ("k", "node-k"),
    ("k2", "node-k"),
    ("shut", "node-b"),
];
const POLICY: &str = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: \
                      shut, namespace: x}\nspec: {podSelector: {matchLabels: {app: shut}}, \
                      policyTypes: [Ingress]}\n";

/// Whether privileged tests can run; says so if not.
fn privileged(test: &str) -> bool {
    match caps::check() {
        Ok(()) => true,
        Err(missing) => {
            // One write, past libtest's capture, which shows nothing of a test that passes.
            let line = format!("SKIPPED (needs root): {test}: {missing}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            false
        }
    }
}

/// A lab that goes when this does.
struct Lab {
    name: String,
    weft: PathBuf,
    _folder: TempDir,
}

impl Lab {
    fn up(test: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Under that name it is weft; a link would not do, as a lab starts itself again.
        let weft = folder.path().join("weft");
        fs::copy(PROGRAM, &weft).unwrap();
        let name = format!("{test}-{}", std::process::id());
        let mut cluster = String::new();
        for (pod, node) in PODS {
            cluster += &format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, namespace: x, labels: \
                 {{app: {pod}}}}}\nspec: {{nodeName: {node}}}\n"
            );
        }
        let file = folder.path().join("lab.yaml");
        fs::write(&file, format!("name: {name}\n{NODES}")).unwrap();
        fs::write(folder.path().join("cluster.yaml"), cluster + POLICY).unwrap();
        let lab = Self {
            name,
            weft,
            _folder: folder,
        };
        lab.weft(&["up", "-f", &file.to_string_lossy()]);
        lab
    }

    fn weft(&self, arguments: &[&str]) {
        let mut command = Command::new(&self.weft);
        let output = command.arg("lab").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    fn netns(&self, node: &str) -> Netns {
        Netns::open(format!("weft.{}.{node}", self.name)).unwrap()
    }

    /// A command of weft-bench about this lab.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(line.split(' ')).args(["--lab", &self.name]);
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// What a command that succeeds says.
    fn told(&self, line: &str) -> Value {
        let output = self.run(&format!("{line} -o json"));
        assert!(output.status.success(), "{line}: {output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["lab"], *self.name, "{told}");
        assert!(told["drops"].is_array(), "{told}");
        told
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let mut command = Command::new(&self.weft);
        let _ = command.args(["lab", "down", &self.name]).output();
    }
}

fn positive(told: &Value, pointer: &str) -> f64 {
    let number = told.pointer(pointer).and_then(Value::as_f64);
    let number = number.unwrap_or_else(|| panic!("{pointer} of {told}"));
    assert!(number > 0.0, "{pointer} of {told}");
    number
}

#[test]
fn rate_stream_and_latency_are_measured_and_told() {
    if !privileged("rate_stream_and_latency_are_measured_and_told") {
        return;
    }
    let lab = Lab::up("against");
    let rate = lab.told("rate x/a x/b --frame 590 --flows 4 --rate 2000 --seconds 0.5");
    assert_eq!((&rate["frame"], &rate["flows"]), (&590.into(), &4.into()));
    assert_eq!((&rate["from"], &rate["to"]), (&"x/a".into(), &"x/b".into()));
    assert_eq!((&rate["lost"], &rate["reordered"]), (&0.into(), &0.into()));
    assert_eq!(rate["received"], rate["sent"], "{rate}");
    let seen = positive(&rate, "/framesPerSecond");
    assert!(seen > 1500.0 && seen < 2100.0, "{rate}");
    assert!(positive(&rate, "/ceiling") > seen);
    assert!(rate["daemonCpuMicrosPerFrame"]["node-b"].is_number());
    let imix = lab.told("rate x/a x/k --frame imix --rate 1000 --seconds 0.3");
    assert!(imix["frame"].is_null() && imix["daemonCpuMicrosPerFrame"].get("node-k").is_none());

    let stream = lab.told("stream x/a x/b --streams 2 --seconds 0.5");
    let bits = positive(&stream, "/bytes") * 8.0 / 1e6 / positive(&stream, "/seconds");
    assert!((bits / positive(&stream, "/megabitsPerSecond") - 1.0).abs() < 0.01);
    positive(&stream, "/daemonCpuMicrosPerMegabit/node-a");
    let back = lab.told("stream x/a x/k --reverse --family ipv6 --seconds 0.3");
    assert_eq!((&back["from"], &back["to"]), (&"x/k".into(), &"x/a".into()));
    positive(&back, "/bytes");

    let latency = lab.told("latency x/a x/b --rate 500 --seconds 0.5");
    for kind in ["closedLoop", "openLoop"] {
        let micros = ["p50Micros", "p99Micros", "p999Micros"]
            .map(|name| positive(&latency, &format!("/{kind}/{name}")));
        assert!(micros.is_sorted(), "{latency}");
        positive(&latency, &format!("/{kind}/answered"));
        assert!(latency[kind]["daemonCpuMicros"]["node-b"].is_number());
    }
    assert_eq!(latency["openLoop"]["asked"], 250, "{latency}");

    let table = lab.run("latency x/a x/b --seconds 0.2");
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("closed loop, TCP") && table.contains("drops: "),
        "{table}"
    );
}

/// All bytes of a soak crossed whole, with pauses.
fn is_whole(told: &Value) {
    assert_eq!(told["complete"], true, "{told}");
    assert_eq!(told["intact"], true, "{told}");
    assert_eq!(told["failures"], serde_json::json!([]), "{told}");
    let ways = told["ways"].as_array().unwrap();
    assert_eq!(ways.len(), 2);
    for (way, [from, to]) in ways.iter().zip([["from", "to"], ["to", "from"]]) {
        assert_eq!((&way["from"], &way["to"]), (&told[from], &told[to]));
        assert_eq!(
            (&way["bytes"], &way["sent"]),
            (&told["bytes"], &told["bytes"])
        );
        assert_eq!(way["sentSum"], way["receivedSum"], "{told}");
        assert!(way["compared"].as_u64().unwrap() >= 2, "{told}");
        assert_eq!(way["pauses"], 7, "{told}");
        // Until the sender has nothing left, a pause goes on until it finds no room; that it went
        // on afterwards shows in the bytes.
        assert!(way["pausesFull"].as_u64().unwrap() >= 1, "{told}");
    }
    assert_ne!(
        ways[0]["sentSum"], ways[1]["sentSum"],
        "both carry the same"
    );
}

#[test]
fn many_bytes_cross_whole_with_pauses_and_another_mtu() {
    if !privileged("many_bytes_cross_whole_with_pauses_and_another_mtu") {
        return;
    }
    let lab = Lab::up("soak");
    is_whole(&lab.told("soak x/a x/b --bytes 50M --pause=0.1"));
    is_whole(&lab.told("soak x/k x/a --bytes 50M --pause=0.1 --family ipv6"));
    let told = lab.told("soak x/a x/b --bytes 40M --pause=0.1 --mtu-change=1300 --mtu-every 0.2");
    is_whole(&told);
    let changes = &told["mtuChanges"];
    assert_eq!(
        (&changes["own"], &changes["smaller"]),
        (&1500.into(), &1300.into())
    );
    positive(changes, "/count");
    for node in ["node-a", "node-b"] {
        let mut netlink = Netlink::open_in(&lab.netns(node)).unwrap();
        let uplink = link::get(&mut netlink, "eth0").unwrap().unwrap();
        assert_eq!(uplink.mtu, 1500, "{node}");
    }
    let short = lab.told("soak x/a x/b --bytes 1T --seconds 0.3");
    assert_eq!(
        (&short["complete"], &short["intact"]),
        (&false.into(), &true.into())
    );
    assert_eq!(
        short["ways"][0]["bytes"], short["ways"][0]["sent"],
        "{short}"
    );
    assert!(short.get("mtuChanges").is_none());
}

/// Returns once `child`'s traffic flows.
fn until_it_flows(lab: &Lab, child: &mut Child) {
    let socket = api::lab_socket(&lab.name, "node-a");
    loop {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        let ports = Client::connect(&socket).unwrap().ports().unwrap();
        if ports
            .iter()
            .any(|port| port.pod == "x/a" && port.bytes_from > 5_000_000)
        {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_stall_is_a_failure_that_names_direction_and_offset() {
    if !privileged("a_stall_is_a_failure_that_names_direction_and_offset") {
        return;
    }
    let lab = Lab::up("stall");
    let mut command = lab.command("soak x/a x/b --bytes 1T --stall 1 -o json");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    until_it_flows(&lab, &mut child);
    let mut netlink = Netlink::open_in(&lab.netns("node-b")).unwrap();
    let uplink = link::index_of(&mut netlink, "eth0").unwrap();
    let down = link::Change {
        up: Some(false),
        ..link::Change::default()
    };
    link::change(&mut netlink, uplink, &down).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ways = told["ways"].as_array().unwrap();
    let stalled = ways.iter().find(|way| way.get("stalledAt").is_some());
    let stalled = stalled.unwrap_or_else(|| panic!("{told}"));
    assert_eq!(stalled["stalledAt"], stalled["bytes"]);
    let way = format!("{} to {}", stalled["from"], stalled["to"]).replace('"', "");
    let said = told["failures"][0].as_str().unwrap();
    let words = format!(
        "{way} stalled: no byte for 1 s after offset {}",
        stalled["bytes"]
    );
    assert!(said.starts_with(&words), "{said}");
    assert_eq!(
        (&told["complete"], &told["intact"]),
        (&false.into(), &true.into())
    );
}

#[test]
fn what_is_wrong_is_said_with_what_there_is() {
    if !privileged("what_is_wrong_is_said_with_what_there_is") {
        return;
    }
    let lab = Lab::up("wrong");
    for (line, code, words) in [
        ("rate x/a x/c", 2, "no pod x/c in lab wrong-"),
        ("soak x/c x/a", 2, "it has x/a, x/b, x/k, x/k2, x/shut"),
        ("stream x/a x/a", 2, "x/a is both ends"),
        ("latency a x/b", 2, "a pod is written namespace/name"),
        ("stream x/k x/k2", 2, "node-k does not run weft"),
        (
            "soak x/k2 x/k",
            2,
            "pods on nodes with weft: x/a, x/b, x/shut",
        ),
        (
            "rate x/a x/b --frame 100",
            2,
            "possible values: 64, 590, 1450, imix",
        ),
        ("soak x/a x/b --bytes 1X", 2, "50M or 10G"),
        (
            "soak x/b x/shut --mtu-change",
            2,
            "no underlay is between them",
        ),
        (
            "soak x/a x/b --mtu-change=1500",
            2,
            "not below the underlay's MTU, 1500",
        ),
        (
            "rate x/a x/shut --seconds 0.2",
            1,
            "weft lab probe x/a x/shut --port 7000 --protocol UDP",
        ),
    ] {
        let output = lab.run(line);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        assert!(
            said.starts_with("error: ") && said.contains(words),
            "{line}: {said}"
        );
        assert!(output.stdout.is_empty(), "{line}");
    }
}

#[test]
fn a_lab_or_daemon_that_is_not_there_is_named() {
    if !privileged("a_lab_or_daemon_that_is_not_there_is_named") {
        return;
    }
    let lab = Lab::up("gone");
    let mut command = Command::new(PROGRAM);
    let output = command
        .args(["rate", "x/a", "x/b", "--lab", "nowhere"])
        .output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("lab nowhere is not up") && said.contains(&lab.name),
        "{said}"
    );

    let socket = api::lab_socket(&lab.name, "node-b");
    let pid = Client::connect(&socket).unwrap().status().unwrap().pid;
    let daemon = ProcessId::of(pid).unwrap().unwrap();
    daemon.end(Duration::from_secs(5)).unwrap();
    let output = lab.run("stream x/a x/b");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("the daemon of node-b does not answer"),
        "{said}"
    );
}
