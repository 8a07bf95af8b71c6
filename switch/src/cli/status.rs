//! `weft status`: is the daemon healthy, and what is to be done if not?
//!
//! One screen: the node, its ports and peers, the workers' load, drops by reason, problems with
//! their next step. Exit code 0 when healthy, 1 when not; a daemon that does not answer is 3, as for
//! every command that asks one.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::NO;
use super::ask::{drops_text, workers_text};
use super::output::{OutputArg, list, span};
use super::target::Target;
use crate::api::{Client, Status};

/// How long `--wait` waits between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// How many reasons the screen shows.
const TOP_DROPS: usize = 5;

/// `weft status`.
#[derive(Debug, Args)]
pub(super) struct StatusCommand {
    /// Wait until it is healthy
    #[arg(long)]
    wait: bool,
    /// How many seconds --wait waits at most
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u32,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: OutputArg,
}

impl StatusCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let status = self.ask_until_healthy()?;
        self.output.print(&status, |wide| screen(&status, wide))?;
        Ok(match status.healthy {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(NO),
        })
    }

    fn ask_until_healthy(&self) -> anyhow::Result<Status> {
        let socket = self.target.socket()?;
        let pauses = u128::from(self.timeout) * 1000 / PAUSE.as_millis();
        let mut left = if self.wait { pauses } else { 0 };
        loop {
            let answer = Client::connect(&socket).and_then(|mut daemon| daemon.status());
            let healthy = answer.as_ref().is_ok_and(|status| status.healthy);
            if healthy || left == 0 {
                return Ok(answer?);
            }
            left -= 1;
            let _ = crossbeam_channel::after(PAUSE).recv();
        }
    }
}

fn screen(status: &Status, wide: bool) -> String {
    let mut text = String::new();
    for (name, value) in summary(status) {
        let _ = writeln!(text, "{name:<10}{value}");
    }
    let _ = write!(text, "\n{}", workers_text(&status.workers, wide));
    let top: Vec<_> = status.drops.iter().take(TOP_DROPS).cloned().collect();
    let _ = write!(text, "\n{}", drops_text(&top, wide));
    for problem in &status.problems {
        let place = match problem.place.as_str() {
            "" => String::new(),
            place => format!(" ({place})"),
        };
        let _ = writeln!(
            text,
            "\nproblem: {}{place}\n   next: {}",
            problem.what, problem.next
        );
    }
    text
}

/// The first lines of the screen: what and its value.
fn summary(status: &Status) -> [(&'static str, String); 7] {
    let health = match (status.healthy, status.ready) {
        (true, _) => "healthy",
        (false, true) => "ready, with problems",
        (false, false) => "not ready",
    };
    let vtep = status.vtep.map(|vtep| vtep.to_string()).unwrap_or_default();
    let closed = if status.closed {
        ", and every pod closed: see the problems below"
    } else {
        ""
    };
    [
        (
            "weft",
            format!("{health}: node {}, version {}", status.node, status.version),
        ),
        (
            "daemon",
            format!(
                "pid {}, up {}",
                status.pid,
                span(seconds(status.uptime_seconds))
            ),
        ),
        (
            "overlay",
            format!(
                "VTEP {vtep} ({}), VNI {}, UDP port {}",
                status.vtep_mac, status.vni, status.vxlan_port
            ),
        ),
        (
            "pods",
            format!(
                "{} attached, podCIDRs {}, MTU {}, {} TAP",
                status.pods,
                list(&status.pod_cidrs),
                status.pod_mtu,
                status.backend
            ),
        ),
        ("peers", status.peers.to_string()),
        ("policies", format!("{} in force{closed}", status.policies)),
        (
            "state",
            format!(
                "epoch {} from {}, published in {:.1} ms; {} connections",
                status.epoch,
                status.source,
                status.publications.last_seconds * 1000.0,
                status.flows
            ),
        ),
    ]
}

fn seconds(whole: u64) -> f64 {
    Duration::from_secs(whole).as_secs_f64()
}
