//! What an installation writes, and how a runtime that watches sees it.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::thread;

use inotify::{EventMask, Inotify, WatchMask};
use serde_json::{Value, json};

use crate::common::{self, command, command_of};
use crate::rig::{LIMIT, LIST, Node, OLDER, PLUGIN, chmod, daemon, mode, pairs, refused};

const ALL: [&str; 3] = ["plugin", "loopback", "conflist"];

fn each(outcome: &str) -> Vec<(String, String)> {
    ALL.map(|item| (item.to_owned(), outcome.to_owned()))
        .to_vec()
}

#[test]
fn an_installation_is_whole_and_a_second_one_touches_nothing() {
    let node = Node::new();
    assert_eq!(node.outcomes("install", &[]), each("installed"));
    let list: Value = serde_json::from_slice(&fs::read(node.list()).unwrap()).unwrap();
    let expected = json!({
        "cniVersion": "1.0.0",
        "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        "name": "weft",
        "plugins": [{
            "type": "weft-cni",
            "socket": node.path("weft.sock"),
            "stateDir": node.path("state"),
            "capabilities": {
                "portMappings": true,
                "ips": true,
                "mac": true,
                "bandwidth": true,
                "io.kubernetes.cri.pod-annotations": true,
            },
        }],
    });
    assert_eq!(list, expected);
    for name in ["weft-cni", "loopback"] {
        assert_eq!(fs::read(node.program(name)).unwrap(), PLUGIN);
        assert_eq!(mode(&node.program(name)), 0o755);
    }
    assert_eq!(mode(&node.list()), 0o600);
    let files = node.files();
    assert_eq!(files.len(), 3, "no temporary file stays: {files:?}");
    assert_eq!(node.outcomes("install", &[]), each("unchanged"));
    assert_eq!(node.files(), files);
}

#[test]
fn what_is_the_default_is_not_in_the_list() {
    let node = Node::new();
    let defaults = [
        "--socket",
        "/run/weft/weft.sock",
        "--state-dir",
        "/var/lib/weft",
    ];
    let mut weft = command_of(node.weft.path().join("weft"));
    weft.args(["cni", "install", "--dry-run", "-o", "json"])
        .args(defaults);
    weft.args(["--mtu", "1400", "--name", "pods.1"]);
    weft.arg("--conf-dir").arg(node.path("net.d"));
    weft.arg("--bin-dir").arg(node.path("bin"));
    let report: Value = serde_json::from_str(&command::run(&mut weft, LIMIT).ok()).unwrap();
    let list = &report["conflist"];
    assert_eq!(list["name"], "pods.1");
    let plugin = list["plugins"][0].as_object().unwrap();
    let keys: Vec<&str> = plugin.keys().map(String::as_str).collect();
    assert_eq!(keys, ["capabilities", "mtu", "socket", "type"]);
    assert_eq!(plugin["mtu"], 1400);
    assert_eq!(plugin["socket"], "/run/weft/weft.sock");
}

#[test]
fn directories_and_files_have_their_modes_whatever_the_umask() {
    for umask in ["000", "077"] {
        let node = Node::new();
        let weft = node.command("install", &[]);
        let mut shell = command_of("/bin/sh");
        shell.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
        shell.arg(weft.get_program()).args(weft.get_args());
        command::run(&mut shell, LIMIT).ok();
        assert_eq!(mode(&node.path("net.d")), 0o755, "{umask}");
        assert_eq!(mode(&node.path("bin")), 0o755, "{umask}");
        assert_eq!(mode(&node.list()), 0o600, "{umask}");
        assert_eq!(mode(&node.program("weft-cni")), 0o755, "{umask}");
    }
}

/// The renames seen since the last look: how, and of which name.
fn renames(watcher: &mut Inotify) -> Vec<(EventMask, String)> {
    let mut buffer = [0; 8192];
    let Ok(events) = watcher.read_events(&mut buffer) else {
        return Vec::new();
    };
    let name = |event: inotify::Event<&std::ffi::OsStr>| {
        (
            event.mask,
            event.name.unwrap().to_string_lossy().into_owned(),
        )
    };
    events.map(name).collect()
}

#[test]
fn a_watching_runtime_sees_a_rename_within_the_directory_and_the_list_last() {
    let node = Node::new();
    node.directories();
    let mut watcher = Inotify::init().unwrap();
    for name in ["net.d", "bin"] {
        let mask = WatchMask::MOVE | WatchMask::MODIFY | WatchMask::DELETE;
        watcher.watches().add(node.path(name), mask).unwrap();
    }
    let moved = |name: &str| {
        [
            (EventMask::MODIFY, format!(".{name}.tmp")),
            (EventMask::MOVED_FROM, format!(".{name}.tmp")),
            (EventMask::MOVED_TO, name.to_owned()),
        ]
    };
    node.install();
    let expected = ["weft-cni", "loopback", LIST].map(moved).concat();
    assert_eq!(renames(&mut watcher), expected);
    node.install();
    assert_eq!(renames(&mut watcher), []);
    node.run("install", &["--mtu", "1400"]).ok();
    assert_eq!(renames(&mut watcher), moved(LIST));
}

