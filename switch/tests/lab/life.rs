//! A lab's life: up, up again, in use, hurt, healed, gone.

use std::fs;

use serde_json::Value;

use super::support::{Lab, kill, may_run};

pub(crate) const LAB: &str = r#"name: {name}
nodes:
  - { name: node-a, workers: 1 }
  - { name: node-b, workers: 1 }
  - { name: node-k, kind: kernel }
outside: true
manifests: [ pods.yaml ]
expect:
  - { from: default/a1, to: default/b1, port: 80, protocol: TCP, verdict: allow }
  - { from: default/k1, to: default/a1, port: 53, protocol: UDP, verdict: allow }
  - { from: outside, to: default/a1, port: 80, verdict: deny }
  - { from: node:node-b, to: default/a1, protocol: ICMP, verdict: allow }
"#;

pub(crate) const PODS: &str = r#"apiVersion: v1
kind: Pod
metadata: { name: a1 }
spec: { nodeName: node-a, containers: [ { name: c, ports: [ { containerPort: 80 }, { containerPort: 53, protocol: UDP } ] } ] }
---
apiVersion: v1
kind: Pod
metadata: { name: a2 }
spec: { nodeName: node-a, containers: [ { name: c, ports: [ { containerPort: 80 }, { containerPort: 53, protocol: UDP } ] } ] }
---
apiVersion: v1
kind: Pod
metadata: { name: b1 }
spec: { nodeName: node-b, containers: [ { name: c, ports: [ { containerPort: 80 }, { containerPort: 53, protocol: UDP } ] } ] }
---
apiVersion: v1
kind: Pod
metadata: { name: k1 }
spec: { nodeName: node-k, containers: [ { name: c, ports: [ { containerPort: 80 }, { containerPort: 53, protocol: UDP } ] } ] }
"#;

fn all_ready(status: &Value) -> bool {
    let ready = |list: &Value| {
        list.as_array()
            .expect("a list")
            .iter()
            .all(|one| one["ready"] == true)
    };
    ready(&status["nodes"]) && ready(&status["pods"])
}

fn up(lab: &Lab) -> String {
    let answer = lab.up();
    assert_eq!(answer.code, 0, "{}", answer.err);
    answer.err
}

fn everybody_talks(lab: &Lab) {
    for family in ["ipv4", "ipv6"] {
        let none: [String; 0] = [];
        assert_eq!(lab.denied(&["--family", family]), none, "TCP over {family}");
        let udp = ["--family", family, "--protocol", "UDP", "--port", "53"];
        assert_eq!(lab.denied(&udp), none, "UDP over {family}");
        assert_eq!(
            lab.denied(&["--family", family, "--protocol", "ICMP"]),
            none,
            "ICMP over {family}"
        );
    }
}

fn gone(lab: &Lab) {
    let answer = super::support::weft(&["lab", "down", &lab.name]);
    assert_eq!(answer.code, 0, "{}", answer.err);
    assert!(lab.remains().is_empty(), "{:?}", lab.remains());
}

fn lab_up(test: &str, lab: &str) -> Option<Lab> {
    may_run(test).then(|| {
        let lab = Lab::new(lab, PODS);
        up(&lab);
        lab
    })
}

#[test]
fn comes_up_twice_talks_and_goes() {
    let Some(lab) = lab_up("comes_up_twice_talks_and_goes", LAB) else {
        return;
    };
    let before = lab.processes();
    assert!(up(&lab).contains("nothing changed"));
    assert_eq!(lab.processes(), before);
    let status = lab.json("status", &[]);
    assert!(all_ready(&status), "{status}");
    assert_eq!(status["nodes"][0]["podCIDRs"][0], "10.244.0.0/24");
    everybody_talks(&lab);
    assert_eq!(
        lab.run("check", &[]).code,
        0,
        "{}",
        lab.run("check", &[]).out
    );
    gone(&lab);
}

