//! Judging manifests: what is asked for, and who is judged as what.

use std::path::PathBuf;

use super::*;
use crate::manifests;

const MANIFESTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: v1
kind: Namespace
metadata: {name: y}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.1.0.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: y, labels: {app: db}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: sql, containerPort: 5432}]}]}
status: {podIPs: [{ip: 10.1.0.7}]}
---
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: x}
spec: {nodeName: n1, hostNetwork: true, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: nowhere, namespace: x}
spec: {nodeName: n2, hostNetwork: true, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: over, namespace: x, labels: {app: web}}
spec: {containers: [{name: c}]}
status: {phase: Succeeded, podIP: 10.1.0.9}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny-all, namespace: y}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-web, namespace: y}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}]
    ports: [{port: sql}]
"#;

fn load(text: &str) -> Inventory {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("all.yaml");
    std::fs::write(&file, text).unwrap();
    let loaded = manifests::load(&[file]).unwrap();
    let members = loaded.pods.into_iter().map(|pod| Member {
        name: pod.name,
        node: pod.node,
        host_network: pod.host_network,
        finished: pod.finished,
        addresses: pod.addresses,
    });
    Inventory {
        cluster: loaded.cluster,
        members: members.collect(),
        nodes: loaded.nodes,
    }
}

fn view(more: &str) -> View {
    View::new(load(&format!("{MANIFESTS}---\n{more}")))
}

const fn tcp(port: u16) -> Service {
    Service {
        port,
        transport: Transport::Tcp,
        family: None,
    }
}

/// The pairs that may not talk.
fn denied(view: &View, service: &Service) -> Vec<String> {
    let verdicts = view.matrix(service).verdicts.into_iter();
    let denied = verdicts.filter(|pair| !pair.verdict.is_allowed());
    denied
        .map(|pair| format!("{}>{}", pair.from, pair.to))
        .collect()
}

fn reasons(view: &View, from: &str, to: &str, service: &Service) -> Reasons {
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    view.explain(&from, &to, service).unwrap()
}

#[test]
fn the_matrix_has_the_documented_form() {
    let json = serde_json::to_string(&view("").matrix(&tcp(80))).unwrap();
    let pair = |from: &str, to: &str, verdict: &str| {
        format!(r#"{{"from":"{from}","to":"{to}","verdict":"{verdict}"}}"#)
    };
    let verdicts = [
        pair("x/a", "x/a", "allow"),
        pair("x/a", "x/host", "allow"),
        pair("x/a", "y/b", "deny"),
        pair("x/host", "x/a", "allow"),
        pair("x/host", "x/host", "allow"),
        pair("x/host", "y/b", "allow"),
        pair("y/b", "x/a", "allow"),
        pair("y/b", "x/host", "allow"),
        pair("y/b", "y/b", "allow"),
    ];
    let expected = format!(
        r#"{{"port":80,"protocol":"TCP","verdicts":[{}]}}"#,
        verdicts.join(",")
    );
    assert_eq!(json, expected);
}

#[test]
fn a_pod_of_an_unknown_node_s_network_and_a_finished_one_are_left_out() {
    let view = view("");
    let names: Vec<String> = view.ends.iter().map(|end| end.name.to_string()).collect();
    assert_eq!(names, ["x/a", "x/host", "y/b"]);
    let notes = view.notes().join("\n");
    assert!(notes.contains("x/nowhere is left out"), "{notes}");
    assert!(!notes.contains("x/over"), "{notes}");
}

#[test]
fn an_explanation_has_the_documented_form() {
    let view = view("");
    let json =
        |from, to, port| serde_json::to_string(&reasons(&view, from, to, &tcp(port))).unwrap();
    let open = r#""egress":{"verdict":"allow","isolated":false,"by":[]}"#;
    assert_eq!(
        json("x/a", "y/b", 5432),
        format!(
            r#"{{"verdict":"allow",{open},"ingress":{{"verdict":"allow","isolated":true,"isolatedBy":["y/allow-web","y/deny-all"],"by":["y/allow-web#ingress[0]"]}}}}"#
        )
    );
    let denied = json("x/a", "10.1.0.7", 80);
    let start = format!(
        r#"{{"verdict":"deny",{open},"ingress":{{"verdict":"deny","isolated":true,"isolatedBy":["y/allow-web","y/deny-all"],"by":[],"nearest":"y/allow-web#ingress[0] "#
    );
    assert!(denied.starts_with(&start), "{denied}");
    let itself = reasons(&view, "y/b", "y/b", &tcp(1));
    assert!(itself.verdict.is_allowed());
    let node = reasons(&view, "192.0.2.1", "y/b", &tcp(80));
    assert!(node.verdict.is_allowed(), "its own node");
    let node = reasons(&view, "node:n1", "y/b", &tcp(80));
    assert!(node.verdict.is_allowed(), "its own node by name");
    let other = reasons(&view, "192.0.2.2", "y/b", &tcp(80));
    assert!(!other.verdict.is_allowed(), "another node");
}

#[test]
fn the_explanation_agrees_with_the_matrix() {
    let view = view("");
    for port in [80, 5432] {
        for pair in view.matrix(&tcp(port)).verdicts {
            let reasons = reasons(&view, &pair.from, &pair.to, &tcp(port));
            assert_eq!(reasons.verdict, pair.verdict, "{pair:?} {port}");
        }
    }
}

#[test]
fn no_narrow_block_matches_a_pod_without_an_address() {
    let policy = |block: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: out, \
             namespace: y}}\nspec: {{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: \
             [{{ipBlock: {block}}}]}}]}}\n"
        )
    };
    for (block, allowed) in [
        ("{cidr: 0.0.0.0/0}", true),
        ("{cidr: 240.0.0.0/4}", false),
        ("{cidr: 128.0.0.0/1}", false),
        ("{cidr: 0.0.0.0/0, except: [240.0.0.0/4]}", true),
        ("{cidr: \"::/0\"}", false),
    ] {
        let view = view(&policy(block));
        let denied = denied(&view, &tcp(5432));
        assert_eq!(!denied.contains(&"y/b>x/a".to_owned()), allowed, "{block}");
        assert!(
            view.notes()
                .iter()
                .any(|n| n.contains("1 pod has no address"))
                || block.contains("/0"),
            "{block}"
        );
    }
}

