//! The daemon is killed again and again, whatever it is at, its start included, while runtimes go
//! on attaching and detaching: what they were told is so in the end, and nothing else is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use weft_switch::api::{Attached, Client, ClientError, Detach};

use super::rig::{Node, Pod, Space, eventually, identity, pause, privileged, request};
use super::{path_of, soon, tell};

const RUNTIMES: usize = 8;
/// How many containers each starts.
const CONTAINERS: usize = 25;
/// How many pods the range has addresses for: a /24 without its first two and its last.
const ROOM: usize = 253;
/// Where the random numbers begin.
const SEED: u64 = 0x5eed;

/// Random numbers that are the same in every run (SplitMix64).
struct Random(u64);

impl Random {
    /// One below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// What a runtime did with a container.
enum Container {
    /// It was told that it is attached.
    Runs(String, Box<Pod>),
    /// It was told that it is detached, or lost interest before it was told anything.
    Gone(Space),
}

/// A container runtime, whose daemon comes and goes.
struct Runtime<'t> {
    socket: PathBuf,
    random: Random,
    /// How often any of them was not answered.
    unanswered: &'t AtomicUsize,
}

impl Runtime<'_> {
    fn attach(&self, name: &str, space: &Space) -> Result<Attached, ClientError> {
        let mut request = request(name, &[]);
        request.netns = path_of(space);
        let attached = connect(&self.socket)?.attach(request, &space.0);
        self.count(attached)
    }

    fn detach(&self, name: &str) -> Result<(), ClientError> {
        let identity = identity(name);
        let request = Detach {
            container_id: identity.container_id,
            ifname: identity.ifname,
        };
        self.count(connect(&self.socket)?.detach(request))
            .map(|_| ())
    }

    fn count<T>(&self, answer: Result<T, ClientError>) -> Result<T, ClientError> {
        let lost = usize::from(answer.is_err());
        self.unanswered.fetch_add(lost, Ordering::Relaxed);
        answer
    }

    /// The life of one container.
    fn start(&mut self, name: &str) -> Container {
        let space = Space::new();
        if self.random.below(10) == 0 {
            // Nobody waits for the answer.
            let _ = self.attach(name, &space);
            return Container::Gone(space);
        }
        let attached = eventually("a pod is attached", || {
            let attached = self.attach(name, &space);
            if attached.is_err() && self.random.below(2) == 0 {
                let _ = self.detach(name);
            }
            attached.ok()
        });
        if self.random.below(2) == 0 {
            return Container::Runs(name.to_owned(), Box::new(Pod { space, attached }));
        }
        eventually("a pod is detached", || self.detach(name).ok());
        Container::Gone(space)
    }
}

fn connect(socket: &Path) -> Result<Client, ClientError> {
    Client::connect(socket)
}

/// Kills and starts the daemon until `over`; answers how often.
fn torment(node: &mut Node, random: &mut Random, over: impl Fn() -> bool) -> usize {
    let mut kills = 0;
    while !over() {
        // Sometimes it does not come to itself in between.
        let most = if random.below(4) == 0 { 150 } else { 2500 };
        pause(Duration::from_millis(random.below(most)));
        node.daemon = None;
        node.launch(&[]);
        kills += 1;
    }
    node.daemon = None;
    node.start(&[]);
    kills + 1
}

#[test]
fn killed_at_any_time() {
    if !privileged("killed_at_any_time") {
        return;
    }
    let mut node = Node::new();
    node.configure("workers = 1\n[ipam]\ncool_down_seconds = 5");
    node.start(&[]);
    let (unanswered, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let live = |number: usize, socket: PathBuf| {
        let mut runtime = Runtime {
            socket,
            random: Random(SEED + number as u64),
            unanswered: &unanswered,
        };
        let names = (0..CONTAINERS).map(|n| format!("{number}-{n}"));
        let containers: Vec<_> = names.map(|name| runtime.start(&name)).collect();
        done.fetch_add(1, Ordering::Relaxed);
        containers
    };
    let (containers, kills) = std::thread::scope(|scope| {
        let socket = node.socket();
        let runtimes = (0..RUNTIMES).map(|n| {
            let socket = socket.clone();
            scope.spawn(move || live(n, socket))
        });
        let runtimes: Vec<_> = runtimes.collect();
        let over = || runtimes.iter().all(|runtime| runtime.is_finished());
        let kills = torment(&mut node, &mut Random(SEED), over);
        let ended = runtimes
            .into_iter()
            .flat_map(|runtime| runtime.join().unwrap());
        (ended.collect::<Vec<_>>(), kills)
    });
    let unanswered = unanswered.into_inner();
    tell(&format!(
        "killed at any time: {kills} kills, {unanswered} calls without answer"
    ));
    assert!(kills > 5 && unanswered > 5, "it was hardly disturbed");
    judge(&node, &containers);
}

/// What every runtime was told is so, and nothing else.
fn judge(node: &Node, containers: &[Container]) {
    let runs = containers.iter().filter_map(|container| match container {
        Container::Runs(name, pod) => Some((name.as_str(), &**pod)),
        Container::Gone(_) => None,
    });
    let runs: Vec<_> = runs.collect();
    let names: Vec<_> = runs.iter().map(|(name, _)| *name).collect();
    node.collect(&names);
    for container in containers {
        match container {
            Container::Runs(name, pod) => {
                assert_eq!(pod.space.links(), ["eth0"]);
                node.check(name, pod).unwrap();
                for ip in &pod.attached.ips {
                    assert!(node.space.pings(&ip.ip().to_string()), "{name} {ip}");
                }
            }
            Container::Gone(space) => {
                assert!(soon(|| space.links().is_empty()), "an interface is left");
            }
        }
    }
    let ports = node.client().ports().unwrap();
    assert_eq!(ports.len(), 1 + runs.len(), "and the node's own");
    let addresses = ports.iter().flat_map(|port| &port.addresses);
    let distinct: BTreeSet<_> = addresses.clone().collect();
    assert_eq!(distinct.len(), addresses.count());
    let state: BTreeSet<_> = std::fs::read_dir(node.path("state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let files = ["attachments.journal", "attachments.lock", "deleted"];
    assert_eq!(state, files.map(str::to_owned).into());
    use_up(node, runs.len());
}

/// Every address of the range is held, rests or can be had.
fn use_up(node: &Node, held: usize) {
    let space = Space::new();
    let mut given = 0;
    let error = loop {
        let mut request = request("filler", &[]);
        request.ifname = format!("eth{given}");
        match node.client().attach(request, &space.0) {
            Ok(_) => given += 1,
            Err(error) => break error.to_string(),
        }
    };
    let words: Vec<_> = error.split([' ', ',']).collect();
    let before = |word: &str| -> usize {
        let at = words.iter().position(|found| *found == word);
        let number = at.and_then(|at| words.get(at.checked_sub(1)?));
        number
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("{error}"))
    };
    assert_eq!(before("held"), held + given, "{error}");
    assert_eq!(before("held") + before("resting"), ROOM, "{error}");
}
