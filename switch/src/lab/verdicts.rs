//! Who may talk to whom: the form of the matrix, and what to say about broken expectations.
//!
//! Owns the JSON that `lab matrix` and `policy matrix` share, the table, and JUnit. Pure.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::endpoint::{PodRef, Protocol, Verdict};
use super::expect::Expectation;
use crate::text::Table;

/// Verdicts of many pairs on one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Matrix {
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) verdicts: Vec<Pair>,
}

/// One pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) from: PodRef,
    pub(crate) to: PodRef,
    pub(crate) verdict: Verdict,
}

impl Matrix {
    /// A square with senders as rows and receivers as columns.
    pub(crate) fn table(&self) -> Table {
        let mut names: Vec<&PodRef> = self
            .verdicts
            .iter()
            .flat_map(|p| [&p.from, &p.to])
            .collect();
        names.sort();
        names.dedup();
        let mut table = Table::new(
            std::iter::once("FROM \\ TO".to_owned()).chain(names.iter().map(ToString::to_string)),
        );
        for from in &names {
            let cell = |to: &PodRef| {
                let pair = self
                    .verdicts
                    .iter()
                    .find(|p| p.from == **from && p.to == *to);
                pair.map_or(" ", |p| {
                    if p.verdict == Verdict::Allow {
                        "✓"
                    } else {
                        "✗"
                    }
                })
                .to_owned()
            };
            table.row(std::iter::once(from.to_string()).chain(names.iter().map(|to| cell(to))));
        }
        table
    }
}

/// What an expectation met.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Checked {
    #[serde(flatten)]
    pub(crate) expectation: Expectation,
    /// Absent: it could not be tried.
    pub(crate) seen: Option<Verdict>,
    /// Why, for example `timed out after 1 s`.
    pub(crate) detail: String,
}

impl Checked {
    pub(crate) fn holds(&self) -> bool {
        self.seen == Some(self.expectation.verdict)
    }

    fn seen_text(&self) -> String {
        self.seen
            .map_or_else(|| "not tried".to_owned(), |seen| seen.to_string())
    }
}

/// A table of those that do not hold.
pub(crate) fn misses(checked: &[Checked]) -> Table {
    let mut table = Table::new(["EXPECTATION", "EXPECTED", "SEEN", "WHY"]);
    for one in checked.iter().filter(|c| !c.holds()) {
        table.row([
            one.expectation.label(),
            one.expectation.verdict.to_string(),
            one.seen_text(),
            one.detail.clone(),
        ]);
    }
    table
}

/// JUnit XML, one test case per expectation.
pub(crate) fn junit(lab: &str, checked: &[Checked]) -> String {
    let failures = checked.iter().filter(|c| !c.holds()).count();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let counts = format!("tests=\"{}\" failures=\"{failures}\"", checked.len());
    let _ = writeln!(
        xml,
        "<testsuites {counts}>\n  <testsuite name=\"weft lab {}\" {counts}>",
        escape(lab)
    );
    for one in checked {
        let name = escape(&one.expectation.label());
        let _ = write!(
            xml,
            "    <testcase classname=\"{}\" name=\"{name}\"",
            escape(lab)
        );
        if one.holds() {
            xml.push_str("/>\n");
        } else {
            let message = format!(
                "expected {}, seen {}",
                one.expectation.verdict,
                one.seen_text()
            );
            let detail = escape(&one.detail);
            let _ = writeln!(
                xml,
                ">\n      <failure message=\"{message}\">{detail}</failure>\n    </testcase>"
            );
        }
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(text: &str) -> PodRef {
        text.parse().unwrap()
    }

    #[test]
    fn matrix_json_is_the_documented_form() {
        let matrix = Matrix {
            port: 80,
            protocol: Protocol::Tcp,
            verdicts: vec![
                Pair {
                    from: pod("x/a"),
                    to: pod("y/b"),
                    verdict: Verdict::Allow,
                },
                Pair {
                    from: pod("x/b"),
                    to: pod("y/b"),
                    verdict: Verdict::Deny,
                },
            ],
        };
        assert_eq!(
            serde_json::to_string(&matrix).unwrap(),
            r#"{"port":80,"protocol":"TCP","verdicts":[{"from":"x/a","to":"y/b","verdict":"allow"},{"from":"x/b","to":"y/b","verdict":"deny"}]}"#
        );
        assert_eq!(
            matrix.table().to_string(),
            "FROM \\ TO  x/a  x/b  y/b\nx/a                  ✓\nx/b                  ✗\ny/b\n"
        );
    }

    #[test]
    fn junit_escapes_and_counts() {
        let expectation = Expectation {
            from: "x/a".parse().unwrap(),
            to: "y/b".parse().unwrap(),
            port: 80,
            protocol: Protocol::Tcp,
            verdict: Verdict::Deny,
            family: None,
            size: None,
        };
        let good = Checked {
            expectation: expectation.clone(),
            seen: Some(Verdict::Deny),
            detail: String::new(),
        };
        let bad = Checked {
            expectation,
            seen: Some(Verdict::Allow),
            detail: "answered <y/b> & more".to_owned(),
        };
        let xml = junit("l", &[good, bad]);
        assert!(xml.contains("<testsuites tests=\"2\" failures=\"1\">"));
        assert!(xml.contains("<failure message=\"expected deny, seen allow\">answered &lt;y/b&gt; &amp; more</failure>"));
    }
}
