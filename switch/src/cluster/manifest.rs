//! Which objects does a manifest hold?
//!
//! YAML (or JSON) of one or several documents, or a `List` of objects, to checked [`Object`]s.
//! Kinds that do not concern weft are skipped and named; for the others every error names line
//! and field, and what has to be closed for want of the object. Never opens a file.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use weft_policy::model::Policy;

use super::objects::{Located, Object, ObjectKey};

mod kinds;
mod labels;
mod node;
mod objects;
mod pod;
mod policy;
mod reader;
mod salvage;
mod tree;

/// What one manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Its good objects, with the line each begins on.
    pub objects: Vec<Located<Object>>,
    /// Everything that is wrong with it.
    pub errors: Vec<ManifestError>,
    /// The objects weft would have read, if they had no errors.
    pub broken: Vec<Broken>,
    /// What is right, and may not be what was meant.
    pub notices: Vec<ManifestError>,
    /// Kinds that do not concern weft, with the line of the first of each.
    pub skipped: BTreeMap<String, usize>,
}

/// An object that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The line it begins on.
    pub line: usize,
    /// Which object, if that much can be read.
    pub key: Option<ObjectKey>,
    /// What is closed until it can be read, unless an earlier version is in force.
    pub closes: Closes,
    /// Which of the manifest's `errors` are about it.
    pub errors: Range<usize>,
}

/// What to close for want of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closes {
    /// Nothing: it restricts nobody.
    Nothing,
    /// A Namespace: its labels are unknown, so its pods are nobody's peers.
    Peers(String),
    /// A NetworkPolicy of which enough can be read: isolates without allowing anything.
    Policy(Arc<Policy>),
    /// All pods of a namespace.
    Namespace(String),
    /// All pods.
    Everything,
}

/// What is wrong in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The line, from 1.
    pub line: usize,
    /// The object, as far as it is known, such as `Pod default/a`; may be empty.
    pub object: String,
    /// The field, such as `spec.podCIDRs`; may be empty.
    pub field: String,
    /// What is wrong with it and what to write instead.
    pub what: String,
}

impl ManifestError {
    /// The whole file is unreadable.
    #[must_use]
    pub fn of_file(what: impl Into<String>) -> Self {
        Self {
            line: 1,
            object: String::new(),
            field: String::new(),
            what: what.into(),
        }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            object,
            field,
            what,
            ..
        } = self;
        for part in [object, field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(what)
    }
}

/// Reads one manifest: what is good in it, and what is not.
#[must_use]
pub fn parse(text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    for (offset, document) in documents(text) {
        match tree::read(document, offset) {
            Ok(trees) => {
                for tree in &trees {
                    objects::take(tree, &mut manifest);
                }
            }
            Err((line, what)) => unreadable(document, (offset, line), &what, &mut manifest),
        }
    }
    manifest
}

/// A document that is not YAML.
fn unreadable(document: &str, (offset, line): (usize, usize), what: &str, manifest: &mut Manifest) {
    let salvaged = salvage::salvage(document);
    let first = manifest.errors.len();
    let key = salvaged.as_ref().and_then(|(key, _)| key.as_ref());
    manifest.errors.push(ManifestError {
        line,
        object: key.map(ToString::to_string).unwrap_or_default(),
        field: String::new(),
        what: reader::printable(what),
    });
    if let Some((key, closes)) = salvaged {
        manifest.broken.push(Broken {
            line: offset + 1,
            key,
            closes,
            errors: first..first + 1,
        });
    }
}

/// The documents of a stream and the number of lines before each. A `---` at the start of a line
/// cannot be content (YAML 1.2.2 §9.1.2).
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        let before = text.get(start..at).unwrap_or_default();
        if marker && at > start && !is_preamble(before) {
            documents.push((start_line, before));
            (start, start_line) = (at, number);
        }
        at += line.len();
    }
    documents.push((start_line, text.get(start..).unwrap_or_default()));
    documents.retain(|(_, document)| has_content(document));
    documents
}

/// Whether these lines only direct how to read the document behind them (YAML 1.2.2 §6.8).
fn is_preamble(lines: &str) -> bool {
    let mut lines = lines.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().is_some_and(|line| line.starts_with('%'));
    first && lines.all(|line| line.starts_with(['%', '#']))
}

/// Whether anything but comments and markers is there.
fn has_content(document: &str) -> bool {
    document.lines().any(|line| {
        let line = line.strip_prefix("---").unwrap_or(line).trim();
        !line.is_empty() && !line.starts_with('#') && line != "..."
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_found_with_their_lines() {
        let text = "# head\n---\nkind: A\n--- # next\nkind: B\n...\n---\n---\n# none\n";
        let found: Vec<_> = documents(text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(found, [1, 3]);
        let found = documents("%YAML 1.2\n---\na: 1\n---\nb: 2\n");
        assert_eq!(found, [(0, "%YAML 1.2\n---\na: 1\n"), (3, "---\nb: 2\n")]);
        assert!(documents("").is_empty());
        assert_eq!(documents("a: |\n  ---\n").len(), 1);
    }
}
