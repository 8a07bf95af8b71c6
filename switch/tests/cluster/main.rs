//! From manifests to the desired state: what is read, what is refused in which words, who keeps a
//! contested address, and what happens when files change.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation is how a test fails"
)]

mod life;
mod load;
mod policy;
mod scale;
mod wrong;

use weft_policy::Moment;
use weft_switch::cluster::objects::{Located, Object, Protocol};
use weft_switch::cluster::{self, ClusterState, Effects, Event, LocalNode, ManifestError, Trouble};

const NODE_B: &str = "\
apiVersion: v1
kind: Node
metadata:
  name: node-b
spec:
  podCIDRs: [10.244.2.0/24, \"fd00:10:244:2::/64\"]
status:
  addresses:
  - { type: Hostname, address: node-b }
  - { type: InternalIP, address: 2001:db8::2 }
  - { type: InternalIP, address: 192.0.2.2 }
";

fn local() -> LocalNode {
    LocalNode {
        name: "node-a".to_owned(),
        vtep: "192.0.2.1".parse().unwrap(),
        pod_cidrs: vec![
            "10.244.1.0/24".parse().unwrap(),
            "fd00:10:244:1::/64".parse().unwrap(),
        ],
    }
}

fn read(origin: &str, text: &str) -> Event {
    Event::Read {
        origin: origin.into(),
        manifest: cluster::parse(text),
    }
}

fn good(text: &str) -> Vec<Located<Object>> {
    let manifest = cluster::parse(text);
    assert_eq!(manifest.errors, []);
    manifest.objects
}

fn step(state: &mut ClusterState, event: Event) -> Effects {
    state.step(event, Moment::default())
}

/// A state that has read `files`, in order, and is in sync.
fn synced(files: &[(&str, &str)]) -> ClusterState {
    let mut state = ClusterState::new(local());
    for (origin, text) in files {
        let effects = step(&mut state, read(origin, text));
        let nothing = Effects {
            closed: true,
            notices: effects.notices.clone(),
            ..Effects::default()
        };
        assert_eq!(effects, nothing, "not in sync yet");
    }
    assert!(step(&mut state, Event::Synced).publish);
    state
}

fn troubles(state: &ClusterState) -> Vec<String> {
    state
        .troubles()
        .map(|trouble| format!("{}: {}", trouble.place, trouble.what))
        .collect()
}

fn peers(state: &ClusterState) -> Vec<&str> {
    state
        .desired()
        .peers
        .iter()
        .map(|peer| peer.name.as_str())
        .collect()
}

fn node(name: &str, cidr: &str, ip: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nspec: {{podCIDR: {cidr}}}\n\
         status: {{addresses: [{{type: InternalIP, address: {ip}}}]}}\n"
    )
}

fn pod(name: &str, node: &str, ip: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{nodeName: {node}}}\n\
         status: {{podIP: {ip}}}\n"
    )
}

#[test]
fn a_real_pod_is_read_as_far_as_needed() {
    let text = "\
# kubectl get pod -o yaml
apiVersion: v1
kind: Pod
metadata:
  creationTimestamp: null
  labels: {app: web, \"8\": \"9\"}
  name: web-0
  namespace: shop
  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: web, uid: x}]
spec:
  containers:
  - image: nginx
    name: web
    ports:
    - {containerPort: 80, name: http, protocol: TCP}
    - {containerPort: 53, protocol: UDP}
    resources: {limits: {cpu: 1}}
  - {image: sidecar, name: sidecar}
  nodeName: node-a
  tolerations: [{operator: Exists}]
