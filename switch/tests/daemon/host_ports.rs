//! Ports of a node that lead to a pod, given through the plugin: who reaches them, who does not,
//! and that nothing of them outlives the pod.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use serde_json::{Value, json};
use weft_sys::netlink::{addr, link, route};

use super::busy::Busy;
use super::plugin::Sandbox;
use super::policies::{pod_yaml, policy_yaml};
use super::rig::{Node, Space, eventually, privileged};

/// How long an answer may take before it is asked for again, and how long silence is waited for.
const SHORT: Duration = Duration::from_millis(300);

/// Where the node is reached: by its underlay, and by a link to the outside.
const NODE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const DOOR: [&str; 2] = ["198.51.100.1", "2001:db8:5::1"];
const OUTSIDE: [&str; 2] = ["198.51.100.2", "2001:db8:5::2"];
/// A host that only the node leads to.
const BEYOND: [&str; 2] = ["203.0.113.2", "2001:db8:6::2"];

/// How somebody is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Tcp,
    Udp,
}

const EITHER: [By; 2] = [By::Tcp, By::Udp];

/// Answers whoever calls its port with its name and the address it was called from.
struct Responder(#[expect(dead_code, reason = "threads that live as long")] Vec<Busy>);

impl Responder {
    fn new(space: &Space, name: &'static str, port: u16) -> Self {
        let threads = ["0.0.0.0", "::"].map(|any| {
            let at = SocketAddr::new(any.parse().unwrap(), port);
            let (datagrams, listener) = space.run(|| {
                let socket = UdpSocket::bind(at);
                // The IPv6 socket would take IPv4 as well.
                let listener = only(at);
                (socket.or_else(|_| only_datagrams(at)).unwrap(), listener)
            });
            datagrams.set_read_timeout(Some(SHORT / 10)).unwrap();
            listener.set_nonblocking(true).unwrap();
            let mut open = Vec::new();
            Busy::new(datagrams, move |socket| {
                let mut buffer = [0; 16];
                if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(words(name, from.ip()).as_bytes(), from);
                }
                if let Ok((mut stream, from)) = listener.accept() {
                    let _ = stream.write_all(words(name, from.ip()).as_bytes());
                    open.push(stream);
                }
            })
        });
        Self(threads.into())
    }
}

/// Sockets of one family and no other.
fn only(at: SocketAddr) -> TcpListener {
    let socket = one_family(at, socket2::Type::STREAM);
    socket.listen(16).unwrap();
    socket.into()
}

fn only_datagrams(at: SocketAddr) -> std::io::Result<UdpSocket> {
    Ok(one_family(at, socket2::Type::DGRAM).into())
}

fn one_family(at: SocketAddr, kind: socket2::Type) -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::for_address(at), kind, None).unwrap();
    if at.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.bind(&at.into()).unwrap();
    socket
}

fn words(name: &str, from: IpAddr) -> String {
    format!("{name} {}", from.to_canonical())
}

/// Who answers at an address and as whom it knows the caller; nobody within `tries`.
fn ask(from: &Space, by: By, at: SocketAddr, tries: u32) -> Option<String> {
    from.run(|| {
        let mut buffer = [0; 100];
        let once = || match by {
            By::Tcp => {
                let mut stream = TcpStream::connect_timeout(&at, SHORT).ok()?;
                stream.set_read_timeout(Some(SHORT)).unwrap();
                stream.read(&mut buffer).ok()
            }
            By::Udp => {
                let any = if at.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any).unwrap();
                socket.set_read_timeout(Some(SHORT)).unwrap();
                socket.connect(at).ok()?;
                socket.send(b"who?").ok()?;
                socket.recv(&mut buffer).ok()
            }
        };
        let count = std::iter::repeat_with(once)
            .take(tries as usize)
            .find_map(|c| c)?;
        Some(String::from_utf8(buffer[..count].to_vec()).unwrap()).filter(|text| !text.is_empty())
    })
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// What somebody has to hear at every address, by either protocol; whoever answers may be busy.
#[track_caller]
fn hears(from: &Space, ips: &[&str], port: u16, expected: &str) {
    for ip in ips {
        for by in EITHER {
            let heard = ask(from, by, at(ip, port), 60);
            let heard = heard.unwrap_or_else(|| panic!("nobody answers at {ip} {port} {by:?}"));
            assert!(heard.starts_with(expected), "{ip} {port} {by:?}: {heard}");
        }
    }
}

