//! One folder, and what is told about it.

use std::fs;
use std::io::Write;

use crossbeam_channel::Receiver;

use super::*;

const NODE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
const LIMIT: Duration = Duration::from_secs(10);

/// What one reading found.
fn next(inbox: &Receiver<Command>) -> String {
    match inbox.recv_timeout(LIMIT).unwrap() {
        Command::Source(events) => {
            let told: Vec<String> = events.into_iter().map(tell).collect();
            told.join(", ")
        }
        Command::SourceRead { .. } => "all read".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn tell(event: Event) -> String {
    match event {
        Event::Read { origin, manifest } if manifest.errors.is_empty() => {
            format!("read {} {}", short(&origin), manifest.objects.len())
        }
        Event::Read { origin, manifest } => {
            format!("read {}: {}", short(&origin), manifest.errors[0].what)
        }
        Event::Rejected { origin, errors } => {
            format!("rejected {}: {}", short(&origin), errors[0].what)
        }
        Event::Gone { origin } => format!("gone {}", short(&origin)),
        Event::Batch(events) => format!("{events:?}"),
        Event::Synced => "synced".to_owned(),
        Event::Broken { .. } => "broken".to_owned(),
    }
}

fn short(origin: &str) -> &str {
    origin.rsplit('/').next().unwrap()
}

#[test]
fn changes_are_reported_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("a.yaml"), NODE).unwrap();
    fs::write(path("ignored.txt"), NODE).unwrap();
    fs::write(path(".hidden.yaml"), NODE).unwrap();
    let (control, inbox) = crossbeam_channel::unbounded();
    let (source, handle) = ManifestSource::new(directory.path(), control).unwrap();
    let thread = std::thread::spawn(|| source.run());
    assert_eq!(next(&inbox), "read a.yaml 1, synced");

    fs::write(path("b.json"), "{").unwrap();
    assert!(next(&inbox).starts_with("read b.json: "));
    fs::write(path("a.yaml"), NODE).unwrap();
    fs::rename(path("ignored.txt"), path("c.yml")).unwrap();
    assert_eq!(next(&inbox), "read c.yml 1", "a.yaml holds what it held");
    fs::rename(path("a.yaml"), path("z.yaml")).unwrap();
    assert_eq!(next(&inbox), "gone a.yaml, read z.yaml 1", "at one moment");
    fs::remove_file(path("z.yaml")).unwrap();
    assert_eq!(next(&inbox), "gone z.yaml");
    fs::create_dir(path("d.yaml")).unwrap();
    handle.rescan();
    assert_eq!(
        next(&inbox),
        "rejected d.yaml: cannot be read: is not a file"
    );
    std::os::unix::fs::symlink(path("c.yml"), path("e.yaml")).unwrap();
    assert_eq!(next(&inbox), "read e.yaml 1");
    handle.stop();
    thread.join().unwrap();
}

/// A hard link elsewhere changes a file without an event in the folder, so it shows what is read.
#[test]
fn only_what_events_name_is_read_until_somebody_asks() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir_in(directory.path().parent().unwrap()).unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in ["a.yaml", "b.yaml", "c.yaml"] {
        fs::write(path(name), NODE).unwrap();
    }
    let other = elsewhere.path().join("b");
    fs::hard_link(path("b.yaml"), &other).unwrap();
    let (control, inbox) = crossbeam_channel::unbounded();
    let (source, handle) = ManifestSource::new(directory.path(), control).unwrap();
    let thread = std::thread::spawn(|| source.run());
    assert!(next(&inbox).ends_with("synced"));

    fs::rename(path("a.yaml"), path("d.yaml")).unwrap();
    assert_eq!(next(&inbox), "gone a.yaml, read d.yaml 1");
    fs::write(&other, NODE.replace("a}", "b}")).unwrap();
    fs::write(path("temporary"), NODE).unwrap();
    fs::rename(path("temporary"), path("a.yaml")).unwrap();
    assert_eq!(next(&inbox), "read a.yaml 1");
    fs::remove_file(path("c.yaml")).unwrap();
    assert_eq!(next(&inbox), "gone c.yaml");
    handle.rescan();
    assert_eq!(next(&inbox), "read b.yaml 1");

    fs::write(&other, NODE).unwrap();
    fs::create_dir(path("subdirectory")).unwrap();
    assert_eq!(next(&inbox), "read b.yaml 1", "links may lead through it");
    fs::write(&other, NODE.replace("a}", "b}")).unwrap();
    fs::rename(path("d.yaml"), elsewhere.path().join("d.yaml")).unwrap();
    assert_eq!(next(&inbox), "gone d.yaml, read b.yaml 1", "half a rename");
    handle.stop();
    thread.join().unwrap();
}

