//! Where a TCP connection stands, judged from the flags that passed by.
//!
//! Owns the transitions as one pure function; sequence numbers, timers and the
//! table that stores the state live elsewhere. The switch only watches
//! (RFC 9293 §3.3.2 describes the ends' own states), so its states are coarser:
//! they say how long silence is believed and what may be evicted first. A packet
//! seen twice changes nothing the second time, because a frame between two pods
//! of one node is looked up once on each side.

use weft_wire::TcpFlags;

/// A connection as seen from between its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TcpState {
    /// The initiator's SYN passed.
    Opening = 0,
    /// The responder's SYN passed too; the handshake lacks its last ACK.
    Answered = 1,
    /// Both ends agreed.
    Established = 2,
    /// The initiator sent FIN, the responder may still send.
    FinInitiator = 3,
    /// The responder sent FIN, the initiator may still send.
    FinResponder = 4,
    /// Both ends sent FIN.
    Closed = 5,
    /// One end sent an acceptable RST.
    Reset = 6,
}

impl TcpState {
    /// Whether a segment with `flags` asks for a connection: a SYN without ACK, and
    /// without the RST or FIN that no sane end adds to it. Only such a segment
    /// begins a connection here.
    #[must_use]
    pub const fn is_begun_by(flags: TcpFlags) -> bool {
        flags.contains(TcpFlags::SYN)
            && !flags.contains(TcpFlags::ACK)
            && !flags.contains(TcpFlags::RST)
            && !flags.contains(TcpFlags::FIN)
    }

    /// The state after a packet with `flags`, sent by the responder when
    /// `is_reply`. An RST is taken as acceptable: whoever knows the sequence
    /// numbers asks only then. SYN and FIN together change nothing.
    #[must_use]
    pub const fn next(self, flags: TcpFlags, is_reply: bool) -> Self {
        if flags.contains(TcpFlags::RST) {
            Self::Reset
        } else if flags.contains(TcpFlags::SYN) && flags.contains(TcpFlags::FIN) {
            self
        } else if flags.contains(TcpFlags::SYN) {
            self.after_syn(flags.contains(TcpFlags::ACK), is_reply)
        } else if flags.contains(TcpFlags::FIN) {
            self.after_fin(is_reply)
        } else if flags.contains(TcpFlags::ACK) {
            self.after_ack(is_reply)
        } else {
            self
        }
    }

    const fn after_syn(self, has_ack: bool, is_reply: bool) -> Self {
        match (self, has_ack, is_reply) {
            // A simultaneous open answers with a bare SYN (RFC 9293 §3.5).
            (Self::Opening, _, true) => Self::Answered,
            (Self::Answered, true, false) => Self::Established,
            (state, false, false) if state.is_closing() => Self::Opening,
            _ => self,
        }
    }

    const fn after_fin(self, is_reply: bool) -> Self {
        match (self, is_reply) {
            (Self::Answered | Self::Established, false) => Self::FinInitiator,
            (Self::Answered | Self::Established, true) => Self::FinResponder,
            (Self::FinInitiator, true) | (Self::FinResponder, false) => Self::Closed,
            _ => self,
        }
    }

    const fn after_ack(self, is_reply: bool) -> Self {
        match (self, is_reply) {
            (Self::Answered, false) => Self::Established,
            _ => self,
        }
    }

    /// Whether the packet opens a new connection in the other direction: the
    /// responder's bare SYN after the old connection ended. The old state does
    /// not apply to it, nor do the verdicts on it.
    #[must_use]
    pub const fn is_reopened_by(self, flags: TcpFlags, is_reply: bool) -> bool {
        is_reply && Self::is_begun_by(flags) && matches!(self, Self::Closed | Self::Reset)
    }

