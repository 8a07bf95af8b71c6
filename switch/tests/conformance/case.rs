//! What does a case say, and which cells does its truth table have?
//!
//! Owns the form of the YAML files; `README.md` beside them is its description for people. Every
//! mistake in a file is a panic that names it.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::world::World;

/// The folder of the cases.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

/// Every case, in the order of the numbers.
pub(crate) fn all() -> Vec<Case> {
    let entries = fs::read_dir(folder()).expect("the folder of the cases");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter(|name| name.ends_with(".yaml") && name != "base.yaml")
        .collect();
    names.sort();
    names.iter().map(|name| Case::read(name)).collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: String,
    semantics: Option<u8>,
    says: String,
    probe: Option<Vec<String>>,
    #[serde(default)]
    hold: Vec<String>,
    apply: Option<String>,
    #[serde(default)]
    remove: Vec<String>,
    expect: Vec<String>,
    #[serde(default)]
    then: Vec<RawStep>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    says: Option<String>,
    apply: Option<String>,
    #[serde(default)]
    remove: Vec<String>,
    expect: Vec<String>,
}

/// One file.
#[derive(Debug)]
pub(crate) struct Case {
    /// Its name without `.yaml`, such as `01-isolation-is-per-direction`.
    pub(crate) file: String,
    /// The number in the list of semantics, if it is one of those.
    pub(crate) semantics: Option<u8>,
    pub(crate) probes: Vec<Probe>,
    /// Connections that stay open over all steps.
    pub(crate) hold: Vec<(End, End, Probe)>,
    pub(crate) steps: Vec<Step>,
}

/// A change and what holds after it.
#[derive(Debug)]
pub(crate) struct Step {
    /// `step 2 (Now both ends allow)`, for messages.
    pub(crate) label: String,
    /// Manifests, documents as written.
    pub(crate) apply: String,
    /// Objects, as `Kind namespace/name`.
    pub(crate) remove: Vec<String>,
    pub(crate) expect: Vec<Line>,
}

/// One line of `expect`. The last that fits a cell decides; without any it is allowed.
#[derive(Debug)]
pub(crate) struct Line {
    allow: bool,
    from: Vec<Who>,
    to: Vec<Who>,
    /// Each holds one word's alternatives; all words must fit.
    what: Vec<Vec<What>>,
}

/// A set of ends.
#[derive(Debug)]
enum Who {
    /// `any`
    Any,
    /// `*`, `x/*`, `*/a`, `x/a`
    Pods(String, String),
    /// `node:*`, `node:node-a`
    Node(String),
    Outside,
    Address(IpAddr),
}

#[derive(Debug)]
enum What {
    Protocol(Protocol),
    Port(Protocol, u16),
    Family(Family),
}

/// An end of a cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// `namespace/name`
    Pod(String),
    Node(String),
    Outside,
    /// An address that a line names.
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
    Icmp,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) protocol: Protocol,
    /// 0 for ICMP.
    pub(crate) port: u16,
    /// Bytes of payload, if that matters.
    pub(crate) size: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    pub(crate) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// One cell of a step's truth table.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) probe: Probe,
    pub(crate) family: Family,
    pub(crate) allow: bool,
}

impl Case {
    /// Reads one file of the folder.
    pub(crate) fn read(name: &str) -> Self {
        let path = folder().join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self::parse(name, &text)
    }

