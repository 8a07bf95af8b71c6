//! Does `weft` help whoever has no daemon: manual pages, completion, versions, and what it says
//! when nobody answers? Needs no root.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    clippy::indexing_slicing,
    reason = "a failed expectation is how a test fails"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use serde_json::Value;

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use common::command::{self, Outcome};
use common::weft;

const LIMIT: Duration = Duration::from_secs(60);

fn ask(arguments: &[&str]) -> Outcome {
    command::run(weft().args(arguments), LIMIT)
}

/// The pages that a page names, such as `weft-lab-up` of `weft\-lab\-up(1)`.
fn named(page: &str) -> BTreeSet<String> {
    let plain = page.replace('\\', "");
    let words = plain.split(|c: char| !(c.is_ascii_alphanumeric() || "-()".contains(c)));
    let pages = words.filter_map(|word| word.strip_suffix("(1)"));
    let ours = pages.filter(|page| page.starts_with("weft"));
    ours.map(str::to_owned).collect()
}

#[test]
fn every_page_that_a_page_names_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man/man1");
    let outcome = ask(&["man", "--dir", dir.to_str().unwrap()]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.stdout, "", "the pages are in their files");
    let mut linked = BTreeSet::from(["weft".to_owned()]);
    let mut written = BTreeSet::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert_eq!(path.extension().unwrap(), "1");
        let page = fs::read_to_string(&path).unwrap();
        linked.extend(named(&page));
        // What `weft man` prints of it is the same.
        let words: Vec<&str> = name.split('-').skip(1).collect();
        let printed = ask(&[&["man"], &words[..]].concat()).ok();
        assert!(page == printed, "{name} differs from what is printed");
        let called = format!(".SH SYNOPSIS\n\\fB{}", name.replace('-', " "));
        assert!(page.contains(&called), "{name} has no synopsis: {page}");
        written.insert(name);
    }
    assert_eq!(linked, written);
    for page in ["weft-lab-up", "weft-policy-explain", "weft-man"] {
        assert!(written.contains(page), "{page}");
    }
}

#[test]
fn a_page_is_that_of_its_command() {
    let page = ask(&["man", "lab", "up"]).ok();
    for words in [".TH weft-lab-up 1", "\\-\\-replace"] {
        assert!(page.contains(words), "no {words:?} in {page}");
    }
    let wrong = ask(&["man", "lab", "upp"]);
    assert_eq!(wrong.code, Some(2), "{wrong}");
    let said = "`weft lab` has no command \"upp\"; it has demo, plan, up, ";
    assert!(wrong.stderr.contains(said), "{wrong}");
    let hidden = ask(&["man", "lab", "agent"]);
    assert_eq!(hidden.code, Some(2), "{hidden}");
    let taken = tempfile::NamedTempFile::new().unwrap();
    let taken = taken.path().to_str().unwrap();
    let wrong = ask(&["man", "--dir", taken]);
    assert_eq!(wrong.code, Some(2), "{wrong}");
    assert!(wrong.stderr.contains(taken), "{wrong}");
}

#[test]
fn every_shell_gets_a_completion() {
    for (shell, marks) in [
        ("bash", "complete -F _weft"),
        ("zsh", "#compdef weft"),
        ("fish", "complete -c weft"),
        ("elvish", "edit:completion:arg-completer[weft]"),
        (
            "powershell",
            "Register-ArgumentCompleter -Native -CommandName 'weft'",
        ),
    ] {
        let script = ask(&["completion", shell]).ok();
        for words in [marks, "netem"] {
            assert!(script.contains(words), "{shell}: no {words:?}");
        }
    }
    let wrong = ask(&["completion", "cmd"]);
    assert_eq!(wrong.code, Some(2), "{wrong}");
}

#[test]
fn a_version_is_told_without_a_daemon() {
    let own = env!("CARGO_PKG_VERSION");
    let nobody = ["--socket", "/nonexistent/weft.sock"];
    let told = ask(&[&["version"], &nobody[..]].concat()).ok();
    assert_eq!(told, format!("client  {own}\ndaemon  does not answer\n"));
    let told = ask(&[&["version", "-o", "json"], &nobody[..]].concat()).ok();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["client"], &told["daemon"]),
        (&own.into(), &Value::Null)
    );
    assert_eq!(ask(&["--version"]).ok(), format!("weft {own}\n"));
}

#[test]
fn nobody_answers_is_one_exit_code() {
    let words = [
        "status", "ports", "peers", "routes", "policies", "workers", "flows", "drops",
    ];
    for word in words {
        for form in ["table", "wide", "json", "yaml"] {
            let outcome = ask(&[word, "-o", form, "--socket", "/nonexistent/weft.sock"]);
            assert_eq!(outcome.code, Some(3), "{outcome}");
            assert_eq!(outcome.stdout, "", "{outcome}");
            let said = "cannot reach the weft daemon at /nonexistent/weft.sock";
            assert!(outcome.stderr.contains(said), "{outcome}");
        }
    }
}

#[test]
fn a_lab_that_is_not_up_is_wrong_usage() {
    // Whether somebody else's lab is up can be hidden from us.
    let hidden = fs::read_dir("/run/weft/lab")
        .is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    let (code, said) = if hidden {
        (3, "run it as root")
    } else {
        (2, "lab no-such-lab is not up; ")
    };
    for word in ["status", "drops", "version"] {
        let outcome = ask(&[word, "--lab", "no-such-lab", "--node", "node-a"]);
        assert_eq!(outcome.code, Some(code), "{outcome}");
        assert!(outcome.stderr.contains(said), "{outcome}");
    }
    let outcome = ask(&["status", "--lab", "No/Lab", "--node", "node-a"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
}
