//! `weft cni install`: has the container runtime use weft from now on.
//!
//! In the one order in which the runtime never reads of a plugin that is not there: the plugin,
//! then `loopback` if the runtime has none, then the list. Whatever is right already is not
//! touched.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::super::output::{Output, OutputArg};
use super::conflist::{self, PLUGIN, Settings};
use super::error::SetupError;
use super::folder::{Entry, Folder, Put};
use super::plugin::{self, LOOPBACK, Owner, Source};
use super::{Daemon, Item, Places, earlier, items_text, network_name};
use crate::api::Client;

/// Mode of the list: it is nobody's business but the runtime's.
const LIST_MODE: u32 = 0o600;

/// How long `--wait` waits between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// `weft cni install`.
#[derive(Debug, Args)]
pub(super) struct Install {
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    daemon: Daemon,
    /// Name of the CNI network
    #[arg(long, value_name = "NAME", default_value = "weft", value_parser = network_name)]
    name: String,
    /// MTU of pods' interfaces in bytes, at most the daemon's, which is the default
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(576..))]
    mtu: Option<u16>,
    /// Write the list only once the daemon is ready to attach pods
    #[arg(long)]
    wait: bool,
    /// How many seconds --wait waits at most
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u32,
    /// Replace a list or a program of the same name that is not as weft wrote it
    #[arg(long)]
    force: bool,
    /// Only print what would be written
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArg,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    dry_run: bool,
    items: Vec<Item>,
    warnings: Vec<String>,
    /// What the list says.
    conflist: Value,
}

/// The two directories; absent ones only in a dry run.
struct Folders {
    bin: Option<Folder>,
    conf: Option<Folder>,
}

impl Install {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let source = Source::find()?;
        let (socket, state) = self.daemon.or_of(None);
        let settings = Settings {
            name: self.name.clone(),
            socket,
            state,
            mtu: self.mtu,
        };
        let text = conflist::render(&settings)?;
        let folders = self.folders()?;
        self.refuse_taken(&folders, &source)?;
        let warnings = self.warnings(&folders)?;
        let mut items = self.programs(&folders, &source)?;
        if self.wait && !self.dry_run {
            self.wait_for(&settings)?;
        }
        items.push(self.list(&folders, &text)?);
        let report = Report {
            dry_run: self.dry_run,
            items,
            warnings,
            conflist: serde_json::from_str(&text)?,
        };
        self.print(&report, &text)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Both directories are judged before anything is written to either.
    fn folders(&self) -> Result<Folders, SetupError> {
        let (bin, conf) = (&self.places.bin_dir, &self.places.conf_dir);
        let mut folders = Folders {
            bin: Folder::open(bin)?,
            conf: Folder::open(conf)?,
        };
        if !self.dry_run {
            folders.bin = Some(Folder::make(bin)?);
            folders.conf = Some(Folder::make(conf)?);
        }
        Ok(folders)
    }

    /// What somebody else made, or an operator by hand, is only replaced when told to.
    fn refuse_taken(&self, folders: &Folders, source: &Source) -> Result<(), SetupError> {
        if self.force {
            return Ok(());
        }
        let name = &self.places.conf_name;
        let list = folders.conf.as_ref().map(|conf| conf.entry(name));
        let why = match list.transpose()? {
            None | Some(Entry::Absent) => None,
            Some(Entry::Odd) => Some("is no file"),
            Some(Entry::File { bytes, .. }) => match conflist::read(&bytes) {
                None => Some("is not weft's list"),
                Some(found) if found.edited => Some("was changed by hand"),
                Some(_) => None,
            },
        };
        if let Some(why) = why {
            return Err(SetupError::Taken {
                path: self.places.conf_dir.join(name),
                why,
                next: "see what would be written with --dry-run --force, then replace it with \
                       --force, or choose another name with --conf-name",
            });
        }
        let program = folders.bin.as_ref();
        let owner = program.map(|bin| plugin::owner(bin, PLUGIN, source));
        match owner.transpose()? {
            Some(Owner::Foreign) => Err(SetupError::Taken {
                path: self.places.bin_dir.join(PLUGIN),
                why: "is not weft's program",
                next: "move it away, or replace it with --force",
            }),
            _ => Ok(()),
        }
    }

