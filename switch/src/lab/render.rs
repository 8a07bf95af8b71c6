//! Which files does a node's daemon read?
//!
//! Owns the text of `weft.toml` and of the manifests in `cluster.d`, as a function of the plan.

use std::path::Path;

use serde_json::{Value, json};

use super::file::{Family, NodeKind};
use super::plan::{Node, Plan};

/// `weft.toml` of a node whose files are in `folder`.
pub(crate) fn weft_toml(plan: &Plan, node: &Node, folder: &Path) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let inside = |name: &str| quoted(&folder.join(name).to_string_lossy());
    let cidrs: Vec<String> = node
        .pod_cidrs
        .iter()
        .map(|cidr| quoted(&cidr.to_string()))
        .collect();
    let workers = node
        .workers
        .map(|n| format!("workers = {n}\n"))
        .unwrap_or_default();
    let spin = node
        .spin_us
        .map(|n| format!("spin_us = {n}\n"))
        .unwrap_or_default();
    let address = node.member.address(plan.underlay.family);
    format!(
        "[node]\nname = {}\naddress = \"{address}\"\npod_cidrs = [{}]\n{workers}{spin}\n\
         [vxlan]\nvni = {}\nport = {}\n\n\
         [cluster]\nsource = \"manifests\"\npath = {}\n\n\
         [paths]\nsocket = {}\nstate = {}\n\n\
         [metrics]\nlisten = \"127.0.0.1:9568\"\n",
        quoted(&node.name),
        cidrs.join(", "),
        plan.vxlan.vni,
        plan.vxlan.port,
        inside("cluster.d"),
        inside("weft.sock"),
        inside("state"),
    )
}

/// The one file of `cluster.d`, the same on every node. One, so that whatever changes in it
/// changes at one moment.
pub(crate) fn cluster(plan: &Plan) -> String {
    let nodes = plan.nodes.iter().map(|node| node_object(plan, node));
    let pods = plan.pods.iter().map(|pod| pod.manifest.clone());
    let namespaces = plan.namespaces.values().cloned();
    let others = plan.others.iter().cloned();
    let all: Vec<Value> = nodes.chain(namespaces).chain(pods).chain(others).collect();
    stream(&all)
}

/// A Node object as kubelet and controllers would have written it; a kernel node also announces
/// the MAC address of its VXLAN device, as flannel does.
fn node_object(plan: &Plan, node: &Node) -> Value {
    let other = match plan.underlay.family {
        Family::Ipv4 => Family::Ipv6,
        Family::Ipv6 => Family::Ipv4,
    };
    let internal =
        |family| json!({"type": "InternalIP", "address": node.member.address(family).to_string()});
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": {"kubernetes.io/hostname": node.name}},
        "spec": {
            "podCIDR": node.pod_cidrs.first().map(ToString::to_string),
            "podCIDRs": node.pod_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "status": {"addresses": [
            internal(plan.underlay.family),
            internal(other),
            {"type": "Hostname", "address": node.name},
        ]},
    });
    if node.kind == NodeKind::Kernel {
        let data = format!(
            "{{\"VNI\":{},\"VtepMAC\":\"{}\"}}",
            plan.vxlan.vni,
            node.vtep_mac()
        );
        let annotations = json!({
            "flannel.alpha.coreos.com/backend-type": "vxlan",
            "flannel.alpha.coreos.com/backend-data": data,
        });
        super::place::set(&mut object, &["metadata", "annotations"], annotations);
    }
    object
}

/// A YAML stream; a document that YAML cannot say is written as JSON, which is YAML too.
fn stream(objects: &[Value]) -> String {
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        match serde_saphyr::to_string(object) {
            Ok(yaml) => text.push_str(&yaml),
            Err(_) => text.push_str(&object.to_string()),
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}