#[test]
fn runs_over_an_ipv6_underlay() {
    let text = LAB.replace("nodes:\n", "underlay: { family: ipv6 }\nnodes:\n");
    let Some(lab) = lab_up("runs_over_an_ipv6_underlay", &text) else {
        return;
    };
    everybody_talks(&lab);
    gone(&lab);
}

#[test]
fn commands_and_probes_run_inside() {
    let Some(lab) = lab_up("commands_and_probes_run_inside", LAB) else {
        return;
    };
    let answer = lab.run(
        "exec",
        &[
            "default/a1",
            "--",
            "sh",
            "-c",
            "cat /sys/class/net/*/mtu; exit 7",
        ],
    );
    assert_eq!(answer.code, 7, "{}", answer.err);
    assert_eq!(lab.run("node", &["node-k", "--", "true"]).code, 0);
    assert_eq!(lab.run("node", &["outside", "--", "false"]).code, 1);
    let seen = lab.json("probe", &["default/b1", "outside"]);
    assert_eq!(seen["answer"], "outside 192.0.2.2", "{seen}");
    let seen = lab.json("probe", &["default/b1", "outside", "--family", "ipv6"]);
    assert_eq!(seen["answer"], "outside 2001:db8::2", "{seen}");
    let refused = lab.run("probe", &["outside", "default/b1"]);
    assert_eq!(refused.code, 1, "{}", refused.out);
    let junit = lab.path("junit.xml");
    assert_eq!(
        lab.run("check", &["--junit", junit.to_str().unwrap()]).code,
        0
    );
    assert!(
        fs::read_to_string(junit)
            .unwrap()
            .contains("tests=\"4\" failures=\"0\"")
    );
    // What was found is said even where it cannot be written.
    let unwritable = lab.run("check", &["--junit", "/nonexistent/junit.xml"]);
    assert_eq!(unwritable.code, 2, "{}", unwritable.err);
    assert_eq!(unwritable.out, "4 of 4 expectations hold\n");
    let said = "cannot write /nonexistent/junit.xml: ";
    assert!(unwritable.err.contains(said), "{}", unwritable.err);
    // What it names is written to, as a device or a link must be, and never replaced.
    let link = lab.path("link.xml");
    std::os::unix::fs::symlink(lab.path("target.xml"), &link).unwrap();
    let linked = lab.run("check", &["--junit", link.to_str().unwrap()]);
    assert_eq!(linked.code, 0, "{}", linked.err);
    assert!(link.is_symlink() && lab.path("target.xml").is_file());
}

#[test]
fn faults_come_and_go() {
    let Some(lab) = lab_up("faults_come_and_go", LAB) else {
        return;
    };
    let ping = || lab.json("probe", &["default/a1", "default/b1", "--protocol", "ICMP"]);
    let micros = |seen: &Value| seen["rttMicros"].as_u64().unwrap_or(0);
    assert_eq!(lab.run("netem", &["node-b", "--delay", "20ms"]).code, 0);
    let slow = ping();
    assert!((40_000..500_000).contains(&micros(&slow)), "{slow}");
    for pid in lab.processes() {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if arguments.windows(5).any(|word| word == b"relay") {
            kill(pid);
        }
    }
    assert_eq!(ping()["verdict"], "deny", "a dead relay cuts the node off");
    up(&lab);
    assert!(micros(&ping()) >= 40_000, "up starts the relay again");
    assert_eq!(lab.run("netem", &["node-b", "--clear"]).code, 0);
    let fast = ping();
    assert!((1..40_000).contains(&micros(&fast)), "{fast}");
    gone(&lab);
}

