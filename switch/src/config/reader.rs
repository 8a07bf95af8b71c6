//! Where in a TOML file does each value stand, and what is wrong with its form?
//!
//! Owns lines, key names and value types; never what a value means. Collects every mistake
//! instead of stopping at the first.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Mistake;

/// A value and the line it stands on.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) line: usize,
    pub(super) value: T,
}

/// Reads one file and gathers its mistakes.
pub(super) struct Reader<'t> {
    text: &'t str,
    root: DeTable<'t>,
    pub(super) mistakes: Vec<Mistake>,
}

impl<'t> Reader<'t> {
    /// Reads `text`; only keys of `sections` may occur.
    pub(super) fn new(text: &'t str, sections: &[(&str, &[&str])]) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut reader = Self {
            text,
            root: root.into_inner(),
            mistakes: Vec::new(),
        };
        for error in &errors {
            let line = error.span().map_or(1, |span| reader.line(span.start));
            let what = error.message().trim().replace('\n', ", ");
            reader.mistake(line, "", what, "correct the TOML syntax there");
        }
        reader.refuse_unknown(sections);
        reader
    }

    fn refuse_unknown(&mut self, sections: &[(&str, &[&str])]) {
        let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
        let mut unknown = Vec::new();
        for (section, value) in &self.root {
            let at = self.line(section.span().start);
            let name = section.get_ref().as_ref();
            let Some((_, keys)) = sections.iter().find(|(known, _)| *known == name) else {
                unknown.push((
                    at,
                    name.to_owned(),
                    "unknown section",
                    suggest(name, &names),
                ));
                continue;
            };
            let Some(table) = value.get_ref().as_table() else {
                let next = format!("write it as a section: [{name}]");
                unknown.push((at, name.to_owned(), "is not a section", next));
                continue;
            };
            for key in table
                .keys()
                .filter(|key| !keys.contains(&key.get_ref().as_ref()))
            {
                let at = self.line(key.span().start);
                let field = format!("{name}.{}", key.get_ref());
                unknown.push((at, field, "unknown key", suggest(key.get_ref(), keys)));
            }
        }
        for (line, field, what, next) in unknown {
            self.mistake(line, &field, what, next);
        }
    }

    /// Notes a mistake.
    pub(super) fn mistake(
        &mut self,
        line: usize,
        field: &str,
        what: impl Into<String>,
        next: impl Into<String>,
    ) {
        self.mistakes.push(Mistake {
            line,
            field: field.to_owned(),
            what: what.into(),
            next: next.into(),
        });
    }

    /// The line of `offset`, from 1.
    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// The line of `[section]`, or 1 where the file lacks it.
    pub(super) fn section_line(&self, section: &str) -> usize {
        let found = self.root.keys().find(|key| key.get_ref() == section);
        found.map_or(1, |key| self.line(key.span().start))
    }

    fn get(&self, field: &str) -> Option<Spanned<DeValue<'t>>> {
        let (section, key) = field.split_once('.')?;
        self.root
            .get(section)?
            .get_ref()
            .as_table()?
            .get(key)
            .cloned()
    }

    /// The string at `section.key`, if it is there.
    pub(super) fn string(&mut self, field: &str) -> Option<Placed<String>> {
        let value = self.get(field)?;
        let line = self.line(value.span().start);
        if let Some(text) = value.get_ref().as_str() {
            return Some(Placed {
                line,
                value: text.to_owned(),
            });
        }
        let what = format!("is {} instead of a string", article(value.get_ref()));
        self.mistake(line, field, what, "put it in double quotes");
        None
    }

    /// The integer at `section.key`, if it is there.
    pub(super) fn integer(&mut self, field: &str) -> Option<Placed<i64>> {
        let value = self.get(field)?;
        let line = self.line(value.span().start);
        if let Some(number) = value.get_ref().as_integer() {
            match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(value) => return Some(Placed { line, value }),
                Err(_) => self.mistake(line, field, "is too large", "write a smaller number"),
            }
            return None;
        }
        let what = format!("is {} instead of a whole number", article(value.get_ref()));
        self.mistake(line, field, what, "write digits without quotes");
        None
    }

    /// The strings of the array at `section.key`, if it is there.
    pub(super) fn strings(&mut self, field: &str) -> Option<Placed<Vec<Placed<String>>>> {
        let value = self.get(field)?;
        let line = self.line(value.span().start);
        let Some(array) = value.get_ref().as_array() else {
            let what = format!(
                "is {} instead of a list of strings",
                article(value.get_ref())
            );
            self.mistake(line, field, what, "write [\"…\", \"…\"]");
            return None;
        };
        let mut strings = Vec::new();
        for item in array.iter() {
            let line = self.line(item.span().start);
            match item.get_ref().as_str() {
                Some(text) => strings.push(Placed {
                    line,
                    value: text.to_owned(),
                }),
                None => {
                    let what = format!("holds {} instead of a string", article(item.get_ref()));
                    self.mistake(line, field, what, "put it in double quotes");
                }
            }
        }
        Some(Placed {
            line,
            value: strings,
        })
    }
}

fn article(value: &DeValue<'_>) -> String {
    let kind = value.type_str();
    let article = if kind.starts_with(['a', 'i']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {kind}")
}

/// What was probably meant, or what may be written.
fn suggest(wrong: &str, known: &[&str]) -> String {
    let nearest = known.iter().min_by_key(|name| distance(wrong, name));
    match nearest.filter(|name| distance(wrong, name) <= 3) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// Levenshtein distance, in bytes.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (deleted, a) in from.bytes().enumerate() {
        let mut diagonal = deleted;
        let mut left = deleted + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(to.bytes()) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = deleted + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("adress", "address", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }
}
