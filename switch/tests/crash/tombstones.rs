//! DEL while no daemon listens: the real plugin notes it, and the next daemon catches up.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::path_of;
use super::rig::{Node, Space, eventually, identity, pause, privileged};

/// Two ways for a daemon to end.
const ENDINGS: [fn(&mut Node); 2] = [
    |node| drop(node.stop()),
    // Dropped, it is killed.
    |node| node.daemon = None,
];

/// Runs the plugin on the pod `name`; what it says.
fn plugin(node: &Node, verb: &str, name: &str, netns: &str) -> String {
    let config = format!(
        "{{\"cniVersion\": \"1.1.0\", \"name\": \"net\", \"type\": \"weft-cni\", \"socket\": {:?}, \
         \"stateDir\": {:?}}}",
        node.socket(),
        node.path("state"),
    );
    let identity = identity(name);
    let mut child = Command::new(env!("CARGO_BIN_EXE_weft"))
        .arg0("weft-cni")
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", identity.container_id)
        .env("CNI_IFNAME", identity.ifname)
        .env("CNI_NETNS", netns)
        .env("CNI_PATH", "/opt/cni/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(config.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{verb} of {name}: {said}");
    said
}

/// A new pod.
fn add(node: &Node, name: &str) -> Space {
    let space = Space::new();
    plugin(node, "ADD", name, &path_of(&space));
    space
}

/// The deletions that are noted.
fn noted(node: &Node) -> usize {
    std::fs::read_dir(node.path("state/deleted"))
        .unwrap()
        .count()
}

/// The containers that have ports.
fn ports(node: &Node) -> BTreeSet<String> {
    let ports = node.client().ports().unwrap().into_iter();
    let pods = ports.filter(|port| port.kind == "pod");
    pods.map(|port| port.container_id).collect()
}

#[test]
fn what_was_deleted_without_daemon_is_gone_when_it_is_back() {
    if !privileged("what_was_deleted_without_daemon_is_gone_when_it_is_back") {
        return;
    }
    for end in ENDINGS {
        let mut node = Node::new();
        node.start(&[]);
        let [stays, gone, again, vanished] =
            ["stays", "gone", "again", "vanished"].map(|name| add(&node, name));
        end(&mut node);
        plugin(&node, "DEL", "gone", &path_of(&gone));
        plugin(&node, "DEL", "again", &path_of(&again));
        drop(vanished);
        plugin(&node, "DEL", "vanished", "");
        plugin(&node, "DEL", "unknown", "");
        assert_eq!(noted(&node), 4);
        assert_eq!(gone.links(), ["eth0"], "who would have taken it away?");
        node.start(&[]);
        let said = plugin(&node, "ADD", "again", &path_of(&again));
        assert!(said.contains("10.244.1."), "{said}");
        eventually("the deletions are caught up with", || {
            (noted(&node) == 0 && gone.links().is_empty()).then_some(())
        });
        let names = ["again", "stays"].map(|name| identity(name).container_id);
        assert_eq!(ports(&node), names.into());
        plugin(&node, "DEL", "stays", &path_of(&stays));
        plugin(&node, "DEL", "again", &path_of(&again));
        eventually("the interfaces are gone", || {
            (stays.links().is_empty() && again.links().is_empty()).then_some(())
        });
        assert_eq!(noted(&node), 0, "with a daemon nothing needs a note");
        assert_eq!(node.status().unwrap().problems, []);
    }
}

/// Each daemon lives a little longer than the last.
#[test]
fn daemons_that_die_while_they_catch_up() {
    if !privileged("daemons_that_die_while_they_catch_up") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let names: Vec<String> = (0..20).map(|n| format!("p{n}")).collect();
    let pods: Vec<Space> = names.iter().map(|name| add(&node, name)).collect();
    node.daemon = None;
    let (deleted, kept) = names.split_at(16);
    for (name, space) in deleted.iter().zip(&pods) {
        plugin(&node, "DEL", name, &path_of(space));
    }
    for life in (0..300).step_by(15) {
        node.launch(&[]);
        pause(Duration::from_millis(life));
        node.daemon = None;
    }
    node.start(&[]);
    eventually("the deletions are caught up with", || {
        (noted(&node) == 0).then_some(())
    });
    let names: BTreeSet<_> = kept
        .iter()
        .map(|name| identity(name).container_id)
        .collect();
    assert_eq!(ports(&node), names);
    eventually("the interfaces of the deleted are gone", || {
        pods[..16]
            .iter()
            .all(|pod| pod.links().is_empty())
            .then_some(())
    });
    assert!(pods[16..].iter().all(|pod| pod.links() == ["eth0"]));
    assert_eq!(node.status().unwrap().problems, []);
}
