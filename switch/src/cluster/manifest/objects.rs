//! From a tree to objects whose values are what they say.

use weft_policy::model::{Isolation, NAMESPACE_NAME, ObjectName};

use super::super::objects::{Located, NamespaceObject, Object, ObjectKey};
use super::kinds::{Sort, sort, version};
use super::labels::labels_of;
use super::node::node;
use super::pod::pod;
use super::policy::policy;
use super::reader::{Reader, Spot, printable};
use super::tree::{Tree, Value};
use super::{Broken, Closes, Manifest};

/// The fields of metadata, as far as Kubernetes has ever had them.
const METADATA: &[&str] = &[
    "name",
    "namespace",
    "labels",
    "annotations",
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
    "selfLink",
    "clusterName",
];

/// What was read of an object.
enum Outcome {
    Good(Object),
    /// No concern of weft's, or nothing that weft could make of it.
    Skipped,
    /// With errors; which object, and what is closed.
    Bad(Option<ObjectKey>, Closes),
}

/// Takes in a document: an object, or a list of them.
pub(super) fn take(tree: &Tree, manifest: &mut Manifest) {
    take_item(tree, None, manifest);
}

/// `of_list` is the kind and version that items of a typed list need not repeat.
fn take_item(tree: &Tree, of_list: Option<(&str, &str)>, manifest: &mut Manifest) {
    if matches!(tree.value, Value::Null) {
        return;
    }
    let root = Spot::root(tree);
    let written = |name| root.field(name).and_then(|field| field.as_text());
    let kind = written("kind").or_else(|| of_list.map(|(kind, _)| kind));
    let api_version = written("apiVersion").or_else(|| of_list.map(|(_, version)| version));
    let api_version = api_version.unwrap_or_default();
    let line = root.written("kind").map_or(tree.line, |kind| kind.line());
    let mut reader = Reader::default();
    let outcome = match kind.map(|kind| (kind, sort(kind, api_version))) {
        Some((kind, Sort::List)) if root.written("items").is_some() => {
            take_list(&mut reader, &root, (kind, api_version), manifest)
        }
        Some((kind, Sort::Other | Sort::List)) => {
            manifest.skipped.entry(printable(kind)).or_insert(line);
            Outcome::Skipped
        }
        Some((kind, Sort::ForeignPolicy)) => {
            let what = format!(
                "weft does not enforce {} objects of {}; write a NetworkPolicy of {} instead",
                printable(kind),
                printable(api_version),
                version("NetworkPolicy")
            );
            reader.object = title(&root, &printable(kind));
            reader.error_at(line, "", what);
            Outcome::Skipped
        }
        Some((written, Sort::Misspelt(meant))) => {
            let what = format!("{written:?} is not a kind weft reads; did you mean {meant}?");
            reader.error_at(line, "kind", what);
            let (key, closes) = unread(&root, meant);
            Outcome::Bad(key, closes)
        }
        Some((_, Sort::Read(kind))) => object(&mut reader, &root, kind, line, api_version),
        None => {
            no_kind(&mut reader, &root, line);
            let (_, closes) = unread(&root, "NetworkPolicy");
            Outcome::Bad(None, closes)
        }
    };
    file(reader, outcome, line, manifest);
}

/// Adds what was found to the manifest.
fn file(reader: Reader, outcome: Outcome, line: usize, manifest: &mut Manifest) {
    let first = manifest.errors.len();
    manifest.errors.extend(reader.errors);
    match outcome {
        Outcome::Good(value) => {
            manifest.notices.extend(reader.notices);
            manifest.objects.push(Located { line, value });
        }
        Outcome::Skipped => {}
        Outcome::Bad(key, closes) => manifest.broken.push(Broken {
            line,
            key,
            closes,
            errors: first..manifest.errors.len(),
        }),
    }
}

fn take_list(
    reader: &mut Reader,
    root: &Spot<'_>,
    (kind, version): (&str, &str),
    manifest: &mut Manifest,
) -> Outcome {
    let of = kind.strip_suffix("List").unwrap_or_default();
    let of = (!of.is_empty()).then_some((of, version));
    if let Some(items) = root.field("items") {
        for item in reader.items(&items) {
            take_item(item.tree, of, manifest);
        }
    }
    if reader.errors.is_empty() {
        Outcome::Skipped
    } else {
        reader.object = printable(kind);
        Outcome::Bad(None, Closes::Everything)
    }
}

