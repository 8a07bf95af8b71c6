//! Wrong input and an unfit host: the place, the next step, the exit code, and nothing half-made.

use std::net::UdpSocket;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use weft_sys::netns::Netns;
use weft_sys::process::{ProcessId, Signal};

use super::support::{Lab, may_run, weft};

const KERNEL: &str =
    "name: {name}\nnodes: [ { name: k, kind: kernel } ]\nmanifests: [ pods.yaml ]\n";
const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: { name: a }\nspec: { containers: [ { ports: [ { containerPort: 80 } ] } ] }\n";

#[test]
fn wrong_files_exit_2_with_the_line() {
    let lab = Lab::new("name: {name}\nnodes: [ { name: k, kinds: kernel } ]\n", "");
    let answer = lab.up();
    assert_eq!(answer.code, 2);
    assert!(
        answer.err.contains("lab.yaml:2: unknown field `kinds`"),
        "{}",
        answer.err
    );
    assert!(
        answer.err.contains("next: correct the spelling"),
        "{}",
        answer.err
    );
    let lab = Lab::new(
        KERNEL,
        &POD.replace("containers", "status: 1, containers")
            .replace("spec:", "status: { podIP: 10.1.2.3 }\nspec:"),
    );
    let answer = lab.up();
    assert_eq!(answer.code, 2);
    assert!(
        answer
            .err
            .contains("pods.yaml:4: status.podIPs: 10.1.2.3 is in no node's podCIDR"),
        "{}",
        answer.err
    );
    assert!(lab.remains().is_empty());
    let answer = weft(&["lab", "up", "-f", "/nonexistent/lab.yaml"]);
    assert_eq!(answer.code, 2);
    assert!(
        answer.err.contains("/nonexistent/lab.yaml: cannot be read"),
        "{}",
        answer.err
    );
}

#[test]
fn without_privilege_exit_3() {
    let lab = Lab::new(KERNEL, POD);
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.args(["lab", "up", "-f"]).arg(lab.path("lab.yaml"));
    if weft_sys::caps::is_root() {
        // The files must be readable by anybody, the program is.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(lab.path(""), open).unwrap();
        command.uid(65534).gid(65534);
    }
    let Ok(output) = command.output() else {
        // The build folder is closed to other users.
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("next: "), "{said}");
}

#[test]
fn a_name_in_use_by_another_file_is_told() {
    if !may_run("a_name_in_use_by_another_file_is_told") {
        return;
    }
    let lab = Lab::new(KERNEL, POD);
    assert_eq!(lab.up().code, 0);
    let text = KERNEL.replace("{name}", &lab.name);
    let lab = lab.with("second.yaml", &text);
    let second = lab.path("second.yaml");
    let second = second.to_str().unwrap();
    let answer = weft(&["lab", "up", "-f", second]);
    assert_eq!(answer.code, 2, "{}", answer.err);
    let first = format!(
        "lab {} is already up from {}",
        lab.name,
        lab.path("lab.yaml").display()
    );
    assert!(answer.err.contains(&first), "{}", answer.err);
    assert!(answer.err.contains("--replace"), "{}", answer.err);
    assert_eq!(weft(&["lab", "up", "-f", second, "--replace"]).code, 0);
    assert_eq!(lab.up().code, 2, "now it is the other file's");
}

#[test]
fn a_taken_port_is_told_and_nothing_stays() {
    if !may_run("a_taken_port_is_told_and_nothing_stays") {
        return;
    }
    let lab = Lab::new(&KERNEL.replace("kernel", "weft"), POD);
    assert_eq!(lab.up().code, 0);
    let netns = Netns::open(format!("weft.{}.k", lab.name)).unwrap();
    lab.processes().into_iter().for_each(super::support::kill);
    let taken = Lab::until(|| {
        netns
            .run(|| UdpSocket::bind("192.0.2.1:8472"))
            .unwrap()
            .ok()
    });
    let before = lab.namespaces();
    let answer = lab.up();
    assert_eq!(answer.code, 3, "{}", answer.err);
    let what = format!("UDP port 8472 of k is taken in weft.{}.k", lab.name);
    assert!(
        answer.err.contains(&what) && answer.err.contains("next: "),
        "{}",
        answer.err
    );
    assert_eq!(lab.namespaces(), before);
    drop(taken);
    assert_eq!(lab.up().code, 0, "once the port is free, up heals");
}