    fn parse(name: &str, text: &str) -> Self {
        let raw: RawCase = serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let file = name.trim_end_matches(".yaml").to_owned();
        let (_, rest) = file.split_once('-').expect("a number before the name");
        assert_eq!(rest, raw.name, "{name}: the file is named after the case");
        assert!(!raw.says.is_empty(), "{name}: says nothing");
        let wrong = |what: &str| -> ! { panic!("{name}: {what}") };
        let default = ["TCP/80", "TCP/81", "UDP/80", "UDP/81", "SCTP/80", "ICMP"];
        let probes = raw
            .probe
            .unwrap_or_else(|| default.map(str::to_owned).to_vec());
        let probes = probes.iter().map(|text| Probe::parse(text));
        let first = RawStep {
            says: None,
            apply: raw.apply,
            remove: raw.remove,
            expect: raw.expect,
        };
        let steps = std::iter::once(first).chain(raw.then).enumerate();
        let step = |(index, raw): (usize, RawStep)| Step {
            label: match raw.says {
                Some(says) => format!("step {} ({says})", index + 1),
                None => format!("step {}", index + 1),
            },
            apply: raw.apply.unwrap_or_default(),
            remove: raw.remove,
            expect: raw.expect.iter().map(|line| Line::parse(line)).collect(),
        };
        Self {
            probes: probes.collect(),
            hold: raw.hold.iter().map(|line| held(line)).collect(),
            steps: steps.map(step).collect(),
            semantics: match raw.semantics {
                Some(number) if !(1..=25).contains(&number) => wrong("semantics are 1 to 25"),
                number => number,
            },
            file,
        }
    }

    /// Expects that everybody may talk, which is wrong.
    pub(crate) fn expect_otherwise(&mut self) {
        self.steps.iter_mut().for_each(|step| step.expect.clear());
    }

    /// The truth table after a step.
    pub(crate) fn cells(&self, step: &Step, world: &World) -> Vec<Cell> {
        let mut ends = world.ends();
        let named = step.expect.iter().flat_map(|line| &line.to);
        let named = named.filter_map(|who| match who {
            Who::Address(address) => Some(End::Address(*address)),
            _ => None,
        });
        let mut addresses: Vec<End> = named.collect();
        addresses.sort();
        addresses.dedup();
        ends.extend(addresses);
        let mut cells = Vec::new();
        for from in &ends {
            for to in &ends {
                // Policies are about pods.
                let pods = [from, to].map(|end| matches!(end, End::Pod(_)));
                let sender = !matches!(from, End::Address(_));
                if !sender || pods == [false, false] {
                    continue;
                }
                for probe in &self.probes {
                    for family in Family::BOTH {
                        if matches!(to, End::Address(address) if Family::of(*address) != family) {
                            continue;
                        }
                        let mut cell = Cell {
                            from: from.clone(),
                            to: to.clone(),
                            probe: *probe,
                            family,
                            allow: true,
                        };
                        // An address is there for those the lines that name it speak of.
                        let spoken_of = step.expect.iter().any(|line| line.fits(&cell));
                        if matches!(to, End::Address(_)) && !spoken_of {
                            continue;
                        }
                        cell.allow = step.verdict(&cell, world);
                        cells.push(cell);
                    }
                }
            }
        }
        cells
    }
}

impl Step {
    fn verdict(&self, cell: &Cell, world: &World) -> bool {
        // No list can say otherwise: a pod reaches itself, and its node reaches it.
        let own_node = match (&cell.from, &cell.to) {
            (End::Node(node), End::Pod(pod)) => world.node_of(pod) == node,
            _ => false,
        };
        if cell.from == cell.to || own_node {
            return true;
        }
        let last = self.expect.iter().rev().find(|line| line.fits(cell));
        last.is_none_or(|line| line.allow)
    }
}

impl Line {
    /// `allow x/a,y/* -> any TCP/80,UDP IPv4`
    fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let mut next = || {
            words
                .next()
                .unwrap_or_else(|| panic!("\"{text}\" ends early"))
        };
        let allow = match next() {
            "allow" => true,
            "deny" => false,
            other => panic!("\"{text}\": {other} is neither allow nor deny"),
        };
        let from = next().split(',').map(Who::parse).collect();
        assert_eq!(next(), "->", "in \"{text}\"");
        let to = next().split(',').map(Who::parse).collect();
        let what = words.map(|word| word.split(',').map(What::parse).collect());
        Self {
            allow,
            from,
            to,
            what: what.collect(),
        }
    }

    fn fits(&self, cell: &Cell) -> bool {
        let probe = cell.probe;
        let one = |what: &What| match what {
            What::Protocol(protocol) => probe.protocol == *protocol,
            What::Port(protocol, port) => (probe.protocol, probe.port) == (*protocol, *port),
            What::Family(wanted) => cell.family == *wanted,
        };
        self.from.iter().any(|who| who.means(&cell.from))
            && self.to.iter().any(|who| who.means(&cell.to))
            && self.what.iter().all(|word| word.iter().any(one))
    }
}

