//! Which manifests does the folder hold, and what do they say?
//!
//! Owns reading: no file larger than is bearable, nothing that never ends. Keeps nothing.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::path::Path;

/// The largest manifest that is read, in bytes; etcd takes objects of 1.5 MiB at most.
const MAX_FILE: u64 = 16 << 20;

/// A file's content, or why there is none.
pub(super) type Content = Result<String, String>;

/// Whether a file of this name is read.
pub(super) fn is_manifest(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    let known = extension.is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|k| ext == *k));
    known && !name.as_encoded_bytes().starts_with(b".")
}

/// The names of the manifests in a directory, and whether they are links.
pub(super) fn list(directory: &Path) -> io::Result<BTreeMap<OsString, bool>> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_manifest(&name) {
            names.insert(name, entry.file_type()?.is_symlink());
        }
    }
    Ok(names)
}

/// Reads a regular file of bearable size: not a pipe, which would never end. None if there is
/// none of the name.
pub(super) fn read(path: &Path) -> Option<Content> {
    let cannot = |error: io::Error| format!("cannot be read: {error}");
    let file = fs::metadata(path).and_then(|about| match about.is_file() {
        true => fs::File::open(path),
        false => Err(io::Error::other("is not a file")),
    });
    if file.is_err() && fs::symlink_metadata(path).is_err() {
        return None;
    }
    let mut text = String::new();
    let read = file.and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    Some(match read.map_err(cannot) {
        Ok(count) if count as u64 > MAX_FILE => {
            Err(format!("is larger than {} MiB", MAX_FILE >> 20))
        }
        Ok(_) => Ok(text),
        Err(why) => Err(why),
    })
}
