//! What does a node hold?
//!
//! Owns looking at everything an attachment could leave: the daemon's descriptors and threads, the
//! node's interfaces and rules, files, namespaces. Two looks at an empty node must be alike.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use weft_sys::netlink::{Netlink, addr, link, neigh, route};
use weft_sys::nft::NatTable;

use super::node::Node;
use super::space;

/// The daemon's nftables table.
const TABLE: &str = "weft";
/// The journal of attachments in the state directory; it grows and is cut again.
const JOURNAL: &str = "attachments.journal";

/// Everything that could be left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holdings {
    descriptors: usize,
    threads: usize,
    /// Names of this run's network namespaces.
    namespaces: Vec<String>,
    interfaces: Vec<String>,
    addresses: usize,
    routes: usize,
    neighbors: usize,
    /// Rules of the daemon's table, and elements of its sets.
    rules: Option<(usize, usize)>,
    /// Files of the state directory and beside the socket, logs aside.
    files: Vec<String>,
}

impl Holdings {
    pub(super) fn of(node: &Node) -> Result<Self> {
        let pid = node.pid()?;
        let mut netlink = Netlink::open_in(&node.netns)?;
        let mut interfaces: Vec<_> = link::list(&mut netlink)?
            .into_iter()
            .map(|link| link.name)
            .collect();
        interfaces.sort();
        let table = node.netns.run(|| NatTable::fingerprint(TABLE))??;
        Ok(Self {
            descriptors: entries(Path::new(&format!("/proc/{pid}/fd")))?.len(),
            threads: entries(Path::new(&format!("/proc/{pid}/task")))?.len(),
            namespaces: space::own()?,
            interfaces,
            addresses: addr::list(&mut netlink, None)?.len(),
            routes: route::list(&mut netlink, route::MAIN_TABLE)?.len(),
            neighbors: neigh::list(&mut netlink)?.len(),
            rules: table.map(|table| (table.rules(), table.elements())),
            files: files(node)?,
        })
    }

    /// What differs between an empty node before and now, in words.
    pub(super) fn differences(&self, now: &Self) -> Vec<String> {
        let mut told = Vec::new();
        let mut compare = |what: &str, before: String, now: String| {
            if before != now {
                told.push(format!("{what}: {before} before, {now} now"));
            }
        };
        compare(
            "descriptors",
            self.descriptors.to_string(),
            now.descriptors.to_string(),
        );
        compare("threads", self.threads.to_string(), now.threads.to_string());
        compare(
            "namespaces",
            self.namespaces.join(" "),
            now.namespaces.join(" "),
        );
        compare(
            "interfaces",
            self.interfaces.join(" "),
            now.interfaces.join(" "),
        );
        compare(
            "addresses",
            self.addresses.to_string(),
            now.addresses.to_string(),
        );
        compare("routes", self.routes.to_string(), now.routes.to_string());
        compare(
            "neighbours",
            self.neighbors.to_string(),
            now.neighbors.to_string(),
        );
        compare(
            "rules",
            format!("{:?}", self.rules),
            format!("{:?}", now.rules),
        );
        compare("files", self.files.join(" "), now.files.join(" "));
        told
    }
}

/// What the node's namespace still has of a daemon that left.
pub(super) fn after_daemon(node: &Node) -> Result<Vec<String>> {
    let mut netlink = Netlink::open_in(&node.netns)?;
    let links = link::list(&mut netlink)?.into_iter();
    let left = links.filter(|link| link.kind.as_deref() == Some("tun"));
    let mut told: Vec<String> = left
        .map(|link| format!("interface {}", link.name))
        .collect();
    if node.netns.run(|| NatTable::exists(TABLE))?? {
        told.push(format!("nftables table {TABLE}"));
    }
    Ok(told)
}

/// Memory and disk of the daemon.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Size {
    /// Resident memory in KiB.
    pub(super) rss: u64,
    /// Bytes of the journal.
    pub(super) journal: u64,
}

impl Size {
    pub(super) fn of(node: &Node) -> Result<Self> {
        let path = format!("/proc/{}/status", node.pid()?);
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        let journal = fs::metadata(node.state().join(JOURNAL));
        Ok(Self {
            rss: rss.with_context(|| format!("{path} tells no memory"))?,
            journal: journal.map_or(0, |found| found.len()),
        })
    }
}

fn entries(folder: &Path) -> Result<Vec<String>> {
    let read = || -> std::io::Result<Vec<String>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    };
    read().with_context(|| format!("cannot list {}", folder.display()))
}

fn files(node: &Node) -> Result<Vec<String>> {
    let state = node.state();
    let mut all = Vec::new();
    for folder in [node.path(""), state.clone(), state.join("deleted")] {
        if folder.exists() {
            let names = entries(&folder)?.into_iter();
            // Written when there is something to remember, and only then.
            let names = names.filter(|name| name != "connections");
            all.extend(names.map(|name| folder.join(name).display().to_string()));
        }
    }
    all.sort();
    Ok(all)
}