    fn warnings(&self, folders: &Folders) -> Result<Vec<String>, SetupError> {
        let Some(conf) = &folders.conf else {
            return Ok(Vec::new());
        };
        let ours = &self.places.conf_name;
        let warning = |first: &String| {
            format!(
                "{} sorts before {ours}, and containerd uses the first only: move it away, or \
                 choose an earlier name with --conf-name",
                conf.path_of(first).display()
            )
        };
        Ok(earlier(conf, ours)?
            .first()
            .map(warning)
            .into_iter()
            .collect())
    }

    /// The plugin, and `loopback` where no other program has that name.
    fn programs(&self, folders: &Folders, source: &Source) -> Result<Vec<Item>, SetupError> {
        let mut items = vec![self.program(folders, PLUGIN, source)?];
        let loopback = folders.bin.as_ref();
        let owner = loopback.map(|bin| plugin::owner(bin, LOOPBACK, source));
        items.push(match owner.transpose()? {
            Some(Owner::Foreign) => {
                let path = self.places.bin_dir.join(LOOPBACK);
                Item::new("loopback", &path, "kept", "another's, which serves as well")
            }
            _ => self.program(folders, LOOPBACK, source)?,
        });
        Ok(items)
    }

    fn program(&self, folders: &Folders, name: &str, source: &Source) -> Result<Item, SetupError> {
        let done = self.put(folders.bin.as_ref(), name, &source.bytes, plugin::MODE)?;
        let path = self.places.bin_dir.join(name);
        let note = format!("from {}", source.path.display());
        Ok(Item::new(plugin::label(name), &path, word(done), &note))
    }

    fn list(&self, folders: &Folders, text: &str) -> Result<Item, SetupError> {
        let name = &self.places.conf_name;
        let done = self.put(folders.conf.as_ref(), name, text.as_bytes(), LIST_MODE)?;
        let path = self.places.conf_dir.join(name);
        Ok(Item::new("conflist", &path, word(done), ""))
    }

    fn put(
        &self,
        folder: Option<&Folder>,
        name: &str,
        bytes: &[u8],
        mode: u32,
    ) -> Result<Put, SetupError> {
        match folder {
            None => Ok(Put::New),
            Some(folder) if self.dry_run => folder.plan(name, bytes, mode),
            Some(folder) => folder.put(name, bytes, mode),
        }
    }

    /// A runtime that finds the list takes the node for ready.
    fn wait_for(&self, settings: &Settings) -> Result<(), SetupError> {
        let mut left = u128::from(self.timeout) * 1000 / PAUSE.as_millis();
        loop {
            let asked = Client::connect(&settings.socket).and_then(|mut daemon| daemon.ready());
            let why = match asked {
                Ok(answer) if answer.ready => return Ok(()),
                Ok(answer) if answer.next.is_empty() => answer.why,
                Ok(answer) => format!("{}; {}", answer.why, answer.next),
                Err(error) => error.to_string(),
            };
            if left == 0 {
                let seconds = self.timeout;
                return Err(SetupError::NotReady { seconds, why });
            }
            left -= 1;
            let _ = crossbeam_channel::after(PAUSE).recv();
        }
    }

    fn print(&self, report: &Report, text: &str) -> anyhow::Result<()> {
        if matches!(self.output.output, Output::Table | Output::Wide) {
            for warning in &report.warnings {
                eprintln!("warning: {warning}");
            }
            if self.dry_run {
                eprintln!("dry run: nothing is written");
            }
        }
        self.output.print(report, |_| {
            let table = items_text(&report.items);
            match self.dry_run {
                true => format!("{table}\n{}:\n{text}", self.conf_path().display()),
                false => table,
            }
        })
    }

    fn conf_path(&self) -> PathBuf {
        self.places.conf_dir.join(&self.places.conf_name)
    }
}

const fn word(put: Put) -> &'static str {
    match put {
        Put::New => "installed",
        Put::Replaced => "replaced",
        Put::Unchanged => "unchanged",
    }
}
