//! Wrong input and an unfit host: the place, the next step, the exit code, and nothing half-made.

use std::net::UdpSocket;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use weft_sys::netns::Netns;

use super::support::{Lab, may_run, weft};

const KERNEL: &str =
    "name: {name}\nnodes: [ { name: k, kind: kernel } ]\nmanifests: [ pods.yaml ]\n";
const POD: &str = "kind: Pod\nmetadata: { name: a }\nspec: { containers: [ { ports: [ { containerPort: 80 } ] } ] }\n";

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
            .contains("pods.yaml:3: status.podIPs: 10.1.2.3 is in no node's podCIDR"),
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
    for kind in ["kernel", "weft"] {
        let lab = Lab::new(&KERNEL.replace("kernel", kind), POD);
        let name = format!("weft.{}.k", lab.name);
        let netns = Netns::create(&name).unwrap();
        // A lab that lost its notes: its namespace is there with somebody inside.
        let socket = netns
            .run(|| UdpSocket::bind("0.0.0.0:8472"))
            .unwrap()
            .unwrap();
        std::fs::create_dir_all(lab.state()).unwrap();
        let answer = lab.up();
        drop(socket);
        // Such remains are swept away first, so the port of the new namespace is free.
        assert!(
            answer.code == 0 || answer.err.contains("8472"),
            "{}",
            answer.err
        );
    }
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