/// Starts `lab up` of many pods, and stops it once namespaces appear.
fn stop_midway(lab: &Lab, signal: Signal) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.args(["lab", "up", "-f"]).arg(lab.path("lab.yaml"));
    let mut child = command.spawn().unwrap();
    let id = ProcessId::of(child.id()).unwrap().unwrap();
    Lab::until(|| (lab.namespaces().len() > 5).then_some(()));
    id.signal(signal).unwrap();
    child.wait().unwrap().code()
}

fn many_pods() -> String {
    let pod = |n: u32| format!("---\n{}", POD.replace("name: a", &format!("name: p{n}")));
    (0..60).map(pod).collect()
}

#[test]
fn an_up_that_is_interrupted_takes_everything_back() {
    if !may_run("an_up_that_is_interrupted_takes_everything_back") {
        return;
    }
    let lab = Lab::new(&KERNEL.replace("kernel", "weft"), &many_pods());
    assert_eq!(stop_midway(&lab, Signal::Terminate), Some(130));
    assert!(lab.remains().is_empty(), "{:?}", lab.remains());
}

#[test]
fn an_up_that_is_killed_is_removed_or_finished() {
    if !may_run("an_up_that_is_killed_is_removed_or_finished") {
        return;
    }
    let lab = Lab::new(&KERNEL.replace("kernel", "weft"), &many_pods());
    assert_eq!(stop_midway(&lab, Signal::Kill), None);
    assert_eq!(lab.up().code, 0);
    assert_eq!(lab.run("status", &[]).code, 0, "up finishes what was begun");
    weft(&["lab", "down", &lab.name]);
    assert_eq!(stop_midway(&lab, Signal::Kill), None);
    assert_eq!(weft(&["lab", "down", &lab.name]).code, 0);
    assert!(lab.remains().is_empty(), "{:?}", lab.remains());
}

#[test]
fn unknown_names_are_told() {
    if !may_run("unknown_names_are_told") {
        return;
    }
    let lab = Lab::new(KERNEL, POD);
    let answer = lab.run("status", &[]);
    assert_eq!(answer.code, 2, "{}", answer.err);
    assert!(
        answer.err.contains(&format!("lab {} is not up", lab.name)),
        "{}",
        answer.err
    );
    assert_eq!(lab.up().code, 0);
    let answer = lab.run("exec", &["default/z", "--", "true"]);
    assert_eq!(answer.code, 2);
    assert!(
        answer.err.contains("there is no pod default/z"),
        "{}",
        answer.err
    );
    let answer = lab.run("probe", &["default/a", "node:z"]);
    assert_eq!(answer.code, 2);
    assert!(
        answer.err.contains("there is no node z in lab"),
        "{}",
        answer.err
    );
}

#[test]
fn asking_a_daemon_by_a_wrong_name_tells_the_names() {
    if !may_run("asking_a_daemon_by_a_wrong_name_tells_the_names") {
        return;
    }
    let kinds = "{ name: k, kind: kernel }, { name: w }, { name: x }";
    let lab = Lab::new(&KERNEL.replace("{ name: k, kind: kernel }", kinds), POD);
    assert_eq!(lab.up().code, 0);
    let ask = |word: &str, name: &str, node: &str| weft(&[word, "--lab", name, "--node", node]);
    assert_eq!(ask("status", &lab.name, "w").code, 0);
    for (word, name, node, told) in [
        ("status", &lab.name, "y", "there is no node y in lab"),
        ("status", &lab.name, "y", "--node w, or --node x"),
        ("ports", &lab.name, "k", "is a kernel node"),
        ("version", &lab.name, "y", "--node w, or --node x"),
        (
            "status",
            &"none".to_owned(),
            "w",
            "lab none is not up; up: ",
        ),
        ("status", &"none".to_owned(), "w", &lab.name),
    ] {
        let answer = ask(word, name, node);
        assert_eq!(answer.code, 2, "{}", answer.err);
        assert!(answer.err.contains(told), "{}", answer.err);
    }
}
