//! Does a small race run to its end, say what others rely on, and leave nothing?

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use weft_sys::netlink::{Netlink, addr, link};
use weft_sys::netns::Netns;
use weft_sys::process::{ProcessId, Signal};

use common::{privileged, skipped};

const PROGRAM: &str = env!("CARGO_BIN_EXE_weft-bench");
/// A small race starts dozens of programs of the debug profile.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where a race finds weft and makes its files.
struct Ground {
    folder: TempDir,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Under that name it is weft; a link would not do, as a lab starts itself again.
        std::fs::copy(PROGRAM, folder.path().join("weft")).unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A race of one pair, of these further words.
    fn race(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["race", "-o", "json", "--pairs", "1", "--programs"])
            .arg(self.folder.path())
            .args(words)
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a short race to its end; what it found, and what it said beside it.
    fn run(&self, mut command: Command) -> (Vec<Value>, String) {
        let child = command.args(["--seconds", "0.3"]).spawn().unwrap();
        let id = child.id();
        let output = child.wait_with_output().unwrap();
        let (said, beside) = words(&output);
        assert_eq!(output.status.code(), Some(0), "{said}{beside}");
        self.assert_nothing_is_left(id);
        (serde_json::from_str(&said).unwrap(), beside)
    }

    /// Neither namespaces nor files nor processes with them.
    fn assert_nothing_is_left(&self, id: u32) {
        let left = Netns::list("weft.race").unwrap();
        let own = format!("-{id}.");
        assert!(!left.iter().any(|name| name.contains(&own)), "{left:?}");
        let files: Vec<_> = std::fs::read_dir(self.path("tmp")).unwrap().collect();
        assert!(files.is_empty(), "{files:?}");
        assert_eq!(processes(&self.path("tmp")), Vec::<String>::new());
    }
}

fn words(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// The command lines that name a file of `folder`.
fn processes(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(folder)).collect()
}

/// Whether Open vSwitch is installed; says so if not.
fn open_vswitch(test: &str) -> bool {
    let mut command = Command::new("ovs-vswitchd");
    let answer = command.arg("--version").stdout(Stdio::null()).status();
    let installed = answer.is_ok_and(|status| status.success());
    if !installed {
        skipped(test, "needs openvswitch-switch");
    }
    installed
}

/// What holds of each row of every race.
fn assert_sound(one: &Value) {
    for field in ["weft", "peerValue", "ratio", "ratioLow", "ratioHigh"] {
        assert!(one[field].as_f64().unwrap() > 0.0, "{field} of {one}");
    }
    for side in ["weft", "peer"] {
        let cpu = one["cpuMicrosPerUnit"][side].as_f64();
        assert!(cpu.unwrap() > 0.0, "{one}");
        assert!(one["lost"][side].is_number(), "{one}");
        assert_eq!(one["failed"][side], 0.0, "{one}");
    }
    assert_eq!(one["reordered"]["weft"], 0.0, "{one}");
    assert_eq!(one["pairs"], 1);
    let unit = one["unit"].as_str().unwrap();
    assert!(!unit.contains(['(', ' ']), "{unit}");
    let statistic = match one["test"].as_str().unwrap() {
        "tcp-rr" => "p50".into(),
        "open-loop" => "p99.9".into(),
        _ => Value::Null,
    };
    assert_eq!(one["statistic"], statistic, "{one}");
    assert_eq!(one["ceiling"].is_number(), one["test"] == "udp-rate");
}

fn tests_of(found: &[Value]) -> Vec<&str> {
    let tests = found.iter().map(|one| one["test"].as_str());
    tests.map(Option::unwrap).collect()
}

#[test]
fn a_race_against_the_kernel_is_run_and_told_and_absent_rivals_are_named() {
    if !privileged("a_race_against_the_kernel_is_run_and_told_and_absent_rivals_are_named") {
        return;
    }
    let ground = Ground::new();
    let svg = ground.path("race.svg");
    let tests = "tcp-stream,udp-gso,udp-rate,frame-cpu,tcp-rr,open-loop,churn";
    let mut command = ground.race(&["--underlay", "wire", "--policies", "20", "--tests", tests]);
    // Nothing is installed there.
    command
        .arg("--svg")
        .arg(&svg)
        .env("PATH", ground.path("tmp"));
    let (found, beside) = ground.run(command);
    assert!(
        beside.contains("SKIPPED: ovs") && beside.contains("openvswitch-switch"),
        "{beside}"
    );
    let rates = ["udp-rate"; 4];
    let [first, last] = [
        &["tcp-stream", "tcp-stream", "udp-gso"][..],
        &["frame-cpu", "tcp-rr", "open-loop", "churn"],
    ];
    assert_eq!(tests_of(&found), [first, &rates, last].concat());
    for one in &found {
        assert_sound(one);
        assert_eq!(
            (&one["peer"], &one["policies"]),
            (&"kernel".into(), &20.into())
        );
    }
    let drawn = std::fs::read_to_string(svg).unwrap();
    assert_eq!(drawn.matches("<circle").count(), found.len());
    assert!(
        drawn.contains("weft against kernel, underlay wire"),
        "{drawn}"
    );
}

