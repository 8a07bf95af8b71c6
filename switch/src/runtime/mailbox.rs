//! What do control and workers say to each other?
//!
//! Control messages only, never packets. A worker empties its mailbox once per turn, after it was
//! woken, and answers at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use weft_policy::Epoch;

use super::queue::PortQueues;
use super::worker::Snapshot;
use crate::path::PortId;

/// A worker that has not answered for so long is stuck; its turns take milliseconds at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// From control to one worker.
#[derive(Debug)]
pub(super) enum Message {
    /// Read and write this port; answered with the epoch of the tables in use.
    Open {
        port: PortId,
        queues: Arc<PortQueues>,
        done: Sender<Epoch>,
    },
    /// Forget this port and its counters.
    Close { port: PortId, done: Sender<Epoch> },
    /// Answer with the epoch of the tables in use.
    Sync { done: Sender<Epoch> },
    /// Say what you did.
    Report { done: Sender<Box<Snapshot>> },
    /// Count drops from zero.
    ResetDrops { done: Sender<Epoch> },
    /// Leave.
    Stop,
}

/// Control's end of a worker.
#[derive(Debug)]
pub(super) struct WorkerHandle {
    pub(super) mailbox: Sender<Message>,
    pub(super) waker: Arc<Waker>,
}

/// A worker does not answer.
#[derive(Debug, thiserror::Error)]
#[error("worker {worker} does not answer: {why}")]
pub(super) struct Stuck {
    pub(super) worker: usize,
    why: String,
}

impl WorkerHandle {
    pub(super) fn send(&self, message: Message) -> io::Result<()> {
        let gone = |_| io::Error::other("its thread has ended");
        self.mailbox.send(message).map_err(gone)?;
        self.waker.wake()
    }
}

/// Asks every worker and waits for all answers, in the order of the workers.
pub(super) fn ask_all<T>(
    workers: &[WorkerHandle],
    message: impl Fn(Sender<T>) -> Message,
) -> Result<Vec<T>, Stuck> {
    let mut waiting: Vec<Receiver<T>> = Vec::with_capacity(workers.len());
    for (worker, handle) in workers.iter().enumerate() {
        let (done, answer) = bounded(1);
        let sent = handle.send(message(done));
        sent.map_err(|error| Stuck {
            worker,
            why: error.to_string(),
        })?;
        waiting.push(answer);
    }
    let answers = waiting.iter().enumerate().map(|(worker, answer)| {
        answer.recv_timeout(ANSWER_LIMIT).map_err(|error| Stuck {
            worker,
            why: error.to_string(),
        })
    });
    answers.collect()
}
