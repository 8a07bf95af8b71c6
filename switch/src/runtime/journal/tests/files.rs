//! The real state directory: whose it is, who has it, and what is in it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use super::super::{Durability, JOURNAL, Journal, JournalError};
use super::{commit, reserve};
use crate::ipam::tests::{at, attachment, identity};
use crate::ipam::{Ledger, Record};
use crate::runtime::Clock;

fn refusal(path: &Path) -> String {
    Journal::open(path).unwrap_err().to_string()
}

#[test]
fn it_is_made_for_its_owner_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("lib/weft");
    let (mut journal, records) = Journal::open(&path).unwrap();
    assert_eq!(records, []);
    journal.append(&reserve("a"), Durability::Synced).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for file in fs::read_dir(&path).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    drop(journal);
    assert_eq!(Journal::open(&path).unwrap().1, [reserve("a")]);
}

#[test]
fn one_daemon_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let first = Journal::open(root.path()).unwrap();
    let error = Journal::open(root.path()).unwrap_err();
    assert!(matches!(error, JournalError::Locked(_)));
    assert_eq!(
        error.to_string(),
        format!(
            "another weft daemon uses state directory {}; \
             stop that one, or give this one a directory of its own",
            root.path().display()
        )
    );
    drop(first);
    Journal::open(root.path()).unwrap();
}

#[test]
fn what_others_may_write_is_refused() {
    let root = tempfile::tempdir().unwrap();
    for mode in [0o777, 0o770, 0o722, 0o1777] {
        fs::set_permissions(root.path(), Permissions::from_mode(mode)).unwrap();
        let text = refusal(root.path());
        assert!(
            text.contains("others may write to it") && text.contains("chmod 0700"),
            "{text}"
        );
    }
    fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
    Journal::open(root.path()).unwrap();
}

#[test]
fn what_belongs_to_another_is_refused() {
    if !weft_sys::caps::is_root() {
        eprintln!("skipped: only root may give a directory away");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(root.path(), Some(65_534), None).unwrap();
    let text = refusal(root.path());
    assert!(
        text.contains("belongs to user 65534, not to 0; chown 0 "),
        "{text}"
    );
}

#[test]
fn nothing_else_may_stand_in_its_place() {
    let root = tempfile::tempdir().unwrap();
    let real = root.path().join("real");
    Journal::open(&real).unwrap();
    let link = root.path().join("link");
    symlink(&real, &link).unwrap();
    let dangling = root.path().join("dangling");
    symlink(root.path().join("nowhere"), &dangling).unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [&link, &dangling, &file, &file.join("below")] {
        let text = refusal(path);
        assert!(
            text.contains("is a symbolic link or no directory; name a"),
            "{text}"
        );
    }
    assert!(!root.path().join("nowhere").exists());
}

#[test]
fn a_link_or_a_directory_instead_of_the_file_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let victim = root.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let state = root.path().join("state");
    drop(Journal::open(&state).unwrap());
    fs::remove_file(state.join(JOURNAL)).unwrap();
    symlink(&victim, state.join(JOURNAL)).unwrap();
    let text = refusal(&state);
    assert!(
        text.starts_with("cannot read ") && text.contains(JOURNAL),
        "{text}"
    );
    fs::remove_file(state.join(JOURNAL)).unwrap();
    fs::create_dir(state.join(JOURNAL)).unwrap();
    assert!(refusal(&state).starts_with("cannot read "));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn what_was_staged_and_not_installed_goes() {
    let root = tempfile::tempdir().unwrap();
    drop(Journal::open(root.path()).unwrap());
    let staged = root.path().join("attachments.journal.new");
    let victim = root.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, &staged).unwrap();
    Journal::open(root.path()).unwrap();
    assert!(staged.symlink_metadata().is_err());
    assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
}

#[test]
fn replacing_the_file_keeps_what_is_appended_later() {
    let root = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(root.path()).unwrap();
    let mut ledger = Ledger::new(Vec::new(), &[].into(), Duration::ZERO);
    for record in [reserve("a"), commit("a")] {
        journal.append(&record, Durability::Cached).unwrap();
        ledger.apply(record).unwrap();
    }
    for _ in 0..3 {
        journal.compact(&ledger).unwrap();
        journal.append(&commit("a"), Durability::Synced).unwrap();
    }
    let on_disk = fs::metadata(root.path().join(JOURNAL)).unwrap().len();
    assert_eq!(on_disk, journal.len());
    drop(journal);
    let records = Journal::open(root.path()).unwrap().1;
    assert_eq!(records, [reserve("a"), commit("a"), commit("a")]);
}

/// `cargo test --release -p weft-switch ten_thousand -- --nocapture` shows the time.
#[test]
fn ten_thousand_attachments_are_found_again_quickly() {
    let root = tempfile::tempdir().unwrap();
    let new = || {
        let pools = ["10.0.0.0/16", "fd00::/64"].map(|text| text.parse().unwrap());
        Ledger::new(pools.to_vec(), &[].into(), Duration::from_secs(60))
    };
    let (mut journal, _) = Journal::open(root.path()).unwrap();
    let mut ledger = new();
    let clock = Clock::start();
    for number in 0..10_000 {
        let name = format!("{number:064x}");
        let ips = ledger.choose(&[], &at("first", 1)).unwrap();
        for record in [
            Record::reserve(attachment(&name, ips)),
            Record::Commit(identity(&name)),
        ] {
            journal.append(&record, Durability::Cached).unwrap();
            ledger.apply(record).unwrap();
        }
    }
    let given = clock.now();
    drop(journal);
    let (journal, records) = Journal::open(root.path()).unwrap();
    let mut again = new();
    records
        .into_iter()
        .for_each(|record| again.apply(record).unwrap());
    let recovered = clock.now().since(given);
    assert_eq!(
        (again.iter().count(), again.recover(&at("first", 2)).len()),
        (10_000, 0)
    );
    eprintln!(
        "10000 attachments: given in {given:?}, {} bytes read in {recovered:?}",
        journal.len()
    );
    assert!(recovered < Duration::from_secs(10).into(), "{recovered:?}");
}
