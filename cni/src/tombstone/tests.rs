//! Notes are kept, and only where nobody else can write them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn key(container_id: &str, ifname: &str) -> Identity {
    Identity {
        container_id: container_id.into(),
        ifname: ifname.into(),
    }
}

/// A state directory that is not there yet.
fn state() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    (folder, path)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_note_is_listed_until_it_is_settled() {
    let (_guard, path) = state();
    let writer = Tombstones::open(&path).unwrap();
    let one = key("c1", "eth0");
    let two = key("c1", "net1");
    writer.note(&two, "weft").unwrap();
    writer.note(&one, "weft").unwrap();
    writer.note(&one, "weft").unwrap();
    let reader = Tombstones::open(&path).unwrap();
    let listed = reader.list().unwrap();
    let keys: Vec<_> = listed.iter().map(|t| (&t.identity, &*t.network)).collect();
    assert_eq!(keys, [(&one, "weft"), (&two, "weft")]);
    assert!(reader.holds(&one).unwrap());
    assert!(reader.settle(&one).unwrap());
    assert!(!reader.settle(&one).unwrap());
    assert!(!reader.holds(&one).unwrap());
    assert_eq!(reader.list().unwrap().len(), 1);
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("deleted")), 0o700);
    assert_eq!(mode(&path.join("deleted/c1:net1")), 0o600);
}

#[test]
fn what_a_killed_writer_left_is_cleared_and_what_is_no_note_is_passed_over() {
    let (_guard, path) = state();
    let stones = Tombstones::open(&path).unwrap();
    let folder = path.join("deleted");
    for name in [".c1:eth0", "README", "c1:", ":eth0", "c1:a b"] {
        fs::write(folder.join(name), "").unwrap();
    }
    // Written by another version, or torn: its name says enough.
    fs::write(folder.join("c2:eth0"), "{").unwrap();
    let listed = stones.list().unwrap();
    let [stone] = &listed[..] else {
        panic!("{listed:?}");
    };
    assert_eq!(stone.identity, key("c2", "eth0"));
    assert_eq!(stone.network, "");
    assert!(!folder.join(".c1:eth0").exists());
    assert!(folder.join("README").exists());
}

#[test]
fn unfinished_notes_of_a_living_writer_stay() {
    let (_guard, path) = state();
    let writer = Tombstones::open(&path).unwrap();
    flock(&writer.folder, FlockOperation::LockShared).unwrap();
    let unfinished = path.join("deleted/.c1:eth0");
    fs::write(&unfinished, "").unwrap();
    let reader = Tombstones::open(&path).unwrap();
    assert_eq!(reader.list().unwrap(), []);
    assert!(unfinished.exists());
    drop(writer);
    assert_eq!(reader.list().unwrap(), []);
    assert!(!unfinished.exists());
}

#[test]
fn directories_others_may_write_to_are_refused() {
    for bad in [0o770, 0o777, 0o1777, 0o702] {
        let (_guard, path) = state();
        Tombstones::open(&path).unwrap();
        for place in [path.join("deleted"), path.clone()] {
            fs::set_permissions(&place, Permissions::from_mode(bad)).unwrap();
            let error = Tombstones::open(&path).unwrap_err();
            let TombstoneError::Writable { path, mode } = error else {
                panic!("{error}");
            };
            assert_eq!((path, mode), (place, bad));
        }
    }
    let (_guard, path) = state();
    Tombstones::open(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    Tombstones::open(&path).unwrap();
}

#[test]
fn links_and_files_in_their_place_are_refused() {
    let elsewhere = tempfile::tempdir().unwrap();
    let (_guard, path) = state();
    let refused = |what: &str| {
        let error = Tombstones::open(&path).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    symlink(elsewhere.path(), &path).unwrap();
    refused("symbolic link");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "").unwrap();
    refused("a file");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    symlink(elsewhere.path(), path.join("deleted")).unwrap();
    refused("symbolic link");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_link_in_place_of_a_note_is_not_followed() {
    let (guard, path) = state();
    let stones = Tombstones::open(&path).unwrap();
    let victim = guard.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, path.join("deleted/.c1:eth0")).unwrap();
    symlink(&victim, path.join("deleted/c2:eth0")).unwrap();
    stones.note(&key("c1", "eth0"), "weft").unwrap_err();
    stones.note(&key("c2", "eth0"), "weft").unwrap();
    assert!(stones.settle(&key("c2", "eth0")).unwrap());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn somebody_elses_directory_is_refused() {
    if !geteuid().is_root() {
        let line =
            b"SKIPPED (needs root): somebody_elses_directory_is_refused: it gives one away\n";
        io::stderr().write_all(line).unwrap();
        return;
    }
    let (_guard, path) = state();
    Tombstones::open(&path).unwrap();
    for place in [path.join("deleted"), path.clone()] {
        std::os::unix::fs::chown(&place, Some(65534), None).unwrap();
        let error = Tombstones::open(&path).unwrap_err();
        assert!(matches!(
            error,
            TombstoneError::ForeignOwner { uid: 65534, .. }
        ));
    }
}

#[test]
fn writers_and_a_reader_at_once_lose_nothing() {
    const WRITERS: usize = 4;
    const NOTES: usize = 25;
    let (_guard, path) = state();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let path = &path;
                scope.spawn(move || {
                    for number in 0..NOTES {
                        let stones = Tombstones::open(path).unwrap();
                        stones.note(&key("shared", "eth0"), "weft").unwrap();
                        let own = key(&format!("c{writer}-{number}"), "eth0");
                        stones.note(&own, "weft").unwrap();
                    }
                })
            })
            .collect();
        let reader = Tombstones::open(&path).unwrap();
        while !writers
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            reader.list().unwrap();
        }
    });
    let listed = Tombstones::open(&path).unwrap().list().unwrap();
    assert_eq!(listed.len(), WRITERS * NOTES + 1);
    let files = fs::read_dir(path.join("deleted")).unwrap().count();
    assert_eq!(files, listed.len());
}

#[test]
fn names_that_are_no_file_names_are_refused() {
    let (_guard, path) = state();
    let stones = Tombstones::open(&path).unwrap();
    for bad in [
        key("../c", "eth0"),
        key("", "eth0"),
        key("c", ""),
        key("c", "a/b"),
    ] {
        assert!(matches!(
            stones.note(&bad, "n"),
            Err(TombstoneError::Name(_))
        ));
        assert!(matches!(stones.settle(&bad), Err(TombstoneError::Name(_))));
    }
}

#[test]
fn the_longest_names_fit() {
    let (_guard, path) = state();
    let stones = Tombstones::open(&path).unwrap();
    let longest = key(&"x".repeat(crate::call::MAX_CONTAINER_ID), &"y".repeat(15));
    stones.note(&longest, "weft").unwrap();
    assert_eq!(stones.list().unwrap()[0].identity, longest);
}

proptest! {
    #[test]
    fn file_names_are_injective_and_plain(id in "[a-z0-9][a-z0-9_.-]{0,9}", ifname in "\\PC{1,15}") {
        let identity = key(&id, &ifname);
        if let Ok(name) = file_name(&identity) {
            prop_assert!(!name.contains('/') && !name.starts_with('.') && name.len() <= 254);
            prop_assert_eq!(super::identity(&name), Some(identity));
        }
    }
}
