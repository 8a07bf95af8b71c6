//! `weft ports | peers | routes | policies | workers | flows | drops | version`: lists from a running daemon.
//!
//! One call each, printed as columns, JSON or YAML.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::output::{OutputArg, list, render, span};
use super::target::Target;
use crate::api::{
    Client, Denial, Drop, FlowReport, PeerReport, PolicyReport, PortReport, RouteReport,
    WorkerReport,
};

/// A command that prints one list.
macro_rules! listing {
    ($(#[$doc:meta])* $name:ident, $call:ident, $text:path) => {
        $(#[$doc])*
        #[derive(Debug, Args)]
        pub(super) struct $name {
            #[command(flatten)]
            target: Target,
            #[command(flatten)]
            output: OutputArg,
        }

        impl $name {
            pub(super) fn run(self) -> anyhow::Result<ExitCode> {
                let answer = self.target.connect()?.$call()?;
                self.output.print(&answer, |wide| $text(&answer, wide))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    };
}

listing!(
    /// `weft ports`.
    Ports, ports, ports_text
);
listing!(
    /// `weft peers`.
    Peers, peers, peers_text
);
listing!(
    /// `weft routes`.
    Routes, routes, routes_text
);
listing!(
    /// `weft policies`.
    Policies, policies, policies_text
);
listing!(
    /// `weft workers`.
    Workers, workers, workers_text
);

/// `weft flows`.
#[derive(Debug, Args)]
pub(super) struct Flows {
    /// Only connections of this pod, as namespace/name
    #[arg(long, value_name = "NS/POD")]
    pod: Option<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArg,
}

impl Flows {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let flows = self.target.connect()?.flows(self.pod)?;
        self.output.print(&flows, |wide| flows_text(&flows, wide))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `weft drops`.
#[derive(Debug, Args)]
pub(super) struct Drops {
    /// Count from zero again after this answer
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArg,
}

impl Drops {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let drops = self.target.connect()?.drops(self.reset)?;
        self.output.print(&drops, |wide| {
            let denials = denials_text(&drops.denials, wide);
            drops_text(&drops.drops, wide) + &denials
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `weft version`.
#[derive(Debug, Args)]
pub(super) struct Version {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArg,
}

#[derive(Debug, Serialize)]
struct Versions {
    client: &'static str,
    daemon: Option<String>,
}

impl Version {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let socket = self.target.socket()?;
        let asked = Client::connect(socket).and_then(|mut daemon| daemon.status());
        let versions = Versions {
            client: env!("CARGO_PKG_VERSION"),
            daemon: asked.ok().map(|status| status.version),
        };
        self.output.print(&versions, |_| {
            let daemon = versions.daemon.as_deref().unwrap_or("does not answer");
            format!("client  {}\ndaemon  {daemon}\n", versions.client)
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn ports_text(ports: &Vec<PortReport>, wide: bool) -> String {
    let mut heading = vec!["PORT", "POD", "IFNAME", "ADDRESSES", "FROM POD", "TO POD"];
    heading.push("DROPS");
    if wide {
        heading.extend(["MAC", "MTU", "BACKEND", "QUEUES", "CONTAINER"]);
    }
    let mut rows = Vec::new();
    for port in ports {
        let name = match port.kind.as_str() {
            "host" => "(host)".to_owned(),
            _ => port.pod.clone(),
        };
        let mut row = vec![
            port.port.to_string(),
            name,
            port.ifname.clone(),
            list(&port.addresses),
            port.frames_from.to_string(),
            port.frames_to.to_string(),
            port.drops.to_string(),
        ];
        if wide {
            row.extend([
                port.mac.clone(),
                port.mtu.to_string(),
                port.backend.clone(),
                port.queues.to_string(),
                port.container_id.clone(),
            ]);
        }
        rows.push(row);
    }
    render(&heading, rows, "no ports")
}

fn peers_text(peers: &Vec<PeerReport>, _wide: bool) -> String {
    let heading = ["NODE", "VTEP", "MAC", "POD CIDRS", "MTU"];
    let mut rows = Vec::new();
    for peer in peers {
        rows.push(vec![
            peer.name.clone(),
            peer.vtep.map(|vtep| vtep.to_string()).unwrap_or_default(),
            peer.mac.clone(),
            list(&peer.pod_cidrs),
            peer.mtu.to_string(),
        ]);
    }
    render(
        &heading,
        rows,
        "no peers: give the other nodes as Node manifests",
    )
}

fn routes_text(routes: &Vec<RouteReport>, _wide: bool) -> String {
    let heading = ["DESTINATION", "KIND", "TO", "VIA"];
    let mut rows = Vec::new();
    for route in routes {
        rows.push(vec![
            route.destination.to_string(),
            route.kind.clone(),
            route.to.clone(),
            route.via.clone(),
        ]);
    }
    render(&heading, rows, "no routes")
}

fn policies_text(policies: &Vec<PolicyReport>, wide: bool) -> String {
    let mut heading = vec![
        "NAMESPACE",
        "NAME",
        "ISOLATES",
        "PODS HERE",
        "RULES",
        "DENIED",
    ];
    if wide {
        heading.push("SELECTED");
    }
    let mut rows = Vec::new();
    for policy in policies {
        let mut row = vec![
            policy.namespace.clone(),
            policy.name.clone(),
            list(&policy.isolates),
            policy.selected.to_string(),
            policy.rules.to_string(),
            policy.denied_packets.to_string(),
        ];
        if wide {
            row.push(list(&policy.pods));
        }
        rows.push(row);
    }
    render(
        &heading,
        rows,
        "no policies: every pod may talk to everybody",
    )
}

/// What policies refused, pod by pod; nothing if they refused nothing.
fn denials_text(denials: &[Denial], wide: bool) -> String {
    if denials.is_empty() {
        return String::new();
    }
    let mut heading = vec![
        "DENIED AT",
        "DIRECTION",
        "PACKETS",
        "LAST",
        "FLOW",
        "POLICIES",
    ];
    if wide {
        heading.push("NEAREST RULE");
    }
    let mut rows = Vec::new();
    for denial in denials {
        let example = &denial.example;
        let mut row = vec![
            denial.pod.clone(),
            denial.direction.clone(),
            denial.packets.to_string(),
            span(example.age_seconds),
            example.flow.clone(),
            list(&denial.policies),
        ];
        if wide {
            row.push(example.nearest.clone().unwrap_or_default());
        }
        rows.push(row);
    }
    format!("\n{}", render(&heading, rows, ""))
}

pub(super) fn workers_text(workers: &Vec<WorkerReport>, wide: bool) -> String {
    let mut heading = vec![
        "WORKER",
        "BUSY",
        "FROM PORTS",
        "DATAGRAMS",
        "TO PORTS",
        "SENT",
    ];
    heading.push("DROPS");
    if wide {
        heading.extend(["RECEIVES", "SENDS", "SUPER-FRAMES FROM PORTS"]);
        heading.extend(["SENT", "MERGED", "TO PORTS", "OFFLOADS OFF"]);
        heading.extend(["TURNS", "EPOCH", "FREE FRAMES"]);
    }
    let mut rows = Vec::new();
    for worker in workers {
        let mut row = vec![
            worker.worker.to_string(),
            format!("{:.0}%", worker.busy_percent),
            worker.frames_from_ports.to_string(),
            worker.datagrams.to_string(),
            worker.frames_to_ports.to_string(),
            worker.datagrams_sent.to_string(),
            worker.drops.to_string(),
        ];
        if wide {
            row.extend([
                worker.receives.to_string(),
                worker.sends.to_string(),
                worker.super_frames_from_ports.to_string(),
                worker.super_frames_sent.to_string(),
                worker.super_frames_merged.to_string(),
                worker.super_frames_to_ports.to_string(),
                match worker.offloads_off.as_slice() {
                    [] => "none".to_owned(),
                    off => off.join(","),
                },
                worker.turns.to_string(),
                worker.epoch.to_string(),
                worker.pool_available.to_string(),
            ]);
        }
        rows.push(row);
    }
    render(&heading, rows, "no workers")
}

fn flows_text(flows: &[FlowReport], wide: bool) -> String {
    let mut heading = vec![
        "PROTOCOL",
        "SOURCE",
        "DESTINATION",
        "STATE",
        "POD",
        "IDLE",
        "PACKETS",
        "BYTES",
        "VERDICT",
        "POLICIES",
    ];
    if wide {
        heading.extend(["EGRESS RULE", "INGRESS RULE"]);
    }
    let mut rows = Vec::new();
    for flow in flows {
        let mut row = vec![
            flow.protocol.clone(),
            flow.source.clone(),
            flow.destination.clone(),
            flow.state.clone(),
            flow.pod.clone(),
            span(flow.idle_seconds),
            flow.packets.to_string(),
            flow.bytes.to_string(),
            flow.verdict.clone(),
            list(&flow.policies),
        ];
        if wide {
            let rules = [&flow.egress_rule, &flow.ingress_rule];
            row.extend(rules.map(|rule| rule.clone().unwrap_or_default()));
        }
        rows.push(row);
    }
    render(&heading, rows, "no connections")
}

pub(super) fn drops_text(drops: &[Drop], wide: bool) -> String {
    let mut heading = vec!["REASON", "DIRECTION", "PACKETS", "LAST", "FROM", "FRAME"];
    if wide {
        heading.push("MEANING");
    }
    let mut rows = Vec::new();
    for drop in drops {
        let example = drop.example.clone().unwrap_or_default();
        let last = drop
            .example
            .as_ref()
            .map(|example| span(example.age_seconds));
        let mut row = vec![
            drop.reason.clone(),
            drop.direction.clone(),
            drop.packets.to_string(),
            last.unwrap_or_default(),
            example.from,
            example.frame,
        ];
        if wide {
            row.push(drop.meaning.clone());
        }
        rows.push(row);
    }
    let mut text = render(&heading, rows, "nothing was dropped");
    if !drops.is_empty() {
        text.push_str("\nEvery reason is explained in docs/drop-reasons.md.\n");
    }
    text
}
