//! Which pods are there, and under which policies?
//!
//! Kubernetes YAML for the labs of a race. Everything follows from the numbers alone.

use std::fmt::Write as _;

use super::sides::{PODS, PORT};

/// The namespace of the pods.
const NAMESPACE: &str = "race";
/// Blocks and port ranges that each policy but the first allows: a hundred entries each way.
const BLOCKS: usize = 10;
const RANGES: usize = 10;

pub(super) fn pods() -> String {
    let mut text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n");
    for (name, node) in PODS {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {NAMESPACE}, \
             labels: {{app: {name}}}}}\nspec: {{nodeName: {node}}}\n"
        );
    }
    text
}

/// Policies that isolate all pods both ways: one lets the measured traffic through, each other one
/// some ports to and from blocks that are its own, where nobody is.
pub(super) fn policies(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let (peers, ports) = match number {
            0 => (
                "{podSelector: {}}".to_owned(),
                format!("{{port: {PORT}, protocol: TCP}}, {{port: {PORT}, protocol: UDP}}"),
            ),
            _ => (elsewhere(number), ranges(number)),
        };
        let rule = format!("[{peers}], ports: [{ports}]");
        let _ = write!(
            text,
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: \
             p{number}, namespace: {NAMESPACE}}}\nspec:\n  podSelector: {{}}\n  policyTypes: \
             [Ingress, Egress]\n  ingress: [{{from: {rule}}}]\n  egress: [{{to: {rule}}}]\n"
        );
    }
    text
}

/// Blocks of sixteen addresses in 172.16.0.0/12, which come round again after 6,553 policies.
fn elsewhere(number: usize) -> String {
    let blocks = (0..BLOCKS).map(|block| {
        let place = (number * BLOCKS + block) % (1 << 16);
        let (second, third, last) = (place >> 12, (place >> 4) % 256, place % 16);
        format!(
            "{{ipBlock: {{cidr: 172.{}.{third}.{}/28}}}}",
            16 + second,
            last * 16
        )
    });
    blocks.collect::<Vec<_>>().join(", ")
}

fn ranges(number: usize) -> String {
    let ranges = (0..RANGES).map(|range| {
        let first = 10_000 + 100 * range + number % 90;
        format!("{{port: {first}, endPort: {}}}", first + 5)
    });
    ranges.collect::<Vec<_>>().join(", ")
}
