//! Which attachments does this node owe, through crashes and restarts?
//!
//! Joins the ledger, which knows who holds which address, with the journal, which remembers it, and
//! with the tombstones of what was deleted while nobody listened. What the ledger says was written
//! first. Knows no device and no worker.

use std::net::IpAddr;

use weft_cni::daemon::{Code, Failure, Identity};
use weft_cni::tombstone::Tombstones;
use weft_sys::uptime;

use super::StartError;
use super::journal::{Durability, Journal};
use crate::config::Config;
use crate::ipam::{Attachment, Conflict, IpamError, Ledger, Record, Uptime, Usage};

/// Ledger, journal and tombstones.
#[derive(Debug)]
pub(super) struct Attachments {
    ledger: Ledger,
    journal: Journal,
    tombstones: Tombstones,
}

impl Attachments {
    /// Reads what a daemon before this one left, and ends what it left half made.
    pub(super) fn open(config: &Config) -> Result<Self, StartError> {
        let (journal, records) = Journal::open(&config.state)
            .map_err(|error| StartError::host(error.to_string(), ""))?;
        let tombstones = Tombstones::open(&config.state)
            .map_err(|error| StartError::host(error.to_string(), ""))?;
        let ranges = config.node.pod_cidrs.clone();
        let mut ledger = Ledger::new(ranges, &config.ipam.reserved, config.ipam.cool_down);
        for record in records {
            ledger.apply(record).map_err(contradiction)?;
        }
        let mut opened = Self {
            ledger,
            journal,
            tombstones,
        };
        let now = now().map_err(|failure| StartError::host(failure.message, failure.next))?;
        for record in opened.ledger.recover(&now) {
            opened
                .write(record, Durability::Cached)
                .map_err(|failure| StartError::host(failure.message, failure.next))?;
        }
        Ok(opened)
    }
}

impl Attachments {
    /// What is remembered of an attachment.
    pub(super) fn get(&self, identity: &Identity) -> Option<&Attachment> {
        self.ledger.get(identity).map(|held| &held.attachment)
    }

    /// Whether an attachment was finished.
    pub(super) fn is_finished(&self, identity: &Identity) -> bool {
        self.ledger.get(identity).is_some_and(|held| held.committed)
    }

    /// Every attachment, those under way included.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Attachment> {
        self.ledger.iter().map(|held| &held.attachment)
    }

    /// Every attachment that was finished.
    pub(super) fn finished(&self) -> impl Iterator<Item = &Attachment> {
        let held = self.ledger.iter().filter(|held| held.committed);
        held.map(|held| &held.attachment)
    }

    /// Those that were never finished: whoever made them failed to take them back.
    pub(super) fn unfinished(&self) -> Vec<Identity> {
        let held = self.ledger.iter().filter(|held| !held.committed);
        held.map(|held| held.attachment.identity.clone()).collect()
    }

    /// How full the ranges are.
    pub(super) fn usage(&self) -> Vec<Usage> {
        now().map_or_else(|_| Vec::new(), |now| self.ledger.usage(&now))
    }

    /// The addresses asked for, if they can be had, or else free ones.
    pub(super) fn choose(&self, asked: &[IpAddr]) -> Result<Vec<IpAddr>, Failure> {
        self.ledger.choose(asked, &now()?).map_err(|error| {
            let (code, what, next) = match &error {
                IpamError::Taken { ip, by } => {
                    let holder = self.get(by).map(ToString::to_string).unwrap_or_default();
                    let what = format!("{ip} is taken by {holder}");
                    (Code::Conflict, what, "detach that one, or choose another")
                }
                IpamError::Exhausted { .. } => (Code::Unavailable, error.to_string(), ""),
                _ => (Code::Invalid, error.to_string(), ""),
            };
            Failure::new(code, what, next)
        })
    }

    /// Notes whose the addresses will be, before anything is made. A crash of this process does
    /// not lose the note; a crash of the host takes what is made along.
    pub(super) fn reserve(&mut self, attachment: Attachment) -> Result<(), Failure> {
        self.write(Record::reserve(attachment), Durability::Cached)
    }

    /// Notes, for good, that an attachment is complete.
    pub(super) fn commit(&mut self, identity: &Identity) -> Result<(), Failure> {
        self.write(Record::Commit(identity.clone()), Durability::Synced)
    }

    /// Notes that an attachment is no more. If a crash of the host loses the note, its namespace
    /// is lost too, and the next start notes it again.
    pub(super) fn release(&mut self, identity: &Identity) -> Result<(), Failure> {
        let record = Record::Release {
            identity: identity.clone(),
            at: now()?,
        };
        self.write(record, Durability::Cached)
    }

    fn write(&mut self, record: Record, durability: Durability) -> Result<(), Failure> {
        if self.journal.is_broken() {
            // A disk that has failed is tried again; nothing the ledger knows is lost.
            let mended = self.journal.compact(&self.ledger);
            mended.map_err(|error| Failure::new(Code::Host, error.to_string(), ""))?;
        }
        let written = self.journal.append(&record, durability);
        written.map_err(|error| Failure::new(Code::Host, error.to_string(), ""))?;
        let applied = self.ledger.apply(record);
        applied.map_err(|error| Failure::new(Code::Conflict, error.to_string(), ""))
    }

    /// Attachments that were deleted while nobody listened.
    pub(super) fn deleted(&self) -> Result<Vec<Identity>, Failure> {
        let noted = self.tombstones.list();
        let noted = noted.map_err(|error| Failure::new(Code::Host, error.to_string(), ""))?;
        Ok(noted.into_iter().map(|note| note.identity).collect())
    }

    /// Whether an attachment was deleted while nobody listened.
    pub(super) fn is_deleted(&self, identity: &Identity) -> bool {
        // What cannot be looked at is looked at again by the next reconcile.
        self.tombstones.holds(identity).unwrap_or(false)
    }

    /// Its deletion has been caught up with.
    pub(super) fn settle(&self, identity: &Identity) -> Result<(), Failure> {
        let settled = self.tombstones.settle(identity);
        settled
            .map(|_| ())
            .map_err(|error| Failure::new(Code::Host, error.to_string(), ""))
    }

    /// Keeps the journal short.
    pub(super) fn compact(&mut self) -> Result<(), Failure> {
        let compacted = self.journal.compact_if_large(&self.ledger);
        compacted
            .map(|_| ())
            .map_err(|error| Failure::new(Code::Host, error.to_string(), ""))
    }
}

/// A journal whose records do not follow from each other.
fn contradiction(error: Conflict) -> StartError {
    let next = "restore attachments.journal in paths.state from a copy, or move it away: then every \
                pod of this node has to be made anew";
    StartError::host(
        format!("the journal of attachments contradicts itself: {error}"),
        next,
    )
}

/// The present moment, as the ledger counts.
fn now() -> Result<Uptime, Failure> {
    let now = uptime::Uptime::now();
    let now = now.map_err(|error| Failure::new(Code::Host, error.to_string(), ""))?;
    Ok(Uptime {
        boot: now.boot_id,
        nanos: now.nanos,
    })
}