#[track_caller]
fn hears_nothing(from: &Space, ips: &[&str], port: u16) {
    for ip in ips {
        for by in EITHER {
            let heard = ask(from, by, at(ip, port), 2);
            assert_eq!(heard, None, "{ip} {port} {by:?}");
        }
    }
}

fn mapping(host_port: u16, protocol: &str, host_ip: &str) -> Value {
    json!({
        "hostPort": host_port, "containerPort": 80, "protocol": protocol, "hostIP": host_ip,
    })
}

fn both(host_port: u16, host_ip: &str) -> [Value; 2] {
    ["tcp", "udp"].map(|protocol| mapping(host_port, protocol, host_ip))
}

/// Links a new host to a node; each side has two addresses.
fn link_host(node: &Node, name: &str, near: [&str; 2], far: [&str; 2]) -> Space {
    let host = Space::new();
    link::add_veth(&mut node.space.netlink(), name, "u0", Some(host.0.as_fd())).unwrap();
    give(&node.space, name, near);
    give(&host, "u0", far);
    let mut netlink = host.netlink();
    let index = link::index_of(&mut netlink, "u0").unwrap();
    for ip in near {
        let via = route::Route::default_via(ip.parse().unwrap(), index, false);
        route::ensure(&mut netlink, &via).unwrap();
    }
    host
}

fn give(space: &Space, name: &str, ips: [&str; 2]) {
    let mut netlink = space.netlink();
    for knob in ["lo", name] {
        let index = link::index_of(&mut netlink, knob).unwrap();
        link::set_up(&mut netlink, index).unwrap();
    }
    let index = link::index_of(&mut netlink, name).unwrap();
    for ip in ips {
        let ip: IpAddr = ip.parse().unwrap();
        let bits = if ip.is_ipv4() { 24 } else { 64 };
        addr::ensure(&mut netlink, &addr::Address::new(index, ip, bits)).unwrap();
    }
}

/// Two nodes, both of both families, the first with hosts around it.
struct Around {
    a: Node,
    b: Node,
    outside: Space,
    beyond: Space,
}

fn around() -> Around {
    let [mut a, mut b] = Node::pair("192.0.2.");
    give(&a.space, "u0", NODE);
    give(&b.space, "u0", ["192.0.2.2", "2001:db8::2"]);
    let outside = link_host(&a, "out0", DOOR, OUTSIDE);
    let beyond = link_host(&a, "out1", ["203.0.113.1", "2001:db8:6::1"], BEYOND);
    a.start(&[]);
    b.start(&[]);
    Around {
        a,
        b,
        outside,
        beyond,
    }
}

