//! Which addresses may a new pod have, and who holds the others?
//!
//! Owns the [`Ledger`] of attachments and of addresses that rest before they are given again, and
//! the [`Record`]s it is made of. Pure: records go to disk and come back in `runtime::journal`,
//! and the time is an argument, counted from the boot of the host, so that no change of its clock
//! shortens a rest. Decides nothing about interfaces, nor about the addresses of another IPAM
//! plugin beyond that no two attachments hold the same.

mod error;
mod ledger;
mod pool;
mod record;

pub use error::{Conflict, IpamError};
pub use ledger::{Holding, Ledger};
pub use pool::Usage;
pub use record::{Attachment, Record, Uptime};

#[cfg(test)]
pub(crate) mod tests;
