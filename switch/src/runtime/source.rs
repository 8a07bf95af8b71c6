//! What do the manifests on disk say, and when do they change?
//!
//! Owns one directory: its `*.yaml`, `*.yml` and `*.json` files, not those of subdirectories and
//! not hidden ones. Watches it with inotify(7) and reads it anew after every change, on request,
//! when events were lost and, since a directory may be missing or replaced, once in a while.
//! Reports only files whose content changed, those of one reading together: control takes them in
//! as one change. A file somebody is writing is not read before it is closed: half of it may say
//! more than the whole. Understands nothing: that is `cluster`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use inotify::{EventMask, Inotify, WatchMask};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use weft_policy::{Moment, Span};

use super::clock::Clock;
use super::control::{CallReply, Command};
use crate::cluster::{self, Event, ManifestError, Trouble};

/// The largest manifest that is read, in bytes; etcd takes objects of 1.5 MiB at most.
const MAX_FILE: u64 = 16 << 20;
/// How long a missing or replaced directory may go unnoticed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long a writer may pause without its file being taken for whole.
const WRITER_LIMIT: Span = Span::from_secs(5);
/// Readings in a row that may be disturbed before who waits is answered all the same.
const MOST_RESTLESS: u32 = 16;
const INOTIFY: Token = Token(0);
const WAKER: Token = Token(1);

/// Asks the source to read everything anew, or to leave, from another thread.
#[derive(Clone, Debug)]
pub(super) struct SourceHandle {
    waker: Arc<Waker>,
    requests: Sender<Request>,
}

#[derive(Debug)]
enum Request {
    Rescan,
    Sync(CallReply),
    Stop,
}

impl SourceHandle {
    /// Reads everything anew (SIGHUP).
    pub(super) fn rescan(&self) {
        self.ask(Request::Rescan);
    }

    /// Reads everything anew and then has control answer the caller, behind all that was found.
    /// A thread that has ended drops the reply, and the caller hears of it.
    pub(super) fn sync(&self, reply: CallReply) {
        self.ask(Request::Sync(reply));
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.ask(Request::Stop);
    }

    fn ask(&self, request: Request) {
        if self.requests.send(request).is_ok() {
            // A waker that fails belongs to a thread that has ended.
            let _ = self.waker.wake();
        }
    }
}

/// The thread's state.
#[derive(Debug)]
pub(super) struct ManifestSource {
    directory: PathBuf,
    poll: Poll,
    inotify: Inotify,
    watched: bool,
    requests: crossbeam_channel::Receiver<Request>,
    control: Sender<Command>,
    /// What every file held when it was last reported.
    seen: BTreeMap<Arc<str>, Seen>,
    /// Files that were opened for writing and not closed yet.
    written: BTreeMap<OsString, Moment>,
    /// Manifests something happened to since the reading under way began.
    touched: BTreeSet<OsString>,
    /// Readings in a row during which something happened.
    restless: u32,
    clock: Clock,
    broken: Option<Trouble>,
    synced: bool,
    /// Found by the reading under way.
    found: Vec<Event>,
    /// Who waits for the next reading.
    waiting: Vec<CallReply>,
}

/// A file's content, or why there is none.
type Seen = Result<String, String>;

