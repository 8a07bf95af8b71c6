//! What pods keep when the daemon is not there, and what it finds when it is back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use weft_sys::netlink::{addr, link, route};

use super::rig::{Node, Pod, Space, eventually, privileged, request};

/// Two ways for a daemon to end.
const ENDINGS: [fn(&mut Node); 2] = [
    |node| drop(node.stop()),
    // Dropped, it is killed.
    |node| node.daemon = None,
];

/// A TCP connection between two pods.
fn connected(from: &Pod, to: &Pod, at: &str) -> [TcpStream; 2] {
    let at: SocketAddr = at.parse().unwrap();
    let listener = to.space.run(|| TcpListener::bind(at).unwrap());
    let client = from.space.run(|| TcpStream::connect(at).unwrap());
    let (server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).unwrap();
    }
    [client, server]
}

/// Whether what is written at one end arrives at the other.
fn carries(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"still here").unwrap();
    let mut buffer = [0; 10];
    to.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"still here");
}

/// Addresses and default routes of a pod's interface.
fn interior(pod: &Pod) -> (Vec<String>, usize) {
    let mut netlink = pod.space.netlink();
    let index = link::index_of(&mut netlink, "eth0").unwrap();
    let addresses = addr::list(&mut netlink, Some(index)).unwrap();
    let mut addresses: Vec<_> = addresses.iter().map(|a| a.ip.to_string()).collect();
    addresses.sort();
    (addresses, route::list_default(&mut netlink).unwrap().len())
}

#[test]
fn pods_keep_addresses_and_connections() {
    if !privileged("pods_keep_addresses_and_connections") {
        return;
    }
    for end in ENDINGS {
        let mut node = Node::new();
        node.start(&[]);
        let a = node.pod("a", &["10.244.1.2", "fd00:10:244:1::2"]);
        let b = node.pod("b", &["10.244.1.3"]);
        let [mut client, mut server] = connected(&a, &b, "10.244.1.3:80");
        carries(&mut client, &mut server);
        let before = interior(&a);
        end(&mut node);
        assert_eq!(interior(&a), before, "without a daemon");
        client.write_all(b"meanwhile ").unwrap();
        node.start(&[]);
        let mut meanwhile = [0; 10];
        server.read_exact(&mut meanwhile).unwrap();
        carries(&mut server, &mut client);
        carries(&mut client, &mut server);
        assert_eq!(interior(&a), before);
        assert!(node.space.pings("fd00:10:244:1::2"));
        assert_eq!(node.status().unwrap().pods, 2);
        // It answers a runtime that asks again alike, and lets go when asked.
        let again = node.attach("a", &[], &a.space).unwrap();
        assert_eq!((&again.ips, &again.mac), (&a.attached.ips, &a.attached.mac));
        node.check("b", &b).unwrap();
        assert!(node.detach("a") && node.detach("b"));
        eventually("the interfaces are gone", || {
            (a.space.links().is_empty() && b.space.links().is_empty()).then_some(())
        });
    }
}

/// Policies isolate the client: what the server says passes as an answer, or not at all.
#[test]
fn answers_pass_after_a_restart_as_before() {
    if !privileged("answers_pass_after_a_restart_as_before") {
        return;
    }
    let mut node = Node::new();
    node.manifest("pods.yaml", PODS);
    node.manifest("deny.yaml", CLIENT_IS_ISOLATED);
    node.start(&[]);
    let a = node.pod("a", &["10.244.1.2"]);
    let b = node.pod("b", &["10.244.1.3"]);
    let [mut client, mut server] = connected(&a, &b, "10.244.1.3:80");
    carries(&mut client, &mut server);
    drop(node.stop());
    node.start(&[]);
    carries(&mut server, &mut client);
    // A denial that came while nobody listened cuts.
    drop(node.stop());
    node.manifest("more.yaml", SERVER_IS_ISOLATED);
    node.start(&[]);
    server.write_all(b"cut").unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    assert!(client.read(&mut [0; 3]).is_err());
}

const PODS: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: default, labels: \
    {app: a}}\nspec: {nodeName: node-a}\nstatus: {podIP: 10.244.1.2}\n---\napiVersion: v1\nkind: \
    Pod\nmetadata: {name: b, namespace: default, labels: {app: b}}\nspec: {nodeName: \
    node-a}\nstatus: {podIP: 10.244.1.3}\n";
const CLIENT_IS_ISOLATED: &str = "apiVersion: networking.k8s.io/v1\nkind: \
    NetworkPolicy\nmetadata: {name: client, namespace: default}\nspec: {podSelector: \
    {matchLabels: {app: a}}, policyTypes: [Ingress]}\n";
const SERVER_IS_ISOLATED: &str = "apiVersion: networking.k8s.io/v1\nkind: \
    NetworkPolicy\nmetadata: {name: server, namespace: default}\nspec: {podSelector: \
    {matchLabels: {app: b}}, policyTypes: [Ingress]}\n";

