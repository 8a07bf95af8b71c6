//! Which sources still have something to read?
//!
//! The poller is edge-triggered: it tells once that a descriptor became readable. A source stays
//! here until a read found it empty; each gets one bounded batch, then waits behind the others.

use std::collections::VecDeque;

use mio::Token;

use crate::path::{MAX_PORTS, PortId};

/// What a worker reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The tunnel's socket.
    Underlay,
    /// A port's queue.
    Port(PortId),
}

/// Token of the mailbox's waker.
pub(super) const WAKER: Token = Token(MAX_PORTS + 1);
const UNDERLAY: Token = Token(MAX_PORTS);

impl Source {
    pub(super) const fn token(self) -> Token {
        match self {
            Self::Underlay => UNDERLAY,
            Self::Port(port) => Token(port.index()),
        }
    }

    /// The source of a token; none for the waker's.
    pub(super) fn of(token: Token) -> Option<Self> {
        match token {
            UNDERLAY => Some(Self::Underlay),
            Token(number) => u16::try_from(number)
                .ok()
                .and_then(PortId::new)
                .map(Self::Port),
        }
    }
}

/// Sources to read, in the order they became readable, each at most once.
#[derive(Debug)]
pub(super) struct Ready {
    queue: VecDeque<Source>,
    queued: Box<[bool]>,
}

impl Ready {
    pub(super) fn new() -> Self {
        Self {
            queue: VecDeque::with_capacity(MAX_PORTS + 1),
            queued: vec![false; MAX_PORTS + 1].into_boxed_slice(),
        }
    }

    pub(super) fn push(&mut self, source: Source) {
        if let Some(queued) = self.queued.get_mut(source.token().0)
            && !std::mem::replace(queued, true)
        {
            self.queue.push_back(source);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Source> {
        let source = self.queue.pop_front()?;
        if let Some(queued) = self.queued.get_mut(source.token().0) {
            *queued = false;
        }
        Some(source)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_waits_once_and_in_turn() {
        let port = |number| Source::Port(PortId::new(number).unwrap());
        let mut ready = Ready::new();
        for source in [port(1), Source::Underlay, port(1), port(4095), port(0)] {
            ready.push(source);
        }
        assert_eq!(ready.len(), 4);
        assert_eq!(ready.pop(), Some(port(1)));
        ready.push(port(1));
        let rest: Vec<_> = std::iter::from_fn(|| ready.pop()).collect();
        assert_eq!(rest, [Source::Underlay, port(4095), port(0), port(1)]);
        assert!(ready.is_empty());
    }

    #[test]
    fn tokens_and_sources_agree() {
        for source in [Source::Underlay, Source::Port(PortId::HOST)] {
            assert_eq!(Source::of(source.token()), Some(source));
        }
        assert_eq!(Source::of(WAKER), None);
    }
}
