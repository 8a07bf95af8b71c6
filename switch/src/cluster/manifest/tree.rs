//! What does a YAML document say, and on which line?
//!
//! Values keep what was written, because Kubernetes reads plain words by YAML 1.1: `yes` is no
//! text and `010` is not ten. Aliases and merge keys are written out, within bounds.

use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// Deeper than any object of Kubernetes.
const MAX_DEPTH: usize = 64;
/// How many values aliases may add: each multiplies what it refers to.
const MAX_COPIES: usize = 100_000;

/// A value.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// From 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    /// As written.
    Bool(String),
    /// As written.
    Number(String),
    Text(String),
    List(Vec<Tree>),
    Map(Map),
    /// Of a type only its reader knows.
    Tagged(String),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    pub(super) entries: Vec<Entry>,
    /// Keys that are there again, and where.
    doubled: Vec<(usize, String)>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) key: String,
    /// The key is no text to YAML, but a number, say.
    pub(super) odd: bool,
    pub(super) value: Tree,
}

/// What is wrong, and on which line.
pub(super) type Wrong = (usize, String);

impl Map {
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(super) fn repeats(&self, key: &str) -> bool {
        self.doubled.iter().any(|(_, doubled)| doubled == key)
    }
}

impl Tree {
    /// All keys below that are written twice, with the line of the second.
    pub(super) fn doubled(&self) -> Vec<(usize, &str)> {
        let mut found = Vec::new();
        self.collect_doubled(&mut found);
        found
    }

    fn collect_doubled<'a>(&'a self, found: &mut Vec<(usize, &'a str)>) {
        match &self.value {
            Value::List(items) => items.iter().for_each(|item| item.collect_doubled(found)),
            Value::Map(map) => {
                found.extend(map.doubled.iter().map(|(line, key)| (*line, key.as_str())));
                let values = map.entries.iter().map(|entry| &entry.value);
                values.for_each(|value| value.collect_doubled(found));
            }
            _ => {}
        }
    }

    fn depth(&self) -> usize {
        let below = match &self.value {
            Value::List(items) => items.iter().map(Self::depth).max(),
            Value::Map(map) => map.entries.iter().map(|entry| entry.value.depth()).max(),
            _ => None,
        };
        below.unwrap_or(0) + 1
    }

    fn size(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Value::Map(map) => 1 + map.entries.iter().map(|e| e.value.size()).sum::<usize>(),
            _ => 1,
        }
    }
}

/// Reads documents; `offset` lines precede `text` in the file.
pub(super) fn read(text: &str, offset: usize) -> Result<Vec<Tree>, Wrong> {
    let options = granit_parser::options! { emit_comments: false };
    let mut builder = Builder::new(offset);
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| {
            let line = offset + error.marker().line().max(1);
            (line, error.info())
        })?;
        builder.take(event, &span)?;
    }
    Ok(builder.documents)
}

/// A collection under way.
struct Frame {
    line: usize,
    anchor: usize,
    tag: Option<String>,
    content: Content,
}

enum Content {
    List(Vec<Tree>),
    Map {
        entries: Vec<Entry>,
        key: Option<Key>,
        merged: Vec<Entry>,
    },
}

struct Key {
    line: usize,
    text: String,
    odd: bool,
    merge: bool,
}

struct Builder {
    offset: usize,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Tree>,
    copies: usize,
    documents: Vec<Tree>,
}

