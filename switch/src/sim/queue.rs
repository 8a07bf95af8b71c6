//! Which datagram arrives next?
//!
//! Ordered by time of arrival; those due at one moment arrive in the order in which they
//! were sent.

use std::collections::BTreeMap;

use weft_policy::Moment;

use crate::path::Datagram;

/// A datagram on its way: the receiving node, its envelope, its UDP payload.
type Travelling = (usize, Datagram, Vec<u8>);

/// Datagrams on their way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    due: BTreeMap<(Moment, u64), Travelling>,
    sent: u64,
}

impl Queue {
    pub(super) fn push(&mut self, due: Moment, travelling: Travelling) {
        self.due.insert((due, self.sent), travelling);
        self.sent += 1;
    }

    pub(super) fn next_due(&self) -> Option<Moment> {
        self.due.first_key_value().map(|((due, _), _)| *due)
    }

    pub(super) fn pop_due(&mut self, now: Moment) -> Option<Travelling> {
        let next = self.due.first_entry()?;
        let (due, _) = *next.key();
        (due <= now).then(|| next.remove())
    }
}