/// As the kubelet replaces a mounted ConfigMap: all its files at once, by one rename of a link.
#[test]
fn a_link_changes_with_what_it_leads_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, path(name)).unwrap();
    for (version, text) in [("..1", NODE), ("..2", &NODE.replace("a}", "b}"))] {
        fs::create_dir(path(version)).unwrap();
        for name in ["a.yaml", "b.yaml"] {
            fs::write(path(version).join(name), text).unwrap();
        }
    }
    link("..1", "..data");
    link("..data/a.yaml", "a.yaml");
    link("..data/b.yaml", "b.yaml");
    fs::write(path("c.yaml"), NODE).unwrap();
    link("c.yaml", "d.yaml");
    let (control, inbox) = crossbeam_channel::unbounded();
    let (source, handle) = ManifestSource::new(directory.path(), control).unwrap();
    let thread = std::thread::spawn(|| source.run());
    assert!(next(&inbox).ends_with("synced"));

    link("..2", "..data_tmp");
    let (reply, _answer) = crossbeam_channel::bounded(1);
    handle.sync(reply);
    assert_eq!(next(&inbox), "all read", "nobody reads during the rename");
    fs::rename(path("..data_tmp"), path("..data")).unwrap();
    assert_eq!(next(&inbox), "read a.yaml 1, read b.yaml 1");
    fs::write(path("c.yaml"), NODE.replace("a}", "z}")).unwrap();
    assert_eq!(next(&inbox), "read c.yaml 1, read d.yaml 1");
    fs::remove_file(path("d.yaml")).unwrap();
    assert_eq!(next(&inbox), "gone d.yaml");
    handle.stop();
    thread.join().unwrap();
}

#[test]
fn another_directory_of_the_name_is_read_whole() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("b/cluster.d");
    fs::create_dir_all(&directory).unwrap();
    let other = parent.path().join("c/cluster.d");
    fs::create_dir_all(&other).unwrap();
    fs::write(directory.join("a.yaml"), NODE).unwrap();
    fs::write(other.join("b.yaml"), NODE).unwrap();
    let (control, inbox) = crossbeam_channel::unbounded();
    let (source, handle) = ManifestSource::new(&directory, control).unwrap();
    let thread = std::thread::spawn(|| source.run());
    assert_eq!(next(&inbox), "read a.yaml 1, synced");
    // The parent moves, of which the directory itself hears nothing.
    fs::rename(parent.path().join("b"), parent.path().join("away")).unwrap();
    fs::rename(parent.path().join("c"), parent.path().join("b")).unwrap();
    fs::write(parent.path().join("away/cluster.d/a.yaml"), NODE).unwrap();
    assert_eq!(next(&inbox), "gone a.yaml, read b.yaml 1");
    handle.stop();
    thread.join().unwrap();
}