impl Builder {
    const fn new(offset: usize) -> Self {
        Self {
            offset,
            stack: Vec::new(),
            anchors: BTreeMap::new(),
            copies: 0,
            documents: Vec::new(),
        }
    }

    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Wrong> {
        let line = self.offset + span.start.line().max(1);
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Alias(id) => {
                let Some(tree) = self.anchors.get(&id).cloned() else {
                    return Err((line, "an alias within its own anchor has no end".into()));
                };
                self.copies += tree.size();
                if self.copies > MAX_COPIES {
                    return Err((line, "holds too many values behind aliases".into()));
                }
                self.room(line, tree.depth())?;
                return self.place(tree, false);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.room(line, 1)?;
                let plain = style == ScalarStyle::Plain;
                let value = scalar(text.into_owned(), plain, tag.as_deref());
                let tree = Tree { line, value };
                return self.finish(anchor, tree, plain && tag.is_none());
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(line, anchor, tag.as_deref(), Content::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                let content = Content::Map {
                    entries: Vec::new(),
                    key: None,
                    merged: Vec::new(),
                };
                self.open(line, anchor, tag.as_deref(), content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(frame) = self.stack.pop() {
                    let (anchor, tree) = frame.close();
                    return self.finish(anchor, tree, false);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn open(
        &mut self,
        line: usize,
        anchor: usize,
        tag: Option<&Tag>,
        content: Content,
    ) -> Result<(), Wrong> {
        self.room(line, 1)?;
        let known = |tag: &&Tag| !matches!(tag.core_suffix(), Some("map" | "seq"));
        self.stack.push(Frame {
            line,
            anchor,
            tag: tag.filter(known).map(Tag::original),
            content,
        });
        Ok(())
    }

    /// Whether a value `depth` deep may stand here.
    fn room(&self, line: usize, depth: usize) -> Result<(), Wrong> {
        if self.stack.len() + depth > MAX_DEPTH {
            return Err((line, format!("is nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(())
    }

    fn finish(&mut self, anchor: usize, tree: Tree, plain: bool) -> Result<(), Wrong> {
        if anchor > 0 {
            self.anchors.insert(anchor, tree.clone());
        }
        self.place(tree, plain)
    }

    /// Puts a whole value where it belongs.
    fn place(&mut self, tree: Tree, plain: bool) -> Result<(), Wrong> {
        let Some(frame) = self.stack.last_mut() else {
            self.documents.push(tree);
            return Ok(());
        };
        match &mut frame.content {
            Content::List(items) => items.push(tree),
            Content::Map {
                entries,
                key,
                merged,
            } => match key.take() {
                None => *key = Some(Key::new(tree, plain)?),
                Some(key) if key.merge => merge(tree, merged)?,
                Some(key) => entries.push(Entry {
                    line: key.line,
                    key: key.text,
                    odd: key.odd,
                    value: tree,
                }),
            },
        }
        Ok(())
    }
}

impl Frame {
    fn close(self) -> (usize, Tree) {
        let value = match (self.tag, self.content) {
            (Some(tag), _) => Value::Tagged(tag),
            (None, Content::List(items)) => Value::List(items),
            (
                None,
                Content::Map {
                    mut entries,
                    merged,
                    ..
                },
            ) => {
                let doubled = doubled(&entries);
                if !merged.is_empty() {
                    // The first wins, and what is written here before all.
                    let mut keys: BTreeSet<_> = entries.iter().map(|e| e.key.clone()).collect();
                    let new = merged.into_iter();
                    entries.extend(new.filter(|entry| keys.insert(entry.key.clone())));
                }
                Value::Map(Map { entries, doubled })
            }
        };
        let line = self.line;
        (self.anchor, Tree { line, value })
    }
}

fn doubled(entries: &[Entry]) -> Vec<(usize, String)> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let pairs = sorted.windows(2).filter_map(|pair| match pair {
        [a, b] if a.key == b.key => Some((b.line, b.key.clone())),
        _ => None,
    });
    pairs.collect()
}

impl Key {
    fn new(tree: Tree, plain: bool) -> Result<Self, Wrong> {
        let (text, odd) = match tree.value {
            Value::Text(text) => (text, false),
            Value::Bool(text) | Value::Number(text) => (text, true),
            Value::Null => (String::new(), true),
            _ => return Err((tree.line, "a key must be a text".into())),
        };
        Ok(Self {
            line: tree.line,
            merge: plain && text == "<<",
            text,
            odd,
        })
    }
}

/// Takes in what the merge key `<<` refers to: a mapping or several.
fn merge(tree: Tree, merged: &mut Vec<Entry>) -> Result<(), Wrong> {
    match tree.value {
        Value::Map(map) => merged.extend(map.entries),
        Value::List(items) => {
            for item in items {
                let Value::Map(map) = item.value else {
                    return Err((item.line, "<< takes mappings".into()));
                };
                merged.extend(map.entries);
            }
        }
        _ => return Err((tree.line, "<< takes mappings".into())),
    }
    Ok(())
}

fn scalar(text: String, plain: bool, tag: Option<&Tag>) -> Value {
    let core = tag.map(|tag| (tag.core_suffix(), tag.original()));
    match core {
        None if plain => resolve(text),
        None | Some((Some("str"), _)) => Value::Text(text),
        Some((Some("int" | "float"), _)) => Value::Number(text),
        Some((Some("bool"), _)) => Value::Bool(text),
        Some((Some("null"), _)) => Value::Null,
        Some((_, original)) if original == "!" => Value::Text(text),
        Some((_, original)) => Value::Tagged(original),
    }
}

/// What a plain word means to Kubernetes, which resolves by YAML 1.1 (sigs.k8s.io/yaml).
fn resolve(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        word if truth(word).is_some() => Value::Bool(text),
        word if is_number(word) => Value::Number(text),
        _ => Value::Text(text),
    }
}

/// The words of YAML 1.1 for true and false, but for its single letters: namespaces are named y,
/// and nobody means true by it.
pub(super) fn truth(word: &str) -> Option<bool> {
    match word {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
    let based = ["0x", "0b", "0o"]
        .iter()
        .find_map(|p| digits.strip_prefix(p));
    if let Some(rest) = based {
        return !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_');
    }
    if matches!(digits, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let digits = digits.replace('_', "");
    let starts = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    starts && digits.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Tree {
        let mut documents = read(text, 0).unwrap();
        assert_eq!(documents.len(), 1, "{text}");
        documents.remove(0)
    }

    /// In one line, with the kinds of values.
    fn show(tree: &Tree) -> String {
        match &tree.value {
            Value::Null => "~".into(),
            Value::Bool(text) => format!("b:{text}"),
            Value::Number(text) => format!("n:{text}"),
            Value::Text(text) => text.clone(),
            Value::Tagged(tag) => format!("tag:{tag}"),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(show).collect();
                format!("[{}]", items.join(" "))
            }
            Value::Map(map) => {
                let entry = |e: &Entry| format!("{}={}", e.key, show(&e.value));
                let entries: Vec<_> = map.entries.iter().map(entry).collect();
                format!("{{{}}}", entries.join(" "))
            }
        }
    }

    #[test]
    fn plain_words_mean_what_kubernetes_takes_them_for() {
        for (text, expected) in [
            ("80", "n:80"),
            ("\"80\"", "80"),
            ("'80'", "80"),
            ("010", "n:010"),
            ("0x50", "n:0x50"),
            ("1_000", "n:1_000"),
            ("1e3", "n:1e3"),
            ("-.5", "n:-.5"),
            ("10.0.0.1", "10.0.0.1"),
            ("5d59d", "5d59d"),
            ("yes", "b:yes"),
            ("Off", "b:Off"),
            ("y", "y"),
            ("\"no\"", "no"),
            ("~", "~"),
            ("a:", "{a=~}"),
            ("!!str 80", "80"),
            ("!!int \"80\"", "n:80"),
            ("! yes", "yes"),
            ("!mine 80", "tag:!mine"),
            ("infinity", "infinity"),
            ("nan", "nan"),
            ("1:30", "1:30"),
            ("2026-11-20", "2026-11-20"),
        ] {
            assert_eq!(show(&one(text)), expected, "{text}");
        }
    }

    #[test]
    fn aliases_and_merges_are_written_out() {
        let text = "a: &x {k: 1, l: 2}\nb: *x\nc: {<<: *x, k: 3}\nd:\n  <<: [{k: 4}, *x]\n";
        let expected = "{a={k=n:1 l=n:2} b={k=n:1 l=n:2} c={k=n:3 l=n:2} d={k=n:4 l=n:2}}";
        assert_eq!(show(&one(text)), expected);
    }

    #[test]
    fn keys_written_twice_are_known_by_their_line() {
        let tree = one("a: 1\nb: {c: 1,\n  c: 2}\na: 3\n");
        assert_eq!(tree.doubled(), [(4, "a"), (3, "c")]);
    }

    #[test]
    fn bombs_are_defused() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{},", level - 1).repeat(10);
            bomb += &format!("a{level}: &a{level} [{below}]\n");
        }
        assert!(read(&bomb, 0).unwrap_err().1.contains("too many values"));
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(read(&deep, 0).unwrap_err().1.contains("nested"));
        let itself = "a: &a [*a]\n";
        assert!(read(itself, 0).is_err());
    }
}
