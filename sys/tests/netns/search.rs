//! A namespace is found by name, mount or process; one that only descriptors keep is not alive.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use weft_sys::netns::{self, Netns, NetnsId};
use weft_sys::tap::{self, TapConfig};

use crate::support::{Namespace, privileged};

const NO_HINT: &str = "/nowhere";

/// Whether it is found with a useless hint, and whether it counts as alive: the same, if all is
/// well.
fn is_used(id: NetnsId) -> bool {
    let found = netns::find(id, Path::new(NO_HINT)).unwrap();
    if let Some(netns) = &found {
        assert_eq!(netns.id().unwrap(), id);
    }
    let live = netns::live().unwrap().contains(&id);
    assert_eq!(found.is_some(), live);
    live
}

/// A process inside that lives until its standard input ends.
fn process_in(netns: &Netns) -> Child {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped());
    netns.spawn(command).unwrap()
}

#[test]
fn a_named_namespace_is_found_until_its_name_goes() {
    if !privileged("a_named_namespace_is_found_until_its_name_goes") {
        return;
    }
    let namespace = Namespace::new();
    let id = namespace.netns.id().unwrap();
    assert!(is_used(id));
    let kept = namespace.netns.try_clone().unwrap();
    drop(namespace);
    assert!(!is_used(id));
    assert_eq!(kept.id().unwrap(), id);
}

#[test]
fn descriptors_and_devices_alone_keep_nothing_alive() {
    if !privileged("descriptors_and_devices_alone_keep_nothing_alive") {
        return;
    }
    let netns = Netns::anonymous().unwrap();
    let id = netns.id().unwrap();
    let queues = netns.run(|| tap::open(Some("eth0"), TapConfig::multi_queue(1)));
    assert!(!is_used(id));
    assert_eq!(
        queues.unwrap().unwrap()[0].netns().unwrap().id().unwrap(),
        id
    );
    assert!(netns.run(|| is_used(id)).unwrap(), "a thread is inside");
    let own = Netns::current().unwrap().id().unwrap();
    assert!(netns::live().unwrap().contains(&own));
}

#[test]
fn a_process_keeps_its_namespace_alive() {
    if !privileged("a_process_keeps_its_namespace_alive") {
        return;
    }
    let netns = Netns::anonymous().unwrap();
    let id = netns.id().unwrap();
    let mut child = process_in(&netns);
    drop(netns);
    assert!(is_used(id));
    let path = PathBuf::from(format!("/proc/{}/ns/net", child.id()));
    let found = netns::find(id, &path).unwrap().unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!is_used(id));
    assert!(netns::find(id, &path).unwrap().is_none());
    assert_eq!(found.id().unwrap(), id);
}

#[test]
fn a_mount_anywhere_is_a_name() {
    if !privileged("a_mount_anywhere_is_a_name") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("name with spaces");
    File::create(&path).unwrap();
    let netns = Netns::anonymous().unwrap();
    let id = netns.id().unwrap();
    let mounted = netns.run(|| mount_bind("/proc/thread-self/ns/net", &path));
    mounted.unwrap().unwrap();
    drop(netns);
    let used = is_used(id);
    unmount(&path, UnmountFlags::DETACH).unwrap();
    assert!(used);
    assert!(!is_used(id));
}

#[test]
fn a_wrong_hint_is_not_believed_or_opened() {
    if !privileged("a_wrong_hint_is_not_believed_or_opened") {
        return;
    }
    let (a, b) = (Namespace::new(), Namespace::new());
    let id = a.netns.id().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let of_b = PathBuf::from(format!("/run/netns/{}", b.name));
    let endless = PathBuf::from("/x".repeat(10_000));
    // Opening the FIFO would wait for a writer for ever.
    for hint in [
        of_b,
        fifo,
        endless,
        PathBuf::new(),
        "/proc/self/ns/mnt".into(),
    ] {
        let found = netns::find(id, &hint).unwrap().unwrap();
        assert_eq!(found.id().unwrap(), id, "{}", hint.display());
    }
}

#[test]
fn a_name_without_a_mount_is_no_namespace() {
    if !privileged("a_name_without_a_mount_is_no_namespace") {
        return;
    }
    let namespace = Namespace::new();
    let path = format!("{}/{}", netns::NETNS_DIR, namespace.name);
    unmount(&path, UnmountFlags::DETACH).unwrap();
    let nsfs = namespace.netns.id().unwrap().device;
    assert!(netns::live().unwrap().iter().all(|id| id.device == nsfs));
    let file = Netns::open(&path).unwrap();
    assert!(!Netns::is_netns(std::os::fd::AsFd::as_fd(&file)).unwrap());
}