impl ManifestSource {
    pub(super) fn new(
        directory: &Path,
        control: Sender<Command>,
    ) -> io::Result<(Self, SourceHandle)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let inotify = Inotify::init()?;
        let fd = inotify.as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&fd), INOTIFY, Interest::READABLE)?;
        let (sender, requests) = crossbeam_channel::unbounded();
        let source = Self {
            directory: directory.to_owned(),
            poll,
            inotify,
            watched: false,
            requests,
            control,
            seen: BTreeMap::new(),
            written: BTreeMap::new(),
            touched: BTreeSet::new(),
            restless: 0,
            clock: Clock::start(),
            broken: None,
            synced: false,
            found: Vec::new(),
            waiting: Vec::new(),
        };
        Ok((
            source,
            SourceHandle {
                waker: Arc::new(waker),
                requests: sender,
            },
        ))
    }

    /// Reports until told to leave.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(8);
        let mut changed = true;
        loop {
            if changed {
                self.watch();
                changed = self.rescan();
                if self.report(changed).is_err() {
                    return;
                }
            }
            let limit = if changed { Duration::ZERO } else { LOOK_AGAIN };
            match self.poll.poll(&mut events, Some(limit)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    tracing::error!(%error, "manifests are no longer watched");
                    return;
                }
                _ => {}
            }
            // Nothing for so long: look whether the directory is still the one that is watched.
            changed |= self.drain_inotify() || (!changed && events.is_empty());
            while let Ok(request) = self.requests.try_recv() {
                changed = true;
                match request {
                    Request::Rescan => {}
                    Request::Sync(reply) => self.waiting.push(reply),
                    Request::Stop => return,
                }
            }
        }
    }

    /// Watches the directory that has the name now.
    fn watch(&mut self) {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MODIFY
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        // Watching the same directory twice changes nothing.
        let watched = self.inotify.watches().add(&self.directory, mask).is_ok();
        if watched != self.watched {
            self.watched = watched;
            tracing::debug!(watched, directory = %self.directory.display(), "manifest directory");
        }
    }

    /// Takes in all events; whether any of them calls for reading. A file that was just created
    /// will be closed too, unless it is a link or a directory.
    fn drain_inotify(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let mut changed = false;
        loop {
            let Ok(events) = self.inotify.read_events(&mut buffer) else {
                return changed;
            };
            let mut any = false;
            for event in events {
                any = true;
                let Some(name) = event.name else {
                    // Of the directory, or that events were lost.
                    self.written.clear();
                    changed = true;
                    continue;
                };
                let is_link = || self.directory.join(name).is_symlink();
                if is_manifest(name) {
                    self.touched.insert(name.to_owned());
                }
                let open = match event.mask {
                    mask if mask.contains(EventMask::MODIFY) => true,
                    mask if mask.contains(EventMask::ISDIR) => false,
                    mask => mask.contains(EventMask::CREATE) && !is_link(),
                };
                if open && is_manifest(name) {
                    self.written.insert(name.to_owned(), self.clock.now());
                } else if !open {
                    self.written.remove(name);
                    changed = true;
                }
            }
            if !any {
                return changed;
            }
        }
    }

    /// Reads all files and notes those that changed; whether to do so again at once, because
    /// something happened meanwhile. A file to which it happened may have been read in part, and
    /// waits for the next reading.
    fn rescan(&mut self) -> bool {
        self.touched.clear();
        let mut files = match list(&self.directory) {
            Ok(files) => files,
            Err(error) => {
                self.note_broken(&error);
                return false;
            }
        };
        if self.seen.keys().any(|origin| !files.contains_key(origin)) {
            // A listing made during a rename can miss both names (readdir(3)).
            files.extend(list(&self.directory).unwrap_or_default());
        }
        if self.broken.take().is_some() {
            self.synced = false;
        }
        let Self { seen, found, .. } = self;
        seen.retain(|origin, _| {
            let stays = files.contains_key(origin);
            if !stays {
                found.push(Event::Gone {
                    origin: Arc::clone(origin),
                });
            }
            stays
        });
        let contents: Vec<_> = files
            .into_iter()
            .filter_map(|(origin, path)| Some((origin, read(&path)?, path)))
            .collect();
        let again = self.drain_inotify();
        self.restless = if again { self.restless + 1 } else { 0 };
        self.forget_writers();
        let mut unknown = false;
        for (origin, content, path) in contents {
            if !path.file_name().is_none_or(|name| self.is_settled(name)) {
                unknown |= !self.seen.contains_key(&origin);
            } else if self.seen.get(&origin) != Some(&content) {
                self.found.push(understand(Arc::clone(&origin), &content));
                self.seen.insert(origin, content);
            }
        }
        if !self.synced && !unknown {
            self.synced = true;
            self.found.push(Event::Synced);
        }
        again
    }

    /// Whether the content just read is whole: nobody is writing it, and nobody has meanwhile.
    fn is_settled(&self, name: &OsStr) -> bool {
        !self.written.contains_key(name) && !self.touched.contains(name)
    }

    /// Whoever has written nothing for so long may never close the file.
    fn forget_writers(&mut self) {
        let now = self.clock.now();
        let recent = |last: &Moment| now.since(*last) < WRITER_LIMIT;
        self.written.retain(|_, last| recent(last));
    }

    fn note_broken(&mut self, error: &io::Error) {
        let directory = self.directory.display();
        let problem = Trouble {
            place: directory.to_string(),
            what: format!("the manifests cannot be listed: {error}"),
            next: format!("make the directory (mkdir -p {directory}); it is looked for every 5 s"),
        };
        if self.broken.as_ref() != Some(&problem) {
            self.broken = Some(problem.clone());
            self.found.push(Event::Broken { problem });
        }
    }

    /// Reports what was found, and then, unless it has to be read again, that everything was read
    /// to those who wait for it: a file that is written all the while holds nobody up for ever.
    /// Fails when nobody listens any more.
    fn report(&mut self, again: bool) -> Result<(), ()> {
        if !self.found.is_empty() {
            let found = std::mem::take(&mut self.found);
            self.send(Command::Source(found))?;
        }
        if again && self.restless < MOST_RESTLESS {
            return Ok(());
        }
        for reply in std::mem::take(&mut self.waiting) {
            self.send(Command::SourceRead { reply })?;
        }
        Ok(())
    }

    fn send(&self, command: Command) -> Result<(), ()> {
        self.control.send(command).map_err(|_| ())
    }
}

fn understand(origin: Arc<str>, content: &Seen) -> Event {
    match content {
        Ok(text) => Event::Read {
            origin,
            manifest: cluster::parse(text),
        },
        Err(why) => Event::Rejected {
            origin,
            errors: vec![ManifestError::of_file(why.clone())],
        },
    }
}

/// Whether a file of this name is read.
fn is_manifest(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    let known = extension.is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|k| ext == *k));
    known && !name.as_encoded_bytes().starts_with(b".")
}

/// The manifests in a directory, by the name they are reported under.
fn list(directory: &Path) -> io::Result<BTreeMap<Arc<str>, PathBuf>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.file_name().is_some_and(is_manifest) {
            files.insert(path.to_string_lossy().into(), path);
        }
    }
    Ok(files)
}

/// Reads a regular file of bearable size: not a pipe, which would never end. None if it has gone
/// since it was listed, which the next reading finds.
fn read(path: &Path) -> Option<Seen> {
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

#[cfg(test)]
mod tests {
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
}