#[test]
fn icmp_passes_rules_without_ports_alone() {
    let icmp = Service {
        port: 0,
        transport: Transport::Icmp,
        family: None,
    };
    let ports = view("");
    assert!(denied(&ports, &icmp).contains(&"x/a>y/b".to_owned()));
    let all = view(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: all, namespace: \
         y}\nspec: {podSelector: {}, ingress: [{}]}\n",
    );
    assert!(denied(&all, &icmp).is_empty());
}

#[test]
fn a_diff_names_what_changes() {
    let old = view("");
    let new = View::new(load(
        &MANIFESTS
            .replace("port: sql", "port: 80")
            .replace("name: a, namespace: x", "name: c, namespace: x"),
    ));
    let found = diff(&old, &new, &tcp(80));
    assert_eq!((found.changes.len(), found.is_empty()), (0, false));
    assert_eq!(
        (found.added, found.removed),
        (vec!["x/c".to_owned()], vec!["x/a".to_owned()])
    );
    let new = View::new(load(&MANIFESTS.replace("port: sql", "port: 80")));
    let found = diff(&old, &new, &tcp(80));
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(
        json,
        r#"{"port":80,"protocol":"TCP","changes":[{"from":"x/a","to":"y/b","before":"deny","after":"allow"}],"added":[],"removed":[]}"#
    );
    assert!(diff(&old, &old, &tcp(80)).is_empty());
}

#[test]
fn unknown_ends_are_told_with_what_there_is() {
    let view = view("");
    let ask = |from: &str, to: &str| {
        let (from, to) = (from.parse()?, to.parse()?);
        view.explain(&from, &to, &tcp(80)).map(|_| ())
    };
    for (from, to, says) in [
        (
            "x/b",
            "y/b",
            "the manifests hold no running pod x/b; there are x/a, x/host, y/b",
        ),
        ("x/over", "y/b", "no running pod x/over"),
        (
            "10.0.0.1",
            "fd00::1",
            "10.0.0.1 and fd00::1 have no address in common",
        ),
        (
            "node:n9",
            "y/b",
            "no address of node n9 is known; nodes: n1",
        ),
        (
            "pod",
            "y/b",
            "\"pod\" is neither a pod nor an address; write NAMESPACE/POD",
        ),
    ] {
        let error: Unknown = ask(from, to).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn what_is_probably_not_meant_is_told() {
    let odd = |more: &str| oddities(&load(&format!("{MANIFESTS}---\n{more}")).cluster);
    assert_eq!(odd(""), Vec::<String>::new());
    let policy = |spec: &str| {
        odd(&format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: odd, \
             namespace: y}}\nspec: {spec}\n"
        ))
    };
    for (spec, says) in [
        (
            "{podSelector: {matchLabels: {app: dbb}}}",
            "selects no pod of these manifests",
        ),
        (
            "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}",
            "ingress[0]: its peer 0 matches no pod",
        ),
        (
            "{podSelector: {}, ingress: [{ports: [{port: http}]}]}",
            "no pod it speaks of names a TCP port \"http\"",
        ),
    ] {
        let found = policy(spec);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("NetworkPolicy y/odd: ") && found[0].contains(says),
            "{found:?}"
        );
    }
}
