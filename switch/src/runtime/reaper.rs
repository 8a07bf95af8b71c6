//! Who takes devices away?
//!
//! The kernel needs tens of milliseconds to destroy a device, during which the caller waits. A few
//! threads do nothing else, so that neither control nor a worker does. Knows which devices are
//! still to go: a namespace that gets a new one waits for them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, unbounded};
use weft_sys::netns::NetnsId;

use super::queue::PortQueues;

/// Threads. The kernel mostly waits, and does so for several devices at once; what piles up here
/// would be destroyed, one by one, by the end of a daemon that is killed, before the next can start.
const THREADS: usize = 4;
/// Devices that may wait to be destroyed; who gives one more away waits for the first.
const MOST: usize = 64;

/// How many devices of each namespace are still to go.
type Pending = Arc<(Mutex<BTreeMap<NetnsId, usize>>, Condvar)>;

/// Control's end of the threads.
#[derive(Debug)]
pub(super) struct Reaper {
    /// `None` once told to end.
    doomed: Option<Sender<(NetnsId, Arc<PortQueues>)>>,
    pending: Pending,
    threads: Vec<JoinHandle<()>>,
}

impl Reaper {
    pub(super) fn start() -> io::Result<Self> {
        let (doomed, inbox) = unbounded::<(NetnsId, Arc<PortQueues>)>();
        let pending = Pending::default();
        let thread = |_| {
            let (told, inbox) = (Arc::clone(&pending), inbox.clone());
            let builder = thread::Builder::new().name("weft-reaper".to_owned());
            builder.spawn(move || {
                for (netns, queues) in inbox {
                    drop(queues);
                    settle(&told, netns);
                }
            })
        };
        let threads = (0..THREADS).map(thread).collect::<io::Result<_>>()?;
        Ok(Self {
            doomed: Some(doomed),
            pending,
            threads,
        })
    }

    /// Lets go of the queues of a device in `netns`; if they are its last, it goes.
    pub(super) fn take(&self, netns: NetnsId, queues: Arc<PortQueues>) {
        let (counts, changed) = &*self.pending;
        let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |counts: &mut BTreeMap<_, usize>| counts.values().sum::<usize>() >= MOST;
        let counts = changed.wait_while(counts, full);
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        *counts.entry(netns).or_default() += 1;
        drop(counts);
        let sent = self
            .doomed
            .as_ref()
            .map(|doomed| doomed.send((netns, queues)));
        if !matches!(sent, Some(Ok(()))) {
            // The threads are gone, and with the message went the queues.
            settle(&self.pending, netns);
        }
    }

    /// Waits until every device of `netns` that was given away is gone.
    pub(super) fn wait_for(&self, netns: NetnsId) {
        let (counts, changed) = &*self.pending;
        let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = changed.wait_while(counts, |counts| counts.contains_key(&netns));
        drop(gone.unwrap_or_else(PoisonError::into_inner));
    }
}

fn settle(pending: &Pending, netns: NetnsId) {
    let (counts, changed) = &**pending;
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(count) = counts.get_mut(&netns) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&netns);
        }
    }
    drop(counts);
    changed.notify_all();
}

impl Drop for Reaper {
    /// Ends once everything is gone.
    fn drop(&mut self) {
        self.doomed = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}
