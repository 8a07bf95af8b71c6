//! What uninstalling removes, what it keeps, and when it does not begin.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;

use weft_sys::netlink::{Netlink, link};
use weft_sys::netns::Netns;
use weft_sys::nft::NatTable;
use weft_sys::tap::{self, TapConfig};

use crate::common::command::{self, Outcome as Ended};
use crate::common::privileged;
use crate::rig::{FOREIGN, LIMIT, Node, OLDER, daemon, outcomes, pairs, refused};

/// A network namespace to uninstall in, so that this machine's own is not touched.
fn uninstall(node: &Node, netns: &Netns, arguments: &[&str]) -> Ended {
    let mut command = node.command("uninstall", arguments);
    netns.enter_on_exec(&mut command).unwrap();
    command::run(&mut command, LIMIT)
}

fn gone(node: &Node, netns: &Netns, arguments: &[&str]) -> Vec<(String, String)> {
    let json = [arguments, &["-o", "json"]].concat();
    outcomes(&uninstall(node, netns, &json).ok())
}

const ITEMS: [&str; 6] = [
    "conflist",
    "plugin",
    "loopback",
    "nftables table",
    "interface",
    "state",
];

fn items(outcomes: [&str; 6]) -> Vec<(String, String)> {
    pairs(&ITEMS.into_iter().zip(outcomes).collect::<Vec<_>>())
}

fn table(name: &str) -> NatTable {
    NatTable {
        name: name.to_owned(),
        sources: vec![([10, 244, 0, 0].into(), 24)],
        exclude_destinations: Vec::new(),
        exclude_interfaces: vec!["weft0".to_owned()],
        ..NatTable::default()
    }
}

fn index(name: &str) -> u32 {
    link::index_of(&mut Netlink::open().unwrap(), name).unwrap()
}

#[test]
fn uninstalling_removes_all_that_is_wefts_and_nothing_else() {
    if !privileged("uninstalling removes all that is weft's") {
        return;
    }
    let netns = Netns::anonymous().unwrap();
    let node = Node::new();
    node.directories();
    fs::write(node.program("bridge"), FOREIGN).unwrap();
    node.install();
    node.release(OLDER);
    let mut queues = netns
        .run(|| {
            table("weft").install().unwrap();
            table("other").install().unwrap();
            tap::open(Some("weft0"), TapConfig::multi_queue(1)).unwrap()
        })
        .unwrap();
    netns
        .run(|| link::set_up(&mut Netlink::open().unwrap(), index("weft0")))
        .unwrap()
        .unwrap();
    // While a process holds the interface, the network stays.
    let held = items(["removed", "removed", "removed", "kept", "kept", "absent"]);
    assert_eq!(gone(&node, &netns, &[]), held);
    queues[0].set_persist(true).unwrap();
    queues.clear();
    fs::create_dir_all(node.path("state/deleted")).unwrap();
    fs::write(node.path("state/attachments.journal"), "records").unwrap();
    fs::write(node.path("state/attachments.lock"), "").unwrap();
    let left = items(["absent", "absent", "absent", "removed", "removed", "kept"]);
    assert_eq!(gone(&node, &netns, &[]), left);
    assert!(node.path("state/attachments.journal").exists());
    fs::write(node.path("state/note"), "mine").unwrap();
    let mut absent = items(["absent", "absent", "absent", "absent", "absent", "kept"]);
    assert_eq!(gone(&node, &netns, &["--purge"]), absent);
    fs::remove_file(node.path("state/note")).expect("the operator's file stays");
    assert!(!node.path("state/attachments.journal").exists());
    absent[5].1 = "removed".to_owned();
    assert_eq!(gone(&node, &netns, &["--purge"]), absent);
    absent[5].1 = "absent".to_owned();
    assert_eq!(gone(&node, &netns, &["--purge"]), absent);
    let other = netns.run(|| NatTable::exists("other").unwrap()).unwrap();
    assert!(other, "another's table stays");
    let bridge = vec![node.program("bridge")];
    let left: Vec<PathBuf> = node.files().into_iter().map(|(path, ..)| path).collect();
    assert_eq!(left, bridge);
}

#[test]
fn uninstalling_keeps_what_others_made_or_need() {
    if !privileged("uninstalling keeps what others made") {
        return;
    }
    let netns = Netns::anonymous().unwrap();
    let node = Node::new();
    node.install();
    for name in ["weft-cni", "loopback"] {
        fs::write(node.program(name), FOREIGN).unwrap();
    }
    fs::write(node.list(), "{\"plugins\":[{\"type\":\"other\"}]}").unwrap();
    netns
        .run(|| link::ensure_bridge(&mut Netlink::open().unwrap(), "weft0"))
        .unwrap()
        .unwrap();
    let files = node.files();
    let kept = items(["kept", "kept", "kept", "absent", "kept", "absent"]);
    assert_eq!(gone(&node, &netns, &["--force", "--purge"]), kept);
    assert_eq!(node.files(), files);
    // Another network of this runtime: without loopback its pods would not start.
    let node = Node::new();
    node.install();
    fs::write(node.path("net.d/20-other.conf"), "{\"type\":\"bridge\"}").unwrap();
    let needed = items(["removed", "removed", "kept", "absent", "kept", "absent"]);
    assert_eq!(gone(&node, &netns, &[]), needed);
    let forced = items(["absent", "absent", "removed", "absent", "kept", "absent"]);
    assert_eq!(gone(&node, &netns, &["--force"]), forced);
    // Another list of weft's own still names the plugin.
    let node = Node::new();
    node.install();
    node.run("install", &["--conf-name", "20-weft.conflist"])
        .ok();
    let named = items(["removed", "kept", "kept", "absent", "kept", "absent"]);
    assert_eq!(gone(&node, &netns, &[]), named);
}

#[test]
fn uninstalling_under_pods_is_refused_unless_forced() {
    if !privileged("uninstalling under pods is refused") {
        return;
    }
    let netns = Netns::anonymous().unwrap();
    let node = Node::new();
    node.install();
    let files = node.files();
    fs::create_dir(node.path("state")).unwrap();
    fs::write(node.path("state/attachments.journal"), "records").unwrap();
    let outcome = uninstall(&node, &netns, &[]);
    refused(
        &outcome,
        1,
        &["attachments.journal may name pods", "weft", "--force"],
    );
    assert_eq!(node.files(), files);
    daemon(&node, true, 3);
    let outcome = uninstall(&node, &netns, &[]);
    refused(
        &outcome,
        1,
        &["3 pods are attached", "kubectl drain", "--force"],
    );
    assert_eq!(node.files(), files);
    // Whatever the daemon holds stays with it.
    let forced = items(["removed", "removed", "removed", "kept", "kept", "kept"]);
    assert_eq!(gone(&node, &netns, &["--force", "--purge"]), forced);
    assert!(node.path("state/attachments.journal").exists());
    // No pods: nothing to refuse. Somebody who does not speak: not known.
    let node = Node::new();
    node.install();
    let listener = UnixListener::bind(node.path("weft.sock")).unwrap();
    let mute = thread::spawn(move || drop(listener.accept()));
    let outcome = uninstall(&node, &netns, &[]);
    mute.join().unwrap();
    refused(&outcome, 1, &["not known whether pods are attached"]);
    fs::remove_file(node.path("weft.sock")).unwrap();
    daemon(&node, true, 0);
    let done = items(["removed", "removed", "removed", "kept", "kept", "absent"]);
    assert_eq!(gone(&node, &netns, &[]), done);
}