#[test]
fn what_is_gone_when_the_daemon_is_back_is_released() {
    if !privileged("what_is_gone_when_the_daemon_is_back_is_released") {
        return;
    }
    for end in ENDINGS {
        let mut node = Node::new();
        node.start(&[]);
        let gone = node.pod("gone", &["10.244.1.2"]);
        let stays = node.pod("stays", &["10.244.1.3"]);
        end(&mut node);
        drop(gone.space);
        node.start(&[]);
        assert_eq!(node.status().unwrap().pods, 1);
        assert!(node.space.pings("10.244.1.3"));
        node.check("stays", &stays).unwrap();
        assert_eq!(
            node.collect(&["gone", "stays"]),
            0,
            "it knows nothing of the first"
        );
    }
}

#[test]
fn one_that_cannot_be_had_back_holds_up_no_other() {
    if !privileged("one_that_cannot_be_had_back_holds_up_no_other") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let (a, _b) = (
        node.pod("a", &["10.244.1.2"]),
        node.pod("b", &["10.244.1.3"]),
    );
    node.daemon = None;
    let mut netlink = a.space.netlink();
    link::delete(&mut netlink, "eth0").unwrap();
    link::ensure_bridge(&mut netlink, "eth0").unwrap();
    node.start(&[]);
    assert!(node.space.pings("10.244.1.3"));
    let problems = node.status().unwrap().problems;
    assert!(
        matches!(problems.as_slice(), [one] if one.what.contains("pod default/a has no port")),
        "{problems:?}"
    );
    link::delete(&mut netlink, "eth0").unwrap();
    node.collect(&["a", "b"]);
    assert_eq!(node.status().unwrap().problems, []);
    assert!(node.space.pings("10.244.1.2"));
    assert!(node.space.pings("10.244.1.3"));
}

/// A namespace that only the daemon's own descriptors keep.
#[test]
fn a_namespace_nobody_uses_is_let_go() {
    if !privileged("a_namespace_nobody_uses_is_let_go") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let gone = node.pod("gone", &["10.244.1.2"]);
    let id = gone.space.0.id().unwrap();
    let stays = node.pod("stays", &["10.244.1.3"]);
    drop(gone.space);
    assert_eq!(node.collect(&["gone", "stays"]), 0);
    // Dead at one look; a runtime might have been about to name it.
    assert_eq!(node.status().unwrap().pods, 2);
    node.collect(&["gone", "stays"]);
    assert_eq!(node.status().unwrap().pods, 1);
    assert!(!node.holds(id), "its last descriptor is closed");
    node.check("stays", &stays).unwrap();
}

#[test]
fn what_a_runtime_no_longer_knows_is_collected() {
    if !privileged("what_a_runtime_no_longer_knows_is_collected") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let (a, _b) = (node.pod("a", &[]), node.pod("b", &[]));
    let mut other = request("other", &[]);
    other.network = "another".to_owned();
    let space = Space::new();
    node.client().attach(other, &space.0).unwrap();
    assert_eq!(node.collect(&["b"]), 1);
    assert_eq!(
        node.status().unwrap().pods,
        2,
        "other networks are not its business"
    );
    eventually("the interface is gone", || {
        a.space.links().is_empty().then_some(())
    });
    assert_eq!(node.collect(&["b"]), 0);
}

#[test]
fn a_sandbox_made_anew_keeps_its_address() {
    if !privileged("a_sandbox_made_anew_keeps_its_address") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let first = node.pod("a", &[]);
    let space = Space::new();
    let second = node.attach("a", &[], &space).unwrap();
    assert_eq!(second.ips, first.attached.ips);
    eventually("the old interface is gone", || {
        first.space.links().is_empty().then_some(())
    });
    assert_eq!(space.links(), ["eth0"]);
    // The same namespace, detached and attached at once.
    assert!(node.detach("a"));
    let third = node.attach("a", &[], &space).unwrap();
    assert_ne!(third.ips, first.attached.ips, "an address rests");
    assert!(node.space.pings(&third.ips[0].ip().to_string()));
}

#[test]
fn a_range_is_used_up_and_said_to_be() {
    if !privileged("a_range_is_used_up_and_said_to_be") {
        return;
    }
    let mut node = Node::new();
    let file = node.path("weft.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("10.244.1.0/24", "10.244.1.0/29")).unwrap();
    node.start(&[]);
    assert!(node.client().ready().unwrap().ready);
    let pods: Vec<Pod> = (0..5).map(|n| node.pod(&format!("p{n}"), &[])).collect();
    let error = node.attach("more", &[], &Space::new()).unwrap_err();
    let said = "10.244.1.0/29 has no free address: 5 held, 0 resting after use";
    assert!(error.to_string().contains(said), "{error}");
    let readiness = node.client().ready().unwrap();
    assert!(!readiness.ready && !readiness.impaired, "{readiness:?}");
    assert!(
        readiness.why.contains("no address of 10.244.1.0/29"),
        "{readiness:?}"
    );
    assert!(node.detach("p0"));
    let error = node.attach("more", &[], &Space::new()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("4 held, 1 resting after use, the next"),
        "{error}"
    );
    drop(pods);
}

#[test]
fn rules_that_were_taken_away_come_back() {
    if !privileged("rules_that_were_taken_away_come_back") {
        return;
    }
    use weft_sys::nft::NatTable;
    let mut node = Node::new();
    node.start(&[]);
    assert!(node.space.run(|| NatTable::delete("weft")).unwrap());
    node.collect(&[]);
    assert!(node.space.run(|| NatTable::exists("weft")).unwrap());
}
