//! Do the checked-in inputs still hold every promise? Seeds, and each input that once did not.
//!
//! `WEFT_WRITE_SEEDS=1 cargo test -p weft-fuzz` writes the seeds anew after their generator changed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use weft_fuzz::{TARGETS, seeds};

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn names(paths: &[PathBuf]) -> BTreeSet<String> {
    paths
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_target_has_a_harness_and_a_corpus() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files = names(&files(&folder("fuzz_targets")));
    let targets: BTreeSet<String> = files
        .iter()
        .map(|file| file.trim_end_matches(".rs").to_owned())
        .collect();
    assert_eq!(targets, known);
}

#[test]
fn the_corpus_is_what_the_generator_writes() {
    for (target, seeds) in seeds::all() {
        let folder = folder("corpus").join(target);
        if env::var_os("WEFT_WRITE_SEEDS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            for (name, bytes) in &seeds {
                fs::write(folder.join(name), bytes).unwrap();
            }
        }
        assert_eq!(
            names(&files(&folder)),
            seeds.iter().map(|(name, _)| (*name).to_owned()).collect(),
            "{target}: WEFT_WRITE_SEEDS=1 writes missing seeds, strangers belong in regressions/"
        );
        for (name, bytes) in seeds {
            assert_eq!(
                fs::read(folder.join(name)).unwrap(),
                bytes,
                "{target}/{name}"
            );
        }
    }
}

#[test]
fn seeds_and_former_findings_hold_every_promise() {
    for (target, harness) in TARGETS {
        for kind in ["corpus", "regressions"] {
            for path in files(&folder(kind).join(target)) {
                eprintln!("{}", path.display());
                harness(&fs::read(&path).unwrap());
            }
        }
    }
}

#[test]
fn every_regression_is_explained() {
    let readme = fs::read_to_string(folder("regressions").join("README.md")).unwrap();
    for (target, _) in TARGETS {
        for name in names(&files(&folder("regressions").join(target))) {
            let entry = format!("`{target}/{name}`");
            assert!(
                readme.contains(&entry),
                "regressions/README.md has no sentence on {entry}"
            );
        }
    }
}
