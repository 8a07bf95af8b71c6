//! Labels and what selects them, as Kubernetes checks them.

use std::collections::BTreeSet;

use weft_policy::model::{Labels, Operator, Requirement, Selector};

use super::reader::{Reader, Spot};

const NAME_FORM: &str = "at most 63 letters, digits, '-', '_' and '.', with a letter or digit at \
                         both ends";

/// A selector. What it misses through an error is not to be trusted.
pub(super) fn selector(reader: &mut Reader, spot: &Spot<'_>) -> Selector {
    let mut requirements = Vec::new();
    if !reader.is_map(spot) {
        return Selector { requirements };
    }
    reader.only(spot, &["matchLabels", "matchExpressions"]);
    says_nothing(reader, spot, "matchLabels", "no label is asked for");
    says_nothing(reader, spot, "matchExpressions", "no label is asked for");
    if let Some(labels) = spot.field("matchLabels") {
        for (key, value) in labels_of(reader, &labels) {
            let operator = Operator::In(BTreeSet::from([value]));
            requirements.push(Requirement { key, operator });
        }
    }
    if let Some(expressions) = spot.field("matchExpressions") {
        for expression in reader.items(&expressions) {
            requirements.extend(requirement(reader, &expression));
        }
    }
    Selector { requirements }
}

/// Says so where a field is written with nothing behind it, which is as if it were not there.
pub(super) fn says_nothing(reader: &mut Reader, spot: &Spot<'_>, name: &str, meaning: &str) {
    if let Some(written) = spot.written(name)
        && spot.field(name).is_none()
    {
        let what = format!("says nothing, which is as if it were left out: {meaning}");
        reader.notice(&written, what);
    }
}

fn requirement(reader: &mut Reader, spot: &Spot<'_>) -> Option<Requirement> {
    if !reader.is_map(spot) {
        return None;
    }
    reader.only(spot, &["key", "operator", "values"]);
    let key = required(reader, spot, "key");
    let key = key.and_then(|key| label_key(reader, &key));
    let operator = required(reader, spot, "operator");
    let operator = operator.and_then(|spot| Some((reader.text(&spot)?, spot.line())));
    let values = spot.field("values").map(|values| {
        let items = reader.items(&values);
        let texts = items.iter().filter_map(|item| label_value(reader, item));
        (values.line(), texts.collect::<BTreeSet<_>>(), items.len())
    });
    let (operator, line) = operator?;
    let field = format!("{spot}.operator");
    let operator = match (operator, values) {
        ("In" | "NotIn", None | Some((_, _, 0))) => {
            let what = format!("{operator} needs values; write values: [a, b]");
            reader.error_at(line, &format!("{spot}.values"), what);
            return None;
        }
        ("In", Some((_, values, _))) => Operator::In(values),
        ("NotIn", Some((_, values, _))) => Operator::NotIn(values),
        ("Exists" | "DoesNotExist", Some((line, _, 1..))) => {
            let what = format!("{operator} takes no values; use In or NotIn, or remove them");
            reader.error_at(line, &format!("{spot}.values"), what);
            return None;
        }
        ("Exists", _) => Operator::Exists,
        ("DoesNotExist", _) => Operator::DoesNotExist,
        _ => {
            let what = format!("{operator:?} is not In, NotIn, Exists or DoesNotExist");
            reader.error_at(line, &field, what);
            return None;
        }
    };
    Some(Requirement {
        key: key?,
        operator,
    })
}

/// A field that must say something.
pub(super) fn required<'a>(
    reader: &mut Reader,
    spot: &'a Spot<'a>,
    name: &'a str,
) -> Option<Spot<'a>> {
    let field = spot.field(name);
    if field.is_none() {
        let line = spot.written(name).map_or_else(|| spot.line(), |s| s.line());
        reader.error_at(line, &format!("{spot}.{name}"), "is missing");
    }
    field
}

/// Keys and values of labels.
pub(super) fn labels_of(reader: &mut Reader, spot: &Spot<'_>) -> Labels {
    let mut labels = Labels::new();
    for (key, value) in reader.entries(spot) {
        let key_is_good = is_key(key);
        if !key_is_good {
            reader.error(
                &value,
                format!("{key:?} is not a label's key; {}", key_form()),
            );
        }
        if let Some(value) = label_value(reader, &value)
            && key_is_good
        {
            labels.insert(key.to_owned(), value);
        }
    }
    labels
}

fn label_key(reader: &mut Reader, spot: &Spot<'_>) -> Option<String> {
    let key = reader.text(spot)?;
    if !is_key(key) {
        reader.error(
            spot,
            format!("{key:?} is not a label's key; {}", key_form()),
        );
        return None;
    }
    Some(key.to_owned())
}

fn label_value(reader: &mut Reader, spot: &Spot<'_>) -> Option<String> {
    let value = reader.text(spot)?;
    if !value.is_empty() && !is_name(value) {
        let what = format!("{value:?} is not a label's value; it is empty or {NAME_FORM}");
        reader.error(spot, what);
        return None;
    }
    Some(value.to_owned())
}

fn key_form() -> String {
    format!("a name of {NAME_FORM}, behind an optional domain and '/'")
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((domain, name)) => is_domain(domain) && is_name(name),
        None => is_name(key),
    }
}

fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    name.len() <= 63
        && name.bytes().all(inner)
        && edge(name.bytes().next())
        && edge(name.bytes().last())
}

/// RFC 1123: what names of objects look like, too.
pub(super) fn is_domain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_domain_label)
}

/// One part of a domain; the names of namespaces.
pub(super) fn is_domain_label(part: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = |b: Option<u8>| b.is_some_and(|b| b != b'-');
    part.bytes().all(inner) && edge(part.bytes().next()) && edge(part.bytes().last())
}
