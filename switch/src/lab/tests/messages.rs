//! The exact text of every mistake in `lab.yaml` and in manifests: place, field, next step.

use super::{PODS, TWO_NODES, plan};

fn message(lab: &str, pods: &str) -> String {
    plan(lab, pods).unwrap_err().to_string()
}

fn lab_with(find: &str, replace: &str) -> String {
    assert!(TWO_NODES.contains(find), "{find}");
    message(&TWO_NODES.replace(find, replace), PODS)
}

#[test]
fn a_misspelt_field_is_named_with_its_line() {
    assert_eq!(
        lab_with("name: node-b", "name: node-b, kindd: kernel"),
        "lab.yaml:7: unknown field `kindd`, expected one of name, kind, workers, spin_us\n  next: correct the spelling or remove the field; docs/lab.md lists all of them"
    );
    assert!(
        lab_with("underlay:", "underlays:").starts_with("lab.yaml:2: unknown field `underlays`")
    );
    assert!(
        lab_with("kind: kernel", "kind: kernal")
            .starts_with("lab.yaml:8: unknown variant `kernal`")
    );
}

#[test]
fn all_problems_of_a_file_are_listed() {
    let text = "name: Two\nunderlay: { mtu: 500 }\nvxlan: { vni: 0 }\nnodes: [ { name: a }, { name: a }, { name: x.y, workers: 99 } ]\n";
    assert_eq!(
        message(text, ""),
        concat!(
            "lab.yaml:1: name: \"Two\" is not a DNS label (lower-case letters, digits and '-', not at an end)\n",
            "  next: choose a short name such as two-nodes\n",
            "lab.yaml:2: underlay.mtu: 500 is not between 1280 (RFC 8200 §5) and 65000 bytes\n",
            "  next: 1500 is usual, 9000 for jumbo frames\n",
            "lab.yaml:3: vxlan.vni: 0 is not between 1 and 16777215\n",
            "  next: flannel's default is 1\n",
            "lab.yaml:4: nodes[1].name: \"a\" is already the node of line 4\n",
            "  next: give each node its own name\n",
            "lab.yaml:4: nodes[2].name: \"x.y\" holds a dot, so its namespace could be taken for a pod's\n",
            "  next: choose a name such as node-a\n",
            "lab.yaml:4: nodes[2].workers: 99 is not between 1 and 64\n",
            "  next: leave it out for one per core",
        )
    );
}

#[test]
fn what_a_daemon_cannot_be_told_is_refused() {
    assert_eq!(
        lab_with("name: node-b", "name: node-b, spin_us: 1001"),
        "lab.yaml:7: nodes[1].spin_us: 1001 is out of range\n  next: write 0 to 1000, where 0 is to sleep at once"
    );
    assert!(
        lab_with("name: node-b", "name: node-b, spin_us: soon").starts_with("lab.yaml:7: "),
        "no number"
    );
    assert_eq!(
        lab_with("kind: kernel", "kind: kernel, workers: 1, spin_us: 0"),
        concat!(
            "lab.yaml:8: nodes[2].workers: a kernel node runs no daemon\n",
            "  next: leave it out, or leave kind: kernel out\n",
            "lab.yaml:8: nodes[2].spin_us: a kernel node runs no daemon\n",
            "  next: leave it out, or leave kind: kernel out",
        )
    );
}

#[test]
fn a_pod_network_too_small_or_overlapping_is_refused() {
    assert_eq!(
        lab_with("10.244.0.0/16", "10.244.0.0/23"),
        "lab.yaml:3: podNetwork.ipv4: 10.244.0.0/23 is too small: it holds 2 × /24 and the lab has 3 nodes\n  next: use a shorter prefix, such as /16"
    );
    assert_eq!(
        lab_with("10.244.0.0/16", "192.0.0.0/16"),
        "lab.yaml:3: podNetwork.ipv4: 192.0.0.0/16 overlaps the underlay 192.0.2.0/24\n  next: for example 10.244.0.0/16"
    );
    assert!(lab_with("mtu: 1500", "mtu: 1300").starts_with(
        "lab.yaml:2: underlay.mtu: 1300 leaves pods 1250 bytes, less than the 1280 that IPv6 needs"
    ));
}

#[test]
fn an_address_outside_its_nodes_range_is_refused() {
    let pods = "kind: Pod\nmetadata: { name: a }\nspec: { nodeName: node-a }\nstatus:\n  podIPs:\n    - ip: 10.244.1.5\n";
    assert_eq!(
        message(TWO_NODES, pods),
        "pods.yaml:6: status.podIPs: 10.244.1.5 is outside the podCIDRs of node-a (10.244.0.0/24, fd00:10:244::/64)\n  next: choose an address inside, leave it out, or name another node"
    );
    let nowhere = pods
        .replace("spec: { nodeName: node-a }\n", "")
        .replace("10.244.1.5", "10.9.9.9");
    assert_eq!(
        message(TWO_NODES, &nowhere),
        "pods.yaml:5: status.podIPs: 10.9.9.9 is in no node's podCIDR\n  next: choose an address of a node's range, or leave it out"
    );
}

#[test]
fn reserved_and_double_addresses_are_refused() {
    let pod = |name: &str, ip: &str| {
        format!("---\nkind: Pod\nmetadata: {{ name: {name} }}\nstatus: {{ podIP: \"{ip}\" }}\n")
    };
    let base = message(TWO_NODES, &pod("a", "10.244.0.0"));
    assert!(
        base.contains("10.244.0.0 is the node's own (the base of its podCIDR)"),
        "{base}"
    );
    let twice = pod("a", "10.244.0.7") + &pod("b", "10.244.0.7");
    assert_eq!(
        message(TWO_NODES, &twice),
        "pods.yaml:8: status.podIPs: 10.244.0.7 is already the address of default/a (pods.yaml:4)\n  next: choose another address"
    );
}

#[test]
fn double_names_and_unknown_nodes_are_refused() {
    let pods = "kind: Pod\nmetadata: { name: a }\n---\nkind: Pod\nmetadata: { name: a, namespace: default }\n";
    assert_eq!(
        message(TWO_NODES, pods),
        "pods.yaml:4: metadata.name: pod default/a is already defined at pods.yaml:1\n  next: give each pod of a namespace its own name"
    );
    let pods = "kind: Pod\nmetadata: { name: a }\nspec: { nodeName: node-z }\n";
    assert_eq!(
        message(TWO_NODES, pods),
        "pods.yaml:3: spec.nodeName: \"node-z\" is no node of this lab\n  next: use one of node-a, node-b, node-k, or leave nodeName out"
    );
}

#[test]
fn expectations_must_name_what_exists() {
    assert_eq!(
        lab_with("to: default/b", "to: default/z"),
        "lab.yaml: expect[0].to: there is no pod default/z in lab two-nodes\n  next: correct the name, or add it to the lab"
    );
    assert_eq!(
        lab_with("to: default/b", "to: b"),
        "lab.yaml:12: expect[0].to: \"b\" is none of namespace/pod, node:NAME, outside, an IP address\n  next: for example { from: default/a, to: default/b, port: 80, protocol: TCP, verdict: allow }"
    );
}

#[test]
fn a_node_whose_socket_path_is_too_long_is_refused() {
    let node = "n".repeat(63);
    let text = format!("name: {}\nnodes: [ {{ name: {node} }} ]\n", "l".repeat(32));
    let said = message(&text, "");
    assert!(
        said.starts_with("lab.yaml: nodes[0].name: the path of its control socket, /run/weft/lab/"),
        "{said}"
    );
}
