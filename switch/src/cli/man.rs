//! `weft man [COMMAND…]`: which manual pages are there?
//!
//! Owns their names, `weft-lab-up.1` for `weft lab up`, and their text, which comes from the
//! arguments themselves. Every page that another page names can be printed and is written by
//! `--dir`; hidden commands have none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command};
use clap_mangen::Man;

use crate::text::say;

const EXAMPLES: &str = "\
Examples:
  weft man lab up | man -l -
  weft man --dir /usr/local/share/man/man1

Without COMMAND: the page of weft itself. The page of `weft lab up` is called weft-lab-up(1).";

/// `weft man`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ManCommand {
    /// The words of the command whose page is printed, such as lab up
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
    /// Write the pages of all commands into this folder, made if need be, and print none
    #[arg(long, value_name = "DIR", conflicts_with = "words")]
    dir: Option<PathBuf>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
enum ManError {
    /// No such command.
    #[error("`{parent}` has no command {word:?}; {next}")]
    Unknown {
        parent: String,
        word: String,
        next: String,
    },
    /// The folder or a page cannot be written.
    #[error("cannot write {}: {source}; name a folder of yours with --dir", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl ManCommand {
    /// Prints the page, or writes all of them, of the command `weft`.
    pub(super) fn run(self, weft: Command) -> anyhow::Result<ExitCode> {
        // clap's own `help` would get pages that repeat the others.
        let mut weft = weft.disable_help_subcommand(true);
        weft.build();
        match &self.dir {
            None => say(&page(find(&weft, &self.words)?)?),
            Some(dir) => {
                let count = write_all(&weft, dir)?;
                eprintln!("{count} pages are in {}", dir.display());
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn children(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|child| !child.is_hide_set())
}

/// The command that these words call.
fn find<'a>(weft: &'a Command, words: &[String]) -> Result<&'a Command, ManError> {
    words.iter().try_fold(weft, |command, word| {
        let found = children(command).find(|child| child.get_name() == word);
        found.ok_or_else(|| {
            let names: Vec<&str> = children(command).map(Command::get_name).collect();
            ManError::Unknown {
                parent: called(command),
                word: word.clone(),
                next: match names.as_slice() {
                    [] => format!("its page: weft man {}", after_weft(command)),
                    names => format!("it has {}", names.join(", ")),
                },
            }
        })
    })
}

/// How a user calls a command: `weft lab up`.
fn called(command: &Command) -> String {
    let name = command.get_bin_name();
    name.unwrap_or_else(|| command.get_name()).to_owned()
}

fn after_weft(command: &Command) -> String {
    let called = called(command);
    called.strip_prefix("weft ").unwrap_or_default().to_owned()
}

/// Of one command.
fn man(command: &Command) -> Man {
    let source = format!("weft {}", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).source(source).manual("weft")
}

fn page(command: &Command) -> io::Result<String> {
    let mut bytes = Vec::new();
    man(command).render(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes the pages of a command and of those below it; answers how many.
fn write_all(command: &Command, dir: &Path) -> Result<usize, ManError> {
    let fail = |path: &Path, source| ManError::Write {
        path: path.to_owned(),
        source,
    };
    fs::create_dir_all(dir).map_err(|error| fail(dir, error))?;
    let path = dir.join(man(command).get_filename());
    page(command)
        .and_then(|text| fs::write(&path, text))
        .map_err(|error| fail(&path, error))?;
    children(command).try_fold(1, |count, child| Ok(count + write_all(child, dir)?))
}
