//! The lab under policies: what is applied holds when the command returns, and probes tell a
//! refusal from everything that looks like one.

use std::fs;
use std::path::Path;

use super::support::{Lab, may_run};

const LAB: &str = r#"name: {name}
nodes:
  - { name: node-a, workers: 1 }
  - { name: node-b, workers: 1 }
outside: true
manifests: [ pods.yaml ]
"#;

const PODS: &str = r#"apiVersion: v1
kind: Pod
metadata: { name: a, labels: { app: a } }
spec: { nodeName: node-a, containers: [ { name: c, ports: [ { containerPort: 80 }, { containerPort: 80, protocol: UDP } ] } ] }
---
apiVersion: v1
kind: Pod
metadata: { name: b, labels: { app: b } }
spec: { nodeName: node-b, containers: [ { name: c, ports: [ { containerPort: 80 }, { containerPort: 80, protocol: UDP } ] } ] }
"#;

const DENY: &str = r#"---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: nobody-to-b }
spec: { podSelector: { matchLabels: { app: b } }, policyTypes: [ Ingress ] }
"#;

fn up(test: &str) -> Option<Lab> {
    may_run(test).then(|| {
        let lab = Lab::new(LAB, PODS).with("denied.yaml", &format!("{PODS}{DENY}"));
        let answer = lab.up();
        assert_eq!(answer.code, 0, "{}", answer.err);
        lab
    })
}

fn apply(lab: &Lab, file: &str) {
    let path = lab.path(file);
    let answer = lab.run("apply", &["-f", path.to_str().unwrap()]);
    assert_eq!(answer.code, 0, "{}", answer.err);
}

/// No pause between `apply` and the probe: the daemons have taken the policies in by then.
#[test]
fn apply_returns_when_policies_are_enforced() {
    let Some(lab) = up("apply_returns_when_policies_are_enforced") else {
        return;
    };
    // One answer is enough, however late; silence has to last for as long as is bearable.
    let probe = |timeout| lab.run("probe", &["default/a", "default/b", "--timeout", timeout]);
    for round in 0..10 {
        apply(&lab, "denied.yaml");
        let denied = probe("0.2");
        assert_eq!(denied.code, 1, "round {round}: {}", denied.out);
        apply(&lab, "pods.yaml");
        let allowed = probe("5");
        assert_eq!(allowed.code, 0, "round {round}: {}", allowed.out);
    }
}

#[test]
fn probes_tell_a_refusal_from_what_looks_like_one() {
    let Some(lab) = up("probes_tell_a_refusal_from_what_looks_like_one") else {
        return;
    };
    // Nothing listens on 81: the other end's kernel says so, over every protocol.
    for protocol in ["TCP", "UDP", "SCTP"] {
        for family in ["ipv4", "ipv6"] {
            let question = ["--protocol", protocol, "--port", "81", "--family", family];
            let seen = lab.run(
                "probe",
                &[&["default/a", "default/b"], &question[..]].concat(),
            );
            assert_eq!(seen.code, 0, "{}", seen.out);
        }
    }
    apply(&lab, "denied.yaml");
    let expect = [
        ("default/a", "default/b", "TCP", 80, "deny"),
        ("default/a", "default/b", "TCP", 81, "deny"),
        ("default/a", "default/b", "UDP", 81, "deny"),
        ("default/a", "default/b", "SCTP", 80, "deny"),
        ("default/a", "default/b", "ICMP", 80, "deny"),
        ("default/b", "default/a", "UDP", 80, "allow"),
        ("default/b", "default/a", "ICMP", 80, "allow"),
        ("default/b", "default/b", "TCP", 80, "allow"),
        ("node:node-a", "default/b", "TCP", 80, "deny"),
        ("node:node-b", "default/b", "TCP", 80, "allow"),
        ("default/b", "outside", "TCP", 80, "allow"),
        ("default/b", "192.0.2.254", "UDP", 80, "allow"),
        ("default/b", "node:node-a", "TCP", 80, "allow"),
        ("default/b", "192.0.2.77", "TCP", 80, "deny"),
    ];
    let line = |(from, to, protocol, port, verdict): &(&str, &str, &str, u16, &str)| {
        format!(
            "  - {{ from: \"{from}\", to: \"{to}\", protocol: {protocol}, port: {port}, verdict: {verdict} }}\n"
        )
    };
    let text: String = expect.iter().map(line).collect();
    let lab = lab.with("expect.yaml", &format!("expect:\n{text}"));
    let file = lab.path("expect.yaml");
    let checked = lab.run("check", &["-f", file.to_str().unwrap()]);
    assert_eq!(checked.code, 0, "{}{}", checked.out, checked.err);
    // And the opposite of each is noticed.
    let other = text.replace("verdict: deny", "verdict: ALLOW");
    let other = other.replace("verdict: allow", "verdict: deny");
    let lab = lab.with(
        "expect.yaml",
        &format!("expect:\n{}", other.replace("ALLOW", "allow")),
    );
    let checked = lab.run("check", &["-f", file.to_str().unwrap()]);
    assert_eq!(checked.code, 1);
    assert!(
        checked.out.contains("0 of 14 expectations hold"),
        "{}",
        checked.out
    );
}

