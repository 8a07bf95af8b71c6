//! May another ICMP error be sent now?
//!
//! One token bucket per port and one for the tunnel side (RFC 1812 §4.3.2.8, RFC 4443
//! §2.4f), so that a pod that provokes errors cannot silence another's. A bucket is one
//! word: the moment at which it will be full again (generic cell rate algorithm).

use std::time::Duration;

use weft_policy::Moment;

use super::ports::{MAX_PORTS, PortId};

/// One token per interval: 100 errors a second per bucket and worker. A traceroute or
/// path MTU discovery needs a handful; Linux allows 1000 a second for a whole host.
const INTERVAL: Duration = Duration::from_millis(10);
/// Errors that may follow each other at once.
const BURST: u32 = 20;

/// Whom an ICMP error would be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// A local port.
    Port(PortId),
    /// Any peer.
    Tunnel,
}

/// The buckets of one worker.
#[derive(Debug)]
pub(super) struct Limiter {
    /// When each bucket is full again; the last is the tunnel's.
    full_at: Box<[Moment]>,
}

impl Limiter {
    pub(super) fn new() -> Self {
        Self {
            full_at: vec![Moment::default(); MAX_PORTS + 1].into_boxed_slice(),
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn allow(&mut self, side: Side, now: Moment) -> bool {
        let index = match side {
            Side::Port(port) => port.index(),
            Side::Tunnel => MAX_PORTS,
        };
        let Some(full_at) = self.full_at.get_mut(index) else {
            return false;
        };
        let next = (*full_at).max(now) + INTERVAL;
        let allowed = next <= now + INTERVAL * BURST;
        if allowed {
            *full_at = next;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: Side = Side::Port(PortId::HOST);

    #[test]
    fn a_burst_passes_then_one_per_interval() {
        let mut limiter = Limiter::new();
        let mut now = Moment::default() + Duration::from_secs(1);
        let passed = (0..100).filter(|_| limiter.allow(PORT, now)).count();
        assert_eq!(passed, BURST as usize);
        for _ in 0..10 {
            now = now + INTERVAL;
            assert!(limiter.allow(PORT, now));
            assert!(!limiter.allow(PORT, now));
        }
        now = now + INTERVAL * (BURST * 10);
        let passed = (0..100).filter(|_| limiter.allow(PORT, now)).count();
        assert_eq!(passed, BURST as usize, "a full bucket does not overflow");
    }

    #[test]
    fn buckets_are_separate() {
        let mut limiter = Limiter::new();
        let now = Moment::default();
        while limiter.allow(PORT, now) {}
        assert!(limiter.allow(Side::Tunnel, now));
        assert!(limiter.allow(Side::Port(PortId::new(4095).unwrap()), now));
    }
}
