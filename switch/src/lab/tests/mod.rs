//! From text to plan: what a lab is, and the exact words for what is none.

use std::path::Path;

use super::error::LabError;
use super::file::{Family, LabFile, NodeKind};
use super::manifest::{self, Document};
use super::plan::Plan;
use super::render;
use super::status::{Ready, Status};

mod messages;
mod steps;

pub(super) const TWO_NODES: &str = r#"name: two-nodes
underlay: { mtu: 1500, family: ipv4 }
podNetwork: { ipv4: 10.244.0.0/16, ipv6: "fd00:10:244::/48" }
vxlan: { vni: 1, port: 8472 }
nodes:
  - { name: node-a, workers: 1 }
  - { name: node-b }
  - { name: node-k, kind: kernel }
outside: true
manifests: []
expect:
  - { from: default/a, to: default/b, port: 80, protocol: TCP, verdict: allow }
"#;

pub(super) const PODS: &str = r#"apiVersion: v1
kind: Pod
metadata: { name: a, labels: { app: web } }
spec:
  nodeName: node-b
  containers:
    - name: web
      ports: [ { containerPort: 80 }, { containerPort: 53, protocol: UDP } ]
---
apiVersion: v1
kind: Pod
metadata: { name: b }
status: { podIPs: [ { ip: 10.244.2.9 } ] }
---
apiVersion: v1
kind: Pod
metadata: { name: c, namespace: x }
---
apiVersion: v1
kind: Pod
metadata: { name: d, namespace: x }
"#;

pub(super) fn file(text: &str) -> Result<LabFile, LabError> {
    LabFile::parse(Path::new("lab.yaml"), text)
}

pub(super) fn documents(text: &str) -> Vec<Document> {
    manifest::parse(Path::new("pods.yaml"), text).unwrap()
}

pub(super) fn plan(lab: &str, pods: &str) -> Result<Plan, LabError> {
    Plan::new(&file(lab)?, &documents(pods), None)
}

fn where_and_what(plan: &Plan) -> Vec<(String, &str, Vec<String>)> {
    let pod = |p: &'_ super::plan::Pod| p.addresses.iter().map(ToString::to_string).collect();
    plan.pods
        .iter()
        .map(|p| (p.name.to_string(), p.node.as_str(), pod(p)))
        .collect()
}

#[test]
fn nodes_come_in_order() {
    let plan = plan(TWO_NODES, PODS).unwrap();
    let nodes: Vec<_> = plan
        .nodes
        .iter()
        .map(|n| {
            (
                n.name.as_str(),
                n.kind,
                n.member.ipv4.to_string(),
                n.member.ipv6.to_string(),
            )
        })
        .collect();
    assert_eq!(
        nodes,
        [
            (
                "node-a",
                NodeKind::Weft,
                "192.0.2.1".into(),
                "2001:db8::1".into()
            ),
            (
                "node-b",
                NodeKind::Weft,
                "192.0.2.2".into(),
                "2001:db8::2".into()
            ),
            (
                "node-k",
                NodeKind::Kernel,
                "192.0.2.3".into(),
                "2001:db8::3".into()
            ),
        ]
    );
}

#[test]
fn pods_are_placed_and_numbered() {
    let plan = plan(TWO_NODES, PODS).unwrap();
    assert_eq!(
        plan.outside.as_ref().unwrap().ipv4.to_string(),
        "192.0.2.254"
    );
    assert_eq!(plan.underlay.pod_mtu(), 1450);
    assert_eq!(
        where_and_what(&plan),
        [
            (
                "default/a".into(),
                "node-b",
                vec!["10.244.1.2".into(), "fd00:10:244:1::2".into()]
            ),
            (
                "default/b".into(),
                "node-k",
                vec!["10.244.2.9".into(), "fd00:10:244:2::2".into()]
            ),
            (
                "x/c".into(),
                "node-a",
                vec!["10.244.0.2".into(), "fd00:10:244::2".into()]
            ),
            (
                "x/d".into(),
                "node-b",
                vec!["10.244.1.3".into(), "fd00:10:244:1::3".into()]
            ),
        ]
    );
    let pod = &plan.pods[0];
    assert_eq!(pod.netns, "weft.two-nodes.default.a");
    assert_eq!(pod.listen.len(), 2);
    assert_eq!(
        pod.manifest["status"]["podIPs"][1]["ip"],
        "fd00:10:244:1::2"
    );
    assert_eq!(pod.manifest["spec"]["nodeName"], "node-b");
    assert_eq!(pod.manifest["metadata"]["labels"]["app"], "web");
}

#[test]
fn namespaces_exist_for_every_pod_and_carry_their_name() {
    let plan = plan(TWO_NODES, PODS).unwrap();
    let names: Vec<_> = plan.namespaces.keys().collect();
    assert_eq!(names, ["default", "x"]);
    assert_eq!(
        plan.namespaces["x"]["metadata"]["labels"]["kubernetes.io/metadata.name"],
        "x"
    );
}

#[test]
fn a_reconcile_keeps_places_and_addresses() {
    let before = plan(TWO_NODES, PODS).unwrap();
    let fewer = PODS
        .split("---\n")
        .skip(3)
        .collect::<Vec<_>>()
        .join("---\n");
    let after = before.with_manifests(&documents(&fewer)).unwrap();
    assert_eq!(
        where_and_what(&after),
        [(
            "x/d".into(),
            "node-b",
            vec!["10.244.1.3".into(), "fd00:10:244:1::3".into()]
        )]
    );
    let again = after.with_manifests(&documents(PODS)).unwrap();
    assert_eq!(
        again.pod(&"x/d".parse().unwrap()),
        before.pod(&"x/d".parse().unwrap())
    );
}