#[test]
fn a_race_against_open_vswitch_is_run_and_told() {
    const TEST: &str = "a_race_against_open_vswitch_is_run_and_told";
    if !privileged(TEST) || !open_vswitch(TEST) {
        return;
    }
    let ground = Ground::new();
    let (found, _) = ground.run(ground.race(&[
        "--against",
        "kernel,ovs",
        "--underlay",
        "pass-through,wire",
        "--policies",
        "20",
        "--tests",
        "tcp-local,tcp-rr,churn",
    ]));
    let passing = ["tcp-local", "tcp-rr", "churn"];
    let once = [&passing[..], &["tcp-rr", "churn"]].concat();
    assert_eq!(tests_of(&found), [once.clone(), once].concat());
    found.iter().for_each(assert_sound);
    let peers: Vec<_> = found
        .iter()
        .map(|one| one["peer"].as_str().unwrap())
        .collect();
    assert_eq!(peers, [["kernel"; 5], ["ovs"; 5]].concat());
}

#[test]
fn a_rival_that_is_asked_for_must_be_there() {
    if !privileged("a_rival_that_is_asked_for_must_be_there") {
        return;
    }
    let ground = Ground::new();
    let mut command = ground.race(&["--against", "ovs"]);
    let output = command.env("PATH", ground.path("tmp")).output().unwrap();
    let (said, beside) = words(&output);
    assert_eq!(output.status.code(), Some(3), "{beside}");
    assert!(
        said.is_empty() && beside.contains("openvswitch-switch"),
        "{beside}"
    );
}

#[test]
fn policies_are_compiled_to_as_many_entries_as_promised() {
    if !privileged("policies_are_compiled_to_as_many_entries_as_promised") {
        return;
    }
    let ground = Ground::new();
    let (found, _) = ground.run(ground.race(&[
        "--against",
        "unpoliced",
        "--underlay",
        "wire",
        "--policies",
        "501",
        "--tests",
        "tcp-rr",
    ]));
    assert_eq!(tests_of(&found), ["tcp-rr"]);
    assert_sound(&found[0]);
    assert_eq!(found[0]["peer"], "unpoliced");
    assert_eq!(found[0]["policies"], 501);
    assert!(
        found[0]["policyEntries"].as_u64() >= Some(100_000),
        "{}",
        found[0]
    );
}

#[test]
fn a_race_that_is_interrupted_leaves_nothing() {
    const TEST: &str = "a_race_that_is_interrupted_leaves_nothing";
    if !privileged(TEST) || !open_vswitch(TEST) {
        return;
    }
    let ground = Ground::new();
    let words = ["--against", "ovs", "--policies", "1", "--tests", "tcp-rr"];
    let child = ground
        .race(&words)
        .args(["--seconds", "60"])
        .spawn()
        .unwrap();
    wait("both switches run", || {
        let all = processes(&ground.path("tmp"));
        let switches = all.iter().filter(|line| line.starts_with("ovs-vswitchd"));
        switches.count() == 2
    });
    let id = child.id();
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    ground.assert_nothing_is_left(id);
}

fn interrupt(child: &Child) {
    let process = ProcessId::of(child.id()).unwrap().unwrap();
    assert!(process.signal(Signal::Terminate).unwrap());
}

fn wait(what: &str, mut ready: impl FnMut() -> bool) {
    let pause = Duration::from_millis(10);
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        if ready() {
            return;
        }
        std::thread::park_timeout(pause);
    }
    panic!("waited {PATIENCE:?} in vain: {what}");
}

#[test]
fn bytes_arrive_intact_each_way_and_are_told_so() {
    if !privileged("bytes_arrive_intact_each_way_and_are_told_so") {
        return;
    }
    let ends = [Netns::anonymous().unwrap(), Netns::anonymous().unwrap()];
    let mut netlink = Netlink::open_in(&ends[0]).unwrap();
    link::add_veth(&mut netlink, "eth0", "eth0", Some(ends[1].as_fd())).unwrap();
    for (end, ip) in ends.iter().zip(["192.0.2.1", "192.0.2.2"]) {
        let mut netlink = Netlink::open_in(end).unwrap();
        let index = link::index_of(&mut netlink, "eth0").unwrap();
        link::set_up(&mut netlink, index).unwrap();
        let address = addr::Address::new(index, ip.parse().unwrap(), 24);
        addr::ensure(&mut netlink, &address).unwrap();
    }
    let mut sink = Command::new(PROGRAM);
    sink.args(["traffic", "sink", "--listen", "192.0.2.2:7000"]);
    sink.args(["--kind", "hash"]);
    sink.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut sink = ends[1].spawn(sink).unwrap();
    let mut line = String::new();
    let mut lines = BufReader::new(sink.stdout.take().unwrap());
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("ready"), "{line}");
    let mut client = Command::new(PROGRAM);
    client.args(["traffic", "hash", "--to", "192.0.2.2:7000"]);
    client.args(["--bytes", "3000001"]).stdout(Stdio::piped());
    let output = ends[0].spawn(client).unwrap().wait_with_output().unwrap();
    drop(sink.stdin.take());
    assert!(sink.wait().unwrap().success());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["bytes"], 3_000_001);
    assert_eq!(said["intact"], true);
}
