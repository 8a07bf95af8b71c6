//! What does the journal need of a disk?

use std::fmt::Debug;
use std::io;
use std::path::Path;

/// One file that is read once, appended to, and replaced as a whole.
///
/// What was written may be lost or torn by a power cut, in any order and in any part, until the
/// call that makes it durable has returned.
pub trait Disk: Debug + Send {
    /// Where the file is, for messages.
    fn path(&self) -> &Path;

    /// All of the file, or `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>>;

    /// Adds `bytes` to the end.
    ///
    /// # Errors
    /// If not all of them could be written; then some of them may have been.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to `length` bytes.
    ///
    /// # Errors
    /// If that fails.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Makes the content and the length of the file durable.
    ///
    /// # Errors
    /// If that fails; then what was written since the last time is in doubt for good.
    fn sync(&mut self) -> io::Result<()>;

    /// Writes `bytes` beside the file, durably, in place of whatever was there.
    ///
    /// # Errors
    /// If that fails.
    fn stage(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Puts what was staged in the place of the file at once.
    ///
    /// # Errors
    /// If that fails; then the old file is there as it was.
    fn install(&mut self) -> io::Result<()>;

    /// Makes the last [`install`](Self::install) durable.
    ///
    /// # Errors
    /// If that fails.
    fn sync_directory(&mut self) -> io::Result<()>;
}