fn no_kind(reader: &mut Reader, root: &Spot<'_>, line: usize) {
    if !matches!(root.tree.value, Value::Map(_)) {
        let what = "is no Kubernetes object; write apiVersion, kind and metadata";
        return reader.error_at(line, "", what);
    }
    match root.field("kind") {
        Some(kind) => drop(reader.text(&kind)),
        None => {
            let what = "is missing, so this is no Kubernetes object; write kind: Pod, for example";
            reader.error_at(line, "kind", what);
        }
    }
}

/// The kind and, as far as it can be read, the name.
fn title(root: &Spot<'_>, kind: &str) -> String {
    let metadata = root.field("metadata");
    let name = metadata.as_ref().and_then(|m| m.field("name")?.as_text());
    match name {
        Some(name) => format!("{kind} {}", printable(name)),
        None => kind.to_owned(),
    }
}

/// Which object this is and what to close because of it, if it is of this kind and has errors
/// that keep it from being read.
fn unread(root: &Spot<'_>, kind: &'static str) -> (Option<ObjectKey>, Closes) {
    let mut ignored = Reader::default();
    let metadata_is_clear = is_clear(root, kind);
    let name = name(&mut ignored, root, kind, root.line()).filter(|_| metadata_is_clear);
    let key = name.as_ref().map(|name| key(kind, name));
    let closes = match (kind, name) {
        ("NetworkPolicy", Some(name)) => closed_policy(root, name),
        ("NetworkPolicy", None) => {
            let metadata = root.field("metadata").filter(|_| metadata_is_clear);
            let namespace = metadata.as_ref().and_then(|m| m.field("namespace"));
            let namespace = namespace.and_then(|field| object_name(&mut ignored, &field));
            namespace.map_or(Closes::Everything, Closes::Namespace)
        }
        ("Namespace", Some(name)) => Closes::Peers(name.name),
        ("Namespace", None) => Closes::Everything,
        _ => Closes::Nothing,
    };
    (key, closes)
}

/// Whether its metadata says beyond doubt which object it is: an unknown field may be a misspelt
/// namespace.
fn is_clear(root: &Spot<'_>, kind: &str) -> bool {
    let Some(metadata) = root.field("metadata") else {
        return false;
    };
    let mut reader = Reader::default();
    reader.only(&metadata, METADATA);
    let namespace_is_clear =
        reader.errors.is_empty() || metadata.field("namespace").is_some() || !is_namespaced(kind);
    namespace_is_clear && metadata.tree.doubled().is_empty() && !root.repeats("metadata")
}

/// The policy without any of its rules.
fn closed_policy(root: &Spot<'_>, name: ObjectName) -> Closes {
    let mut ignored = Reader::default();
    let spec = root.field("spec");
    let mut closed = policy(&mut ignored, name, spec.as_ref());
    if !root.tree.doubled().is_empty() {
        closed.pods = weft_policy::model::Selector::everything();
        closed.ingress = Isolation::Only(Vec::new());
        closed.egress = Isolation::Only(Vec::new());
    }
    for isolation in [&mut closed.ingress, &mut closed.egress] {
        if isolation.isolates() {
            *isolation = Isolation::Only(Vec::new());
        }
    }
    Closes::Policy(closed.into())
}

fn key(kind: &'static str, name: &ObjectName) -> ObjectKey {
    let ObjectName { namespace, name } = name.clone();
    ObjectKey {
        kind,
        namespace,
        name,
    }
}

