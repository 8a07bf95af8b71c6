//! Which entry a packet belongs to: one key for both directions of a flow.
//!
//! Owns the canonical order of the two ends (lower address and port first) and
//! the five words a key is stored as. The end that sent the flow's first packet
//! is a flag beside the key, so a reply finds the entry by the same words.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_wire::{FlowKey, IpProtocol};

use super::packet::Kind;

/// IPv6 addresses, as opposed to IPv4; the two never compare equal.
const IS_IPV6: u64 = 1 << 40;
/// ICMP echo only: the requests come from the high end. Part of the key, so a
/// request in the other direction is another flow even when its identifier is 0.
const HIGH_ASKS: u64 = 1 << 41;
/// Not part of the key: the high end started the flow.
const HIGH_STARTED: u64 = 1 << 42;
const OWNER_SHIFT: u32 = 48;
const KEY_BITS: u64 = HIGH_STARTED - 1;

/// The five words of a key. The last also holds, outside the key proper, which
/// end started the flow and whom the entry is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) words: [u64; 5],
}

/// A packet's place in its flow's key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canonical {
    pub(super) key: Key,
    /// The high end sent the packet.
    pub(super) from_high: bool,
}

impl Canonical {
    /// The key of a packet with the tuple `flow`.
    #[inline]
    pub(super) fn of(flow: &FlowKey, kind: Kind) -> Self {
        let (src, src_is_v6) = address_words(flow.src);
        let (dst, dst_is_v6) = address_words(flow.dst);
        let from_high = (src, flow.src_port) > (dst, flow.dst_port);
        let ((low, low_port), (high, high_port)) = if from_high {
            ((dst, flow.dst_port), (src, flow.src_port))
        } else {
            ((src, flow.src_port), (dst, flow.dst_port))
        };
        let high_asks = match kind {
            Kind::EchoRequest => from_high,
            Kind::EchoReply => !from_high,
            _ => false,
        };
        let tail = u64::from(low_port)
            | u64::from(high_port) << 16
            | u64::from(flow.protocol.0) << 32
            | if src_is_v6 || dst_is_v6 { IS_IPV6 } else { 0 }
            | if high_asks { HIGH_ASKS } else { 0 };
        Self {
            key: Key {
                words: [low[0], low[1], high[0], high[1], tail],
            },
            from_high,
        }
    }

    /// The key words of a new entry that this packet starts, charged to `owner`.
    pub(super) const fn started(&self, owner: u16) -> Key {
        let [a, b, c, d, tail] = self.key.words;
        let started = if self.from_high { HIGH_STARTED } else { 0 };
        let tail = tail | started | (owner as u64) << OWNER_SHIFT;
        Key {
            words: [a, b, c, d, tail],
        }
    }
}

impl Key {
    /// Whether both are the same flow, whoever started it.
    #[inline]
    pub(super) const fn is_same_flow(&self, other: &Self) -> bool {
        let [a, b, c, d, tail] = self.words;
        let [e, f, g, h, other_tail] = other.words;
        // No early exit: one branch on the whole comparison.
        (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) | ((tail ^ other_tail) & KEY_BITS) == 0
    }

    /// Whether the high end started the flow.
    pub(super) const fn high_started(&self) -> bool {
        self.words[4] & HIGH_STARTED != 0
    }

    /// Whom the entry is charged to.
    pub(super) const fn owner(&self) -> u16 {
        owner_of(self.words[4])
    }

    /// Whether `address` is one of the ends.
    pub(super) fn involves(&self, address: IpAddr) -> bool {
        let (words, is_v6) = address_words(address);
        let [a, b, c, d, tail] = self.words;
        (tail & IS_IPV6 != 0) == is_v6 && (words == [a, b] || words == [c, d])
    }

    /// The tuple as the end that started the flow writes it.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each field is cut out of the word"
    )]
    pub(super) const fn original(&self) -> FlowKey {
        let [a, b, c, d, tail] = self.words;
        let flow = FlowKey {
            src: address([a, b], tail & IS_IPV6 != 0),
            dst: address([c, d], tail & IS_IPV6 != 0),
            protocol: IpProtocol((tail >> 32) as u8),
            src_port: tail as u16,
            dst_port: (tail >> 16) as u16,
        };
        if self.high_started() {
            flow.reversed()
        } else {
            flow
        }
    }
}

/// The owner in the last word of a stored key.
pub(super) const fn owner_of(tail: u64) -> u16 {
    (tail >> OWNER_SHIFT) as u16
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves of the address"
)]
const fn address_words(address: IpAddr) -> ([u64; 2], bool) {
    match address {
        IpAddr::V4(v4) => ([0, v4.to_bits() as u64], false),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            ([(bits >> 64) as u64, bits as u64], true)
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "an IPv4 address was stored"
)]
const fn address(words: [u64; 2], is_v6: bool) -> IpAddr {
    let [high, low] = words;
    if is_v6 {
        IpAddr::V6(Ipv6Addr::from_bits((high as u128) << 64 | low as u128))
    } else {
        IpAddr::V4(Ipv4Addr::from_bits(low as u32))
    }
}
