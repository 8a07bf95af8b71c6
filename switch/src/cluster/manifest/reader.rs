//! Values of a tree, by the type they should have; what they are not is an error with its place.

use std::fmt;
use std::net::IpAddr;

use super::super::objects::Located;
use super::ManifestError;
use super::tree::{Map, Tree, Value, truth};

/// What was found wrong, or doubtful, with the object being read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Such as `Pod default/a`.
    pub(super) object: String,
    pub(super) errors: Vec<ManifestError>,
    pub(super) notices: Vec<ManifestError>,
}

/// A value and the way to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<'a> {
    pub(super) tree: &'a Tree,
    parent: Option<&'a Self>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Key(&'a str),
    Item(usize),
}

impl<'a> Spot<'a> {
    pub(super) const fn root(tree: &'a Tree) -> Self {
        Self {
            tree,
            parent: None,
            step: Step::Root,
        }
    }

    pub(super) const fn line(&self) -> usize {
        self.tree.line
    }

    const fn map(&self) -> Option<&'a Map> {
        match &self.tree.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// A field that says something.
    pub(super) fn field(&'a self, name: &'a str) -> Option<Self> {
        self.written(name)
            .filter(|field| !matches!(field.tree.value, Value::Null))
    }

    /// A field that is there, even if it says nothing.
    pub(super) fn written(&'a self, name: &'a str) -> Option<Self> {
        Some(Self {
            tree: &self.map()?.get(name)?.value,
            parent: Some(self),
            step: Step::Field(name),
        })
    }

    /// Whether a field is written twice.
    pub(super) fn repeats(&self, name: &str) -> bool {
        self.map().is_some_and(|map| map.repeats(name))
    }

    /// Text that stands here, whatever else is wrong.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        match &self.tree.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The names of its fields, with their lines.
    fn names(&self) -> impl Iterator<Item = (usize, &'a str)> {
        let entries = self.map().map_or(&[][..], |map| &map.entries);
        entries.iter().map(|entry| (entry.line, entry.key.as_str()))
    }
}

impl fmt::Display for Spot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nested = self
            .parent
            .filter(|parent| !matches!(parent.step, Step::Root));
        if let Some(parent) = nested {
            write!(f, "{parent}")?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if nested.is_some() => write!(f, ".{}", printable(name)),
            Step::Field(name) => write!(f, "{}", printable(name)),
            Step::Key(key) => write!(f, "[{}]", printable(key)),
            Step::Item(index) => write!(f, "[{index}]"),
        }
    }
}

impl Reader {
    pub(super) fn error(&mut self, spot: &Spot<'_>, what: impl Into<String>) {
        self.error_at(spot.line(), &spot.to_string(), what);
    }

    pub(super) fn error_at(&mut self, line: usize, field: &str, what: impl Into<String>) {
        let error = self.remark(line, field, what.into());
        self.errors.push(error);
    }

    pub(super) fn notice(&mut self, spot: &Spot<'_>, what: impl Into<String>) {
        self.notice_at(spot.line(), &spot.to_string(), what);
    }

    pub(super) fn notice_at(&mut self, line: usize, field: &str, what: impl Into<String>) {
        let notice = self.remark(line, field, what.into());
        self.notices.push(notice);
    }

    fn remark(&self, line: usize, field: &str, what: String) -> ManifestError {
        ManifestError {
            line,
            object: self.object.clone(),
            field: field.to_owned(),
            what,
        }
    }

    fn mistyped(&mut self, spot: &Spot<'_>, wanted: &str) {
        let found = match &spot.tree.value {
            Value::Null => "says nothing".to_owned(),
            Value::Bool(text) => format!("is {text}, which is true or false"),
            Value::Number(text) => format!("is the number {text}"),
            Value::Text(text) => format!("is the text {text:?}"),
            Value::List(_) => "is a list".to_owned(),
            Value::Map(_) => "is a mapping".to_owned(),
            Value::Tagged(tag) => format!("has the tag {}", printable(tag)),
        };
        self.error(spot, format!("{}; {wanted}", printable(&found)));
    }

    /// Whether it is a mapping.
    pub(super) fn is_map(&mut self, spot: &Spot<'_>) -> bool {
        let is = spot.map().is_some();
        if !is {
            self.mistyped(spot, "write fields, one per line, indented");
        }
        is
    }