#[test]
fn who_waits_hears_after_all_that_changed_is_reported_together() {
    let directory = tempfile::tempdir().unwrap();
    let (control, inbox) = crossbeam_channel::unbounded();
    let (source, handle) = ManifestSource::new(directory.path(), control).unwrap();
    let (reply, _answer) = crossbeam_channel::bounded(1);
    fs::write(directory.path().join("a.yaml"), NODE).unwrap();
    fs::write(directory.path().join("b.yaml"), NODE).unwrap();
    handle.sync(reply.clone());
    let thread = std::thread::spawn(|| source.run());
    assert_eq!(next(&inbox), "read a.yaml 1, read b.yaml 1, synced");
    assert_eq!(next(&inbox), "all read");
    handle.sync(reply);
    assert_eq!(next(&inbox), "all read", "nothing changed");
    handle.stop();
    thread.join().unwrap();
}

#[test]
fn a_file_is_read_when_its_writer_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("a.yaml"), NODE).unwrap();
    let (control, inbox) = crossbeam_channel::unbounded();
    let (source, handle) = ManifestSource::new(directory.path(), control).unwrap();
    let thread = std::thread::spawn(|| source.run());
    assert_eq!(next(&inbox), "read a.yaml 1, synced");

    let mut half = fs::File::create(path("a.yaml")).unwrap();
    let mut new = fs::File::create(path("b.yaml")).unwrap();
    new.write_all(b"kind: Pod").unwrap();
    fs::write(path("c.yaml"), NODE).unwrap();
    assert_eq!(
        next(&inbox),
        "read c.yaml 1",
        "a.yaml is empty, b.yaml begun"
    );
    let (reply, _answer) = crossbeam_channel::bounded(1);
    handle.sync(reply);
    assert_eq!(next(&inbox), "all read", "and none of them");
    half.write_all(NODE.replace("a}", "b}").as_bytes()).unwrap();
    drop(half);
    assert_eq!(next(&inbox), "read a.yaml 1");
    fs::rename(path("b.yaml"), path("d.txt")).unwrap();
    drop(new);
    fs::remove_file(path("c.yaml")).unwrap();
    assert_eq!(next(&inbox), "gone c.yaml");
    handle.stop();
    thread.join().unwrap();
}

#[test]
fn a_writer_that_never_rests_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("c.yaml"), NODE).unwrap();
    let (control, inbox) = crossbeam_channel::unbounded();
    let (source, handle) = ManifestSource::new(directory.path(), control).unwrap();
    let thread = std::thread::spawn(|| source.run());
    assert_eq!(next(&inbox), "read c.yaml 1, synced");
    let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
    let busy = path("c.yaml");
    let writer = std::thread::spawn(move || {
        while stopped.try_recv() != Err(crossbeam_channel::TryRecvError::Disconnected) {
            fs::write(&busy, NODE).unwrap();
        }
    });
    let (reply, _answer) = crossbeam_channel::bounded(1);
    for number in 0..50 {
        let text = NODE.replace("a}", &format!("n{number}}}"));
        fs::write(path("temporary"), text).unwrap();
        fs::rename(path("temporary"), path("a.yaml")).unwrap();
        handle.sync(reply.clone());
        let told: Vec<String> = std::iter::from_fn(|| Some(next(&inbox)))
            .take_while(|told| told != "all read")
            .collect();
        let told = told.join(", ");
        assert!(told.contains("read a.yaml 1"), "{number}: {told}");
    }
    drop(stop);
    writer.join().unwrap();
    handle.stop();
    thread.join().unwrap();
}

#[test]
fn a_missing_directory_is_reported_once_and_found_later() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cluster.d");
    let (control, inbox) = crossbeam_channel::unbounded();
    let (source, handle) = ManifestSource::new(&directory, control).unwrap();
    let thread = std::thread::spawn(|| source.run());
    assert_eq!(next(&inbox), "broken");
    fs::create_dir(&directory).unwrap();
    handle.rescan();
    assert_eq!(next(&inbox), "synced");
    fs::write(directory.join("a.yaml"), NODE).unwrap();
    assert_eq!(next(&inbox), "read a.yaml 1", "it is watched now");
    handle.stop();
    thread.join().unwrap();
}
