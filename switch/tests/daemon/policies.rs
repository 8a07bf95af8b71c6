//! Policies of a real daemon: what they forbid does not arrive, from a pod's first instant and from
//! the moment a change is in force.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use weft_switch::api::{Denial, PolicyReport, TraceQuery, TraceReport};
use weft_switch::policy_view::{Transport, Verdict};
use weft_sys::netlink::{addr, link};

use super::rig::{NODE_V4, Node, Space, eventually, privileged};

/// Pods of the namespace `default` and the addresses their ports get.
const A: &str = "10.244.1.2";
const B: &str = "10.244.1.3";

/// How long silence is waited for.
const SILENCE: Duration = Duration::from_millis(200);
/// How long what must come is waited for, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn pod_yaml(namespace: &str, name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: \
         {{app: {name}}}}}\nspec: {{nodeName: node-a}}\n"
    )
}

/// A policy with this specification.
pub(crate) fn policy_yaml(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, \
         namespace: {namespace}}}\nspec: {spec}\n"
    )
}

const DENY_ALL: &str = "{podSelector: {}, policyTypes: [Ingress, Egress]}";
const NO_INGRESS: &str = "{podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress]}";
const ONLY_A: &str = "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: \
                      {matchLabels: {app: a}}}], ports: [{port: 7000, protocol: UDP}, {port: \
                      7000}]}]}";

/// A node with the pods a and b, known to it.
fn two_pods() -> (Node, Space, Space) {
    let mut node = Node::new();
    node.manifest(
        "pods.yaml",
        &(pod_yaml("default", "a") + &pod_yaml("default", "b")),
    );
    node.start(&[]);
    let (a, b) = (node.pod("a", &[A]), node.pod("b", &[B]));
    (node, a.space, b.space)
}

impl Node {
    /// Puts a policy in force and returns when every worker obeys it.
    fn enforce(&self, name: &str, spec: &str) {
        self.manifest(&format!("{name}.yaml"), &policy_yaml("default", name, spec));
        let synced = self.client().sync().unwrap();
        assert_eq!(synced.problems, []);
    }

    fn withdraw(&self, name: &str) {
        std::fs::remove_file(self.path("cluster.d").join(format!("{name}.yaml"))).unwrap();
        self.client().sync().unwrap();
    }

    fn denial(&self, pod: &str, direction: &str) -> Option<Denial> {
        let denials = self.client().drops(false).unwrap().denials;
        denials
            .into_iter()
            .find(|denial| denial.pod == pod && denial.direction == direction)
    }

    fn metrics(&self) -> String {
        let stream = self.space.run(|| TcpStream::connect((NODE_V4, 9568)));
        let mut stream = stream.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    fn policy(&self, name: &str) -> PolicyReport {
        let policies = self.client().policies().unwrap();
        policies
            .into_iter()
            .find(|policy| policy.name == name)
            .unwrap()
    }

    fn trace(&self, from: &str, to: &str, protocol: Transport, port: u16) -> TraceReport {
        let query = TraceQuery {
            from: from.to_owned(),
            to: to.to_owned(),
            protocol,
            port,
            family: None,
        };
        self.client().trace(query).unwrap()
    }
}

/// A receiver of datagrams at a port of a pod.
fn receiver(space: &Space, at: &str) -> UdpSocket {
    let at: SocketAddr = at.parse().unwrap();
    space.run(|| UdpSocket::bind(at).unwrap())
}

/// Whether a datagram sent from one pod arrives at the other.
fn arrives(from: &Space, to: &UdpSocket) -> bool {
    comes(from, to, PATIENCE)
}

/// Whether a datagram sent from one pod does not arrive at the other.
fn stays_out(from: &Space, to: &UdpSocket) -> bool {
    !comes(from, to, SILENCE)
}

fn comes(from: &Space, to: &UdpSocket, limit: Duration) -> bool {
    let at = to.local_addr().unwrap();
    from.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"datagram", at).unwrap();
    });
    to.set_read_timeout(Some(limit)).unwrap();
    to.recv(&mut [0; 16]).is_ok()
}