#[test]
fn a_host_port_leads_to_its_pod() {
    if !privileged("a_host_port_leads_to_its_pod") {
        return;
    }
    let Around {
        mut a,
        b,
        outside,
        beyond,
    } = around();
    let near = a.pod("near", &[]);
    let far = b.pod("far", &[]);
    let space;
    {
        let ports = [both(8080, ""), both(8081, DOOR[0]), both(8081, DOOR[1])].concat();
        let mut web = Sandbox::new(&a, "web").with("portMappings", json!(ports));
        web.add();
        space = Space(web.space.0.try_clone().unwrap());
    }
    let _web = Responder::new(&space, "web", 80);
    let _foreign = Responder::new(&beyond, "beyond", 8080);
    for _ in 0..2 {
        for family in [0, 1] {
            let me = format!("web {}", OUTSIDE[family]);
            hears(&outside, &[DOOR[family], NODE[family]], 8080, &me);
            hears(&outside, &[DOOR[family]], 8081, &me);
            hears_nothing(&outside, &[NODE[family]], 8081);
            for ip in [DOOR[family], NODE[family]] {
                hears(&a.space, &[ip], 8080, &format!("web {ip}"));
            }
            // By their node, whose address in the pod network they get: the answer has to come back
            // that way.
            let by_node = format!("web {}", ["10.244.1.0", "fd00:10:244:1::"][family]);
            hears(&near.space, &[DOOR[family], NODE[family]], 8080, &by_node);
            for space in [&a.space, &near.space] {
                hears(space, &[DOOR[family]], 8081, "web ");
            }
            hears(&far.space, &[NODE[family]], 8080, "web ");
            hears(&b.space, &[NODE[family]], 8080, "web ");
            // What only passes through the node is not its own.
            let me = format!("beyond {}", OUTSIDE[family]);
            hears(&outside, &[BEYOND[family]], 8080, &me);
        }
        hears(&a.space, &["127.0.0.1"], 8080, "web 10.244.1.0");
        hears_nothing(&a.space, &["127.0.0.1"], 8081);
        // And all of it again after a restart.
        assert!(a.stop().0.success());
        hears_nothing(&outside, &[NODE[0]], 8080);
        let steady = outside.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        steady.connect(at(NODE[0], 8080)).unwrap();
        let answers = || {
            let _ = steady.send(b"who?");
            steady.recv(&mut [0; 100]).ok()
        };
        steady.set_read_timeout(Some(SHORT / 3)).unwrap();
        assert_eq!(answers(), None);
        a.start(&[]);
        eventually("who never paused is answered", answers);
    }
    assert_eq!(a.status().unwrap().problems, []);
}

/// A policy that lets these addresses speak to the pod.
fn only_from(blocks: &[&str]) -> String {
    let from: Vec<_> = blocks
        .iter()
        .map(|b| format!("{{ipBlock: {{cidr: \"{b}\"}}}}"))
        .collect();
    let rules = match from.join(", ") {
        rules if rules.is_empty() => rules,
        rules => format!("{{from: [{rules}]}}"),
    };
    let spec = format!(
        "{{podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Ingress], ingress: [{rules}]}}"
    );
    policy_yaml("default", "web", &spec)
}

#[test]
fn policies_judge_who_comes_by_a_host_port() {
    if !privileged("policies_judge_who_comes_by_a_host_port") {
        return;
    }
    let Around { a, b, outside, .. } = around();
    let pods = ["web", "near"].map(|name| pod_yaml("default", name));
    a.manifest("pods.yaml", &pods.concat());
    let near = a.pod("near", &[]);
    let far = b.pod("far", &[]);
    let mut web = Sandbox::new(&a, "web").with("portMappings", json!(both(8080, "")));
    web.add();
    let _web = Responder::new(&web.space, "web", 80);
    let enforce = |blocks: &[&str]| {
        a.manifest("web.yaml", &only_from(blocks));
        assert_eq!(a.client().sync().unwrap().problems, []);
    };
    enforce(&[]);
    hears_nothing(&outside, &DOOR, 8080);
    hears_nothing(&far.space, &NODE, 8080);
    // A pod of the same node comes as the node, which nobody holds off: its own policies have to.
    hears(&near.space, &NODE, 8080, "web ");
    let shut = "{podSelector: {matchLabels: {app: near}}, policyTypes: [Egress]}";
    a.manifest("near.yaml", &policy_yaml("default", "near", shut));
    assert_eq!(a.client().sync().unwrap().problems, []);
    hears_nothing(&near.space, &NODE, 8080);
    enforce(&["198.51.100.2/32", "2001:db8:5::2/128"]);
    hears(&outside, &DOOR, 8080, "web ");
    hears_nothing(&far.space, &NODE, 8080);
    // A pod of another node comes by the address of its node.
    enforce(&["192.0.2.2/32", "2001:db8::2/128"]);
    hears(&far.space, &NODE, 8080, "web ");
    hears_nothing(&outside, &DOOR, 8080);
}

