//! How do YAML files become values, with a line for every complaint?
//!
//! Owns reading text files of bounded size and turning parser errors into [`Problem`]s.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::error::Problem;

/// Manifests of a whole cluster fit; a device or a log given by mistake does not.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Reads a text file; a missing, huge or non-UTF-8 file is a [`Problem`].
pub(crate) fn read(path: &Path) -> Result<String, Problem> {
    let next = "check the path, or name the file with -f";
    let meta = std::fs::metadata(path)
        .map_err(|error| Problem::new(path, format!("cannot be read: {error}"), next))?;
    if !meta.is_file() {
        return Err(Problem::new(path, "is not a file", next));
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(Problem::new(path, "is larger than 16 MiB", next));
    }
    std::fs::read_to_string(path)
        .map_err(|error| Problem::new(path, format!("cannot be read: {error}"), next))
}

/// Reads one document.
pub(crate) fn one<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Problem> {
    serde_saphyr::from_str(text).map_err(|error| problem(path, &error))
}

/// Reads all documents of a stream; empty ones are skipped.
pub(crate) fn many<T: DeserializeOwned>(path: &Path, text: &str) -> Result<Vec<T>, Problem> {
    serde_saphyr::from_multiple(text).map_err(|error| problem(path, &error))
}

fn problem(path: &Path, error: &serde_saphyr::Error) -> Problem {
    let full = error.without_snippet().to_string();
    let message = full.split(" at line ").next().unwrap_or(&full);
    let message = message
        .split(", set DuplicateKeyPolicy")
        .next()
        .unwrap_or(message);
    let next = if message.starts_with("unknown field") {
        "correct the spelling or remove the field; docs/lab.md lists all of them"
    } else {
        "correct the line; docs/lab.md shows a whole file"
    };
    let line = error.location().map_or(0, |place| place.line());
    Problem::new(path, message, next).at(line)
}
