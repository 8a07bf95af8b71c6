//! What `weft cni status` finds.

use std::fs;

use serde_json::Value;

use crate::rig::{Node, chmod, daemon, refused};

#[test]
fn status_is_yes_only_if_everything_is() {
    let node = Node::new();
    let verdicts = || {
        let outcome = node.run("status", &["-o", "json"]);
        let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(
            outcome.code,
            Some(if report["ok"] == true { 0 } else { 1 }),
            "{outcome}"
        );
        let mut bad = Vec::new();
        for check in report["checks"].as_array().unwrap() {
            if check["ok"] == false {
                assert_ne!(check["next"], "", "{check}");
                bad.push(check["check"].as_str().unwrap().to_owned());
            }
        }
        bad
    };
    assert_eq!(verdicts(), ["conflist", "daemon", "plugin", "loopback"]);
    node.install();
    assert_eq!(verdicts(), ["daemon"]);
    daemon(&node, true, 0);
    assert_eq!(verdicts(), Vec::<String>::new());
    let table = node.run("status", &[]).ok();
    assert!(
        table.starts_with(
            "CHECK     OK   FOUND
conflist  yes  /"
        ),
        "{table}"
    );
    assert!(
        table.contains(
            "
versions  yes  0.3.1, 0.4.0, 1.0.0, 1.1.0
"
        ),
        "{table}"
    );
    chmod(&node.program("loopback"), 0o644);
    chmod(&node.program("weft-cni"), 0o775);
    assert_eq!(verdicts(), ["plugin", "loopback"]);
    let list = fs::read_to_string(node.list()).unwrap();
    fs::write(node.list(), list.replace("0.3.1", "9.9.9")).unwrap();
    node.install();
    chmod(&node.program("loopback"), 0o755);
    assert_eq!(verdicts(), Vec::<String>::new());
    fs::write(node.list(), list.replace("0.3.1", "9.9.9")).unwrap();
    assert_eq!(verdicts(), ["versions"]);
    fs::write(node.list(), "{}").unwrap();
    assert_eq!(verdicts(), ["conflist"]);
}

#[test]
fn an_earlier_configuration_is_named() {
    let node = Node::new();
    node.directories();
    for name in ["05-other.conf", "05-note.txt", "99-late.conflist"] {
        fs::write(node.path("net.d").join(name), "{}").unwrap();
    }
    let outcome = node.run("install", &[]);
    refused(
        &outcome,
        0,
        &["05-other.conf sorts before 10-weft.conflist", "containerd"],
    );
    let json: Value = serde_json::from_str(&node.run("install", &["-o", "json"]).ok()).unwrap();
    assert_eq!(json["warnings"].as_array().unwrap().len(), 1);
    let status = node.run("status", &[]);
    assert!(
        status.stdout.contains("05-other.conf comes before it"),
        "{status}"
    );
    assert!(status.stdout.contains("order: next: "), "{status}");
    let first = node.run("install", &["--conf-name", "00-weft.conflist"]);
    assert!(!first.stderr.contains("warning"), "{first}");
}