    /// The items of a list.
    pub(super) fn items<'a>(&mut self, spot: &'a Spot<'a>) -> Vec<Spot<'a>> {
        let Value::List(items) = &spot.tree.value else {
            self.mistyped(spot, "write a list, each item with a '-' before it");
            return Vec::new();
        };
        let item = |(index, tree)| Spot {
            tree,
            parent: Some(spot),
            step: Step::Item(index),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The keys and values of a mapping whose keys are free.
    pub(super) fn entries<'a>(&mut self, spot: &'a Spot<'a>) -> Vec<(&'a str, Spot<'a>)> {
        if !self.is_map(spot) {
            return Vec::new();
        }
        let mut entries = Vec::new();
        for entry in spot.map().map_or(&[][..], |map| &map.entries) {
            let value = Spot {
                tree: &entry.value,
                parent: Some(spot),
                step: Step::Key(&entry.key),
            };
            if entry.odd {
                let key = printable(&entry.key);
                let what = format!("{key} is no text to YAML; write the key as \"{key}\"");
                self.error_at(entry.line, &spot.to_string(), what);
            } else {
                entries.push((entry.key.as_str(), value));
            }
        }
        entries
    }

    pub(super) fn text<'a>(&mut self, spot: &Spot<'a>) -> Option<&'a str> {
        match &spot.tree.value {
            Value::Text(text) => return Some(text),
            Value::Bool(text) | Value::Number(text) => {
                let text = printable(text);
                let what = format!("{text} is no text to YAML; write \"{text}\"");
                self.error(spot, what);
            }
            _ => self.mistyped(spot, "write a text"),
        }
        None
    }

    pub(super) fn flag(&mut self, spot: &Spot<'_>) -> Option<bool> {
        if let Value::Bool(word) = &spot.tree.value
            && let Some(truth) = truth(word)
        {
            return Some(truth);
        }
        self.mistyped(spot, "write true or false");
        None
    }

    /// A port number.
    pub(super) fn port(&mut self, spot: &Spot<'_>) -> Option<u16> {
        let Value::Number(text) = &spot.tree.value else {
            self.mistyped(spot, "write a number from 1 to 65535");
            return None;
        };
        // A leading zero is octal to YAML 1.1.
        let decimal = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        let port = text.parse().ok().filter(|port| decimal && *port != 0);
        if port.is_none() {
            let what = format!("{} is not a port number from 1 to 65535", printable(text));
            self.error(spot, what);
        }
        port
    }

    /// An address; `field` is how an error names the place.
    pub(super) fn address(&mut self, spot: &Spot<'_>, field: &str) -> Option<Located<IpAddr>> {
        let text = self.text(spot)?.trim();
        let parsed = text.parse().ok();
        let is_mapped = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        let Some(value) = parsed.filter(|ip| !is_mapped(ip)) else {
            let what = format!("{text:?} is not an IP address, such as 10.244.1.2");
            self.error_at(spot.line(), field, what);
            return None;
        };
        let line = spot.line();
        Some(Located { line, value })
    }

    /// Every field that is not among `known` is an error.
    pub(super) fn only(&mut self, spot: &Spot<'_>, known: &[&str]) {
        for (line, name) in spot.names() {
            if known.contains(&name) {
                continue;
            }
            let hint = near(name, known).map_or_else(
                || format!("; the fields here are {}", known.join(", ")),
                |meant| format!("; did you mean {meant}?"),
            );
            let what = format!("{} is not a field{hint}", printable(name));
            self.error_at(line, &spot.to_string(), what);
        }
    }

    /// A field that is nearly one of `known` is an error; others are none of weft's concern.
    pub(super) fn no_misspelling(&mut self, spot: &Spot<'_>, known: &[&str]) {
        for (line, name) in spot.names() {
            if known.contains(&name) {
                continue;
            }
            if let Some(meant) = near(name, known) {
                let name = printable(name);
                let what = format!("{name} is not a field; did you mean {meant}?");
                self.error_at(line, &spot.to_string(), what);
            }
        }
    }
}

/// The one of `known` that `word` may have been meant to be.
pub(super) fn near<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    let distances = known.iter().map(|candidate| {
        let distance = strsim::osa_distance(&lower, &candidate.to_lowercase());
        (distance, *candidate)
    });
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    let bearable = (candidate.len() / 3).clamp(1, 3);
    (distance <= bearable).then_some(candidate)
}

/// A foreign text for one line of a log or a terminal: bounded, control characters escaped.
pub(super) fn printable(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().collect()
        } else {
            vec![c]
        }
    };
    text.chars().take(300).flat_map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::near;

    #[test]
    fn what_was_meant_is_near() {
        const FIELDS: &[&str] = &["podSelector", "ingress", "egress", "policyTypes"];
        for (word, meant) in [
            ("podselector", Some("podSelector")),
            ("podSelctor", Some("podSelector")),
            ("ingres", Some("ingress")),
            ("policyType", Some("policyTypes")),
            ("polciyTypes", Some("policyTypes")),
            ("rules", None),
            ("", None),
        ] {
            assert_eq!(near(word, FIELDS), meant, "{word}");
        }
    }
}