impl Who {
    fn parse(text: &str) -> Self {
        if let Some(node) = text.strip_prefix("node:") {
            return Self::Node(node.to_owned());
        }
        if let Ok(address) = text.parse() {
            return Self::Address(address);
        }
        match (text, text.split_once('/')) {
            ("any", _) => Self::Any,
            ("outside", _) => Self::Outside,
            ("*", _) => Self::Pods("*".to_owned(), "*".to_owned()),
            (_, Some((namespace, pod))) => Self::Pods(namespace.to_owned(), pod.to_owned()),
            _ => panic!("\"{text}\" is none of any, *, ns/pod, node:name, outside, an address"),
        }
    }

    fn means(&self, end: &End) -> bool {
        let part = |pattern: &str, text: &str| pattern == "*" || pattern == text;
        match (self, end) {
            (Self::Any, End::Pod(_) | End::Node(_) | End::Outside)
            | (Self::Outside, End::Outside) => true,
            (Self::Pods(namespace, name), End::Pod(pod)) => pod
                .split_once('/')
                .is_some_and(|(ns, pod)| part(namespace, ns) && part(name, pod)),
            (Self::Node(pattern), End::Node(node)) => part(pattern, node),
            (Self::Address(a), End::Address(b)) => a == b,
            _ => false,
        }
    }
}

impl What {
    fn parse(text: &str) -> Self {
        match text {
            "IPv4" => Self::Family(Family::V4),
            "IPv6" => Self::Family(Family::V6),
            _ => match text.split_once('/') {
                Some((protocol, port)) => Self::Port(protocol_of(protocol), port_of(port)),
                None => Self::Protocol(protocol_of(text)),
            },
        }
    }
}

impl Probe {
    /// `TCP/80`, `UDP/80+4000`, `ICMP`
    fn parse(text: &str) -> Self {
        let (rest, size) = match text.split_once('+') {
            Some((rest, size)) => (rest, Some(port_of(size))),
            None => (text, None),
        };
        let (protocol, port) = match rest.split_once('/') {
            Some((protocol, port)) => (protocol_of(protocol), port_of(port)),
            None => (protocol_of(rest), 0),
        };
        Self {
            protocol,
            port,
            size,
        }
    }
}

fn protocol_of(text: &str) -> Protocol {
    match text {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        "ICMP" => Protocol::Icmp,
        _ => panic!("\"{text}\" is none of TCP, UDP, SCTP, ICMP"),
    }
}

fn port_of(text: &str) -> u16 {
    text.parse()
        .unwrap_or_else(|_| panic!("\"{text}\" is no number of a port"))
}

/// `x/a -> y/b TCP/80`
fn held(text: &str) -> (End, End, Probe) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [from, "->", to, what] = words[..] else {
        panic!("\"{text}\" is not FROM -> TO PROTOCOL/PORT");
    };
    let pod = |name: &str| End::Pod(name.to_owned());
    (pod(from), pod(to), Probe::parse(what))
}

/// How a cell is named in messages.
impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            from,
            to,
            probe,
            family,
            ..
        } = self;
        write!(f, "{from} -> {to} {probe} {}", family.name())
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pod(name) => f.write_str(name),
            Self::Node(name) => write!(f, "node:{name}"),
            Self::Outside => f.write_str("outside"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = self.protocol.name();
        match (self.protocol, self.size) {
            (Protocol::Icmp, _) => f.write_str(protocol),
            (_, None) => write!(f, "{protocol}/{}", self.port),
            (_, Some(size)) => write!(f, "{protocol}/{}+{size}", self.port),
        }
    }
}

impl Protocol {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Icmp => "ICMP",
        }
    }
}