#[test]
fn heals_after_kills() {
    let Some(lab) = lab_up("heals_after_kills", LAB) else {
        return;
    };
    for pid in lab.processes() {
        kill(pid);
    }
    assert_eq!(lab.run("status", &[]).code, 1);
    up(&lab);
    assert!(all_ready(&lab.json("status", &[])));
    everybody_talks(&lab);
    weft_sys::netns::Netns::delete(&format!("weft.{}.default.a1", lab.name)).unwrap();
    weft_sys::netns::Netns::delete(&format!("weft.{}.node-b", lab.name)).unwrap();
    up(&lab);
    assert!(all_ready(&lab.json("status", &[])));
    everybody_talks(&lab);
    gone(&lab);
}

#[test]
fn goes_without_notes_and_with_strangers_inside() {
    let Some(lab) = lab_up("goes_without_notes_and_with_strangers_inside", LAB) else {
        return;
    };
    let netns = weft_sys::netns::Netns::open(format!("weft.{}.default.a1", lab.name)).unwrap();
    let mut command = std::process::Command::new("sleep");
    command.arg("600");
    let mut stranger = netns.spawn(command).unwrap();
    fs::write(lab.state().join("lab.json"), "{ half").unwrap();
    let damaged = lab.run("status", &[]);
    assert_eq!(damaged.code, 1);
    assert!(damaged.err.contains("is damaged"), "{}", damaged.err);
    gone(&lab);
    assert!(!stranger.wait().unwrap().success());
    up(&lab);
    for pid in lab.processes() {
        kill(pid);
    }
    fs::remove_dir_all(lab.state()).unwrap();
    gone(&lab);
}

/// A command killed between starting a daemon and writing that down leaves one nobody knows of.
#[test]
fn ends_helpers_nobody_knows_of() {
    let Some(lab) = lab_up("ends_helpers_nobody_knows_of", LAB) else {
        return;
    };
    let notes = lab.state().join("lab.json");
    let mut record: Value = serde_json::from_str(&fs::read_to_string(&notes).unwrap()).unwrap();
    record["daemons"] = serde_json::json!({});
    record["agent"] = Value::Null;
    fs::write(&notes, record.to_string()).unwrap();
    let before = lab.processes();
    up(&lab);
    let after = lab.processes();
    assert_eq!(after.len(), before.len());
    assert!(
        after.iter().all(|pid| !before.contains(pid)),
        "{before:?} {after:?}"
    );
    everybody_talks(&lab);
    gone(&lab);
}

#[test]
fn apply_replaces_pods() {
    let Some(lab) = lab_up("apply_replaces_pods", LAB) else {
        return;
    };
    let (_, fewer) = PODS.split_once("---\n").unwrap();
    let more = format!(
        "{fewer}---\n{}",
        PODS.split("---\n").next().unwrap().replace("a1", "new")
    );
    let lab = lab.with("other.yaml", &more);
    let file = lab.path("other.yaml");
    let answer = lab.run("apply", &["-f", file.to_str().unwrap()]);
    assert_eq!(answer.code, 0, "{}", answer.err);
    let status = lab.json("status", &[]);
    assert!(all_ready(&status), "{status}");
    let names: Vec<_> = status["pods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].clone())
        .collect();
    assert_eq!(names, ["a2", "b1", "k1", "new"]);
    assert!(
        !lab.namespaces()
            .contains(&format!("weft.{}.default.a1", lab.name))
    );
    everybody_talks(&lab);
    up(&lab);
    assert_eq!(
        lab.json("status", &[])["pods"][0]["name"],
        "a1",
        "up brings the file's pods back"
    );
    gone(&lab);
}

#[test]
fn the_demo_holds() {
    if !may_run("the_demo_holds") {
        return;
    }
    // Its files are not needed: the name alone keeps it apart, and down when the test fails.
    let lab = Lab::new(LAB, PODS);
    let answer = super::support::weft(&["lab", "demo", "--name", &lab.name]);
    assert_eq!(answer.code, 0, "{}{}", answer.out, answer.err);
    assert!(!answer.out.contains('✗'), "{}", answer.out);
    assert!(answer.out.lines().count() > 20, "{}", answer.out);
    assert!(lab.remains().is_empty(), "{:?}", lab.remains());
}
