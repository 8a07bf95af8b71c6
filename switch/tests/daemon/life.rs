//! How a daemon starts, follows its manifests, and leaves.

use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::process::Command;

use weft_sys::netlink::{link, route};
use weft_sys::nft::NatTable;

use super::PEER;
use super::rig::{NODE_V4, Node, eventually, privileged, routes_to};

#[test]
fn sigterm_leaves_nothing() {
    if !privileged("sigterm_leaves_nothing") {
        return;
    }
    let mut node = Node::new();
    node.manifest("b.yaml", PEER);
    node.start(&[]);
    let pod = node.pod("a", &["10.244.1.2"]);
    let routed = routes_to(&node.space, "weft0");
    assert_eq!(
        routed,
        [
            "10.244.1.0/24",
            "10.244.2.0/24",
            "fd00:10:244:1::/64",
            "fd00:10:244:2::/64"
        ]
    );
    assert!(node.space.run(|| NatTable::exists("weft")).unwrap());
    assert!(node.detach("a"));
    let (status, log) = node.stop();
    assert!(status.success(), "{status}: {log:#?}");
    assert_eq!(node.space.links(), ["u0"]);
    assert_eq!(pod.space.links(), Vec::<String>::new());
    assert!(!node.space.run(|| NatTable::exists("weft")).unwrap());
    let left = std::fs::read_dir(node.path("")).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["cluster.d", "state", "weft.toml"]);
    // Killed, it cannot clean up; its successor finds nothing in its way.
    node.start(&[]);
    node.daemon = None;
    node.start(&[]);
    let again = node.pod("b", &["10.244.1.2"]);
    assert!(again.space.pings("10.244.1.0"));
}

#[test]
fn a_lost_host_interface_is_reported_and_pods_go_on() {
    if !privileged("a_lost_host_interface_is_reported_and_pods_go_on") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let (a, _b) = (
        node.pod("a", &["10.244.1.2"]),
        node.pod("b", &["10.244.1.3"]),
    );
    link::delete(&mut node.space.netlink(), "weft0").unwrap();
    let status = eventually("the loss is reported", || {
        node.status()
            .ok()
            .filter(|status| !status.problems.is_empty())
    });
    assert_eq!(status.problems[0].what, "weft0 was deleted");
    assert!(a.space.pings("10.244.1.3"));
}