    /// Whether the handshake has not been seen to complete.
    #[must_use]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::Opening | Self::Answered)
    }

    /// Whether the connection is ending or has ended.
    #[must_use]
    pub const fn is_closing(self) -> bool {
        matches!(
            self,
            Self::FinInitiator | Self::FinResponder | Self::Closed | Self::Reset
        )
    }

    /// The state with this discriminant; any other number is [`Self::Reset`].
    pub(crate) const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Opening,
            1 => Self::Answered,
            2 => Self::Established,
            3 => Self::FinInitiator,
            4 => Self::FinResponder,
            5 => Self::Closed,
            _ => Self::Reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TcpState::{
        self, Answered, Closed, Established, FinInitiator, FinResponder, Opening, Reset,
    };
    use super::*;

    const SYN: TcpFlags = TcpFlags::SYN;
    const ACK: TcpFlags = TcpFlags::ACK;
    const FIN: TcpFlags = TcpFlags::FIN;
    const RST: TcpFlags = TcpFlags::RST;
    const SYN_ACK: TcpFlags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
    const FIN_ACK: TcpFlags = TcpFlags(TcpFlags::FIN.0 | TcpFlags::ACK.0);
    const RST_ACK: TcpFlags = TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0);
    const NONE: TcpFlags = TcpFlags(0);
    const ALL: [TcpState; 7] = [
        Opening,
        Answered,
        Established,
        FinInitiator,
        FinResponder,
        Closed,
        Reset,
    ];

    #[test]
    fn only_a_syn_alone_begins_a_connection() {
        let (ece, cwr, psh) = (0x40, 0x80, 0x08);
        for flags in (0..=u8::MAX).map(TcpFlags) {
            let control = flags.0 & !(ece | cwr | psh | 0x20);
            assert_eq!(TcpState::is_begun_by(flags), control == SYN.0, "{flags:?}");
        }
    }

    #[test]
    fn syn_and_fin_together_change_nothing() {
        for state in ALL {
            for (flags, is_reply) in [(SYN.0 | FIN.0, false), (SYN_ACK.0 | FIN.0, true)] {
                assert_eq!(state.next(TcpFlags(flags), is_reply), state);
            }
        }
    }

    /// Rows: state. Columns: what the initiator, then the responder, sends.
    #[test]
    fn every_transition() {
        let packets = [SYN, SYN_ACK, ACK, FIN_ACK, RST, NONE];
        let (op, an, es, fi, fr, cl, re) = (
            Opening,
            Answered,
            Established,
            FinInitiator,
            FinResponder,
            Closed,
            Reset,
        );
        let table = [
            //    SYN S/A ACK FIN RST  -     SYN S/A ACK FIN RST  -
            (op, [op, op, op, op, re, op], [an, an, op, op, re, op]),
            (an, [an, es, es, fi, re, an], [an, an, an, fr, re, an]),
            (es, [es, es, es, fi, re, es], [es, es, es, fr, re, es]),
            (fi, [op, fi, fi, fi, re, fi], [fi, fi, fi, cl, re, fi]),
            (fr, [op, fr, fr, cl, re, fr], [fr, fr, fr, fr, re, fr]),
            (cl, [op, cl, cl, cl, re, cl], [cl, cl, cl, cl, re, cl]),
            (re, [op, re, re, re, re, re], [re, re, re, re, re, re]),
        ];
        for (state, initiator, responder) in table {
            for (flags, (ours, theirs)) in packets
                .into_iter()
                .zip(initiator.into_iter().zip(responder))
            {
                assert_eq!(
                    state.next(flags, false),
                    ours,
                    "{state:?} {flags:?} initiator"
                );
                assert_eq!(
                    state.next(flags, true),
                    theirs,
                    "{state:?} {flags:?} responder"
                );
            }
        }
    }

    #[test]
    fn a_packet_seen_twice_changes_nothing_more() {
        for state in ALL {
            for flags in (0..=u8::MAX).map(TcpFlags) {
                for is_reply in [false, true] {
                    let once = state.next(flags, is_reply);
                    assert_eq!(
                        once.next(flags, is_reply),
                        once,
                        "{state:?} {flags:?} {is_reply}"
                    );
                }
            }
        }
    }

    #[test]
    fn whole_connections() {
        let (ours, theirs) = (false, true);
        type Walk<'a> = (&'a str, &'a [(TcpFlags, bool)], TcpState);
        let walks: [Walk<'_>; 6] = [
            ("handshake", &[(SYN_ACK, theirs), (ACK, ours)], Established),
            (
                "orderly end",
                &[
                    (SYN_ACK, theirs),
                    (ACK, ours),
                    (FIN_ACK, theirs),
                    (ACK, ours),
                    (FIN_ACK, ours),
                ],
                Closed,
            ),
            ("refused", &[(RST_ACK, theirs)], Reset),
            (
                "simultaneous open",
                &[(SYN, theirs), (SYN_ACK, ours), (SYN_ACK, theirs)],
                Established,
            ),
            ("syn again", &[(SYN, ours), (SYN, ours)], Opening),
            (
                "port used again",
                &[(RST_ACK, theirs), (SYN, ours), (SYN_ACK, theirs)],
                Answered,
            ),
        ];
        for (name, packets, end) in walks {
            let state = packets.iter().fold(Opening, |state, &(flags, is_reply)| {
                state.next(flags, is_reply)
            });
            assert_eq!(state, end, "{name}");
        }
    }

    #[test]
    fn only_an_ended_connection_is_reopened_from_the_other_end() {
        for state in ALL {
            let ended = matches!(state, Closed | Reset);
            assert_eq!(state.is_reopened_by(SYN, true), ended, "{state:?}");
            assert!(!state.is_reopened_by(SYN, false));
            assert!(!state.is_reopened_by(SYN_ACK, true));
            assert!(!state.is_reopened_by(TcpFlags(SYN.0 | RST.0), true));
        }
    }

    #[test]
    fn discriminants_survive_storage() {
        for state in ALL {
            assert_eq!(TcpState::from_bits(state as u8), state);
            assert!(!(state.is_half_open() && state.is_closing()));
        }
    }
}