/// An object of a kind weft reads.
fn object(
    reader: &mut Reader,
    root: &Spot<'_>,
    kind: &'static str,
    line: usize,
    api_version: &str,
) -> Outcome {
    let Some(name) = name(reader, root, kind, line) else {
        let (key, closes) = unread(root, kind);
        return Outcome::Bad(key, closes);
    };
    if api_version != version(kind) {
        let line = root.written("apiVersion").map_or(line, |v| v.line());
        let what = format!(
            "is {api_version:?}; weft reads {kind} objects of {}",
            version(kind)
        );
        reader.error_at(line, "apiVersion", what);
    }
    for (line, key) in root.tree.doubled() {
        let what = format!("the key {key:?} is written twice; remove one");
        reader.error_at(line, "", what);
    }
    let value = match kind {
        "Node" => Object::Node(node(reader, root, &name)),
        "Pod" => Object::Pod(pod(reader, root, &name)),
        "Namespace" => Object::Namespace(namespace_object(reader, root, &name)),
        _ => {
            reader.only(root, &["apiVersion", "kind", "metadata", "spec", "status"]);
            if let Some(metadata) = root.field("metadata") {
                reader.only(&metadata, METADATA);
            }
            let spec = root.field("spec");
            if spec.is_none() {
                let what = "is absent, so the policy denies all ingress of its namespace";
                reader.notice_at(line, "spec", what);
            }
            Object::NetworkPolicy(policy(reader, name.clone(), spec.as_ref()).into())
        }
    };
    if reader.errors.is_empty() {
        return Outcome::Good(value);
    }
    let (key, closes) = unread(root, kind);
    Outcome::Bad(key, closes)
}

fn is_namespaced(kind: &str) -> bool {
    matches!(kind, "Pod" | "NetworkPolicy")
}

fn namespace(reader: &mut Reader, root: &Spot<'_>) -> Option<String> {
    let Some(metadata) = root.field("metadata") else {
        return Some("default".to_owned());
    };
    match metadata.field("namespace") {
        Some(field) => object_name(reader, &field),
        None => Some("default".to_owned()),
    }
}

/// The object's name, checked as Kubernetes does for the characters that matter to us: names end
/// up in paths, in log lines and in terminals. Also names the object to the reader.
fn name(reader: &mut Reader, root: &Spot<'_>, kind: &str, line: usize) -> Option<ObjectName> {
    kind.clone_into(&mut reader.object);
    let metadata = root.field("metadata");
    let metadata = metadata.filter(|metadata| reader.is_map(metadata));
    let Some(field) = metadata.as_ref().and_then(|m| m.field("name")) else {
        reader.error_at(line, "metadata.name", "is missing");
        if let Some(metadata) = &metadata {
            reader.no_misspelling(metadata, METADATA);
        }
        return None;
    };
    let name = object_name(reader, &field)?;
    let namespace = if is_namespaced(kind) {
        namespace(reader, root)?
    } else {
        String::new()
    };
    reader.object = if namespace.is_empty() {
        format!("{kind} {name}")
    } else {
        format!("{kind} {namespace}/{name}")
    };
    if let Some(metadata) = &metadata
        && kind != "NetworkPolicy"
    {
        reader.no_misspelling(metadata, METADATA);
    }
    Some(ObjectName { namespace, name })
}

fn object_name(reader: &mut Reader, spot: &Spot<'_>) -> Option<String> {
    let name = reader.text(spot)?;
    if !is_name(name) {
        let what = format!("{name:?} is not a name; use lower-case letters, digits, '-' and '.'");
        reader.error(spot, what);
        return None;
    }
    Some(name.to_owned())
}

fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edges = |edge: Option<u8>| edge.is_some_and(|b| b != b'-' && b != b'.');
    name.len() <= 253
        && name.bytes().all(inner)
        && edges(name.bytes().next())
        && edges(name.bytes().last())
}

pub(super) fn labels(reader: &mut Reader, root: &Spot<'_>) -> weft_policy::model::Labels {
    let metadata = root.field("metadata");
    let labels = metadata.as_ref().and_then(|m| m.field("labels"));
    labels.map_or_else(Default::default, |labels| labels_of(reader, &labels))
}

fn namespace_object(reader: &mut Reader, root: &Spot<'_>, name: &ObjectName) -> NamespaceObject {
    let mut labels = labels(reader, root);
    let given = labels.insert(NAMESPACE_NAME.to_owned(), name.name.clone());
    if let Some(given) = given.filter(|given| *given != name.name) {
        let what = format!(
            "{NAMESPACE_NAME} is {} in every case, not {given}",
            name.name
        );
        reader.notice_at(root.line(), "metadata.labels", what);
    }
    NamespaceObject {
        name: name.name.clone(),
        labels,
    }
}
