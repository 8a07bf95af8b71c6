//! Which files of the folder must be read now?
//!
//! Owns the inotify(7) descriptor and what its events said: which manifests something happened
//! to, who is still writing, and when only a look at everything will do: events were lost, or
//! something happened to the directory, to a directory in it or to a link, through which any
//! manifest may be reached, or half of a rename is known. Reads no manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use inotify::{Event, EventMask, Inotify, WatchDescriptor, WatchMask};
use weft_policy::{Moment, Span};

use super::folder::is_manifest;

/// How long a writer may pause without its file being taken for whole.
const WRITER_LIMIT: Span = Span::from_secs(5);

/// What is to be read.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Every file there is.
    pub(super) everything: bool,
    /// These manifests; true: the last that was heard of the name is that it left.
    pub(super) names: BTreeMap<OsString, bool>,
}

impl Due {
    pub(super) fn is_empty(&self) -> bool {
        !self.everything && self.names.is_empty()
    }
}

/// The folder as its events tell it.
#[derive(Debug)]
pub(super) struct Watch {
    directory: PathBuf,
    inotify: Inotify,
    watched: Option<WatchDescriptor>,
    due: Due,
    /// Files that were opened for writing and not closed yet.
    written: BTreeMap<OsString, Moment>,
    /// Manifests something happened to since the reading under way began.
    touched: BTreeSet<OsString>,
}

impl Watch {
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        Ok(Self {
            directory: directory.to_owned(),
            inotify: Inotify::init()?,
            watched: None,
            due: Due::default(),
            written: BTreeMap::new(),
            touched: BTreeSet::new(),
        })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.inotify.as_raw_fd()
    }

    /// Asks for everything to be read.
    pub(super) fn want_everything(&mut self) {
        self.due.everything = true;
    }

    pub(super) fn has_work(&self) -> bool {
        !self.due.is_empty()
    }

    /// Begins a reading: what it is to read, of the directory that has the name now.
    pub(super) fn begin(&mut self) -> Due {
        self.follow();
        self.touched.clear();
        mem::take(&mut self.due)
    }

    /// Watches the directory that has the name now; if it is another one than before, nothing
    /// is known of it yet.
    fn follow(&mut self) {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MODIFY
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        // Watching the same directory twice changes nothing.
        let watched = self.inotify.watches().add(&self.directory, mask).ok();
        if watched != self.watched {
            let directory = self.directory.display();
            tracing::debug!(watched = watched.is_some(), %directory, "manifest directory");
            self.watched = watched;
            self.due.everything = true;
        }
    }

    /// Takes in all events. Half a rename means that the other half is on its way, or went to
    /// another directory: only a look at everything shows both sides of it at one moment.
    pub(super) fn drain(&mut self, now: Moment) {
        let mut buffer = [0; 4096];
        let mut halves = BTreeSet::new();
        loop {
            // Nothing to read, as a failure says, or no more.
            let events = self.inotify.read_events(&mut buffer);
            let mut events = events.into_iter().flatten().peekable();
            if events.peek().is_none() {
                break;
            }
            let events: Vec<Event<OsString>> = events.map(|event| event.to_owned()).collect();
            for event in events {
                self.take_in(&event, &mut halves, now);
            }
        }
        self.due.everything |= !halves.is_empty();
    }

    fn take_in(&mut self, event: &Event<OsString>, halves: &mut BTreeSet<u32>, now: Moment) {
        let Some(name) = &event.name else {
            // Of the directory, or that events were lost.
            self.written.clear();
            self.due.everything = true;
            return;
        };
        let (is, cookie) = (|mask| event.mask.intersects(mask), event.cookie);
        let is_link = || self.directory.join(name).is_symlink();
        if !is_manifest(name) {
            self.due.everything |=
                is(EventMask::ISDIR) || is(EventMask::CREATE | EventMask::MOVED_TO) && is_link();
            halves.remove(&cookie);
            return;
        }
        self.touched.insert(name.clone());
        // A file that was just created will be closed too, unless it is a link or a directory.
        let is_open =
            is(EventMask::MODIFY) || is(EventMask::CREATE) && !is(EventMask::ISDIR) && !is_link();
        if is_open {
            self.written.insert(name.clone(), now);
            return;
        }
        self.written.remove(name);
        if is(EventMask::MOVED_FROM) {
            halves.insert(cookie);
        } else if is(EventMask::MOVED_TO) {
            halves.remove(&cookie);
        }
        let left = is(EventMask::MOVED_FROM | EventMask::DELETE);
        self.due.names.insert(name.clone(), left);
    }

    /// Whether the content just read is whole: nobody is writing it, and nobody has meanwhile.
    pub(super) fn is_settled(&self, name: &OsStr) -> bool {
        !self.written.contains_key(name) && !self.touched.contains(name)
    }

    /// Whoever has written nothing for so long may never close the file: it is read as it is.
    pub(super) fn forget_writers(&mut self, now: Moment) {
        let Self { written, due, .. } = self;
        written.retain(|name, last| {
            let recent = now.since(*last) < WRITER_LIMIT;
            if !recent {
                due.names.insert(name.clone(), false);
            }
            recent
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lost_events_make_everything_due() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(directory.path()).unwrap();
        assert!(watch.begin().everything, "never watched before");
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        let path = |name| directory.path().join(name);
        fs::write(path("a.yaml"), "").unwrap();
        watch.drain(Moment::ZERO);
        assert!(!watch.begin().everything);
        for _ in 0..=limit / 2 {
            fs::rename(path("a.yaml"), path("b.yaml")).unwrap();
            fs::rename(path("b.yaml"), path("a.yaml")).unwrap();
        }
        watch.drain(Moment::ZERO);
        assert!(watch.begin().everything);
    }

    #[test]
    fn who_writes_no_more_is_read_after_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(directory.path()).unwrap();
        watch.begin();
        let open = fs::File::create(directory.path().join("a.yaml")).unwrap();
        watch.drain(Moment::ZERO);
        assert!(!watch.has_work() && !watch.is_settled("a.yaml".as_ref()));
        watch.forget_writers(Moment::from_secs(4));
        assert!(!watch.has_work());
        watch.forget_writers(Moment::from_secs(5));
        let due = watch.begin();
        assert_eq!(due.names, BTreeMap::from([("a.yaml".into(), false)]));
        assert!(!due.everything && watch.is_settled("a.yaml".as_ref()));
        drop(open);
    }
}