status:
  phase: Running
  podIP: 10.244.1.7
  podIPs: [{ip: 10.244.1.7}, {ip: \"fd00:10:244:1::7\"}]
";
    let objects = good(text);
    let [object] = objects.as_slice() else {
        panic!("{objects:?}")
    };
    assert_eq!(object.line, 3);
    let Object::Pod(pod) = &object.value else {
        panic!("{object:?}")
    };
    assert_eq!(
        (pod.namespace.as_str(), pod.name.as_str()),
        ("shop", "web-0")
    );
    assert_eq!(pod.labels.get("app").map(String::as_str), Some("web"));
    assert_eq!(pod.node_name.as_deref(), Some("node-a"));
    let ips: Vec<_> = pod
        .ips
        .iter()
        .map(|ip| (ip.line, ip.value.to_string()))
        .collect();
    assert_eq!(
        ips,
        [(24, "10.244.1.7".into()), (24, "fd00:10:244:1::7".into())]
    );
    let ports: Vec<_> = pod
        .ports
        .iter()
        .map(|p| (p.name.as_deref(), p.port, p.protocol))
        .collect();
    assert_eq!(
        ports,
        [(Some("http"), 80, Protocol::Tcp), (None, 53, Protocol::Udp)]
    );
}

#[test]
fn documents_lists_json_and_foreign_kinds() {
    let text = format!(
        "{NODE_B}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: x}}\nspec: \
         {{containers: 7}}\n---\napiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: \
         Namespace, metadata: {{name: shop}}}}\n- apiVersion: networking.k8s.io/v1\n  kind: \
         NetworkPolicy\n  metadata: {{name: deny, namespace: shop}}\n  spec: {{podSelector: {{}}, \
         ingress: []}}\n"
    );
    let keys: Vec<_> = good(&text)
        .iter()
        .map(|o| o.value.key().to_string())
        .collect();
    assert_eq!(
        keys,
        ["Node node-b", "Namespace shop", "NetworkPolicy shop/deny"]
    );

    let json = r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}"#;
    let objects = good(json);
    let Object::Namespace(namespace) = &objects[0].value else {
        panic!("{objects:?}")
    };
    let label = namespace.labels.get("kubernetes.io/metadata.name");
    assert_eq!(
        label.map(String::as_str),
        Some("a"),
        "Kubernetes adds it to every namespace"
    );
    assert!(good("").is_empty());
    assert!(good("# nothing\n---\n").is_empty());
}

/// A manifest and its errors, as `line: text`.
const BAD_MANIFESTS: &[(&str, &[&str])] = &[
    (
        "metadata: {name: a}",
        &["1: kind: is missing, so this is no Kubernetes object; write kind: Pod, for example"],
    ),
    (
        "apiVersion: v1\nkind: Pod",
        &["2: Pod: metadata.name: is missing"],
    ),
    (
        "kind: Pod\nmetadata:\n  name: A_b",
        &[
            "3: Pod: metadata.name: \"A_b\" is not a name; use lower-case letters, digits, '-' and '.'",
        ],
    ),
    (
        "kind: Pod\nmetadata:\n  name: \"a\\e[2J\"",
        &[
            "3: Pod: metadata.name: \"a\\u{1b}[2J\" is not a name; use lower-case letters, digits, '-' and '.'",
        ],
    ),
    (
        "apiVersion: v2\nkind: Pod\nmetadata: {name: a}",
        &["1: Pod default/a: apiVersion: is \"v2\"; weft reads Pod objects of v1"],
    ),
    (
        "apiVersion: v1\nkind: NetworkPolicy\nmetadata: {name: a}",
        &[
            "1: NetworkPolicy default/a: apiVersion: is \"v1\"; weft reads NetworkPolicy objects of networking.k8s.io/v1",
        ],
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus:\n  podIP: 10.0.0",
        &["5: Pod default/a: status.podIP: \"10.0.0\" is not an IP address, such as 10.244.1.2"],
    ),
    (
        "apiVersion: v1\nkind: Node\nmetadata: {name: a}\nspec:\n  podCIDRs:\n  - 10.0.0.0\n  - 10.0.0.1/24",
        &[
            "6: Node a: spec.podCIDRs: \"10.0.0.0\" is not a range, such as 10.244.1.0/24",
            "7: Node a: spec.podCIDRs: 10.0.0.1/24 has host bits set; write 10.0.0.0/24",
        ],
    ),
    (
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: a\n  annotations:\n    flannel.alpha.coreos.com/backend-data: '{\"VtepMAC\":\"ff:ff:ff:ff:ff:ff\"}'",
        &[
            "6: Node a: metadata.annotations[flannel.alpha.coreos.com/backend-data]: VtepMAC \"ff:ff:ff:ff:ff:ff\" is not a unicast MAC address",
        ],
    ),
];

#[test]
fn every_error_names_its_line_and_field() {
    for (text, expected) in BAD_MANIFESTS {
        let errors = cluster::parse(text).errors;
        let found: Vec<_> = errors.iter().map(|e| format!("{}: {e}", e.line)).collect();
        assert_eq!(found, *expected, "{text}");
    }
}

#[test]
fn broken_yaml_names_the_line_of_the_file() {
    let text = format!("{NODE_B}---\napiVersion: v1\nkind: Pod\nmetadata: {{name: [}}\n");
    let errors = cluster::parse(&text).errors;
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].line, 15, "{errors:?}");
    let text =
        "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  hostNetwork: perhaps\n";
    let errors = cluster::parse(text).errors;
    assert_eq!(errors[0].line, 6, "{errors:?}");
}

