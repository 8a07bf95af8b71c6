//! Does a small race run to its end, say what others rely on, and leave nothing?

use std::io::Write as _;
use std::process::Command;

use serde_json::Value;
use weft_sys::caps;
use weft_sys::netns::Netns;

const PROGRAM: &str = env!("CARGO_BIN_EXE_weft-bench");

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

#[test]
fn a_small_race_is_run_and_told() {
    if !privileged("a_small_race_is_run_and_told") {
        return;
    }
    // Under that name it is weft; a link would not do, as a lab starts itself again.
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(PROGRAM, folder.path().join("weft")).unwrap();
    let svg = folder.path().join("race.svg");
    let mut command = Command::new(PROGRAM);
    command
        .args(["race", "-o", "json", "--pairs", "1", "--seconds", "0.3"])
        .args([
            "--underlay",
            "wire",
            "--tests",
            "tcp-stream,udp-gso,udp-rate,tcp-rr,churn",
        ])
        .args(["--policies", "20", "--programs"])
        .arg(folder.path())
        .arg("--svg")
        .arg(&svg);
    let child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let found: Vec<Value> = serde_json::from_str(&said).unwrap();
    assert_eq!(found.len(), 2 + 1 + 4 + 1 + 1, "{said}");
    for one in &found {
        for field in ["weft", "peerValue", "ratio", "ratioLow", "ratioHigh"] {
            assert!(one[field].as_f64().unwrap() > 0.0, "{field} of {one}");
        }
        assert!(one["cpuMicrosPerUnit"]["weft"].as_f64().unwrap() > 0.0);
        assert_eq!((&one["peer"], &one["pairs"]), (&"kernel".into(), &1.into()));
        assert_eq!(one["reordered"]["weft"], 0.0, "{one}");
        let is_rate = one["test"] == "udp-rate";
        assert_eq!(one["ceiling"].is_number(), is_rate);
    }
    let drawn = std::fs::read_to_string(svg).unwrap();
    assert_eq!(drawn.matches("<circle").count(), found.len());
    let left = Netns::list("weft.race").unwrap();
    let own = format!("-{id}.");
    assert!(!left.iter().any(|name| name.contains(&own)), "{left:?}");
}