#[test]
fn a_host_port_has_one_pod() {
    if !privileged("a_host_port_has_one_pod") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let mut first = Sandbox::new(&node, "first").with("portMappings", json!(both(8080, "")));
    first.add();
    let used = node.client().ready().unwrap();
    for (ports, taken) in [
        (both(8080, "").to_vec(), "8080/tcp"),
        (
            vec![mapping(8080, "udp", "192.0.2.1")],
            "192.0.2.1:8080/udp",
        ),
        (vec![mapping(9, "", ""), mapping(9, "tcp", "")], "9/tcp"),
    ] {
        let second = Sandbox::new(&node, "second").with("portMappings", json!(ports));
        let (code, said) = second.call("ADD").refusal();
        assert_eq!(code, 100, "{said}");
        assert!(
            said.contains(&format!("host port {taken} is taken by")),
            "{said}"
        );
        assert!(said.contains("choose another"), "{said}");
        assert_eq!(second.space.links(), Vec::<String>::new());
        assert_eq!(node.client().ports().unwrap().len(), 2);
    }
    assert_eq!(node.client().ready().unwrap(), used);
    // Another protocol, and another address, are other ports.
    let mut second = Sandbox::new(&node, "second")
        .with("portMappings", json!([mapping(8081, "tcp", "192.0.2.1")]));
    second.add();
    let mut third = Sandbox::new(&node, "third").with(
        "portMappings",
        json!([
            mapping(8081, "udp", "192.0.2.1"),
            mapping(8081, "tcp", "192.0.2.7")
        ]),
    );
    third.add();
    first.del();
    let mut heir = Sandbox::new(&node, "heir").with("portMappings", json!(both(8080, "")));
    heir.add();
}

#[test]
fn nothing_of_a_host_port_outlives_its_pod() {
    if !privileged("nothing_of_a_host_port_outlives_its_pod") {
        return;
    }
    let Around { a, outside, .. } = around();
    let sandbox = |name| Sandbox::new(&a, name).with("portMappings", json!(both(8080, "")));
    for ip in DOOR {
        let mut first = sandbox("first");
        first.add();
        let _first = Responder::new(&first.space, "first", 80);
        hears(&outside, &[ip], 8080, "first ");
        let to = at(ip, 8080);
        let mut stream = outside.run(|| TcpStream::connect(to).unwrap());
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert!(stream.read(&mut [0; 100]).unwrap() > 0);
        // One socket that never pauses for long enough that its connection would be forgotten.
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = outside.run(|| UdpSocket::bind(any).unwrap());
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(SHORT / 3)).unwrap();
        let heard = |expected: &str| {
            let mut buffer = [0; 100];
            let _ = socket.send(b"who?");
            let count = socket.recv(&mut buffer).ok()?;
            buffer[..count]
                .starts_with(expected.as_bytes())
                .then_some(())
        };
        eventually("the first pod answers", || heard("first "));
        first.del();
        let ended = |stream: &mut TcpStream| {
            stream.write_all(b"more")?;
            stream.read(&mut [0; 100])
        };
        let error = ended(&mut stream).map_err(|error| error.kind());
        assert!(
            matches!(error, Err(std::io::ErrorKind::ConnectionReset) | Ok(0)),
            "{error:?}"
        );
        hears_nothing(&outside, &[ip], 8080);
        assert_eq!(heard("first "), None);
        let mut second = sandbox("second");
        second.add();
        let _responder = Responder::new(&second.space, "second", 80);
        eventually("the second pod answers", || heard("second "));
        second.del();
    }
}
