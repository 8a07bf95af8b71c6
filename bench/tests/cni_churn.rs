//! Do pods that come and go leave anything, and do others notice? The churn of `weft-bench`, small.

mod common;

use std::os::unix::fs::symlink;
use std::process::Command;

use weft_sys::netns::Netns;

use common::privileged;

const PROGRAM: &str = env!("CARGO_BIN_EXE_weft-bench");

#[test]
fn pods_come_and_go_and_the_daemon_dies_and_nothing_is_left() {
    if !privileged("pods_come_and_go_and_the_daemon_dies_and_nothing_is_left") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["weft", "weft-cni"] {
        symlink(PROGRAM, folder.path().join(name)).unwrap();
    }
    let mut command = Command::new(PROGRAM);
    command.args(["cni", "--churn", "200", "--kill-every", "80", "-o", "json"]);
    command.arg("--programs").arg(folder.path());
    command.arg("--folder").arg(folder.path());
    let child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let answer: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer["failures"], serde_json::json!([]));
    assert_eq!(answer["pods"], 200);
    assert_eq!(answer["kills"], 2, "{said}");
    assert_eq!(answer["lostOtherwise"], 0);
    assert!(
        answer["lostInAbsences"].as_u64().unwrap() > 0,
        "nobody notices a dead daemon: {said}"
    );
    assert!(answer["streamBytes"].as_u64().unwrap() > 100_000, "{said}");
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    left.retain(|entry| !entry.as_ref().unwrap().file_type().unwrap().is_symlink());
    assert!(left.is_empty(), "{left:?}");
    assert!(
        Netns::list(&format!("weft-bench.{id}."))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn programs_that_are_missing_are_named() {
    if !privileged("programs_that_are_missing_are_named") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    let output = command
        .arg("cni")
        .arg("--programs")
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("has no weft; build it with: cargo build --release"),
        "{said}"
    );
}
