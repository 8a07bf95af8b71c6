//! Is what `lab.yaml` says possible? Each check reports with line and field, and goes on.

use std::collections::BTreeMap;
use std::path::Path;

use serde_saphyr::Spanned;

use super::super::error::Problem;
use super::super::expect::{Expectation, RawExpectation};
use super::super::name::{self, LabName};
use super::super::subnet;
use super::{
    DEFAULT_MTU, DEFAULT_PORT, DEFAULT_VNI, Family, NODES_MAX, NodeKind, NodeSpec, PodNetwork,
    RawNode, RawPodNetwork, RawUnderlay, RawVxlan, Underlay, Vxlan,
};
use crate::config::MAX_SPIN;

/// Collects every problem of one file.
pub(super) struct Check<'a> {
    pub(super) path: &'a Path,
    pub(super) problems: Vec<Problem>,
}

impl Check<'_> {
    fn report(&mut self, line: u64, field: &str, message: impl Into<String>, next: &str) {
        self.problems
            .push(Problem::new(self.path, message, next).at(line).field(field));
    }

    pub(super) fn name(&mut self, name: Option<&Spanned<String>>, folder: &Path) -> LabName {
        let fallback = || {
            let folder = std::fs::canonicalize(folder).ok();
            let last = folder
                .as_deref()
                .and_then(Path::file_name)
                .and_then(|n| n.to_str());
            last.and_then(|n| LabName::new(n).ok())
        };
        let parsed = match name {
            None => Ok(fallback()),
            Some(name) => LabName::new(&name.value)
                .map(Some)
                .map_err(|e| (name.referenced.line(), e)),
        };
        match parsed {
            Ok(Some(name)) => name,
            Ok(None) => {
                self.report(
                    0,
                    "name",
                    "is missing, and the folder's name is no lab name",
                    "add name: my-lab",
                );
                LabName::placeholder()
            }
            Err((line, message)) => {
                self.report(
                    line,
                    "name",
                    message,
                    "choose a short name such as two-nodes",
                );
                LabName::placeholder()
            }
        }
    }

    pub(super) fn underlay(&mut self, raw: &RawUnderlay) -> Underlay {
        let mtu = raw.mtu.as_ref().map_or(DEFAULT_MTU, |m| m.value);
        if let Some(given) = &raw.mtu
            && !(1280..=65_000).contains(&mtu)
        {
            let message = format!("{mtu} is not between 1280 (RFC 8200 §5) and 65000 bytes");
            self.report(
                given.referenced.line(),
                "underlay.mtu",
                message,
                "1500 is usual, 9000 for jumbo frames",
            );
            return Underlay {
                mtu: DEFAULT_MTU,
                family: Family::Ipv4,
            };
        }
        Underlay {
            mtu,
            family: raw.family.unwrap_or(Family::Ipv4),
        }
    }

    pub(super) fn pod_mtu(&mut self, raw: &RawUnderlay, underlay: Underlay, pods: PodNetwork) {
        let mtu = underlay.pod_mtu();
        if pods.ipv6.is_some() && mtu < 1280 {
            let message = format!(
                "{} leaves pods {mtu} bytes, less than the 1280 that IPv6 needs (RFC 8200 §5)",
                underlay.mtu
            );
            let line = raw.mtu.as_ref().map_or(0, |m| m.referenced.line());
            let next = format!(
                "use at least {}, or leave out podNetwork.ipv6",
                1280 + underlay.family.overhead()
            );
            self.report(line, "underlay.mtu", message, &next);
        }
    }

    pub(super) fn vxlan(&mut self, raw: &RawVxlan) -> Vxlan {
        let vni = raw.vni.as_ref().map_or(DEFAULT_VNI, |v| v.value);
        if !(1..=0xff_ffff).contains(&vni) {
            let line = raw.vni.as_ref().map_or(0, |v| v.referenced.line());
            self.report(
                line,
                "vxlan.vni",
                format!("{vni} is not between 1 and 16777215"),
                "flannel's default is 1",
            );
        }
        let port = raw.port.as_ref().map_or(DEFAULT_PORT, |p| p.value);
        if port == 0 {
            let line = raw.port.as_ref().map_or(0, |p| p.referenced.line());
            self.report(
                line,
                "vxlan.port",
                "0 is not a UDP port",
                "Linux uses 8472, RFC 7348 says 4789",
            );
        }
        Vxlan { vni, port }
    }

    pub(super) fn nodes(&mut self, raw: &Spanned<Vec<RawNode>>) -> Vec<NodeSpec> {
        let all = raw.referenced.line();
        if raw.value.is_empty() {
            self.report(
                all,
                "nodes",
                "is empty",
                "add at least one: - { name: node-a }",
            );
        }
        if raw.value.len() > NODES_MAX {
            let message = format!("{} nodes do not fit the underlay", raw.value.len());
            self.report(all, "nodes", message, "use at most 253");
        }
        let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
        for (index, node) in raw.value.iter().enumerate() {
            let line = node.name.referenced.line();
            let field = format!("nodes[{index}].name");
            if let Err(message) = name::check_node(&node.name.value) {
                self.report(line, &field, message, "choose a name such as node-a");
            }
            if let Some(first) = seen.insert(&node.name.value, line) {
                let message = format!(
                    "\"{}\" is already the node of line {first}",
                    node.name.value
                );
                self.report(line, &field, message, "give each node its own name");
            }
            self.daemon_fields(index, node);
        }
        let kind = |node: &RawNode| node.kind.unwrap_or(NodeKind::Weft);
        raw.value
            .iter()
            .map(|node| NodeSpec {
                name: node.name.value.clone(),
                kind: kind(node),
                workers: node.workers.as_ref().map(|w| w.value),
                spin_us: node.spin_us.as_ref().map(|spin| spin.value),
            })
            .collect()
    }

    /// What a node's daemon is told, if it has one.
    fn daemon_fields(&mut self, index: usize, node: &RawNode) {
        let has_daemon = node.kind != Some(NodeKind::Kernel);
        if let Some(workers) = &node.workers {
            let (line, field) = (workers.referenced.line(), format!("nodes[{index}].workers"));
            if !has_daemon {
                self.no_daemon(line, &field);
            } else if !(1..=64).contains(&workers.value) {
                let message = format!("{} is not between 1 and 64", workers.value);
                self.report(line, &field, message, "leave it out for one per core");
            }
        }
        if let Some(spin) = &node.spin_us {
            let (line, field) = (spin.referenced.line(), format!("nodes[{index}].spin_us"));
            if !has_daemon {
                self.no_daemon(line, &field);
            } else if spin.value > MAX_SPIN {
                let message = format!("{} is out of range", spin.value);
                let next = format!("write 0 to {MAX_SPIN}, where 0 is to sleep at once");
                self.report(line, &field, message, &next);
            }
        }
    }

    fn no_daemon(&mut self, line: u64, field: &str) {
        let next = "leave it out, or leave kind: kernel out";
        self.report(line, field, "a kernel node runs no daemon", next);
    }

    pub(super) fn pod_network(&mut self, raw: Option<&RawPodNetwork>, nodes: usize) -> PodNetwork {
        let Some(raw) = raw else {
            return PodNetwork {
                ipv4: subnet::check_v4(subnet::DEFAULT_IPV4, nodes).ok(),
                ipv6: subnet::check_v6(subnet::DEFAULT_IPV6, nodes).ok(),
            };
        };
        if raw.ipv4.is_none() && raw.ipv6.is_none() {
            let next = "give ipv4, ipv6 or both, or leave podNetwork out";
            self.report(0, "podNetwork", "names no network", next);
        }
        let ipv4 = raw
            .ipv4
            .as_ref()
            .map(|n| (n.referenced.line(), subnet::check_v4(&n.value, nodes)));
        let ipv6 = raw
            .ipv6
            .as_ref()
            .map(|n| (n.referenced.line(), subnet::check_v6(&n.value, nodes)));
        PodNetwork {
            ipv4: self.keep("podNetwork.ipv4", ipv4),
            ipv6: self.keep("podNetwork.ipv6", ipv6),
        }
    }

    /// The good value; a bad one is reported.
    fn keep<T>(
        &mut self,
        field: &str,
        checked: Option<(u64, Result<T, subnet::Wrong>)>,
    ) -> Option<T> {
        let (line, result) = checked?;
        result
            .map_err(|(message, next)| self.report(line, field, message, &next))
            .ok()
    }

    pub(super) fn expectations(&mut self, raw: &[Spanned<RawExpectation>]) -> Vec<Expectation> {
        let mut good = Vec::new();
        for (index, one) in raw.iter().enumerate() {
            match Expectation::check(&one.value) {
                Ok(expectation) => good.push(expectation),
                Err((field, message)) => {
                    let field = format!("expect[{index}].{field}");
                    let next = "for example { from: default/a, to: default/b, port: 80, protocol: TCP, verdict: allow }";
                    self.report(one.referenced.line(), &field, message, next);
                }
            }
        }
        good
    }
}
