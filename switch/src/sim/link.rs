//! How does a datagram get from one node to another?
//!
//! A [`Link`] says what befalls datagrams in one direction between two nodes. The outer IP
//! and UDP headers are not made; only their size counts against the MTU.

use weft_policy::Span;

use super::rng::Rng;

/// One direction between two nodes. Rates are per 10,000 datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// From sending to arriving.
    pub delay: Span,
    /// Up to this much is added to each datagram's delay, so that they overtake each other.
    pub jitter: Span,
    /// Datagrams that never arrive.
    pub loss: u16,
    /// Datagrams that arrive twice.
    pub duplicate: u16,
    /// Datagrams held back for another [`Link::delay`], so that later ones overtake them.
    pub reorder: u16,
    /// The largest outer IP packet in bytes; larger ones vanish, as with DF set.
    pub mtu: u16,
}

impl Link {
    /// Half a millisecond one way, Ethernet's MTU, nothing lost.
    pub const ETHERNET: Self = Self {
        delay: Span::from_micros(500),
        jitter: Span::ZERO,
        loss: 0,
        duplicate: 0,
        reorder: 0,
        mtu: 1500,
    };

    /// When copies of a datagram of `len` outer bytes arrive, after now.
    pub(super) fn arrivals(&self, len: usize, rng: &mut Rng) -> Arrivals {
        if len > usize::from(self.mtu) {
            return Arrivals::TooBig;
        }
        if rng.chance(self.loss) {
            return Arrivals::Lost;
        }
        let mut late = self.delay + rng.span(self.jitter);
        if rng.chance(self.reorder) {
            late = late + self.delay;
        }
        let copy = rng.chance(self.duplicate);
        Arrivals::After(late, copy.then(|| late + rng.span(self.delay)))
    }
}

/// What became of a datagram on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrivals {
    Lost,
    TooBig,
    After(Span, Option<Span>),
}