#[test]
fn a_peer_is_a_node_with_ranges_and_an_address_of_the_family() {
    let state = synced(&[("b.yaml", NODE_B)]);
    let [peer] = state.desired().peers.as_slice() else {
        panic!("{:?}", state.desired())
    };
    assert_eq!(peer.vtep.to_string(), "192.0.2.2");
    assert_eq!(peer.mac, cluster::vtep_mac("node-b"));
    assert_eq!(peer.pod_cidrs.len(), 2);
    assert!(troubles(&state).is_empty());
}

#[test]
fn an_annotation_gives_the_vtep_mac() {
    let text = NODE_B.replace(
        "name: node-b\n",
        "name: node-b\n  annotations: {flannel.alpha.coreos.com/backend-data: \
         '{\"VNI\":1,\"VtepMAC\":\"1a:2b:3c:4d:5e:6f\"}'}\n",
    );
    let state = synced(&[("b.yaml", &text)]);
    assert_eq!(
        state.desired().peers[0].mac.to_string(),
        "1a:2b:3c:4d:5e:6f"
    );
    let other_backend = text.replace("VtepMAC", "PublicKey");
    let state = synced(&[("b.yaml", &other_backend)]);
    assert_eq!(state.desired().peers[0].mac, cluster::vtep_mac("node-b"));
}

#[test]
fn what_contradicts_is_refused_in_these_words() {
    let b = node("node-b", "10.244.2.0/24", "192.0.2.2");
    let cases = [
        (
            node("node-c", "10.244.2.128/25", "192.0.2.3"),
            "c.yaml:2: Node node-c: spec.podCIDRs: 10.244.2.128/25 overlaps 10.244.2.0/24 of Node node-b",
        ),
        (
            node("node-c", "10.244.0.0/16", "192.0.2.3"),
            "c.yaml:2: Node node-c: spec.podCIDRs: 10.244.0.0/16 overlaps 10.244.1.0/24 of Node node-a",
        ),
        (
            node("node-c", "10.244.3.0/24", "192.0.2.2"),
            "c.yaml:2: Node node-c: status.addresses: 192.0.2.2 is already the address of Node node-b",
        ),
        (
            node("node-c", "10.244.3.0/24", "192.0.2.1"),
            "c.yaml:2: Node node-c: status.addresses: 192.0.2.1 is already the address of Node node-a",
        ),
        (
            node("node-c", "10.244.3.0/24", "2001:db8::3"),
            "c.yaml:2: Node node-c: status.addresses: has no InternalIP of the underlay's family (IPv4); its pods cannot be reached",
        ),
        (
            node("node-b", "10.244.3.0/24", "192.0.2.3"),
            "c.yaml:2: Node node-b: is already defined at b.yaml:2",
        ),
    ];
    for (text, expected) in &cases {
        let state = synced(&[("b.yaml", &b), ("c.yaml", text)]);
        assert_eq!(troubles(&state), [*expected]);
        assert_eq!(peers(&state), ["node-b"]);
    }
    let no_range = "apiVersion: v1\nkind: Node\nmetadata: {name: node-c}\n";
    let state = synced(&[("c.yaml", no_range)]);
    let expected = "c.yaml:2: Node node-c: spec.podCIDRs: is missing; its pods cannot be reached";
    assert_eq!(troubles(&state), [expected]);
}

#[test]
fn who_came_first_keeps_the_range() {
    let mut state = synced(&[("m.yaml", &node("node-m", "10.244.2.0/24", "192.0.2.2"))]);
    let thief = node("node-c", "10.244.2.0/24", "192.0.2.3");
    let effects = step(&mut state, read("a.yaml", &thief));
    assert!(!effects.publish, "nothing changed for forwarding");
    assert_eq!(effects.appeared.len(), 1);
    assert_eq!(peers(&state), ["node-m"]);

    let effects = step(
        &mut state,
        Event::Gone {
            origin: "m.yaml".into(),
        },
    );
    assert!(effects.publish);
    assert_eq!(effects.resolved.len(), 1);
    assert_eq!(peers(&state), ["node-c"]);
}

