//! In which form is an answer printed?
//!
//! Owns `-o`. Tables have no lines and no colour and no empty cells, so that `awk` reads them as
//! well as a person. JSON and YAML print the same values with stable field names.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::text::{Table, say};

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
        say(&printed);
        Ok(())
    }
}

/// A table of daemon answers, or `empty` if there are none.
pub(super) fn render(heading: &[&str], rows: Vec<Vec<String>>, empty: &str) -> String {
    let mut table = Table::new(heading.iter().copied());
    for row in rows {
        table.row(row.iter().map(|cell| shown(cell)));
    }
    if table.is_empty() {
        return format!("{empty}\n");
    }
    table.to_string()
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
    fn an_empty_cell_is_a_dash_and_an_empty_table_says_so() {
        let rows = vec![vec!["a".to_owned(), String::new()]];
        assert_eq!(render(&["NAME", "N"], rows, "none"), "NAME  N\na     -\n");
        assert_eq!(render(&["NAME"], Vec::new(), "no ports"), "no ports\n");
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
