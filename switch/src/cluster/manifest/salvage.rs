//! What can still be said of a document that is not YAML?
//!
//! Its lines are looked at one by one. Only what stands there once is believed: this decides what
//! is closed for want of the document, so doubt closes more.

use super::super::objects::ObjectKey;
use super::Closes;
use super::kinds::{Sort, sort};
use super::labels::is_domain;

/// Which object it may be, and what to close without it; none if it is no concern of weft's.
pub(super) fn salvage(document: &str) -> Option<(Option<ObjectKey>, Closes)> {
    let namespace = metadata(document, "namespace");
    let name = metadata(document, "name");
    let Some(kind) = kind(document) else {
        return Some((None, closes_policy(namespace)));
    };
    let key = |kind, namespace: &str| {
        Some(ObjectKey {
            kind,
            namespace: namespace.to_owned(),
            name: name.clone()?,
        })
    };
    let in_namespace = namespace.clone().unwrap_or_else(|| "default".into());
    Some(match sort(&kind, "") {
        Sort::Read("NetworkPolicy") | Sort::Misspelt("NetworkPolicy") => (
            key("NetworkPolicy", &in_namespace),
            closes_policy(namespace),
        ),
        Sort::List => (None, Closes::Everything),
        Sort::Read("Namespace") | Sort::Misspelt("Namespace") => {
            let closes = name.clone().map_or(Closes::Everything, Closes::Peers);
            (key("Namespace", ""), closes)
        }
        Sort::Read("Pod") => (key("Pod", &in_namespace), Closes::Nothing),
        Sort::Read(kind) => (key(kind, ""), Closes::Nothing),
        _ => return None,
    })
}

fn closes_policy(namespace: Option<String>) -> Closes {
    namespace.map_or(Closes::Everything, Closes::Namespace)
}

/// The kind, unless there is any doubt.
fn kind(document: &str) -> Option<String> {
    let all = values(document, "kind");
    let outer: Vec<_> = all.iter().filter(|(column, _)| *column == 0).collect();
    match (outer.as_slice(), all.as_slice()) {
        ([(_, kind)], _) | ([], [(_, kind)]) => Some(kind.clone()),
        _ => None,
    }
}

/// A name within `metadata`, if there is exactly one.
fn metadata(document: &str, field: &str) -> Option<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in document.lines() {
        let begins = line.strip_prefix("metadata:");
        let inner = line.starts_with(' ') || line.trim().is_empty() || line.starts_with('#');
        inside = begins.is_some() || (inside && inner);
        if inside {
            found.extend(values(begins.unwrap_or(line), field));
        }
    }
    match found.as_slice() {
        [(_, name)] if is_domain(name) => Some(name.clone()),
        _ => None,
    }
}

/// What stands behind `key:`, with the column of the key.
fn values(text: &str, key: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let code = line.split(" #").next().unwrap_or_default();
        for (at, _) in code.match_indices(key) {
            let before = code.get(..at).unwrap_or_default();
            let after = code.get(at + key.len()..).unwrap_or_default();
            let quote = before.ends_with(['"', '\'']);
            let begins = before.trim_end_matches(['"', '\'']);
            let begins = begins.is_empty() || begins.ends_with([' ', '{', ',', '\t', '-']);
            let after = after
                .strip_prefix(['"', '\''])
                .filter(|_| quote)
                .or(Some(after));
            let Some(value) = after.and_then(|after| after.trim_start().strip_prefix(':')) else {
                continue;
            };
            if begins {
                let end = |c: char| matches!(c, '"' | '\'' | ',' | '}' | ' ' | '\r');
                let value = value.trim_start().trim_start_matches(['"', '\'']);
                let value = value.split(end).next().unwrap_or_default();
                found.push((at, value.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: &[(&str, Option<&str>, &str)] = &[
        (
            "kind: NetworkPolicy\nmetadata:\n  name: a\n  namespace: shop\nspec: [",
            Some("NetworkPolicy shop/a"),
            "namespace shop",
        ),
        (
            "kind: NetworkPolicy\nmetadata: {name: a, namespace: 'shop'}\nspec: [",
            Some("NetworkPolicy shop/a"),
            "namespace shop",
        ),
        (
            "kind: NetworkPolicy\nmetadata: {name: a}\nspec: [",
            Some("NetworkPolicy default/a"),
            "everything",
        ),
        (
            "metadata: {name: a, namespace: shop}\nspec: [",
            None,
            "namespace shop",
        ),
        (
            "kind: Pod\nmetadata: {name: a}\nkind: NetworkPolicy\n[",
            None,
            "everything",
        ),
        (
            "kind: Pod\nmetadata: {name: a}\n[",
            Some("Pod default/a"),
            "nothing",
        ),
        (
            "kind: Pod\nmetadata:\n  name: a\n  ownerReferences:\n  - kind: Job\n    name: b\n[",
            None,
            "nothing",
        ),
        ("{{- if .x }}\nkind: Deployment\n", None, "no concern"),
        ("kind: List\nitems: [", None, "everything"),
        (
            "kind: Namespace\nmetadata: {name: shop, labels: [}",
            Some("Namespace shop"),
            "peers of shop",
        ),
        (
            "kind: NetworkPolcy\nmetadata: {namespace: x}\n[",
            None,
            "namespace x",
        ),
        (
            "{\"kind\": \"NetworkPolicy\", \"spec\": {",
            None,
            "everything",
        ),
        ("{\"kind\": \"Pod\", \"spec\": {", None, "nothing"),
        ("\u{1}", None, "everything"),
    ];

    #[test]
    fn doubt_closes_more() {
        for (text, key, expected) in CASES {
            let (found, closes) = salvage(text).unzip();
            let closes = match closes {
                None => "no concern".to_owned(),
                Some(closes) => show(&closes),
            };
            assert_eq!(
                found.flatten().map(|key| key.to_string()).as_deref(),
                *key,
                "{text}"
            );
            assert_eq!(closes, *expected, "{text}");
        }
    }

    fn show(closes: &Closes) -> String {
        match closes {
            Closes::Nothing => "nothing".to_owned(),
            Closes::Everything => "everything".to_owned(),
            Closes::Peers(name) => format!("peers of {name}"),
            Closes::Namespace(name) => format!("namespace {name}"),
            Closes::Policy(_) => "policy".to_owned(),
        }
    }
}