/// Labels of pods elsewhere are known from their manifests, whatever runs on their node.
#[test]
fn pods_of_a_kernel_node_are_peers() {
    if !may_run("pods_of_a_kernel_node_are_peers") {
        return;
    }
    let lab = LAB.replace(
        "outside: true",
        "  - { name: node-k, kind: kernel }\noutside: true",
    );
    let kernel = |name: &str| {
        let pod = PODS.split("---\n").next().unwrap();
        let pod = pod.replace("name: a", &format!("name: {name}"));
        let pod = pod.replace("app: a", &format!("app: {name}"));
        pod.replace("node-a", "node-k")
    };
    let policy = DENY.replace(
        "policyTypes: [ Ingress ]",
        "ingress: [ { from: [ { podSelector: { matchLabels: { app: k1 } } } ] } ]",
    );
    let pods = format!("{PODS}---\n{}---\n{}{policy}", kernel("k1"), kernel("k2"));
    let lab = Lab::new(&lab, &pods);
    let answer = lab.up();
    assert_eq!(answer.code, 0, "{}", answer.err);
    for family in ["ipv4", "ipv6"] {
        let denied = lab.denied(&["--family", family, "--timeout", "0.5"]);
        let expected = ["default/a", "default/k2"].map(|from| format!("\"{from}\"→\"default/b\""));
        assert_eq!(denied, expected, "over {family}");
    }
}

/// The folder that docs/policy.md sends people to.
#[test]
fn the_policy_example_holds() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/policy");
    let read = |file: &str| fs::read_to_string(example.join(file)).unwrap();
    let text = read("lab.yaml");
    assert_eq!(text.matches("\nname: policy\n").count(), 1);
    let text = text
        .replace("\nname: policy\n", "\nname: {name}\n")
        .replace("manifests/", "pods.yaml, policies.yaml");
    let text = text.replace("[ pods", "[pods").replace("yaml ]", "yaml]");
    let lab = Lab::new(&text, &read("manifests/pods.yaml"))
        .with("policies.yaml", &read("manifests/policies.yaml"));
    let file = lab.path("lab.yaml");
    let planned = super::support::weft(&["lab", "plan", "-f", file.to_str().unwrap()]);
    assert_eq!(planned.code, 0, "{}", planned.err);
    assert_eq!(planned.err, "", "no warnings");
    if !may_run("the_policy_example_holds") {
        return;
    }
    let answer = lab.up();
    assert_eq!(
        (answer.code, answer.err.contains("warning")),
        (0, false),
        "{}",
        answer.err
    );
    let checked = lab.run("check", &[]);
    assert_eq!(checked.code, 0, "{}", checked.out);
    let count = text.matches("verdict:").count();
    let all = format!("{count} of {count} expectations hold");
    assert!(checked.out.contains(&all), "{}", checked.out);
}
