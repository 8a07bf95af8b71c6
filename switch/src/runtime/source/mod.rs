//! What do the manifests on disk say, and when do they change?
//!
//! Owns one directory: its `*.yaml`, `*.yml` and `*.json` files, not those of subdirectories and
//! not hidden ones. Watches it with inotify(7) and reads the files that events name, and all links,
//! which may lead to them. Reads everything on request, when the events do not tell enough
//! (`watch.rs`) and, since a directory may be missing, once in a while. Reports only files whose
//! content changed, those of one reading together: control takes them in as one change. A file
//! somebody is writing is not read before it is closed: half of it may say more than the whole.
//! Understands nothing: that is `cluster`'s.

mod folder;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use self::folder::{Content, list, read};
use self::watch::{Due, Watch};
use super::clock::Clock;
use super::control::{CallReply, Command};
use crate::cluster::{self, Event, ManifestError, Trouble};

/// How long a missing or replaced directory may go unnoticed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
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
    watch: Watch,
    requests: crossbeam_channel::Receiver<Request>,
    control: Sender<Command>,
    /// What every file held when it was last reported.
    seen: BTreeMap<OsString, Content>,
    /// Manifests that are links: what they lead to changes without an event of their name.
    links: BTreeSet<OsString>,
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

/// What a reading found under a name; none: no file.
type Reading = Vec<(OsString, Option<Content>)>;

impl ManifestSource {
    pub(super) fn new(
        directory: &Path,
        control: Sender<Command>,
    ) -> io::Result<(Self, SourceHandle)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let watch = Watch::new(directory)?;
        poll.registry()
            .register(&mut SourceFd(&watch.fd()), INOTIFY, Interest::READABLE)?;
        let (sender, requests) = crossbeam_channel::unbounded();
        let source = Self {
            directory: directory.to_owned(),
            poll,
            watch,
            requests,
            control,
            seen: BTreeMap::new(),
            links: BTreeSet::new(),
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
        self.watch.want_everything();
        loop {
            if self.watch.has_work() {
                self.read_due();
                if self.report().is_err() {
                    return;
                }
            }
            let again = self.watch.has_work();
            let limit = if again { Duration::ZERO } else { LOOK_AGAIN };
            match self.poll.poll(&mut events, Some(limit)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    tracing::error!(%error, "manifests are no longer watched");
                    return;
                }
                _ => {}
            }
            if !again && events.is_empty() {
                // Nothing for so long: what leads to the manifests from elsewhere tells nothing.
                self.watch.want_everything();
            }
            self.watch.drain(self.clock.now());
            while let Ok(request) = self.requests.try_recv() {
                match request {
                    Request::Rescan => {}
                    Request::Sync(reply) => self.waiting.push(reply),
                    Request::Stop => return,
                }
                self.watch.want_everything();
            }
        }
    }

    /// Reads what is due and notes what changed. What happened meanwhile is due next: a file to
    /// which it happened may have been read in part, and waits for that.
    fn read_due(&mut self) {
        let due = self.watch.begin();
        let everything = due.everything || !self.synced || self.broken.is_some();
        let reading = match everything {
            true => self.read_everything(),
            false => Ok(self.read_named(&due)),
        };
        let reading = match reading {
            Ok(reading) => reading,
            Err(error) => {
                self.note_broken(&error);
                return;
            }
        };
        let now = self.clock.now();
        self.watch.drain(now);
        self.watch.forget_writers(now);
        let unknown = self.compare(reading, &due, everything);
        self.restless = if self.watch.has_work() {
            self.restless + 1
        } else {
            0
        };
        if !self.synced && !unknown {
            self.synced = true;
            self.found.push(Event::Synced);
        }
    }

    /// What every file holds, those among them that have gone.
    fn read_everything(&mut self) -> io::Result<Reading> {
        let mut names = list(&self.directory)?;
        if self.seen.keys().any(|name| !names.contains_key(name)) {
            // A listing made during a rename can miss both names (readdir(3)).
            names.extend(list(&self.directory).unwrap_or_default());
        }
        if self.broken.take().is_some() {
            self.synced = false;
        }
        let gone = self.seen.keys().filter(|name| !names.contains_key(*name));
        let gone: Reading = gone.map(|name| (name.clone(), None)).collect();
        let links = names.iter().filter(|(_, is_link)| **is_link);
        self.links = links.map(|(name, _)| name.clone()).collect();
        let read = names.into_keys().filter_map(|name| {
            let content = read(&self.directory.join(&name))?;
            Some((name, Some(content)))
        });
        Ok(gone.into_iter().chain(read).collect())
    }

    /// What the files that something happened to hold, and the links.
    fn read_named(&mut self, due: &Due) -> Reading {
        for name in due.names.keys() {
            if self.directory.join(name).is_symlink() {
                self.links.insert(name.clone());
            } else {
                self.links.remove(name);
            }
        }
        let names: BTreeSet<&OsString> = due.names.keys().chain(&self.links).collect();
        let names = names.into_iter();
        names
            .map(|name| (name.clone(), read(&self.directory.join(name))))
            .collect()
    }

    /// Notes what is another content than before; whether there is a file nobody has read yet.
    fn compare(&mut self, reading: Reading, due: &Due, everything: bool) -> bool {
        let mut unknown = false;
        for (name, content) in reading {
            let has_left = everything || due.names.get(&name) == Some(&true);
            match content {
                None if !self.seen.contains_key(&name) => {}
                None if !everything && !self.watch.is_settled(&name) => {}
                // It may live on under a name that is not known yet.
                None if !has_left => self.watch.want_everything(),
                None => {
                    self.seen.remove(&name);
                    let origin = self.origin(&name);
                    self.found.push(Event::Gone { origin });
                }
                Some(_) if !self.watch.is_settled(&name) => {
                    unknown |= !self.seen.contains_key(&name);
                }
                Some(content) if self.seen.get(&name) == Some(&content) => {}
                Some(content) => {
                    self.found.push(understand(self.origin(&name), &content));
                    self.seen.insert(name, content);
                }
            }
        }
        unknown
    }

    /// How a file is called in reports.
    fn origin(&self, name: &OsString) -> Arc<str> {
        self.directory.join(name).to_string_lossy().into()
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
    fn report(&mut self) -> Result<(), ()> {
        if !self.found.is_empty() {
            let found = mem::take(&mut self.found);
            self.send(Command::Source(found))?;
        }
        if self.watch.has_work() && self.restless < MOST_RESTLESS {
            return Ok(());
        }
        for reply in mem::take(&mut self.waiting) {
            self.send(Command::SourceRead { reply })?;
        }
        Ok(())
    }

    fn send(&self, command: Command) -> Result<(), ()> {
        self.control.send(command).map_err(|_| ())
    }
}

fn understand(origin: Arc<str>, content: &Content) -> Event {
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
