//! The control socket and the metrics port: who is answered, and what.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use weft_switch::api::ClientError;

use super::rig::{NODE_V4, Node, eventually, privileged, raw_call};

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
    assert!(answer(&framed(attach)).contains("one file descriptor is needed"));
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
fn callers_are_bounded() {
    if !privileged("callers_are_bounded") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let idle: Vec<_> = (0..64)
        .map(|_| UnixStream::connect(node.socket()).unwrap())
        .collect();
    let refused = eventually("the callers are counted", || node.status().err());
    assert!(
        refused
            .to_string()
            .contains("64 connections are open already"),
        "{refused}"
    );
    drop(idle);
    eventually("there is room again", || node.status().ok());
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
