//! What survives the daemon, whenever it is cut off?
//!
//! Owns the file `attachments.journal` of the state directory: [`Record`]s one after the other
//! ([`frame`] lays them out), written before what they announce, and now and then replaced by a
//! snapshot of what they add up to. After a power cut at any moment the next daemon reads every
//! record that was appended [`Durability::Synced`], and of later ones some first ones. Never
//! decides what a record means, and never repairs what was durable and is damaged.

use std::io;
use std::path::Path;

use crate::ipam::{Ledger, Record};

mod directory;
mod disk;
mod error;
pub mod frame;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;

pub use directory::{JOURNAL, LOCK, StateDirectory};
pub use disk::Disk;
pub use error::JournalError;

/// The file may have this many records more than twice what a snapshot has.
const SLACK: usize = 1024;

/// When is a record safe?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Against the death of the daemon, at once; against a power cut, with the next synced one.
    Cached,
    /// Against both, once the call returns.
    Synced,
}

/// The journal of a running daemon; no other has it open.
#[derive(Debug)]
pub struct Journal {
    disk: Box<dyn Disk>,
    /// Length of the file: all of it whole records.
    length: u64,
    /// How many records those are.
    records: usize,
    /// So much of the file survives a power cut.
    synced: u64,
    /// How much a power cut had left of unfinished records.
    dropped: u64,
    /// What is on the disk is in doubt until the file is replaced.
    broken: bool,
}

impl Journal {
    /// Opens the journal in the state directory `path`, which is made if it is missing, and reads
    /// it. What a power cut left of unfinished records is cut off: see [`Self::dropped`].
    ///
    /// # Errors
    /// If the directory is not ours alone, another daemon uses it, the file is damaged or of
    /// another version, or the disk fails.
    pub fn open(path: impl AsRef<Path>) -> Result<(Self, Vec<Record>), JournalError> {
        Self::on(Box::new(StateDirectory::open(path.as_ref())?))
    }

    /// As [`Self::open`], on any disk.
    ///
    /// # Errors
    /// If the file is damaged or of another version, or the disk fails.
    pub fn on(mut disk: Box<dyn Disk>) -> Result<(Self, Vec<Record>), JournalError> {
        let read = disk.read().map_err(|source| JournalError::Io {
            what: "read",
            path: disk.path().to_owned(),
            source,
        })?;
        let Some(bytes) = read else {
            let mut journal = Self {
                disk,
                length: 0,
                records: 0,
                synced: 0,
                dropped: 0,
                broken: true,
            };
            journal.replace(Vec::new())?;
            return Ok((journal, Vec::new()));
        };
        let read = frame::read(&bytes).map_err(|error| error.in_file(disk.path()))?;
        let journal = Self {
            length: read.length,
            records: read.records.len(),
            synced: read.length,
            dropped: bytes.len() as u64 - read.length,
            broken: false,
            disk,
        };
        Ok((journal.settle(&bytes)?, read.records))
    }

    /// Makes what was read durable, and nothing else.
    ///
    /// A sync of the old file would not do: had one failed, the kernel would still show what it
    /// never wrote, and take it for written. That way is left to a disk with no room for a copy.
    fn settle(mut self, bytes: &[u8]) -> Result<Self, JournalError> {
        let whole = usize::try_from(self.length).ok();
        let whole = whole.and_then(|length| bytes.get(..length));
        let copied = self.disk.stage(whole.unwrap_or(bytes));
        let settled = match copied.and_then(|()| self.disk.install()) {
            Ok(()) => Ok(()),
            // Before anything is appended: old bytes behind new ones could be taken for records.
            Err(_) if self.dropped > 0 => self.disk.truncate(self.length),
            Err(_) => Ok(()),
        };
        let settled = settled.and_then(|()| self.disk.sync());
        let settled = settled.and_then(|()| self.disk.sync_directory());
        settled.map_err(|error| self.failed("settle", error))?;
        Ok(self)
    }

    /// How many bytes of unfinished records were cut off when the journal was opened.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Length of the file in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing was ever recorded.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether appending is refused until [`Self::compact`] succeeds.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Adds a record. One that could not be written is not in the file, and of one that could
    /// not be synced nobody knows; then the caller does not act on it.
    ///
    /// # Errors
    /// If the disk fails, has failed before, or the record is too long.
    pub fn append(&mut self, record: &Record, durability: Durability) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError::Broken(self.disk.path().to_owned()));
        }
        let bytes = frame::encode(record, self.synced)
            .ok_or_else(|| JournalError::TooLong(self.disk.path().to_owned()))?;
        if let Err(error) = self.disk.append(&bytes) {
            // A part of it may be there, and the next record must not follow that.
            self.broken = self.disk.truncate(self.length).is_err();
            return Err(self.failed("append to", error));
        }
        self.length += bytes.len() as u64;
        self.records += 1;
        if durability == Durability::Synced {
            self.sync()?;
        }
        Ok(())
    }

    /// Replaces the file by a snapshot of `ledger` if it has become much longer than that, or if
    /// the disk failed earlier. Answers whether it did.
    ///
    /// # Errors
    /// As [`Self::compact`].
    pub fn compact_if_large(&mut self, ledger: &Ledger) -> Result<bool, JournalError> {
        let due = self.broken || self.records > 2 * ledger.snapshot_len() + SLACK;
        if due {
            self.compact(ledger)?;
        }
        Ok(due)
    }

    /// Replaces the file by a snapshot of `ledger`, which has all that was appended.
    ///
    /// # Errors
    /// If the disk fails; the old file stays in use if it was sound.
    pub fn compact(&mut self, ledger: &Ledger) -> Result<(), JournalError> {
        self.replace(ledger.snapshot())
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        if let Err(error) = self.disk.sync() {
            // The kernel forgets what it could not write, and the next sync would succeed.
            self.broken = true;
            return Err(self.failed("sync", error));
        }
        self.synced = self.length;
        Ok(())
    }

    fn replace(&mut self, records: Vec<Record>) -> Result<(), JournalError> {
        let bytes = frame::encode_file(&records)
            .ok_or_else(|| JournalError::TooLong(self.disk.path().to_owned()))?;
        let staged = self.disk.stage(&bytes).and_then(|()| self.disk.install());
        staged.map_err(|error| self.failed("replace", error))?;
        self.length = bytes.len() as u64;
        self.synced = self.length;
        self.records = records.len();
        // Until the directory is on the disk, a power cut may bring the old file back.
        self.broken = true;
        let synced = self.disk.sync_directory();
        synced.map_err(|error| self.failed("sync the directory of", error))?;
        self.broken = false;
        Ok(())
    }

    fn failed(&self, what: &'static str, source: io::Error) -> JournalError {
        JournalError::Io {
            what,
            path: self.disk.path().to_owned(),
            source,
        }
    }
}
