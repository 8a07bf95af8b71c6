//! How many datagrams did the kernel discard before a worker read them?
//!
//! Owns descriptors of the workers' receiving sockets and what each had lost at the last look.
//! It looks when somebody asks, so that no packet pays for it, and never reads a datagram.

use std::io;
use std::net::UdpSocket;

use weft_sys::udp;

use super::super::StartError;

/// The losses of all receiving sockets, in the order of the workers.
#[derive(Debug)]
pub(in super::super) struct Unread {
    queues: Vec<Queue>,
}

#[derive(Debug)]
struct Queue {
    socket: Option<UdpSocket>,
    /// The kernel's number at the last look.
    seen: u32,
    /// Lost until then, since the start or the last reset.
    lost: u64,
}

impl Unread {
    /// Watches the sockets.
    ///
    /// # Errors
    /// Without descriptors left.
    pub(in super::super) fn of(sockets: &[UdpSocket]) -> Result<Self, StartError> {
        let copies = sockets.iter().map(UdpSocket::try_clone);
        let copies: io::Result<Vec<_>> = copies.collect();
        let copies = copies.map_err(|error| {
            StartError::host(format!("cannot watch the tunnel's sockets: {error}"), "")
        })?;
        let queue = |socket| Queue {
            socket: Some(socket),
            seen: 0,
            lost: 0,
        };
        Ok(Self {
            queues: copies.into_iter().map(queue).collect(),
        })
    }

    /// Looks again: what each worker's socket has lost.
    pub(super) fn look(&mut self) -> impl Iterator<Item = u64> {
        self.queues.iter_mut().map(|queue| {
            // A kernel that keeps no number leaves what was seen before.
            let now = queue.socket.as_ref().map(udp::discarded);
            if let Some(Ok(now)) = now {
                queue.count(now);
            }
            queue.lost
        })
    }

    /// Counts from zero again, from the last look on.
    pub(super) fn reset(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.lost = 0);
    }

    /// Lets go of the sockets. The kernel spreads flows over all sockets that are open: that of a
    /// worker that has ended must not stay so.
    pub(super) fn release(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.socket = None);
    }
}

impl Queue {
    /// The kernel's number is modulo 2^32.
    fn count(&mut self, now: u32) {
        self.lost += u64::from(now.wrapping_sub(self.seen));
        self.seen = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_wraps_and_a_reset_lose_nothing() {
        let queue = Queue {
            socket: None,
            seen: 0,
            lost: 0,
        };
        let mut unread = Unread {
            queues: vec![queue],
        };
        let mut count = |now| {
            unread.queues.iter_mut().for_each(|queue| queue.count(now));
            let lost = unread.look().sum::<u64>();
            unread.reset();
            lost
        };
        assert_eq!(count(u32::MAX), u64::from(u32::MAX));
        assert_eq!(count(4), 5);
        assert_eq!(count(4), 0);
    }
}
