//! Does every case hold between real pods?
//!
//! Owns the run with packets: one lab of two nodes, every step applied with `weft lab apply` and
//! its whole truth table probed with `weft lab check`, over IPv4 and IPv6, on one node and across
//! the tunnel. Connections that a case holds open must carry a byte exactly while they are allowed,
//! and for every pod that refused something its daemon must name the right policies.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use weft_switch::api;
use weft_sys::netlink::Netlink;
use weft_sys::netlink::route::{self, Hop, Route};
use weft_sys::netns::Netns;

use crate::case::{Case, Cell, End, Family, Protocol};
use crate::offline::{Judges, Refuser, word};
use crate::world::{NODES, World};

/// How long a connection that is denied must stay silent.
const SILENCE: Duration = Duration::from_millis(250);
/// How long one that is allowed again may take: its sender waits longer after each loss.
const AGAIN: Duration = Duration::from_secs(20);

/// Whether this process may make namespaces; says loudly that `test` is skipped if not.
pub(crate) fn may_run(test: &str) -> bool {
    match weft_sys::caps::check() {
        Ok(()) => true,
        Err(missing) => {
            // One write, past the test harness, which shows nothing of a test that passes.
            let line = format!("SKIPPED (needs root): {test}: {}\n", missing.why);
            let _ = io::stderr().write_all(line.as_bytes());
            false
        }
    }
}

/// A lab of the base cluster, until it is dropped.
pub(crate) struct Lab {
    name: String,
    folder: TempDir,
}

/// What a run of cases came to.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) steps: usize,
    pub(crate) cells: usize,
    /// How often a daemon was asked who refused something at a pod.
    pub(crate) refusers: usize,
    pub(crate) differences: Vec<String>,
}

impl Lab {
    /// Brings it up.
    pub(crate) fn up() -> Self {
        let lab = Self {
            name: format!("conf-{}", std::process::id()),
            folder: tempfile::tempdir().expect("a folder"),
        };
        let nodes = NODES.map(|node| format!("  - {{ name: {node}, workers: 1 }}\n"));
        let underlay =
            std::env::var("WEFT_CONFORMANCE_UNDERLAY").unwrap_or_else(|_| "ipv4".to_owned());
        let text = format!(
            "name: {}\nunderlay: {{ family: {underlay} }}\nnodes:\n{}outside: true\n\
             manifests: [ manifests/ ]\n",
            lab.name,
            nodes.concat()
        );
        fs::create_dir(lab.manifests()).expect("a folder");
        World::base().write(&lab.manifests());
        fs::write(lab.folder.path().join("lab.yaml"), text).expect("lab.yaml");
        let up = lab.weft(&["up", "-f", &lab.path("lab.yaml")]);
        assert_eq!(up.code, 0, "{}", up.err);
        route_from_outside(&lab.name, &World::base());
        lab
    }

    /// Runs one case from the base cluster on.
    pub(crate) fn run(&self, case: &Case, tally: &mut Tally) {
        let mut world = World::base();
        let mut held = Vec::new();
        let mut judges = Judges::new();
        let mut before = World::default();
        for step in &case.steps {
            world.step(&case.file, step);
            let place = format!("{}: {}", case.file, step.label);
            judges.follow(&before, &world, &place);
            before = world.clone();
            tally.steps += 1;
            if let Err(why) = self.apply(&world) {
                tally.differences.push(format!("{place}: {why}"));
                return;
            }
            let cells = case.cells(step, &world);
            if held.is_empty() && !case.hold.is_empty() {
                held = self.connect(case, &world);
            }
            let verdicts = thread::scope(|scope| {
                let judge = |held| scope.spawn(|| Held::judge(held, &cells));
                let threads: Vec<_> = held.iter_mut().map(judge).collect();
                let ended = threads.into_iter().map(|thread| thread.join());
                ended
                    .filter_map(|end| end.expect("no panic"))
                    .collect::<Vec<_>>()
            });
            tally
                .differences
                .extend(verdicts.into_iter().map(|why| format!("{place}: {why}")));
            let refusers = refusers(&cells, &judges, &world);
            let mut wrong = self.check(&cells);
            wrong.extend(self.reasons(&refusers));
            tally
                .differences
                .extend(wrong.into_iter().map(|why| format!("{place}: {why}")));
            tally.refusers += refusers.len();
            tally.cells += cells.len();
        }
    }

