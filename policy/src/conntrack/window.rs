//! Does an RST belong to the connection it names?
//!
//! Owns what passed by of each end's sequence numbers: the end of what it sent
//! and the highest acknowledgment it gave. An RST counts only if its number lies
//! between what the other end acknowledged and what the sender has sent, which
//! is tighter than the window of RFC 5961 §3.2 and needs no window scale: a
//! sender resets at the next number it would send, or at the one it was asked
//! for. Where only a SYN was seen, the RST must acknowledge it
//! (RFC 9293 §3.10.7.3). An RST that fails is no proof of anything: the state
//! stays, the packet goes on, and the end judges it by its own window.

use weft_wire::{TcpFlags, TcpInfo};

/// The most an end sends before the other's first acknowledgment: only that tells the
/// window scale (RFC 7323 §2.2).
const UNSCALED_WINDOW: u32 = 65_535;

/// Sequence numbers of one end, in its own numbering for `sent` and in the
/// other's for `acked`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    /// One past the last byte it sent.
    sent: Option<u32>,
    /// The highest number it acknowledged.
    acked: Option<u32>,
    /// The stored word, kept where a field is unknown.
    word: u64,
}

/// What is known of a connection's sequence numbers: initiator, responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    ends: [End; 2],
}

impl Window {
    /// From the stored words and the bits that say which halves hold something.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    pub(super) fn from_words(words: [u64; 2], known: u8) -> Self {
        let [initiator, responder] = words;
        let end = |word: u64, known: u8| End {
            sent: (known & 1 != 0).then_some((word >> 32) as u32),
            acked: (known & 2 != 0).then_some(word as u32),
            word,
        };
        Self {
            ends: [end(initiator, known), end(responder, known >> 2)],
        }
    }

    /// The words to store.
    pub(super) fn words(&self) -> [u64; 2] {
        self.ends.map(|end| {
            let sent = end.sent.map_or(end.word >> 32, u64::from);
            let acked = end.acked.map_or(end.word & 0xffff_ffff, u64::from);
            sent << 32 | acked
        })
    }

    /// Which halves of the words hold something.
    pub(super) fn known(&self) -> u8 {
        let [initiator, responder] = self
            .ends
            .map(|end| u8::from(end.sent.is_some()) | u8::from(end.acked.is_some()) << 1);
        initiator | responder << 2
    }

    /// Whether an RST sent by the responder (`reply`) or initiator is in window.
    pub(super) fn accepts_reset(&self, info: &TcpInfo, reply: bool) -> bool {
        let (sender, receiver) = self.pair(reply);
        let at_end = sender.sent == Some(info.seq);
        match receiver.acked {
            Some(acked) => {
                let in_flight = sender
                    .sent
                    .is_some_and(|sent| is_between(info.seq, acked, sent));
                info.seq == acked || in_flight
            }
            None if at_end => true,
            None => info.flags.contains(TcpFlags::ACK) && receiver.sent == Some(info.ack),
        }
    }

    /// Whether a segment with the number `seq` sent by the responder (`reply`) or
    /// initiator can be on its way: sent, and as far as known not acknowledged
    /// (RFC 5927 §4.1). Its next number counts, as an acknowledgment alone has it.
    pub(super) fn has_in_flight(&self, seq: u32, reply: bool) -> bool {
        let (sender, receiver) = self.pair(reply);
        sender.sent.is_some_and(|sent| {
            let oldest = sent.wrapping_sub(UNSCALED_WINDOW);
            is_between(seq, receiver.acked.unwrap_or(oldest), sent)
        })
    }

    /// With the numbers of a packet sent by the responder (`reply`) or initiator
    /// taken in; `opens`: it starts the connection anew.
    pub(super) fn after(self, info: &TcpInfo, reply: bool, opens: bool) -> Self {
        let (mut sender, mut receiver) = self.pair(reply);
        if opens {
            let forget = |end: End| End {
                word: end.word,
                ..End::default()
            };
            (sender, receiver) = (forget(sender), forget(receiver));
        }
        let control =
            [TcpFlags::SYN, TcpFlags::FIN].map(|flag| u32::from(info.flags.contains(flag)));
        let end = info
            .seq
            .wrapping_add(info.payload_len)
            .wrapping_add(control.iter().sum());
        sender.sent = Some(later(sender.sent, end));
        if info.flags.contains(TcpFlags::ACK) {
            sender.acked = Some(later(sender.acked, info.ack));
        }
        Self {
            ends: if reply {
                [receiver, sender]
            } else {
                [sender, receiver]
            },
        }
    }

    const fn pair(&self, reply: bool) -> (End, End) {
        let [initiator, responder] = self.ends;
        if reply {
            (responder, initiator)
        } else {
            (initiator, responder)
        }
    }
}

/// Whether `low <= number <= high` on the circle of RFC 9293 §3.4.
const fn is_between(number: u32, low: u32, high: u32) -> bool {
    let width = high.wrapping_sub(low);
    width < 1 << 31 && number.wrapping_sub(low) <= width
}

fn later(known: Option<u32>, number: u32) -> u32 {
    match known {
        Some(known) if number.wrapping_sub(known) >= 1 << 31 => known,
        _ => number,
    }
}