#[test]
fn the_own_node_object_must_agree() {
    let state = synced(&[("a.yaml", &node("node-a", "10.244.9.0/24", "192.0.2.9"))]);
    assert_eq!(
        troubles(&state),
        [
            "a.yaml:4: Node node-a: spec.podCIDRs: 10.244.9.0/24 is not among node.pod_cidrs of this \
             node's configuration (10.244.1.0/24, fd00:10:244:1::/64)",
            "a.yaml:5: Node node-a: status.addresses: lacks 192.0.2.1, this node's address by \
             configuration; other nodes would send to another place",
        ]
    );
    let state = synced(&[("a.yaml", &node("node-a", "10.244.1.0/24", "192.0.2.1"))]);
    assert!(troubles(&state).is_empty());
    assert!(peers(&state).is_empty());
}

#[test]
fn local_pods_have_addresses_of_this_node() {
    let files = [
        ("a.yaml", pod("a", "node-a", "10.244.1.2")),
        ("b.yaml", pod("b", "node-a", "10.244.2.2")),
        ("c.yaml", pod("c", "node-a", "10.244.1.0")),
        ("d.yaml", pod("d", "node-a", "10.244.1.1")),
        ("e.yaml", pod("e", "node-a", "10.244.1.2")),
        ("f.yaml", pod("f", "node-b", "10.244.1.9")),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let state = synced(&files);
    assert_eq!(
        troubles(&state),
        [
            "b.yaml:5: Pod default/b: status.podIPs: 10.244.2.2 is outside the pod ranges of node \
             node-a (10.244.1.0/24, fd00:10:244:1::/64)",
            "c.yaml:5: Pod default/c: status.podIPs: 10.244.1.0 is reserved in 10.244.1.0/24; pods \
             start at the third address",
            "d.yaml:5: Pod default/d: status.podIPs: 10.244.1.1 is reserved in 10.244.1.0/24; pods \
             start at the third address",
            "e.yaml:5: Pod default/e: status.podIPs: 10.244.1.2 is already the address of Pod \
             default/a",
        ]
    );
    let with_address: Vec<_> = state
        .desired()
        .pods
        .values()
        .filter(|p| !p.ips.is_empty())
        .map(|p| &p.name)
        .collect();
    assert_eq!(with_address, ["a"]);
}

#[test]
fn finished_and_host_network_pods_hold_no_address() {
    let done = pod("a", "node-a", "10.244.1.2").replace("status: {", "status: {phase: Succeeded, ");
    let host = pod("b", "node-a", "192.0.2.1").replace("spec: {", "spec: {hostNetwork: true, ");
    let state = synced(&[("a.yaml", &done), ("b.yaml", &host)]);
    assert!(state.desired().pods.is_empty());
    assert!(troubles(&state).is_empty());
}

#[test]
fn a_bad_file_keeps_its_last_good_version() {
    let mut state = synced(&[("b.yaml", NODE_B)]);
    let effects = step(&mut state, read("b.yaml", "apiVersion: v1\nkind: Node\n"));
    assert!(!effects.publish);
    assert_eq!(effects.appeared.len(), 1);
    assert_eq!(
        troubles(&state),
        ["b.yaml:2: Node: metadata.name: is missing; until that is corrected it is left out"]
    );
    assert_eq!(peers(&state), ["node-b"]);

    let unreadable = ManifestError {
        line: 1,
        object: String::new(),
        field: String::new(),
        what: "cannot be read: Permission denied".into(),
    };
    step(
        &mut state,
        Event::Rejected {
            origin: "b.yaml".into(),
            errors: vec![unreadable],
        },
    );
    assert_eq!(peers(&state), ["node-b"]);

    let effects = step(&mut state, read("b.yaml", NODE_B));
    assert!(!effects.publish, "the same objects again");
    assert_eq!(effects.resolved.len(), 1);
    assert!(troubles(&state).is_empty());
}

#[test]
fn a_source_that_does_not_work_is_reported_before_it_ever_did() {
    let mut state = ClusterState::new(local());
    let problem = Trouble {
        place: "/etc/weft/cluster.d".into(),
        what: "cannot be listed".into(),
        next: "make it".into(),
    };
    let effects = step(
        &mut state,
        Event::Broken {
            problem: problem.clone(),
        },
    );
    assert!(!effects.publish);
    assert_eq!(effects.appeared, [problem]);
    assert!(!state.is_synced());
    step(&mut state, read("b.yaml", NODE_B));
    let effects = step(&mut state, Event::Synced);
    assert!(effects.publish);
    assert_eq!(effects.resolved.len(), 1);
    assert_eq!(peers(&state), ["node-b"]);
}

#[test]
fn policies_and_namespaces_are_counted() {
    let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\n---\n\
                apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
    let state = synced(&[("x.yaml", text)]);
    assert_eq!(
        (state.desired().policies, state.desired().namespaces),
        (1, 1)
    );
}
