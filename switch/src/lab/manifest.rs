//! What do the manifests say about pods and namespaces, and at which line?
//!
//! Owns reading files and folders of Kubernetes YAML (and `kubectl get -o yaml` lists) into the few
//! fields the lab needs, beside each whole document as it was written. Never judges policies: the
//! daemon reads those itself.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use super::error::{LabError, LabResult, Problem};
use super::file::ManifestPath;
use super::yaml;

/// Where a document was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) line: u64,
}

impl Place {
    /// A problem in this document, at `line` if that is known better than the document's first.
    pub(crate) fn problem(&self, line: u64, message: impl Into<String>, next: &str) -> Problem {
        Problem::new(&self.path, message, next).at(if line > 0 { line } else { self.line })
    }
}

/// One object with what the lab reads of it; other fields stay in `whole`.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) place: Place,
    pub(crate) object: Object,
    pub(crate) whole: Value,
}

/// The fields of any object that the lab looks at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Object {
    #[serde(default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) spec: Spec,
    #[serde(default)]
    pub(crate) status: Status,
    #[serde(default)]
    items: Vec<Spanned<Self>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) namespace: Option<Spanned<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) node_name: Option<Spanned<String>>,
    pub(crate) host_network: Option<bool>,
    #[serde(default)]
    pub(crate) containers: Vec<Container>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Container {
    #[serde(default)]
    pub(crate) ports: Vec<ContainerPort>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerPort {
    pub(crate) container_port: Spanned<u16>,
    pub(crate) protocol: Option<Spanned<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Status {
    #[serde(rename = "podIP")]
    pub(crate) pod_ip: Option<Spanned<String>>,
    #[serde(rename = "podIPs", default)]
    pub(crate) pod_ips: Vec<PodIp>,
    phase: Option<String>,
}

impl Status {
    /// Whether the pod has ended, so that its address may be another's by now.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase.as_deref(), Some("Succeeded" | "Failed"))
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PodIp {
    pub(crate) ip: Spanned<String>,
}

/// Reads everything the paths name; problems of all files are listed together.
pub(crate) fn read(paths: &[ManifestPath], named_in: &Path) -> LabResult<Vec<Document>> {
    let mut documents = Vec::new();
    let mut problems = Vec::new();
    for one in paths {
        let files = match files(&one.path) {
            Ok(files) => files,
            Err(message) if one.line > 0 => {
                let next = "correct the path; it is relative to the file that names it";
                problems.push(
                    Problem::new(named_in, message, next)
                        .at(one.line)
                        .field("manifests"),
                );
                continue;
            }
            Err(message) => return Err(LabError::usage(message, "correct the path after -f")),
        };
        for file in files {
            match yaml::read(&file).and_then(|text| Ok((parse(&file, &text)?, text))) {
                Ok((found, text)) => {
                    documents.extend(found);
                    problems.extend(refused(&file, &text));
                }
                Err(problem) => problems.push(problem),
            }
        }
    }
    if problems.is_empty() {
        Ok(documents)
    } else {
        Err(LabError::Input(problems))
    }
}

/// What a daemon would say against this file, told before one is started.
fn refused(path: &Path, text: &str) -> Vec<Problem> {
    let errors = crate::cluster::parse(text).errors;
    let problem = |error: crate::cluster::ManifestError| {
        let line = u64::try_from(error.line).unwrap_or(0);
        Problem::new(path, error.to_string(), "correct the object").at(line)
    };
    errors.into_iter().map(problem).collect()
}

/// The YAML and JSON files of a folder in order of name, or the file itself.
fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let extension = file
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        let hidden = file
            .file_name()
            .is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if matches!(extension, "yaml" | "yml" | "json") && !hidden {
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads the documents of one file.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Vec<Document>, Problem> {
    let objects: Vec<Spanned<Object>> = yaml::many(path, text)?;
    let values: Vec<Value> = yaml::many(path, text)?;
    let mut documents = Vec::new();
    for (object, whole) in objects.into_iter().zip(values) {
        let place = Place {
            path: path.to_owned(),
            line: object.referenced.line(),
        };
        collect(place, object.value, whole, &mut documents)?;
    }
    Ok(documents)
}

/// Adds one object, or the items of a list.
fn collect(
    place: Place,
    mut object: Object,
    mut whole: Value,
    out: &mut Vec<Document>,
) -> Result<(), Problem> {
    if object.kind.is_empty() {
        let next = "each document needs apiVersion, kind and metadata.name";
        return Err(place.problem(0, "is no Kubernetes object: kind is missing", next));
    }
    let items = std::mem::take(&mut object.items);
    if !object.kind.ends_with("List") {
        out.push(Document {
            place,
            object,
            whole,
        });
        return Ok(());
    }
    let wholes = match whole.get_mut("items").map(Value::take) {
        Some(Value::Array(wholes)) => wholes,
        _ => Vec::new(),
    };
    for (item, whole) in items.into_iter().zip(wholes) {
        let place = Place {
            path: place.path.clone(),
            line: item.referenced.line(),
        };
        collect(place, item.value, whole, out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_lines_and_lists_are_opened() {
        let text = "kind: Pod\nmetadata: { name: a }\n---\nkind: List\nitems:\n  - kind: Pod\n    metadata: { name: b }\n";
        let documents = parse(Path::new("m.yaml"), text).unwrap();
        let seen: Vec<_> = documents
            .iter()
            .map(|d| {
                (
                    d.object.metadata.name.as_ref().unwrap().value.as_str(),
                    d.place.line,
                )
            })
            .collect();
        assert_eq!(seen, [("a", 1), ("b", 6)]);
        assert_eq!(documents[1].whole["metadata"]["name"], "b");
    }

    #[test]
    fn what_is_no_object_is_a_problem_with_its_line() {
        let error = parse(Path::new("m.yaml"), "kind: Pod\n---\nmetadata: {}\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "m.yaml:3: is no Kubernetes object: kind is missing\n  next: each document needs apiVersion, kind and metadata.name"
        );
        let error = parse(
            Path::new("m.yaml"),
            "kind: Pod\nspec: { containers: [ { ports: [ { containerPort: 99999 } ] } ] }\n",
        )
        .unwrap_err();
        assert_eq!(error.line, Some(2));
    }
}