#[test]
fn the_address_of_the_default_route_serves_unless_another_is_named() {
    if !privileged("the_address_of_the_default_route_serves_unless_another_is_named") {
        return;
    }
    let mut node = Node::new();
    let file = node.path("weft.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("address =", "# address =")).unwrap();
    let (code, said) = node.refusal(&[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("there is no default route to take node.address from"),
        "{said}"
    );
    let mut netlink = node.space.netlink();
    let index = link::index_of(&mut netlink, "u0").unwrap();
    let gateway = "192.0.2.254".parse().unwrap();
    route::ensure(
        &mut netlink,
        &route::Route::default_via(gateway, index, true),
    )
    .unwrap();
    node.start(&[]);
    assert_eq!(node.status().unwrap().vtep, Some(NODE_V4.parse().unwrap()));
}

#[test]
fn sighup_reads_manifests_anew_and_a_missing_directory_is_told() {
    if !privileged("sighup_reads_manifests_anew_and_a_missing_directory_is_told") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    std::fs::remove_dir(node.path("cluster.d")).unwrap();
    node.hang_up();
    let status = eventually("the missing directory is reported", || {
        node.status()
            .ok()
            .filter(|status| !status.problems.is_empty())
    });
    assert!(status.ready && !status.healthy);
    assert!(
        status.problems[0].next.contains("mkdir -p"),
        "{:?}",
        status.problems
    );
    std::fs::create_dir(node.path("cluster.d")).unwrap();
    node.manifest("b.yaml", PEER);
    node.hang_up();
    eventually("the peer is known", || {
        (node.client().peers().unwrap().len() == 1).then_some(())
    });
    assert!(node.status().unwrap().healthy);
}

#[test]
fn without_privilege_the_daemon_says_what_it_lacks() {
    let node = tempfile::tempdir().unwrap();
    let file = node.path().join("weft.toml");
    std::fs::write(
        &file,
        "[node]\nname = \"a\"\npod_cidrs = [\"10.0.0.0/24\"]\n",
    )
    .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(node.path(), mode).unwrap();
    let mut weft = Command::new(env!("CARGO_BIN_EXE_weft"));
    weft.arg("daemon").arg("--config").arg(&file);
    if weft_sys::caps::is_root() {
        weft.uid(65534).gid(65534);
    }
    let Ok(output) = weft.output() else {
        eprintln!("SKIPPED (needs a binary others may run): without_privilege_…");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert_eq!(
        said,
        "error: the daemon does not start: CAP_NET_ADMIN is missing; run as root (sudo), or grant \
         the capability\n"
    );
}

#[test]
fn manifests_are_followed() {
    if !privileged("manifests_are_followed") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    assert!(node.client().peers().unwrap().is_empty());
    node.manifest("b.yaml", PEER);
    let peers = eventually("the peer is known", || {
        Some(node.client().peers().unwrap()).filter(|peers| !peers.is_empty())
    });
    assert_eq!(peers[0].name, "node-b");
    eventually("its range is routed", || {
        routes_to(&node.space, "weft0")
            .contains(&"10.244.2.0/24".to_owned())
            .then_some(())
    });
    node.manifest(
        "b.yaml",
        "kind: Node\nmetadata: {name: node-b}\napiVersion: v2\n",
    );
    let status = eventually("the mistake is reported", || {
        node.status()
            .ok()
            .filter(|status| !status.problems.is_empty())
    });
    assert!(!status.healthy && status.ready);
    let problem = &status.problems[0];
    assert!(problem.place.ends_with("cluster.d/b.yaml:3"), "{problem:?}");
    let expected = "Node node-b: apiVersion: is \"v2\"; weft reads Node objects of v1";
    assert!(problem.what.starts_with(expected), "{problem:?}");
    assert_eq!(
        node.client().peers().unwrap().len(),
        1,
        "the last good version stays"
    );
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {nodeName: node-a}\n\
               status: {podIP: 10.244.1.44}\n";
    node.manifest("b.yaml", pod);
    eventually("the peer is forgotten", || {
        node.client().peers().unwrap().is_empty().then_some(())
    });
    let pod = node.pod("a", &[]);
    assert_eq!(pod.attached.ips[0].to_string(), "10.244.1.44/32");
}

#[test]
fn after_a_sync_the_manifests_count() {
    if !privileged("after_a_sync_the_manifests_count") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let mut client = node.client();
    let mut epoch = client.sync().unwrap().epoch;
    for peers in [1, 0, 1, 0] {
        if peers == 1 {
            node.manifest("b.yaml", PEER);
        } else {
            std::fs::remove_file(node.path("cluster.d/b.yaml")).unwrap();
        }
        let synced = client.sync().unwrap();
        assert_eq!(client.peers().unwrap().len(), peers);
        assert_eq!(synced.epoch, epoch + 1, "one change, one publication");
        assert_eq!(synced.problems, []);
        let workers = client.workers().unwrap();
        assert!(workers.iter().all(|worker| worker.epoch == synced.epoch));
        epoch = synced.epoch;
    }
    // Two files at once are one change.
    node.manifest("b.yaml", PEER);
    node.manifest("c.yaml", "kind: Node\n");
    let synced = client.sync().unwrap();
    assert!(synced.epoch <= epoch + 2);
    assert!(synced.problems[0].place.ends_with("c.yaml:1"), "{synced:?}");
}

#[test]
fn one_daemon_one_port() {
    if !privileged("one_daemon_one_port") {
        return;
    }
    let mut node = Node::new();
    let taken = node.space.run(|| UdpSocket::bind((NODE_V4, 8472)).unwrap());
    let (code, said) = node.refusal(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("UDP port 8472 of 192.0.2.1 is taken"),
        "{said}"
    );
    assert!(said.contains("ss -lunp sport = :8472"), "{said}");
    assert_eq!(node.space.links(), ["u0"]);
    assert!(!node.socket().exists());
    drop(taken);
    node.start(&[]);
    let (code, said) = node.refusal(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("another weft daemon answers at"), "{said}");
    assert!(node.status().unwrap().healthy, "the first is not disturbed");
}

#[test]
fn configuration_that_does_not_fit_the_host() {
    if !privileged("configuration_that_does_not_fit_the_host") {
        return;
    }
    let node = Node::new();
    node.configure("mtu = 1451");
    let (code, said) = node.refusal(&[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("node.mtu 1451 is more than u0 leaves for pods"),
        "{said}"
    );
    std::fs::write(
        node.path("weft.toml"),
        "[node]\naddress = \"198.51.100.1\"\npod_cidrs = [\"10.0.0.0/24\"]\n",
    )
    .unwrap();
    let (code, said) = node.refusal(&[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("node.address 198.51.100.1 is on no interface of this host"),
        "{said}"
    );
    assert_eq!(node.space.links(), ["u0"]);
}
