//! How large the table is and how long silence is believed.

use crate::{Span, TcpState};

/// The bounds of a [`super::Conntrack`].
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Entries the table holds, rounded up to a power of two, at least 16;
    /// 136 bytes each.
    pub capacity: usize,
    /// Entries one owner may hold.
    pub quota_per_owner: u32,
    /// Owners there are, numbered from 0; at most 65,536.
    pub owners: usize,
    /// Random, so that nobody outside can choose flows that share a bucket.
    pub seed: [u64; 2],
    /// Lifetimes of idle entries.
    pub timeouts: Timeouts,
}

impl Default for Config {
    /// 131,072 entries (17 MiB), 16,384 for each of 4,096 owners, and a seed
    /// that the caller must replace.
    fn default() -> Self {
        Self {
            capacity: 131_072,
            quota_per_owner: 16_384,
            owners: 4_096,
            seed: [0; 2],
            timeouts: Timeouts::default(),
        }
    }
}

/// How long an entry lives after its last packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP before the handshake is complete.
    pub tcp_opening: Span,
    /// TCP after it.
    pub tcp_established: Span,
    /// TCP from the first FIN on.
    pub tcp_closing: Span,
    /// TCP after an RST.
    pub tcp_reset: Span,
    /// UDP that nobody answered.
    pub udp_one_way: Span,
    /// UDP that was answered: one question, one answer.
    pub udp_answered: Span,
    /// UDP that went on after an answer.
    pub udp_conversation: Span,
    /// SCTP that nobody answered.
    pub sctp_opening: Span,
    /// SCTP seen in both directions.
    pub sctp_answered: Span,
    /// ICMP and ICMPv6 echo.
    pub echo: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_opening: Span::from_secs(60),
            tcp_established: Span::from_secs(86_400),
            tcp_closing: Span::from_secs(60),
            tcp_reset: Span::from_secs(10),
            udp_one_way: Span::from_secs(30),
            udp_answered: Span::from_secs(30),
            udp_conversation: Span::from_secs(180),
            sctp_opening: Span::from_secs(30),
            sctp_answered: Span::from_secs(210),
            echo: Span::from_secs(30),
        }
    }
}

/// [`FlowState::timeout`] of every state, to be looked up.
#[derive(Debug)]
pub(super) struct Lifetimes {
    spans: [Span; STATES],
}

/// Values that [`FlowState::to_bits`] stays below.
const STATES: usize = 64;

impl Lifetimes {
    pub(super) fn new(timeouts: &Timeouts) -> Self {
        let mut spans = [Span::ZERO; STATES];
        for (bits, span) in (0..).zip(&mut spans) {
            *span = FlowState::from_bits(bits).timeout(timeouts);
        }
        Self { spans }
    }

    #[inline]
    pub(super) fn of(&self, flow: FlowState) -> Span {
        let index = usize::from(flow.to_bits());
        self.spans.get(index).copied().unwrap_or(Span::ZERO)
    }
}

/// What a flow has shown of itself so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowState {
    /// A TCP connection.
    Tcp(TcpState),
    /// UDP.
    Udp(UdpState),
    /// SCTP; `answered` once the responder has sent.
    Sctp {
        /// Both ends have sent.
        answered: bool,
    },
    /// ICMP or ICMPv6 echo with one identifier.
    Echo {
        /// A reply has been seen.
        answered: bool,
    },
}

/// How far a UDP flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum UdpState {
    /// Only the initiator has sent.
    OneWay = 0,
    /// The responder has sent too. Most flows that come so far are over: a name was asked for.
    Answered = 1,
    /// The initiator has sent again after that.
    Conversation = 2,
}

impl UdpState {
    /// The state after a packet of the responder (`reply`) or the initiator. A packet seen
    /// twice changes nothing the second time, as with TCP.
    #[must_use]
    pub const fn next(self, reply: bool) -> Self {
        match (self, reply) {
            (Self::OneWay, true) => Self::Answered,
            (Self::Answered, false) => Self::Conversation,
            (state, _) => state,
        }
    }

    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::OneWay,
            1 => Self::Answered,
            _ => Self::Conversation,
        }
    }
}

/// What is evicted first when an owner needs room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Expired,
    HalfOpen,
    Closing,
    OneWay,
    Exchanged,
    Lived,
}

impl FlowState {
    /// How long the flow is believed to live on in silence.
    #[must_use]
    pub const fn timeout(self, timeouts: &Timeouts) -> Span {
        match self {
            Self::Tcp(TcpState::Established) => timeouts.tcp_established,
            Self::Tcp(TcpState::Reset) => timeouts.tcp_reset,
            Self::Tcp(state) if state.is_closing() => timeouts.tcp_closing,
            Self::Tcp(_) => timeouts.tcp_opening,
            Self::Udp(UdpState::OneWay) => timeouts.udp_one_way,
            Self::Udp(UdpState::Answered) => timeouts.udp_answered,
            Self::Udp(UdpState::Conversation) => timeouts.udp_conversation,
            Self::Sctp { answered: false } => timeouts.sctp_opening,
            Self::Sctp { answered: true } => timeouts.sctp_answered,
            Self::Echo { .. } => timeouts.echo,
        }
    }

    pub(super) const fn rank(self) -> Rank {
        match self {
            Self::Tcp(state) if state.is_half_open() => Rank::HalfOpen,
            Self::Tcp(state) if state.is_closing() => Rank::Closing,
            Self::Sctp { answered: false } => Rank::HalfOpen,
            Self::Udp(UdpState::OneWay) | Self::Echo { .. } => Rank::OneWay,
            Self::Udp(UdpState::Answered) => Rank::Exchanged,
            Self::Tcp(_) | Self::Udp(UdpState::Conversation) | Self::Sctp { .. } => Rank::Lived,
        }
    }

    #[inline]
    pub(super) const fn to_bits(self) -> u8 {
        match self {
            Self::Tcp(state) => state as u8,
            Self::Udp(state) => 0x10 | state as u8,
            Self::Sctp { answered } => 0x20 | answered as u8,
            Self::Echo { answered } => 0x30 | answered as u8,
        }
    }

    #[inline]
    pub(super) const fn from_bits(bits: u8) -> Self {
        let answered = bits & 1 != 0;
        match bits >> 4 {
            0 => Self::Tcp(TcpState::from_bits(bits)),
            1 => Self::Udp(UdpState::from_bits(bits & 0xf)),
            2 => Self::Sctp { answered },
            _ => Self::Echo { answered },
        }
    }
}
