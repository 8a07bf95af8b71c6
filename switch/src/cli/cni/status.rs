//! `weft cni status`: does the container runtime find weft, and does weft answer it?
//!
//! One line for each thing a runtime needs, in the order in which it needs them. Changes nothing.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::output::{OutputArg, render};
use super::super::{HOST, NO};
use super::conflist::{self, Found, PLUGIN};
use super::error::SetupError;
use super::folder::{Entry, Folder, Put};
use super::plugin::{self, LOOPBACK, Owner, Source};
use super::{Daemon, Places, earlier, installed};
use crate::api::Client;

const INSTALL: &str = "weft cni install";
const REPLACE: &str = "weft cni install --force";

/// `weft cni status`.
#[derive(Debug, Args)]
pub(super) struct StatusCommand {
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    daemon: Daemon,
    #[command(flatten)]
    output: OutputArg,
}

#[derive(Debug, Serialize)]
struct Report {
    /// Whether every check is.
    ok: bool,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    ok: bool,
    found: String,
    /// The command to try; empty if it is ok, or follows from another check.
    next: String,
}

impl Check {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            ok: true,
            found: found.into(),
            next: String::new(),
        }
    }

    fn bad(check: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            check,
            ok: false,
            found: found.into(),
            next: next.into(),
        }
    }
}

impl StatusCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let source = Source::find()?;
        let (mut checks, list) = told("conflist", self.list())?;
        let (socket, _) = self.daemon.or_of(list.as_ref());
        checks.push(daemon(&socket));
        let (programs, _) = told("plugin", self.programs(&source))?;
        checks.extend(programs);
        let report = Report {
            ok: checks.iter().all(|check| check.ok),
            checks,
        };
        self.output.print(&report, |_| text(&report.checks))?;
        Ok(match report.ok {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(NO),
        })
    }

    fn list(&self) -> Result<(Vec<Check>, Option<Found>), SetupError> {
        let name = &self.places.conf_name;
        let path = self.places.conf_dir.join(name);
        let folder = Folder::open(&self.places.conf_dir)?;
        let Some(folder) = folder else {
            let found = format!("no {}", path.display());
            return Ok((vec![Check::bad("conflist", found, INSTALL)], None));
        };
        let shown = path.display();
        let list = installed(Some(&folder), name)?;
        let Some(found) = &list else {
            let check = match folder.entry(name)? {
                Entry::Absent => Check::bad("conflist", format!("no {shown}"), INSTALL),
                _ => Check::bad("conflist", format!("{shown} is not weft's list"), REPLACE),
            };
            return Ok((vec![check], None));
        };
        let by_hand = if found.edited {
            ", changed by hand"
        } else {
            ""
        };
        let checks = vec![
            Check::ok("conflist", format!("{shown}{by_hand}")),
            order(&folder, name)?,
            versions(found),
        ];
        Ok((checks, list))
    }

    fn programs(&self, source: &Source) -> Result<(Vec<Check>, ()), SetupError> {
        let dir = &self.places.bin_dir;
        let folder = Folder::open(dir)?;
        let shown = dir.join(PLUGIN);
        let shown = shown.display();
        let Some(folder) = folder else {
            let plugin = Check::bad("plugin", format!("no {shown}"), INSTALL);
            let found = format!("no {}", dir.join(LOOPBACK).display());
            let loopback = Check::bad("loopback", found, INSTALL);
            return Ok((vec![plugin, loopback], ()));
        };
        let untouched = folder.plan(PLUGIN, &source.bytes, plugin::MODE)? == Put::Unchanged;
        let (what, next) = match plugin::owner(&folder, PLUGIN, source)? {
            Owner::ThisBuild if untouched => ("is of the same build as this weft", ""),
            Owner::ThisBuild => ("has another owner or mode than installed", INSTALL),
            Owner::OtherBuild => ("is of another build than this weft", INSTALL),
            Owner::Foreign => ("is not weft's program", REPLACE),
            Owner::Nobody => ("is missing", INSTALL),
        };
        let found = format!("{shown} {what}");
        let plugin = match next {
            "" => Check::ok("plugin", found),
            next => Check::bad("plugin", found, next),
        };
        Ok((vec![plugin, loopback(&folder, source)?], ()))
    }
}

/// An untrusted directory is a finding; what only root may see ends the command.
fn told<T: Default>(
    check: &'static str,
    looked: Result<(Vec<Check>, T), SetupError>,
) -> Result<(Vec<Check>, T), SetupError> {
    looked.or_else(|error| match error.exit_code() {
        HOST => Err(error),
        _ => Ok((vec![Check::bad(check, error.to_string(), "")], T::default())),
    })
}

fn order(folder: &Folder, name: &str) -> Result<Check, SetupError> {
    Ok(match earlier(folder, name)?.first() {
        None => Check::ok("order", "first, so it is the one containerd uses"),
        Some(first) => Check::bad(
            "order",
            format!("{} comes before it", folder.path_of(first).display()),
            "move that file away, or: weft cni install --conf-name 00-weft.conflist",
        ),
    })
}

fn versions(list: &Found) -> Check {
    let found = list.versions.join(", ");
    let known = |version: &String| conflist::VERSIONS.contains(&version.as_str());
    match !list.versions.is_empty() && list.versions.iter().all(known) {
        true => Check::ok("versions", found),
        false => {
            let found = format!("{found}: not all of them are the plugin's");
            Check::bad("versions", found, REPLACE)
        }
    }
}

fn daemon(socket: &Path) -> Check {
    let shown = socket.display();
    match Client::connect(socket).and_then(|mut daemon| daemon.ready()) {
        Ok(answer) if answer.ready => Check::ok("daemon", format!("ready at {shown}")),
        Ok(answer) => {
            let found = format!("not ready at {shown}: {}", answer.why);
            let next = match answer.next {
                next if next.is_empty() => "weft status".to_owned(),
                next => next,
            };
            Check::bad("daemon", found, next)
        }
        Err(error) => Check::bad("daemon", error.to_string(), "systemctl status weft"),
    }
}

/// Any program of that name serves.
fn loopback(folder: &Folder, source: &Source) -> Result<Check, SetupError> {
    let path = folder.path_of(LOOPBACK);
    let shown = path.display();
    let runs = match folder.entry(LOOPBACK)? {
        Entry::File { metadata, .. } => metadata.mode() & 0o111 != 0,
        // Reference plugins may be links to one program.
        Entry::Odd => path.is_file(),
        Entry::Absent => false,
    };
    Ok(match (runs, plugin::owner(folder, LOOPBACK, source)?) {
        (false, _) => Check::bad("loopback", format!("no program {shown}"), INSTALL),
        (true, Owner::Foreign) => Check::ok("loopback", format!("{shown}, another's")),
        (true, _) => Check::ok("loopback", format!("{shown}, weft's")),
    })
}

fn text(checks: &[Check]) -> String {
    let word = |ok| if ok { "yes" } else { "no" };
    let row = |check: &Check| {
        let cells = [check.check, word(check.ok), &check.found];
        cells.map(str::to_owned).to_vec()
    };
    let rows = checks.iter().map(row).collect();
    let mut text = render(&["CHECK", "OK", "FOUND"], rows, "nothing");
    for check in checks.iter().filter(|check| !check.next.is_empty()) {
        let _ = writeln!(text, "\n{}: next: {}", check.check, check.next);
    }
    text
}
