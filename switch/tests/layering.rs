//! The pure part of the switch stays pure: no I/O, no clock, no threads, and it never
//! looks up at the shell around it.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders whose code is pure; those not written yet count once they exist.
const PURE: [&str; 4] = ["src/path", "src/sim", "src/cluster", "src/ipam"];

const FORBIDDEN: [&str; 12] = [
    "runtime",
    "sys::",
    "weft_sys",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "std::fs",
    "std::thread",
    "std::os::fd",
    "Instant",
    "SystemTime",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return vec![];
    };
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// Lines of code, comments left out, that use a forbidden name.
fn violations(source: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        // The simulated pods' stack counts time in a type of that name; it reads no clock.
        let code = code.replace("smoltcp::time::Instant", "");
        let names = FORBIDDEN.into_iter().filter(|name| uses(&code, name));
        found.extend(names.map(|name| (number + 1, name)));
    }
    found
}

/// Whether `name` occurs in `line` as whole words.
fn uses(line: &str, name: &str) -> bool {
    let word = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        let open_end = name.ends_with(':');
        !before.is_some_and(word) && (open_end || !after.is_some_and(word))
    })
}

#[test]
fn the_pure_part_imports_nothing_impure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<PathBuf> = PURE
        .iter()
        .flat_map(|folder| sources(&root.join(folder)))
        .collect();
    assert!(files.len() > 20, "the folders are where this test looks");
    let mut found = Vec::new();
    for file in files {
        for (line, name) in violations(&fs::read_to_string(&file).unwrap()) {
            found.push(format!("{}:{line}: {name}", file.display()));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_forbidden_name_is_noticed() {
    for line in [
        "use crate::runtime::worker;",
        "use weft_sys::tap::Tap;",
        "sys::udp::bind()",
        "use std::net::{IpAddr, UdpSocket};",
        "let now = std::time::Instant::now();",
        "use std::time::{Duration, SystemTime};",
        "std::thread::spawn(f);",
    ] {
        assert!(!violations(line).is_empty(), "{line}");
    }
    for line in [
        "// the runtime owns file descriptors",
        "/// Never asks `std::time::Instant`.",
        "let systems = 1;",
        "fn instantly() {}",
    ] {
        assert_eq!(violations(line), [], "{line}");
    }
}
