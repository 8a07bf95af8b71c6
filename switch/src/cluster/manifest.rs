//! Which objects does a manifest hold?
//!
//! YAML (or JSON) of one or several documents, or a `List` of objects, to checked [`Object`]s.
//! Kinds weft does not read are skipped; for the others every error names line and field. Never
//! opens a file.

use std::fmt;

use serde_saphyr::Location;

use super::objects::{Located, Object};

mod check;
mod raw;

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

/// Reads the objects of one manifest, with the line each begins on.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Located<Object>>, Vec<ManifestError>> {
    let mut objects = Vec::new();
    let mut errors = Vec::new();
    for (offset, document) in documents(text) {
        match parse_document(document, offset) {
            Ok(raw) => raw.check(offset, &mut objects, &mut errors),
            Err(error) => errors.extend(error),
        }
    }
    if errors.is_empty() {
        Ok(objects)
    } else {
        Err(errors)
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
        if marker && at > start {
            documents.push((start_line, text.get(start..at).unwrap_or_default()));
            (start, start_line) = (at, number);
        }
        at += line.len();
    }
    documents.push((start_line, text.get(start..).unwrap_or_default()));
    documents.retain(|(_, document)| has_content(document));
    documents
}

/// Whether anything but comments and markers is there.
fn has_content(document: &str) -> bool {
    document.lines().any(|line| {
        let line = line.strip_prefix("---").unwrap_or(line).trim();
        !line.is_empty() && !line.starts_with('#') && line != "..."
    })
}

/// A document that does not fit but is of no kind weft reads is not an error.
fn parse_document(document: &str, offset: usize) -> Result<raw::RawObject, Option<ManifestError>> {
    serde_saphyr::from_str::<raw::RawObject>(document).map_err(|error| {
        let foreign = serde_saphyr::from_str::<raw::RawKind>(document)
            .is_ok_and(|raw| raw.kind.is_some_and(|kind| !check::is_read(&kind)));
        (!foreign).then(|| {
            let line = error
                .location()
                .map_or(offset + 1, |at| line_of(at, offset));
            let what = error.without_snippet().to_string();
            let what = printable(what.lines().next().unwrap_or_default());
            ManifestError {
                line,
                object: String::new(),
                field: String::new(),
                what,
            }
        })
    })
}

/// A foreign text for one line of a log or a terminal: bounded, control characters escaped.
fn printable(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().collect()
        } else {
            vec![c]
        }
    };
    text.chars().take(300).flat_map(escape).collect()
}

fn line_of(location: Location, offset: usize) -> usize {
    offset + usize::try_from(location.line()).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_found_with_their_lines() {
        let text = "# head\n---\nkind: A\n--- # next\nkind: B\n...\n---\n---\n# none\n";
        let found: Vec<_> = documents(text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(found, [1, 3]);
        assert!(documents("").is_empty());
        assert_eq!(documents("a: |\n  ---\n").len(), 1);
    }
}
