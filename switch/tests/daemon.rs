//! A real daemon in network namespaces: pods get interfaces, packets flow, and everything is gone
//! afterwards. Needs root; says which tests it skipped otherwise.

#![expect(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test fails"
)]
#![expect(clippy::panic, reason = "a failed expectation is how a test fails")]
#![expect(
    clippy::indexing_slicing,
    reason = "a failed expectation is how a test fails"
)]

#[path = "daemon/rig.rs"]
mod rig;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rig::{NODE_V4, Node, eventually, privileged, raw_call, request, routes_to};
use weft_switch::api::ClientError;
use weft_sys::nft::MasqueradeTable;

const PEER: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: node-b}\nspec: {podCIDRs: \
                    [10.244.2.0/24, \"fd00:10:244:2::/64\"]}\nstatus: {addresses: [{type: \
                    InternalIP, address: 192.0.2.2}]}\n";

/// Two pods and the node: everyone reaches everyone, in both families.
fn everyone_talks(arguments: &[&str], backend: &str) {
    let mut node = Node::new();
    node.start(arguments);
    let a = node.pod("a", &["10.244.1.2", "fd00:10:244:1::2"]);
    let b = node.pod("b", &["10.244.1.3", "fd00:10:244:1::3"]);
    assert_eq!(a.attached.backend, backend);
    assert_eq!(a.attached.mtu, 1450);
    assert_eq!(a.attached.mac, "0a:58:0a:f4:01:02");
    for to in [
        "10.244.1.3",
        "fd00:10:244:1::3",
        "169.254.1.1",
        "10.244.1.0",
        "fd00:10:244:1::",
        NODE_V4,
    ] {
        assert!(a.space.pings(to), "pod a to {to}");
    }
    for to in ["10.244.1.2", "fd00:10:244:1::2"] {
        assert!(b.space.pings(to), "pod b to {to}");
        assert!(node.space.pings(to), "node to {to}");
    }
    tcp(&a.space, &b.space, "10.244.1.3:80".parse().unwrap());
    tcp(
        &node.space,
        &b.space,
        "[fd00:10:244:1::3]:81".parse().unwrap(),
    );
    let status = node.status().unwrap();
    assert!(status.healthy, "{:?}", status.problems);
    assert_eq!((status.pods, status.backend.as_str()), (2, backend));
    let flows = node.client().flows(Some("default/a".to_owned())).unwrap();
    assert!(flows.iter().any(|flow| flow.protocol == "tcp"), "{flows:?}");
}

/// Sends 1 MB from one namespace to a listener in another, which counts it.
fn tcp(from: &rig::Space, to: &rig::Space, at: SocketAddr) {
    let listener = to.run(|| TcpListener::bind(at).unwrap());
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    from.run(|| {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(&vec![7; 1_000_000]).unwrap();
    });
    assert_eq!(receiver.join().unwrap(), 1_000_000);
}

#[test]
fn pods_and_node_talk() {
    if privileged("pods_and_node_talk") {
        everyone_talks(&[], "fast");
    }
}

#[test]
fn pods_and_node_talk_through_plain_taps() {
    if privileged("pods_and_node_talk_through_plain_taps") {
        everyone_talks(&["--tap", "plain"], "plain");
    }
}

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
    assert!(node.space.run(|| MasqueradeTable::exists("weft")).unwrap());
    let (status, log) = node.stop();
    assert!(status.success(), "{status}: {log:#?}");
    assert_eq!(node.space.links(), ["u0"]);
    assert_eq!(pod.space.links(), Vec::<String>::new());
    assert!(!node.space.run(|| MasqueradeTable::exists("weft")).unwrap());
    assert!(!node.socket().exists());
    node.start(&[]);
    node.pod("b", &["10.244.1.2"]);
    // Killed, it cannot clean up; its successor finds nothing in its way.
    node.daemon = None;
    node.start(&[]);
    let again = node.pod("b", &["10.244.1.2"]);
    assert!(again.space.pings("10.244.1.0"));
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
fn attach_is_idempotent_and_detach_frees_everything() {
    if !privileged("attach_is_idempotent_and_detach_frees_everything") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let ips = ["10.244.1.2", "fd00:10:244:1::2"];
    let pod = node.pod("a", &ips);
    assert_eq!(node.attach("a", &ips, &pod.space).unwrap(), pod.attached);
    assert_eq!(node.status().unwrap().pods, 1);
    assert!(node.detach("a"));
    assert!(!node.detach("a"));
    assert_eq!(pod.space.links(), Vec::<String>::new());
    assert_eq!(node.status().unwrap().pods, 0);
    let again = node.attach("c", &ips, &pod.space).unwrap();
    assert_ne!(
        again.port, pod.attached.port,
        "numbers rest before they are used again"
    );
    assert!(node.space.pings("10.244.1.2"));
}

#[test]
fn what_cannot_be_attached_leaves_nothing() {
    if !privileged("what_cannot_be_attached_leaves_nothing") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let held = node.pod("held", &["10.244.1.2"]);
    let cases: &[(&[&str], &str)] = &[
        (
            &["10.244.1.2"],
            "10.244.1.2 is taken by pod default/held; detach that one, or choose another",
        ),
        (
            &["10.244.2.2"],
            "10.244.2.2 is outside the pod ranges of node node-a (10.244.1.0/24, fd00:10:244:1::/64); choose an address of this node's ranges",
        ),
        (
            &["10.244.1.0"],
            "10.244.1.0 is reserved in 10.244.1.0/24; pods start at the third address; choose an address of this node's ranges",
        ),
        (
            &["10.244.1.4", "10.244.1.5"],
            "10.244.1.5 is a second address of its family; give at most one of each family",
        ),
        (
            &[],
            "the pod has no address; give ips, or write status.podIP into the pod's manifest",
        ),
    ];
    let space = rig::Space::new();
    for (ips, expected) in cases {
        let error = node.attach("b", ips, &space).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the weft daemon refused: {expected}")
        );
        assert_eq!(space.links(), Vec::<String>::new());
    }
    // The pod has an interface of that name already.
    let error = node
        .attach("other", &["10.244.1.9"], &held.space)
        .unwrap_err();
    assert!(
        error.to_string().contains("made by another plugin"),
        "{error}"
    );
    let mut odd = request("b", &["10.244.1.7"]);
    odd.container_id = "../x".to_owned();
    let error = node.client().attach(odd, &space.0).unwrap_err();
    assert!(
        error.to_string().contains("is not a container id"),
        "{error}"
    );
    assert_eq!(node.status().unwrap().pods, 1);
    assert!(
        node.space.pings("10.244.1.2"),
        "the pod that holds it is not disturbed"
    );
}

#[test]
fn a_pod_that_vanishes_closes_its_port() {
    if !privileged("a_pod_that_vanishes_closes_its_port") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let pod = node.pod("a", &["10.244.1.2"]);
    weft_sys::netlink::link::delete(&mut pod.space.netlink(), "eth0").unwrap();
    eventually("the port is closed", || {
        (node.status().ok()?.pods == 0).then_some(())
    });
    assert!(node.attach("b", &["10.244.1.2"], &pod.space).is_ok());
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
    assert_eq!(
        problem.what,
        "Node node-b: apiVersion: is \"v2\"; weft reads Node objects of v1"
    );
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
fn a_pod_sends_to_a_peer_over_vxlan() {
    if !privileged("a_pod_sends_to_a_peer_over_vxlan") {
        return;
    }
    let mut node = Node::new();
    node.manifest("b.yaml", &PEER.replace("192.0.2.2", "192.0.2.77"));
    let mut netlink = node.space.netlink();
    let index = weft_sys::netlink::link::index_of(&mut netlink, "u0").unwrap();
    let other =
        weft_sys::netlink::addr::Address::new(index, Ipv4Addr::new(192, 0, 2, 77).into(), 24);
    weft_sys::netlink::addr::ensure(&mut netlink, &other).unwrap();
    let peer = node
        .space
        .run(|| UdpSocket::bind("192.0.2.77:8472").unwrap());
    peer.set_read_timeout(Some(std::time::Duration::from_secs(10)))
        .unwrap();
    node.start(&[]);
    let a = node.pod("a", &["10.244.1.2"]);
    a.space.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"hello", "10.244.2.9:5000").unwrap();
    });
    let mut datagram = [0; 2000];
    let (count, from) = peer.recv_from(&mut datagram).unwrap();
    assert_eq!(from.ip().to_string(), NODE_V4);
    assert!(from.port() >= 49152, "a lane");
    assert_eq!(count, 8 + 14 + 20 + 8 + 5);
    assert_eq!(&datagram[..8], &[8, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(&datagram[count - 5..count], b"hello");
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

#[test]
fn only_root_and_only_our_messages() {
    if !privileged("only_root_and_only_our_messages") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let answer =
        |bytes: &[u8]| String::from_utf8_lossy(&raw_call(&node.socket(), bytes)).into_owned();
    let framed = |text: &str| {
        let mut bytes = u32::try_from(text.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    assert!(answer(&framed("{\"version\":9,\"call\":\"status\"}")).contains("speaks version 9"));
    assert!(answer(&framed("{\"version\":1,\"call\":\"dance\"}")).contains("bad_message"));
    assert!(answer(&u32::MAX.to_le_bytes()).contains("at most 1048576"));
    let attach = r#"{"version":1,"call":{"attach":{"container_id":"a","ifname":"eth0"}}}"#;
    assert!(answer(&framed(attach)).contains("needs one file descriptor"));
    assert!(answer(b"abc").is_empty());
    assert!(node.status().unwrap().healthy);

    // A stranger cannot even open the socket; were the file's mode lost, the daemon would refuse.
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(node.path(""), mode(0o755)).unwrap();
    let stranger = || {
        let mut weft = Command::new(env!("CARGO_BIN_EXE_weft"));
        weft.args(["ports", "--socket"])
            .arg(node.socket())
            .uid(65534)
            .gid(65534);
        weft.env("WEFT_SOCKET", "").output()
    };
    // The test's own binary may lie where a stranger cannot execute it.
    let Ok(refused) = stranger() else {
        eprintln!("SKIPPED (needs a binary others may run): the part about another user");
        return;
    };
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("try again with sudo"), "{said}");
    std::fs::set_permissions(node.socket(), mode(0o666)).unwrap();
    let said = String::from_utf8_lossy(&stranger().unwrap().stderr).into_owned();
    assert!(
        said.contains("user 65534 may not talk to the daemon"),
        "{said}"
    );
}

#[test]
fn metrics_health_and_drops() {
    if !privileged("metrics_health_and_drops") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let pod = node.pod("a", &["10.244.1.2"]);
    pod.space.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let _ = socket.send_to(b"x", "10.244.1.200:9");
    });
    let drops = eventually("the drop is counted", || {
        let drops = node.client().drops(false).unwrap().drops;
        drops.into_iter().find(|drop| drop.reason == "no_such_pod")
    });
    assert_eq!(drops.packets, 1);
    let example = drops.example.unwrap();
    assert_eq!(example.from, "pod default/a");
    assert!(example.frame.contains("10.244.1.200"), "{}", example.frame);
    let get = |path: &str| {
        node.space.run(|| {
            let mut stream = TcpStream::connect((NODE_V4, 9568)).unwrap();
            stream
                .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
                .unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
    };
    assert!(get("/healthz").starts_with("HTTP/1.0 200 OK"));
    assert!(get("/readyz").starts_with("HTTP/1.0 200 OK"));
    assert!(get("/secrets").starts_with("HTTP/1.0 404"));
    let page = get("/metrics");
    assert!(
        page.contains("weft_drops_total{reason=\"no_such_pod\",direction=\"both\"} 1\n"),
        "{page}"
    );
    assert!(page.contains("namespace=\"default\",pod=\"a\"} "), "{page}");
    node.client().drops(true).unwrap();
    let left = node.client().drops(false).unwrap().drops;
    assert!(
        !left.iter().any(|drop| drop.reason == "no_such_pod"),
        "{left:?}"
    );
}

#[test]
fn a_client_without_daemon_is_told_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let error = weft_switch::api::Client::connect(directory.path().join("weft.sock")).unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }));
    assert!(
        error.to_string().ends_with(
            "start it with `weft daemon`, or name its socket with --socket or WEFT_SOCKET"
        ),
        "{error}"
    );
}
