//! The metrics page: Prometheus text format 0.0.4.
//!
//! Names end in their unit or in `_total`; labels hold only names that were checked when they
//! were read, so nothing needs escaping.

use std::fmt::{self, Write};

use weft_policy::Direction;

use super::super::worker::{Snapshot, Stats};
use super::Control;
use super::report::{seconds, sum};
use super::verdicts::{self, refused};
use crate::path::{DropReason, PortId};

/// Policies named for one pod and direction.
const MOST_POLICIES: usize = 8;

/// A page under construction.
#[derive(Default)]
struct Page(String);

impl Page {
    /// Begins a metric.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    /// A metric with one value.
    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl fmt::Display) {
        self.metric(name, kind, help);
        self.line(format_args!("{name} {value}"));
    }
}

impl Control {
    pub(super) fn exposition(&mut self) -> String {
        let mut page = Page::default();
        self.state_metrics(&mut page);
        // Without the workers' answers the page still tells that something is wrong.
        if let Ok(snapshots) = self.snapshots() {
            let total = sum(&snapshots);
            page.metric("weft_frames_total", "counter", "Frames by fate.");
            for (fate, count) in [
                ("port", total.to_pod),
                ("peer", total.to_peer),
                ("answered", total.hairpin),
            ] {
                page.line(format_args!("weft_frames_total{{fate=\"{fate}\"}} {count}"));
            }
            page.metric("weft_drops_total", "counter", "Frames dropped, by reason.");
            for reason in DropReason::ALL {
                let (name, road) = (reason.name(), reason.road().name());
                let count = total.drops(*reason);
                let labels = format_args!("reason=\"{name}\",direction=\"{road}\"").to_string();
                page.line(format_args!("weft_drops_total{{{labels}}} {count}"));
            }
            page.single(
                "weft_icmp_errors_sent_total",
                "counter",
                "ICMP errors sent.",
                total.icmp_sent,
            );
            let help = "ICMP errors not sent for their rate or their cause.";
            page.single(
                "weft_icmp_errors_suppressed_total",
                "counter",
                help,
                total.icmp_suppressed,
            );
            let help = "Frames whose way was known from earlier ones of their flow.";
            page.single(
                "weft_flow_cache_hits_total",
                "counter",
                help,
                total.recalled,
            );
            worker_metrics(&mut page, &snapshots);
            self.port_metrics(&mut page, &total);
            self.denial_metrics(&mut page, &snapshots);
        }
        page.0
    }

    fn state_metrics(&self, page: &mut Page) {
        page.metric("weft_build_info", "gauge", "The running version.");
        let (version, node) = (env!("CARGO_PKG_VERSION"), &self.facts.name);
        page.line(format_args!(
            "weft_build_info{{version=\"{version}\",node=\"{node}\"}} 1"
        ));
        let ready = u8::from(self.is_ready());
        page.single(
            "weft_ready",
            "gauge",
            "Whether pods can be attached.",
            ready,
        );
        let problems = self.problems.len() + self.cluster.troubles().count();
        page.single(
            "weft_problems",
            "gauge",
            "What `weft status` lists as wrong.",
            problems,
        );
        let epoch = self.tables.load().epoch.0;
        page.single(
            "weft_tables_epoch",
            "gauge",
            "Number of the published tables.",
            epoch,
        );
        let desired = self.cluster.desired();
        let help = "NetworkPolicy objects in force.";
        page.single("weft_policies", "gauge", help, desired.policies);
        let help = "Port ranges that they compiled to, over all pods' policies and their peers.";
        let entries = self.tables.load().policy().size().entries;
        page.single("weft_policy_entries", "gauge", help, entries);
        let help = "Whether all pods are closed because policies are not known well enough.";
        let closed = u8::from(self.policies.is_closed());
        page.single("weft_policies_closed", "gauge", help, closed);
        self.publication_metrics(page);
        page.single(
            "weft_peers",
            "gauge",
            "Other nodes known.",
            desired.peers.len(),
        );
        let pods = self.ports.len().saturating_sub(1);
        page.single("weft_pods", "gauge", "Pods attached.", pods);
        let flows = self.conntrack.stats();
        page.single("weft_flows", "gauge", "Connections tracked.", flows.live);
        page.single(
            "weft_flows_limit",
            "gauge",
            "Connections that fit.",
            flows.capacity,
        );
        let help = "Connections refused because the table or a pod's share was full.";
        page.single("weft_flows_refused_total", "counter", help, flows.refused);
    }