#[test]
fn a_policy_denies_and_another_allows() {
    if !privileged("a_policy_denies_and_another_allows") {
        return;
    }
    let (node, a, b) = two_pods();
    let socket = receiver(&b, "10.244.1.3:7000");
    assert!(arrives(&a, &socket));
    node.enforce("deny-all", DENY_ALL);
    assert!(stays_out(&a, &socket));
    let denial = node.denial("default/a", "egress").unwrap();
    assert_eq!(denial.policies, ["default/deny-all"]);
    assert_eq!(denial.example.policy.as_deref(), Some("default/deny-all"));
    assert_eq!(denial.example.from.as_deref(), Some("default/a"));
    assert_eq!(denial.example.to.as_deref(), Some("default/b"));
    assert!(denial.packets >= 1);
    let report = node.policy("deny-all");
    assert_eq!(report.pods, ["default/a", "default/b"]);
    assert_eq!(report.isolates, ["ingress", "egress"]);
    assert_eq!((report.rules, report.denied_packets), (0, denial.packets));

    node.withdraw("deny-all");
    node.enforce("no-ingress", NO_INGRESS);
    assert!(stays_out(&a, &socket));
    assert!(node.denial("default/b", "ingress").is_some());
    let traced = node.trace("default/a", "default/b", Transport::Udp, 7000);
    assert_eq!(traced.verdict, Verdict::Deny);
    assert_eq!(traced.ingress.isolated_by, ["default/no-ingress"]);
    assert!(traced.fate.contains("denied_ingress"), "{}", traced.fate);
    assert!(!traced.steps.last().unwrap().ok);
    // The pod's own node reaches it all the same.
    assert!(node.space.pings(B));
    let traced = node.trace("node:self", "default/b", Transport::Icmp, 0);
    assert_eq!(traced.verdict, Verdict::Allow, "{traced:?}");
}

#[test]
fn an_address_the_node_gets_is_its_own() {
    if !privileged("an_address_the_node_gets_is_its_own") {
        return;
    }
    let (node, _a, _b) = two_pods();
    node.enforce("no-ingress", NO_INGRESS);
    let verdict = || {
        node.trace("198.51.100.9", "default/b", Transport::Tcp, 80)
            .verdict
    };
    assert_eq!(verdict(), Verdict::Deny);
    let mut netlink = node.space.netlink();
    let index = link::index_of(&mut netlink, "u0").unwrap();
    let address = addr::Address::new(index, "198.51.100.9".parse().unwrap(), 24);
    addr::ensure(&mut netlink, &address).unwrap();
    eventually("the address is known", || {
        (verdict() == Verdict::Allow).then_some(())
    });
}

#[test]
fn what_a_policy_allows_and_refuses_is_named() {
    if !privileged("what_a_policy_allows_and_refuses_is_named") {
        return;
    }
    let (node, a, b) = two_pods();
    let socket = receiver(&b, "10.244.1.3:7000");
    let other = receiver(&b, "10.244.1.3:7001");
    node.enforce("no-ingress", NO_INGRESS);
    node.enforce("only-a", ONLY_A);
    assert!(arrives(&a, &socket));
    assert!(stays_out(&a, &other));
    let denial = node.denial("default/b", "ingress").unwrap();
    let nearest = denial.example.nearest.unwrap();
    assert!(
        nearest.starts_with("default/only-a#ingress[0] "),
        "{nearest}"
    );
    assert_eq!(denial.policies, ["default/no-ingress", "default/only-a"]);
    let flows = node.client().flows(Some("default/b".to_owned())).unwrap();
    let mut flows = flows.iter();
    let flow = flows.find(|flow| flow.destination.ends_with(":7000"));
    let flow = flow.unwrap();
    assert_eq!(
        flow.ingress_rule.as_deref(),
        Some("default/only-a#ingress[0]")
    );
    assert_eq!(flow.policies, ["default/only-a"]);
    assert_eq!(flow.verdict, "allow");
    let traced = node.trace("default/a", "default/b", Transport::Udp, 7000);
    assert_eq!(traced.verdict, Verdict::Allow);
    assert_eq!(traced.ingress.by, ["default/only-a#ingress[0]"]);
    assert!(traced.connection.is_some(), "{traced:?}");
    let page = node.metrics();
    assert!(page.contains("weft_policies 2\n"), "{page}");
    let entries = node.client().status().unwrap().policy_entries;
    assert!(entries > 0);
    let line = format!("weft_policy_entries {entries}\n");
    assert!(page.contains(&line), "{page}");
    let pod = "namespace=\"default\",pod=\"b\",direction=\"ingress\"";
    let isolated = format!("{pod},policy=\"default/only-a\"}} 1\n");
    let counted = format!("{pod}}} {}\n", denial.packets);
    assert!(
        page.contains(&isolated) && page.contains(&counted),
        "{page}"
    );
    // What the tables say now, though no packet has come since.
    node.withdraw("only-a");
    let flows = node.client().flows(Some("default/b".to_owned())).unwrap();
    let mut flows = flows.iter();
    let flow = flows.find(|flow| flow.destination.ends_with(":7000"));
    assert_eq!(flow.unwrap().verdict, "deny");
    node.withdraw("no-ingress");
    assert!(arrives(&a, &other), "without policies everything is open");
}