    fn apply(&self, world: &World) -> Result<(), String> {
        world.write(&self.manifests());
        let answer = self.weft(&["apply", "--lab", &self.name, "-f", &self.path("manifests")]);
        if answer.code == 0 {
            Ok(())
        } else {
            Err(format!("weft lab apply: {}", answer.err.trim()))
        }
    }

    /// Probes every cell; answers those that differ.
    fn check(&self, cells: &[Cell]) -> Vec<String> {
        let mut text = String::from("expect:\n");
        for cell in cells {
            let mut one = json!({
                "from": cell.from.to_string(),
                "to": cell.to.to_string(),
                "protocol": cell.probe.protocol.name(),
                "family": match cell.family { Family::V4 => "ipv4", Family::V6 => "ipv6" },
                "verdict": word(cell.allow),
            });
            if cell.probe.port > 0 {
                one["port"] = json!(cell.probe.port);
            }
            if let Some(size) = cell.probe.size {
                one["size"] = json!(size);
            }
            let _ = writeln!(text, "  - {one}");
        }
        fs::write(self.path("expect.yaml"), text).expect("expect.yaml");
        let file = self.path("expect.yaml");
        let answer = self.weft(&["check", "--lab", &self.name, "-f", &file, "-o", "json"]);
        let seen: Vec<Value> = serde_json::from_str(&answer.out)
            .unwrap_or_else(|e| panic!("weft lab check: {e}: {}{}", answer.out, answer.err));
        assert_eq!(seen.len(), cells.len());
        let mut wrong = Vec::new();
        for (cell, seen) in cells.iter().zip(&seen) {
            let found = seen["seen"].as_str().unwrap_or("not tried");
            if found != word(cell.allow) {
                let why = seen["detail"].as_str().unwrap_or_default();
                let expected = word(cell.allow);
                wrong.push(format!("{cell}: expected {expected}, seen {found}: {why}"));
            }
        }
        wrong
    }

    /// Asks the daemons what they refused since the step before; answers who named other policies
    /// than the explanation does.
    fn reasons(&self, refusers: &BTreeMap<Refuser, Vec<String>>) -> Vec<String> {
        let told: Vec<api::Denial> = NODES.iter().flat_map(|node| self.refusals(node)).collect();
        let mut wrong = Vec::new();
        for ((pod, direction), policies) in refusers {
            let found = told
                .iter()
                .find(|denial| denial.pod == *pod && denial.direction == *direction);
            let Some(denial) = found else {
                wrong.push(format!("no word of what was refused at {pod}, {direction}"));
                continue;
            };
            if denial.policies != *policies || denial.example.policy.as_ref() != policies.first() {
                wrong.push(format!(
                    "refused at {pod}, {direction}: expected {policies:?}, told {denial:?}"
                ));
            }
        }
        wrong
    }

    /// What a node refused since it was last asked.
    fn refusals(&self, node: &str) -> Vec<api::Denial> {
        let socket = api::lab_socket(&self.name, node);
        let drops = api::Client::connect(socket).and_then(|mut daemon| daemon.drops(true));
        drops.expect("the daemon's drops").denials
    }

    /// Opens the connections a case holds.
    fn connect(&self, case: &Case, world: &World) -> Vec<Held> {
        let mut all = Vec::new();
        for (from, to, probe) in &case.hold {
            let End::Pod(pod) = from else {
                panic!("{}: {from} is no pod", case.file)
            };
            let netns = format!("weft.{}.{}", self.name, pod.replace('/', "."));
            for family in Family::BOTH {
                let address = SocketAddr::new(world.target(to, family), probe.port);
                let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(5));
                let inside = Netns::open(&netns).and_then(|netns| netns.run(connect));
                let stream = inside.expect("the pod's namespace").unwrap_or_else(|e| {
                    panic!("{}: hold {from} -> {to}: {e}", case.file);
                });
                all.push(Held {
                    from: from.clone(),
                    to: to.clone(),
                    port: probe.port,
                    family,
                    stream,
                    owed: 0,
                });
            }
        }
        all
    }

    fn manifests(&self) -> PathBuf {
        self.folder.path().join("manifests")
    }

    fn path(&self, file: &str) -> String {
        self.folder.path().join(file).display().to_string()
    }

    fn weft(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        let output = command
            .arg("lab")
            .args(arguments)
            .env_remove("WEFT_LAB")
            .env_remove("WEFT_SOCKET")
            .output()
            .expect("weft starts");
        Answer {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let down = self.weft(&["down", &self.name]);
        let left = Netns::list(&format!("weft.{}.", self.name)).unwrap_or_default();
        if !thread::panicking() {
            assert!(down.code == 0 && left.is_empty(), "{}{left:?}", down.err);
        }
    }
}