#[test]
fn the_plan_survives_json() {
    let plan = plan(TWO_NODES, PODS).unwrap();
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
}

#[test]
fn defaults_are_dual_stack_and_flannels() {
    let file = file("name: l\nnodes: [ { name: n } ]\n").unwrap();
    assert_eq!((file.vxlan.vni, file.vxlan.port), (1, 8472));
    assert_eq!(
        (file.underlay.mtu, file.underlay.family),
        (1500, Family::Ipv4)
    );
    assert_eq!(file.pod_network.ipv4.unwrap().to_string(), "10.244.0.0/16");
    assert_eq!(
        file.pod_network.ipv6.unwrap().to_string(),
        "fd00:10:244::/48"
    );
    assert!(!file.outside);
}

#[test]
fn an_ipv6_underlay_changes_vtep_and_mtu() {
    let text = TWO_NODES.replace("family: ipv4", "family: ipv6");
    let plan = plan(&text, PODS).unwrap();
    assert_eq!(plan.underlay.pod_mtu(), 1430);
    let toml = render::weft_toml(
        &plan,
        &plan.nodes[0],
        Path::new("/run/weft/lab/two-nodes/node-a"),
    );
    assert!(toml.contains("address = \"2001:db8::1\"\n"), "{toml}");
}

#[test]
fn the_daemon_accepts_what_is_written_for_it() {
    let lab = TWO_NODES.replace("workers: 1", "workers: 1, spin_us: 50");
    let plan = plan(&lab, PODS).unwrap();
    let folder = Path::new("/run/weft/lab/two-nodes/node-a");
    let toml = render::weft_toml(&plan, &plan.nodes[0], folder);
    let host = crate::config::HostDefaults {
        hostname: "h".into(),
        cores: 2,
    };
    let config = crate::config::Config::parse(&toml, &host).unwrap();
    assert_eq!(config.node.name, "node-a");
    assert_eq!((config.node.workers, config.node.spin_us), (1, 50));
    assert_eq!(config.node.pod_cidrs, plan.nodes[0].pod_cidrs);
    assert_eq!(config.socket, crate::api::lab_socket("two-nodes", "node-a"));
    assert_eq!(config.manifests, folder.join("cluster.d"));
    assert_eq!(config.vxlan.port, 8472);
}

#[test]
fn manifests_for_the_daemon_are_yaml_that_reads_back() {
    let plan = plan(TWO_NODES, PODS).unwrap();
    let all = manifest::parse(Path::new("n"), &render::cluster(&plan)).unwrap();
    let of = |kind: &str| {
        let found = all.iter().filter(|one| one.object.kind == kind);
        found.cloned().collect::<Vec<_>>()
    };
    let nodes = of("Node");
    assert_eq!(nodes.len(), 3);
    let kernel = &nodes[2].whole;
    assert_eq!(kernel["spec"]["podCIDRs"][1], "fd00:10:244:2::/64");
    assert_eq!(kernel["status"]["addresses"][0]["address"], "192.0.2.3");
    let data = kernel["metadata"]["annotations"]["flannel.alpha.coreos.com/backend-data"].as_str();
    assert!(
        data.unwrap().starts_with("{\"VNI\":1,\"VtepMAC\":\"02:"),
        "{data:?}"
    );
    let wholes: Vec<_> = of("Pod").into_iter().map(|d| d.whole).collect();
    assert_eq!(
        wholes,
        plan.pods
            .iter()
            .map(|p| p.manifest.clone())
            .collect::<Vec<_>>()
    );
}

#[test]
fn status_json_is_the_documented_form() {
    let lab = "name: two-nodes\npodNetwork: { ipv4: 10.244.0.0/16 }\nnodes: [ { name: node-a } ]\n";
    let plan = plan(lab, "kind: Pod\nmetadata: { name: a }\n").unwrap();
    let mut ready = Ready::default();
    ready.pids.insert("node-a".into(), 123);
    ready.nodes.insert("node-a".into());
    ready.pods.insert("default/a".parse().unwrap());
    let status = Status::new(&plan, &ready);
    assert!(status.all_ready());
    assert_eq!(
        serde_json::to_string(&status).unwrap(),
        concat!(
            r#"{"name":"two-nodes","nodes":[{"name":"node-a","kind":"weft","netns":"weft.two-nodes.node-a","#,
            r#""addresses":["192.0.2.1","2001:db8::1"],"podCIDRs":["10.244.0.0/24"],"#,
            r#""socket":"/run/weft/lab/two-nodes/node-a/weft.sock","pid":123,"ready":true}],"#,
            r#""pods":[{"namespace":"default","name":"a","node":"node-a","netns":"weft.two-nodes.default.a","#,
            r#""addresses":["10.244.0.2"],"ready":true}]}"#
        )
    );
}

#[test]
fn the_example_in_the_documentation_is_a_lab() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/two-nodes");
    let file = LabFile::read(&folder.join("lab.yaml")).unwrap();
    let documents = manifest::read(&file.manifests, &file.path).unwrap();
    let plan = Plan::new(&file, &documents, None).unwrap();
    assert_eq!(
        (plan.nodes.len(), plan.pods.len(), plan.expect.len()),
        (3, 3, 7)
    );
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    assert_eq!(
        plan.namespaces["shop"]["metadata"]["labels"]["team"],
        "shop"
    );
}