#[test]
fn the_commands_say_what_the_daemon_knows() {
    if !privileged("the_commands_say_what_the_daemon_knows") {
        return;
    }
    let (node, a, b) = two_pods();
    node.enforce("no-ingress", NO_INGRESS);
    assert!(stays_out(&a, &receiver(&b, "10.244.1.3:7000")));
    let ask = |arguments: &[&str]| {
        let mut weft = Command::new(env!("CARGO_BIN_EXE_weft"));
        let socket = node.socket();
        let output = weft.args(arguments).arg("--socket").arg(socket).output();
        let output = output.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let cases: &[(&[&str], i32, &[&str])] = &[
        (
            &["trace", "default/a", "default/b", "--port", "7000"],
            1,
            &[
                "✓ out 9",
                "dropped: denied_ingress\n",
                "deny: default/a to default/b, TCP 7000\n",
                "ingress of default/b: deny, because default/no-ingress isolates it",
                "no such connection is tracked\n",
            ],
        ),
        (
            &["trace", "default/b", "default/a", "--protocol", "icmp"],
            0,
            &["delivered to pod default/a\n", "allow: default/b"],
        ),
        (
            &["policies", "-o", "wide"],
            0,
            &[
                "default    no-ingress  ingress   1          0",
                "default/b\n",
            ],
        ),
        (
            &["drops", "-o", "wide"],
            0,
            &["denied_ingress", "DENIED AT", "default/no-ingress"],
        ),
        (&["status"], 0, &["policies  1 in force\n"]),
    ];
    for (arguments, code, says) in cases {
        let (ended, text) = ask(arguments);
        assert_eq!(ended, Some(*code), "{arguments:?}: {text}");
        for words in *says {
            assert!(text.contains(words), "no {words:?} in {text}");
        }
    }
}

#[test]
fn a_change_takes_effect_on_a_live_connection() {
    if !privileged("a_change_takes_effect_on_a_live_connection") {
        return;
    }
    let (node, a, b) = two_pods();
    let listener = b.run(|| TcpListener::bind("10.244.1.3:7000").unwrap());
    let mut sender = a.run(|| TcpStream::connect("10.244.1.3:7000").unwrap());
    let (mut receiver, _) = listener.accept().unwrap();
    let mut bytes = [0; 16];
    for _ in 0..3 {
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        sender.write_all(b"allowed").unwrap();
        receiver.read_exact(&mut bytes[..7]).unwrap();
        node.enforce("no-ingress", NO_INGRESS);
        receiver.set_read_timeout(Some(SILENCE)).unwrap();
        sender.write_all(b"denied.").unwrap();
        assert!(
            receiver.read(&mut bytes).is_err(),
            "a live connection is cut"
        );
        node.enforce("only-a", ONLY_A);
        // The kernel sends again what was dropped; nothing of the connection is lost.
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        receiver.read_exact(&mut bytes[..7]).unwrap();
        assert_eq!(&bytes[..7], b"denied.");
        node.withdraw("only-a");
        node.withdraw("no-ingress");
    }
}

#[test]
fn a_policy_that_cannot_be_read_keeps_its_last_good_version_or_isolates() {
    if !privileged("a_policy_that_cannot_be_read_keeps_its_last_good_version_or_isolates") {
        return;
    }
    let (node, a, b) = two_pods();
    let socket = receiver(&b, "10.244.1.3:7000");
    let other = receiver(&b, "10.244.1.3:7001");
    node.enforce("only-a", ONLY_A);
    assert!(arrives(&a, &socket) && stays_out(&a, &other));
    let broken = |spec: &str| {
        node.manifest("only-a.yaml", &policy_yaml("default", "only-a", spec));
        node.client().sync().unwrap().problems
    };
    let problems = broken("{podSelector: {}, ingress: [{form: []}]}");
    assert!(problems[0].place.ends_with("only-a.yaml:5"), "{problems:?}");
    assert!(problems[0].what.contains("form"), "{problems:?}");
    assert!(
        arrives(&a, &socket) && stays_out(&a, &other),
        "the last good version stays"
    );
    let status = node.status().unwrap();
    assert!(!status.healthy && !status.closed && status.policies == 1);

    node.withdraw("only-a");
    assert!(arrives(&a, &other));
    // The same mistake without an earlier version isolates what it would select.
    let problems = broken("{podSelector: {matchLabels: {app: b}}, ingress: [{form: []}]}");
    assert!(!problems.is_empty());
    assert!(stays_out(&a, &socket) && stays_out(&a, &other));
    let back = receiver(&a, "10.244.1.2:7000");
    assert!(arrives(&node.space, &back), "pod a is not selected");
    node.withdraw("only-a");

    // A file that may hold any policy closes everything.
    std::fs::write(node.path("cluster.d/any.yaml"), b"kind: \xff\n").unwrap();
    let synced = node.client().sync().unwrap();
    assert!(synced.closed && !synced.problems.is_empty(), "{synced:?}");
    assert!(node.status().unwrap().closed);
    assert!(stays_out(&a, &socket));
    let traced = node.trace("default/a", "default/b", Transport::Udp, 7000);
    assert_eq!(traced.verdict, Verdict::Deny);
    assert!(traced.egress.note.unwrap().contains("every pod is closed"));
    node.withdraw("any");
    assert!(!node.status().unwrap().closed);
    assert!(arrives(&a, &socket));
}

#[test]
fn a_pod_nobody_told_of_is_closed_where_its_namespace_isolates() {
    if !privileged("a_pod_nobody_told_of_is_closed_where_its_namespace_isolates") {
        return;
    }
    let (node, a, _b) = two_pods();
    node.enforce("no-ingress", NO_INGRESS);
    let space = Space::new();
    node.attach("c", &["10.244.1.4"], &space).unwrap();
    let socket = receiver(&space, "10.244.1.4:7000");
    assert!(stays_out(&a, &socket));
    let status = node.status().unwrap();
    assert_eq!(status.problems[0].place, "pod default/c");
    let traced = node.trace("default/a", "default/c", Transport::Udp, 7000);
    assert!(traced.ingress.note.unwrap().contains("no Pod object"));
    node.manifest("c.yaml", &pod_yaml("default", "c"));
    node.client().sync().unwrap();
    assert!(node.status().unwrap().healthy);
    assert!(arrives(&a, &socket), "known, and not selected");
}

#[test]
fn a_label_counts_from_the_moment_it_is_told() {
    if !privileged("a_label_counts_from_the_moment_it_is_told") {
        return;
    }
    let (node, a, b) = two_pods();
    let socket = receiver(&b, "10.244.1.3:7000");
    node.enforce("only-a", ONLY_A);
    for allowed in [true, false, true, false] {
        let a_yaml = pod_yaml("default", "a");
        let a_yaml = match allowed {
            true => a_yaml,
            false => a_yaml.replace("app: a", "app: z"),
        };
        node.manifest("pods.yaml", &(a_yaml + &pod_yaml("default", "b")));
        node.client().sync().unwrap();
        let judge = if allowed { arrives } else { stays_out };
        assert!(judge(&a, &socket), "allowed: {allowed}");
    }
    eventually("the daemon is at peace", || {
        node.status().ok()?.healthy.then_some(())
    });
}