struct Answer {
    code: i32,
    out: String,
    err: String,
}

/// Who refuses any of the cells, and by which policies.
fn refusers(cells: &[Cell], judges: &Judges, world: &World) -> BTreeMap<Refuser, Vec<String>> {
    // What is sent to no single station is dropped before policies are asked.
    let denied = |cell: &&Cell| !cell.allow && !matches!(cell.to, End::Address(_));
    let denied = cells.iter().filter(denied);
    denied
        .filter_map(|cell| judges.refused_by(cell, world))
        .collect()
}

/// Gives the host outside a route to the pods of every node, so that it can ask them.
fn route_from_outside(lab: &str, world: &World) {
    let routes = || {
        let mut netlink = Netlink::open()?;
        for node in NODES.map(|node| End::Node(node.to_owned())) {
            for (family, bits) in [(Family::V4, 24), (Family::V6, 64)] {
                let hop = Hop::Via {
                    gateway: world.target(&node, family),
                    index: 0,
                    onlink: false,
                };
                let pods = world.source(&node, family);
                route::ensure(&mut netlink, &Route::new(pods, bits, hop))?;
            }
        }
        Ok::<_, weft_sys::SysError>(())
    };
    let outside = Netns::open(format!("weft.{lab}.outside"));
    let done = outside.and_then(|outside| outside.run(routes));
    done.and_then(|done| done).expect("routes to the pods");
}

/// A connection that outlives changes of policy.
struct Held {
    from: End,
    to: End,
    port: u16,
    family: Family,
    stream: TcpStream,
    /// Bytes written whose echo has not come.
    owed: usize,
}

impl Held {
    /// Sends a byte; it must come back if and only if the connection is allowed now.
    fn judge(&mut self, cells: &[Cell]) -> Option<String> {
        let cell = cells.iter().find(|cell| {
            (&cell.from, &cell.to) == (&self.from, &self.to)
                && (cell.probe.protocol, cell.probe.port) == (Protocol::Tcp, self.port)
                && cell.family == self.family
        });
        let cell = cell.expect("a cell for every connection held");
        if let Err(error) = self.stream.write_all(b"w") {
            return Some(format!("{cell}: the open connection broke: {error}"));
        }
        self.owed += 1;
        let limit = if cell.allow { AGAIN } else { SILENCE };
        let came = self.echoes(limit, cell.allow);
        match (came, cell.allow) {
            (Err(error), _) => Some(format!("{cell}: the open connection broke: {error}")),
            (Ok(0), true) => Some(format!("{cell}: the open connection is silent")),
            (Ok(more), false) if more > 0 => Some(format!("{cell}: the open connection goes on")),
            _ => None,
        }
    }

    /// Reads echoes, all that are owed if `all`, else those that come within `limit`.
    fn echoes(&mut self, limit: Duration, all: bool) -> io::Result<usize> {
        let began = now();
        let mut came = 0;
        let mut buffer = [0u8; 256];
        while !(all && self.owed == 0) {
            let Some(left) = limit
                .checked_sub(now().duration_since(began))
                .filter(|l| !l.is_zero())
            else {
                break;
            };
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    // The greeting comes first; echoes are our own letter.
                    let echoes = buffer[..length].iter().filter(|b| **b == b'w').count();
                    self.owed = self.owed.saturating_sub(echoes);
                    came += echoes;
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(if all && self.owed > 0 { 0 } else { came })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "real programs run under these tests, and real time bounds them"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