#[test]
fn a_new_build_replaces_programs_by_new_files() {
    let node = Node::new();
    node.release(OLDER);
    node.install();
    let mut running = File::open(node.program("weft-cni")).unwrap();
    node.release(PLUGIN);
    let status = node.run("status", &[]);
    assert_eq!(status.code, Some(1), "{status}");
    assert!(
        status.stdout.contains("is of another build than this weft"),
        "{status}"
    );
    let expected = [
        ("plugin", "replaced"),
        ("loopback", "replaced"),
        ("conflist", "unchanged"),
    ];
    assert_eq!(node.outcomes("install", &[]), pairs(&expected));
    assert_eq!(fs::read(node.program("loopback")).unwrap(), PLUGIN);
    let mut old = Vec::new();
    running.read_to_end(&mut old).unwrap();
    assert_eq!(old, OLDER, "a program that runs is not written to");
    // A mode that lets others in, or more, does not stay either.
    chmod(&node.program("weft-cni"), 0o4777);
    node.install();
    assert_eq!(mode(&node.program("weft-cni")), 0o755);
}

#[test]
fn weft_alone_is_the_plugin() {
    let node = Node::without_plugin();
    node.install();
    let weft = fs::read(env!("CARGO_BIN_EXE_weft")).unwrap();
    assert!(fs::read(node.program("weft-cni")).unwrap() == weft);
    // Known for weft's own when it is of another build, too.
    node.release(PLUGIN);
    let expected = [
        ("plugin", "replaced"),
        ("loopback", "replaced"),
        ("conflist", "unchanged"),
    ];
    assert_eq!(node.outcomes("install", &[]), pairs(&expected));
}

#[test]
fn the_built_plugin_is_known_for_wefts_own() {
    let built = Path::new(env!("CARGO_BIN_EXE_weft")).with_file_name("weft-cni");
    let Ok(bytes) = fs::read(&built) else {
        common::tool(
            "weft-cni",
            "the built plugin",
            "build it: cargo build -p weft-cni",
        );
        return;
    };
    let node = Node::new();
    node.directories();
    fs::write(node.program("weft-cni"), bytes).unwrap();
    let expected = [
        ("plugin", "replaced"),
        ("loopback", "installed"),
        ("conflist", "installed"),
    ];
    assert_eq!(node.outcomes("install", &[]), pairs(&expected));
}

#[test]
fn a_dry_run_writes_nothing() {
    let node = Node::new();
    let outcome = node.run("install", &["--dry-run", "--wait"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    for word in [
        "installed",
        "\"type\": \"weft-cni\"",
        "10-weft.conflist:\n{",
    ] {
        assert!(outcome.stdout.contains(word), "no {word:?} in {outcome}");
    }
    assert!(outcome.stderr.contains("nothing is written"), "{outcome}");
    assert!(!node.path("net.d").exists() && !node.path("bin").exists());
    node.install();
    let files = node.files();
    node.release(OLDER);
    let expected = [
        ("plugin", "replaced"),
        ("loopback", "replaced"),
        ("conflist", "unchanged"),
    ];
    assert_eq!(node.outcomes("install", &["--dry-run"]), pairs(&expected));
    assert_eq!(node.files(), files);
}

#[test]
fn two_at_once_do_not_disturb_each_other() {
    let node = Node::new();
    node.directories();
    thread::scope(|scope| {
        for mtu in ["1400", "1401", "1402", "1403"] {
            let node = &node;
            scope.spawn(move || node.run("install", &["--mtu", mtu]).ok());
        }
    });
    assert_eq!(node.files().len(), 3);
    let list: Value = serde_json::from_slice(&fs::read(node.list()).unwrap()).unwrap();
    assert!(list["plugins"][0]["mtu"].as_u64().unwrap() >= 1400);
}

#[test]
fn waiting_holds_back_only_the_list() {
    let node = Node::new();
    let wait = ["--wait", "--timeout", "0"];
    let outcome = node.run("install", &wait);
    refused(
        &outcome,
        1,
        &[
            "the configuration list is not written",
            "cannot reach the weft daemon",
        ],
    );
    assert!(node.program("weft-cni").is_file() && !node.list().exists());
    daemon(&node, false, 0);
    refused(
        &node.run("install", &wait),
        1,
        &["no manifests yet; write some"],
    );
    assert!(!node.list().exists());
    fs::remove_file(node.path("weft.sock")).unwrap();
    daemon(&node, true, 0);
    node.run("install", &wait).ok();
    assert!(node.list().is_file());
}

#[test]
fn a_file_is_on_the_disk_before_it_has_its_name() {
    let Some(strace) = common::tool("strace", "the order of writing", "it sees fsync(2)") else {
        return;
    };
    // A user namespace without mappings lets nobody be traced.
    let traced = command_of(strace.clone())
        .args(["-qq", "-o", "/dev/null", "true"])
        .status();
    if !traced.is_ok_and(|status| status.success()) {
        return common::skipped("to trace", "the order of writing", "strace cannot");
    }
    let node = Node::new();
    let log = node.path("calls");
    let weft = node.command("install", &[]);
    let mut traced = command_of(strace);
    traced.args(["-f", "-y", "-e", "trace=fsync,rename", "-o"]);
    traced
        .arg(&log)
        .arg(weft.get_program())
        .args(weft.get_args());
    command::run(&mut traced, LIMIT).ok();
    let text = fs::read_to_string(&log).unwrap();
    let mut calls = text.lines().filter(|line| line.contains(" = 0"));
    for (name, folder) in [("weft-cni", "bin"), ("loopback", "bin"), (LIST, "net.d")] {
        for part in [
            ["fsync(", &format!("/{folder}/.{name}.tmp>)")],
            ["rename(\"", &format!("/{folder}/{name}\")")],
            ["fsync(", &format!("/{folder}>)")],
        ] {
            let call = calls.next().unwrap_or_default();
            assert!(
                part.iter().all(|part| call.contains(part)),
                "{part:?}: {text}"
            );
        }
    }
}
