//! The files that docs/install.md tells to copy are right.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{self, command, weft};
use crate::rig::LIMIT;

fn example(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("docs/examples").join(name)
}

#[test]
fn the_configuration_is_accepted() {
    let mut weft = weft();
    weft.args(["daemon", "--check", "--config"]);
    command::run(weft.arg(example("weft.toml")), LIMIT).ok();
}

#[test]
fn the_unit_starts_what_there_is() {
    let unit = fs::read_to_string(example("systemd/weft.service")).unwrap();
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    let (program, arguments) = line.split_once(' ').unwrap();
    assert_eq!(program, "/usr/local/bin/weft");
    let mut weft = weft();
    weft.args(arguments.replace("/etc/weft/weft.toml", "FILE").split(' '));
    weft.arg("--check").current_dir(example("").join("systemd"));
    let outcome = command::run(&mut weft, LIMIT);
    assert!(
        outcome
            .stderr
            .contains("cannot read the configuration FILE"),
        "{outcome}"
    );
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let why = "it judges the unit";
    let Some(judge) = common::tool("systemd-analyze", "the unit is right", why) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let unit = fs::read_to_string(example("systemd/weft.service")).unwrap();
    // The program is not installed where tests run.
    let here = env!("CARGO_BIN_EXE_weft");
    let copy = folder.path().join("weft.service");
    fs::write(&copy, unit.replace("/usr/local/bin/weft", here)).unwrap();
    let mut verify = common::command_of(judge);
    verify.args(["verify", "--man=no"]).arg(&copy);
    let outcome = command::run(&mut verify, LIMIT);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(!outcome.stderr.contains("weft.service"), "{outcome}");
}
