//! `weft cni uninstall`: has the container runtime forget weft.
//!
//! The reverse of installing: the list first, then weft's programs, then what a stopped daemon left
//! in the node's network. Everything is told, removed or not; what is not weft's stays.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::NO;
use super::super::output::{Output, OutputArg};
use super::conflist::{self, PLUGIN};
use super::error::SetupError;
use super::folder::{Entry, Folder};
use super::leftovers::{self, Life};
use super::plugin::{self, LOOPBACK, Owner, Source};
use super::{Daemon, Item, Places, configurations, installed, items_text};

/// `weft cni uninstall`.
#[derive(Debug, Args)]
pub(super) struct Uninstall {
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    daemon: Daemon,
    /// Go on though pods are attached, or though other configurations need `loopback`
    #[arg(long)]
    force: bool,
    /// Remove the daemon's state files too: which pods have which addresses
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    output: OutputArg,
}

#[derive(Debug, Serialize)]
struct Report {
    /// Whether nothing failed.
    done: bool,
    items: Vec<Item>,
}

impl Uninstall {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let source = Source::find()?;
        let bin = Folder::open(&self.places.bin_dir)?;
        let conf = Folder::open(&self.places.conf_dir)?;
        let list = installed(conf.as_ref(), &self.places.conf_name)?;
        let (socket, state) = self.daemon.or_of(list.as_ref());
        let life = Life::ask(&socket);
        if list.is_some() && !self.force {
            life.refuse_attached(&socket, &state)?;
        }
        let mut items = vec![self.list(conf.as_ref())];
        items.extend(self.programs(bin.as_ref(), conf.as_ref(), &source));
        items.extend(leftovers::network(&life));
        items.push(leftovers::state(&life, &state, self.purge));
        let failed = items.iter().any(|item| item.outcome == "failed");
        let report = Report {
            done: !failed,
            items,
        };
        self.output.print(&report, |_| items_text(&report.items))?;
        if failed && self.output.output != Output::Json {
            eprintln!("error: not everything is removed; see the notes, then try again");
        }
        Ok(if failed {
            ExitCode::from(NO)
        } else {
            ExitCode::SUCCESS
        })
    }

    fn list(&self, conf: Option<&Folder>) -> Item {
        let name = &self.places.conf_name;
        let path = self.places.conf_dir.join(name);
        let item = |outcome, note: &str| Item::new("conflist", &path, outcome, note);
        let Some(folder) = conf else {
            return item("absent", "");
        };
        match folder.entry(name) {
            Ok(Entry::Absent) => item("absent", ""),
            Ok(Entry::File { bytes, .. }) if conflist::read(&bytes).is_some() => {
                removed(folder, name, item)
            }
            Ok(Entry::File { .. } | Entry::Odd) => item("kept", "not weft's"),
            Err(error) => item("failed", &error.to_string()),
        }
    }

    /// The programs that are weft's and that no configuration still names.
    fn programs(&self, bin: Option<&Folder>, conf: Option<&Folder>, source: &Source) -> [Item; 2] {
        let users = conf.map_or_else(|| Ok(Users::default()), Users::of);
        let why = |wanted: fn(&Users) -> Option<&String>| match &users {
            Ok(users) => wanted(users).map(|user| format!("{user} needs it")),
            Err(error) => Some(error.to_string()),
        };
        let plugin = why(|users| users.of_plugin.first());
        let mut loopback = why(|users| users.any.first());
        if self.force {
            loopback = None;
        }
        [
            self.program(PLUGIN, bin, source, plugin),
            self.program(LOOPBACK, bin, source, loopback),
        ]
    }

    fn program(
        &self,
        name: &str,
        bin: Option<&Folder>,
        source: &Source,
        needed: Option<String>,
    ) -> Item {
        let path = self.places.bin_dir.join(name);
        let item = |outcome, note: &str| Item::new(plugin::label(name), &path, outcome, note);
        let Some(folder) = bin else {
            return item("absent", "");
        };
        match (plugin::owner(folder, name, source), needed) {
            (Ok(Owner::Nobody), _) => item("absent", ""),
            (Ok(Owner::Foreign), _) => item("kept", "not weft's"),
            (Ok(_), Some(user)) => item("kept", &user),
            (Ok(Owner::ThisBuild | Owner::OtherBuild), None) => removed(folder, name, item),
            (Err(error), _) => item("failed", &error.to_string()),
        }
    }
}

fn removed(folder: &Folder, name: &str, item: impl Fn(&'static str, &str) -> Item) -> Item {
    match folder.remove(name) {
        Ok(()) => item("removed", ""),
        Err(error) => item("failed", &error.to_string()),
    }
}

/// The configurations that are left.
#[derive(Debug, Default)]
struct Users {
    /// All of them: containerd needs `loopback` for each.
    any: Vec<String>,
    /// Those that name weft's plugin.
    of_plugin: Vec<String>,
}

impl Users {
    fn of(folder: &Folder) -> Result<Self, SetupError> {
        let mut users = Self::default();
        for name in configurations(folder)? {
            if installed(Some(folder), &name)?.is_some() {
                users.of_plugin.push(name.clone());
            }
            users.any.push(name);
        }
        Ok(users)
    }
}
