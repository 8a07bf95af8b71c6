//! In which form is an answer printed?
//!
//! Owns `-o` and the one table printer: columns padded to their widest cell, no lines, no colour,
//! so that `awk` reads it as well as a person. JSON and YAML print the same values with stable
//! field names.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::{Args, ValueEnum};
use serde::Serialize;

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns for people
    #[default]
    Table,
    /// The table with more columns
    Wide,
    /// One JSON value, with stable field names
    Json,
    /// The same as YAML
    Yaml,
}

/// `-o`.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct OutputArg {
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub(super) output: Output,
}

impl OutputArg {
    /// Prints `value`; `text` makes the form for people and is told whether it may be wide.
    pub(super) fn print(
        self,
        value: &impl Serialize,
        text: impl FnOnce(bool) -> String,
    ) -> anyhow::Result<()> {
        let printed = match self.output {
            Output::Table => text(false),
            Output::Wide => text(true),
            Output::Json => serde_json::to_string(value)? + "\n",
            Output::Yaml => serde_saphyr::to_string(value)?,
        };
        match io::stdout().lock().write_all(printed.as_bytes()) {
            // The reader of a pipe has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }
}

/// Rows under a heading.
#[derive(Debug)]
pub(super) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) const fn new(heading: Vec<&'static str>) -> Self {
        Self {
            heading,
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The padded text, one line a row; `empty` when there is none.
    pub(super) fn render(&self, empty: &str) -> String {
        if self.rows.is_empty() {
            return format!("{empty}\n");
        }
        let heading: Vec<String> = self.heading.iter().map(ToString::to_string).collect();
        let lines = || std::iter::once(&heading).chain(&self.rows);
        let mut widths = vec![0; heading.len()];
        for line in lines() {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(shown(cell).chars().count());
            }
        }
        let mut text = String::new();
        for line in lines() {
            let mut row = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                let _ = write!(row, "{:<width$}   ", shown(cell));
            }
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text
    }
}

/// An empty cell is a dash, so that columns can be counted; control characters are shown, not sent
/// to the terminal.
fn shown(cell: &str) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    cell.chars()
        .flat_map(|c| {
            let control = c.is_control();
            let plain = (!control).then_some(c);
            plain
                .into_iter()
                .chain(control.then(|| c.escape_default()).into_iter().flatten())
        })
        .collect()
}

/// Joins the items of a cell.
pub(super) fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(",")
}

/// Seconds as a person reads them.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1}s"),
        s if s < 120.0 => format!("{s:.0}s"),
        s if s < 7200.0 => format!("{:.0}m", s / 60.0),
        s if s < 172_800.0 => format!("{:.0}h", s / 3600.0),
        s => format!("{:.0}d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(vec!["NAME", "N"]);
        table.row(vec!["a".into(), "10".into()]);
        table.row(vec!["longer".into(), String::new()]);
        assert_eq!(
            table.render("none"),
            "NAME     N\na        10\nlonger   -\n"
        );
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(Table::new(vec!["NAME"]).render("no ports"), "no ports\n");
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }

    #[test]
    fn spans_are_short() {
        let shown: Vec<String> = [0.25, 59.0, 600.0, 7300.0, 200_000.0]
            .into_iter()
            .map(span)
            .collect();
        assert_eq!(shown, ["0.2s", "59s", "10m", "2h", "2d"]);
    }
}