    /// Per pod and direction what was refused, and which policies isolate it: two series that a
    /// query joins, bounded by ports and [`MOST_POLICIES`], whatever is refused.
    fn denial_metrics(&self, page: &mut Page, snapshots: &[Snapshot]) {
        let refused = refused(snapshots);
        let counted = "weft_denied_frames_total";
        let isolated = "weft_isolated_by";
        let help = "Frames that the policies of a pod refused.";
        page.metric(counted, "counter", help);
        let mut names = Page::default();
        let help = "The policies that isolate a pod in a direction, by name.";
        names.metric(isolated, "gauge", help);
        for (id, port) in &self.ports {
            let Some(pod) = port.entry.pod.as_deref() else {
                continue;
            };
            for direction in [Direction::Egress, Direction::Ingress] {
                let (namespace, pod, direction_name) =
                    (&pod.namespace, &pod.name, verdicts::name(direction));
                let labels = format!(
                    "port=\"{id}\",namespace=\"{namespace}\",pod=\"{pod}\",\
                     direction=\"{direction_name}\""
                );
                let count = refused.get(&(*id, direction)).map_or(0, |r| r.packets);
                page.line(format_args!("{counted}{{{labels}}} {count}"));
                let policies = self.isolating(port, direction);
                for policy in policies.iter().take(MOST_POLICIES) {
                    names.line(format_args!("{isolated}{{{labels},policy=\"{policy}\"}} 1"));
                }
            }
        }
        page.0.push_str(&names.0);
    }

    fn publication_metrics(&self, page: &mut Page) {
        let publications = self.publications;
        let help = "Tables published.";
        page.single(
            "weft_publications_total",
            "counter",
            help,
            publications.count,
        );
        for (name, kind, help, span) in [
            (
                "weft_publication_seconds_total",
                "counter",
                "Time until every worker used new tables, summed up.",
                publications.total,
            ),
            (
                "weft_publication_last_seconds",
                "gauge",
                "The same for the last tables.",
                publications.last,
            ),
            (
                "weft_publication_max_seconds",
                "gauge",
                "The longest of them.",
                publications.longest,
            ),
        ] {
            page.single(name, kind, help, seconds(span));
        }
    }

    fn port_metrics(&self, page: &mut Page, total: &crate::path::Counters) {
        type Field = fn(&crate::path::PortCounters) -> u64;
        let fields: [(&str, &str, Field); 5] = [
            (
                "weft_port_sent_frames_total",
                "Frames read from a port.",
                |c| c.egress_frames,
            ),
            (
                "weft_port_sent_bytes_total",
                "Bytes read from a port.",
                |c| c.egress_bytes,
            ),
            (
                "weft_port_received_frames_total",
                "Frames for a port.",
                |c| c.ingress_frames,
            ),
            ("weft_port_received_bytes_total", "Bytes for a port.", |c| {
                c.ingress_bytes
            }),
            (
                "weft_port_drops_total",
                "Frames of a port that were dropped.",
                |c| c.egress_drops,
            ),
        ];
        for (name, help, field) in fields {
            page.metric(name, "counter", help);
            for (id, port) in &self.ports {
                let pod = port.entry.pod.as_deref();
                let (namespace, pod) =
                    pod.map_or(("", ""), |pod| (pod.namespace.as_str(), pod.name.as_str()));
                let kind = if *id == PortId::HOST { "host" } else { "pod" };
                let (id, value) = (id.get(), field(&total.port(*id)));
                page.line(format_args!(
                    "{name}{{port=\"{id}\",kind=\"{kind}\",namespace=\"{namespace}\",pod=\"{pod}\"}} {value}"
                ));
            }
        }
    }
}

/// What each worker did at the edges, and what its kernel does not do for it.
fn worker_metrics(page: &mut Page, snapshots: &[Snapshot]) {
    let help = "Time a worker spent on frames.";
    let name = "weft_worker_busy_seconds_total";
    page.metric(name, "counter", help);
    for (worker, snapshot) in snapshots.iter().enumerate() {
        let busy = seconds(snapshot.stats.busy);
        page.line(format_args!("{name}{{worker=\"{worker}\"}} {busy}"));
    }
    type Field = fn(&Stats) -> u64;
    let fields: [(&str, &str, Field); 8] = [
        (
            "weft_datagrams_received_total",
            "Tunnel datagrams received.",
            |s| s.datagrams_in,
        ),
        ("weft_receives_total", "Buffers they came in.", |s| {
            s.receives
        }),
        ("weft_datagrams_sent_total", "Tunnel datagrams sent.", |s| {
            s.datagrams_out
        }),
        ("weft_sends_total", "Messages they left in.", |s| s.sends),
        (
            "weft_super_frames_read_total",
            "Super-frames read from ports.",
            |s| s.super_frames_in,
        ),
        (
            "weft_super_frames_sent_total",
            "Super-frames cut into datagrams.",
            |s| s.super_frames_sent,
        ),
        (
            "weft_super_frames_merged_total",
            "Super-frames made of datagrams.",
            |s| s.super_frames_merged,
        ),
        (
            "weft_super_frames_written_total",
            "Super-frames written to ports.",
            |s| s.super_frames_out,
        ),
    ];
    for (name, help, field) in fields {
        page.metric(name, "counter", help);
        for (worker, snapshot) in snapshots.iter().enumerate() {
            let value = field(&snapshot.stats);
            page.line(format_args!("{name}{{worker=\"{worker}\"}} {value}"));
        }
    }
    let name = "weft_offload_refused";
    page.metric(name, "gauge", "Offloads that the kernel refused.");
    let refused = snapshots.first().map(|first| first.offloads_off.as_slice());
    for offload in refused.unwrap_or_default() {
        page.line(format_args!("{name}{{offload=\"{offload}\"}} 1"));
    }
}
