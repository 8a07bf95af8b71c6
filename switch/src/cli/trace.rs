//! `weft trace FROM TO`: what would become of a packet on this node?
//!
//! The daemon sends the described packet through its live tables; nothing leaves. Exit code 0 if it
//! would arrive as far as this node can tell, 1 if not.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::NO;
use super::output::{OutputArg, span};
use super::policy::ServiceArgs;
use super::target::Target;
use crate::api::{FlowReport, TraceQuery, TraceReport};
use crate::policy_view::Reasons;

const EXAMPLES: &str = "\
Examples:
  weft trace shop/frontend shop/backend --port 8080
  weft trace shop/backend 203.0.113.7 --port 443 -o json
  weft trace node:self shop/backend --protocol icmp

Exit code 0: it would arrive; 1: it would not. Where an end is on another node, that node decides
for its pod; said here is what the policies known here make of it.";

/// `weft trace`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TraceCommand {
    /// Who sends: NAMESPACE/POD, an IP address, node:self or node:NAME
    from: String,
    /// Who is to receive it, likewise
    to: String,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArg,
}

impl TraceCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let service = self.service.service()?;
        let query = TraceQuery {
            from: self.from.clone(),
            to: self.to.clone(),
            protocol: service.transport,
            port: service.port,
            family: service.family,
        };
        let traced = self.target.connect()?.trace(query)?;
        self.output
            .print(&traced, |_| self.text(&traced, &service.to_string()))?;
        Ok(match traced.verdict.is_allowed() {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(NO),
        })
    }

    fn text(&self, traced: &TraceReport, service: &str) -> String {
        let mut text = format!("{}\n", traced.flow);
        for step in &traced.steps {
            let mark = if step.ok { '✓' } else { '✗' };
            let _ = writeln!(text, "{mark} {}: {}", step.step, step.detail);
        }
        let _ = writeln!(text, "{}\n", traced.fate);
        let reasons = Reasons {
            verdict: traced.verdict,
            egress: traced.egress.clone(),
            ingress: traced.ingress.clone(),
        };
        text.push_str(&reasons.text((&self.from, &self.to), service));
        for note in &traced.notes {
            let _ = writeln!(text, "\nnote: {note}");
        }
        let _ = writeln!(text, "\n{}", connection(traced.connection.as_ref()));
        text
    }
}

fn connection(flow: Option<&FlowReport>) -> String {
    match flow {
        None => "no such connection is tracked".to_owned(),
        Some(flow) => format!(
            "tracked: {} {} to {}, {}, {} packets, idle {}; its next packet: {}",
            flow.protocol,
            flow.source,
            flow.destination,
            flow.state,
            flow.packets,
            span(flow.idle_seconds),
            flow.verdict
        ),
    }
}
