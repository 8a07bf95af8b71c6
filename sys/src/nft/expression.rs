//! What does a rule of nf_tables look like?
//!
//! Owns the expressions (linux/netfilter/nf_tables.h), one function each. A rule is a list of
//! them, each a condition or an action, run in order: load a part of the packet into a register,
//! compare it or look it up, then act. Numbers in attributes are big-endian, addresses are
//! compared as they stand in the packet. It never decides which rules there are.

use super::Prefix;
use crate::netlink::{Message, family, octets};

const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
pub(super) const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

const REGISTER_VERDICT: u32 = 0;
/// A register of 16 bytes, enough for an IPv6 address and for an interface name.
const REGISTER: u32 = 1;
/// The first of 16 registers of one word, which share their memory with those of 16 bytes: fields
/// of a key lie side by side in them.
const FIRST_WORD: u32 = 8;

const NF_DROP: u32 = 0;
/// `NFT_RETURN`, -5.
const RETURN: u32 = u32::MAX - 4;

/// A list of expressions under construction.
pub(super) type Expressions = Message;

/// Which address of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Source,
    Destination,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// `NFPROTO_IPV4` and `NFPROTO_IPV6`, which are the `AF_*` numbers.
    const fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    /// Bytes of an address.
    const fn len(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// Words of an address.
    pub(super) const fn words(self) -> u32 {
        self.len() / 4
    }

    const fn offset(self, side: Side) -> u32 {
        match (side, self) {
            (Side::Source, Self::V4) => 12,
            (Side::Destination, Self::V4) => 16,
            (Side::Source, Self::V6) => 8,
            (Side::Destination, Self::V6) => 24,
        }
    }
}

fn expression(list: Expressions, name: &str, data: impl FnOnce(Message) -> Message) -> Expressions {
    list.nest(LIST_ELEMENT, |element| {
        element
            .attr_str(EXPRESSION_NAME, name)
            .nest(EXPRESSION_DATA, data)
    })
}

/// The packet is of that family.
pub(super) fn is_family(list: Expressions, family: Family) -> Expressions {
    compare(
        meta(list, META_NFPROTO, REGISTER),
        EQUAL,
        &[family.number()],
    )
}

/// The packet's family is the prefix's and its address is inside the prefix.
pub(super) fn within(list: Expressions, side: Side, (base, bits): Prefix) -> Expressions {
    let family = match family(base) {
        2 => Family::V4,
        _ => Family::V6,
    };
    let base = octets(base);
    let mask = mask(bits, base.len());
    let masked: Vec<u8> = base
        .iter()
        .zip(&mask)
        .map(|(byte, mask)| byte & mask)
        .collect();
    let list = is_family(list, family);
    let list = payload(
        list,
        NETWORK_HEADER,
        family.offset(side),
        family.len(),
        REGISTER,
    );
    compare(bitwise_and(list, &mask), EQUAL, &masked)
}

/// The packet leaves by `interface`.
pub(super) fn leaves_by(list: Expressions, interface: &str) -> Expressions {
    is_interface(list, META_OIFNAME, interface)
}

/// The packet came by `interface`.
pub(super) fn came_by(list: Expressions, interface: &str) -> Expressions {
    is_interface(list, META_IIFNAME, interface)
}

fn is_interface(list: Expressions, key: u32, interface: &str) -> Expressions {
    let mut name = interface.as_bytes().to_vec();
    name.resize(libc::IFNAMSIZ, 0);
    compare(meta(list, key, REGISTER), EQUAL, &name)
}

/// The destination is an address of this host.
pub(super) fn is_for_this_host(list: Expressions) -> Expressions {
    const DREG: u16 = 1;
    const RESULT: u16 = 2;
    const FLAGS: u16 = 3;
    const ADDRESS_TYPE: u32 = 3;
    const DESTINATION: u32 = 1 << 1;
    const RTN_LOCAL: u32 = 2;
    let list = expression(list, "fib", |data| {
        data.attr_be32(DREG, REGISTER)
            .attr_be32(RESULT, ADDRESS_TYPE)
            .attr_be32(FLAGS, DESTINATION)
    });
    compare(list, EQUAL, &RTN_LOCAL.to_ne_bytes())
}

/// The destination of the packet's connection was rewritten.
pub(super) fn was_redirected(list: Expressions) -> Expressions {
    const DREG: u16 = 1;
    const KEY: u16 = 2;
    const STATUS: u32 = 2;
    const IPS_DST_NAT: u32 = 1 << 5;
    let list = expression(list, "ct", |data| {
        data.attr_be32(DREG, REGISTER).attr_be32(KEY, STATUS)
    });
    let list = bitwise_and(list, &IPS_DST_NAT.to_ne_bytes());
    compare(list, NOT_EQUAL, &[0; 4])
}

/// Loads the transport protocol into word `at`.
pub(super) fn load_protocol(list: Expressions, at: u32) -> Expressions {
    meta(list, META_L4PROTO, FIRST_WORD + at)
}

/// Loads an address into the words from `at` on.
pub(super) fn load_address(list: Expressions, side: Side, family: Family, at: u32) -> Expressions {
    let (offset, len) = (family.offset(side), family.len());
    payload(list, NETWORK_HEADER, offset, len, FIRST_WORD + at)
}

/// Loads the destination port, at the same place in TCP, UDP and SCTP, into word `at`.
pub(super) fn load_port(list: Expressions, at: u32) -> Expressions {
    const TRANSPORT_HEADER: u32 = 2;
    payload(list, TRANSPORT_HEADER, 2, 2, FIRST_WORD + at)
}

/// Loads the destination port that the first packet of the connection came with into word `at`.
pub(super) fn load_original_port(list: Expressions, at: u32) -> Expressions {
    const DREG: u16 = 1;
    const KEY: u16 = 2;
    const DIRECTION: u16 = 3;
    const DESTINATION_PORT: u32 = 12;
    const ORIGINAL: u8 = 0;
    expression(list, "ct", |data| {
        data.attr_be32(DREG, FIRST_WORD + at)
            .attr_be32(KEY, DESTINATION_PORT)
            .attr(DIRECTION, &[ORIGINAL])
    })
}

/// The words from 0 on are a key of `set`; its value goes to the words from `into` on.
pub(super) fn look_up(list: Expressions, set: &str, into: Option<u32>) -> Expressions {
    const SET: u16 = 1;
    const SREG: u16 = 2;
    const DREG: u16 = 3;
    let into = into.map(|at| (FIRST_WORD + at).to_be_bytes());
    expression(list, "lookup", |data| {
        data.attr_str(SET, set)
            .attr_be32(SREG, FIRST_WORD)
            .attr_opt(DREG, into.as_ref().map(|n| &n[..]))
    })
}

/// Rewrites the destination to the address in the words from `at` on and the port behind it.
pub(super) fn redirect(list: Expressions, family: Family, at: u32) -> Expressions {
    const TYPE: u16 = 1;
    const FAMILY: u16 = 2;
    const ADDRESS: u16 = 3;
    const PORT: u16 = 5;
    const DESTINATION: u32 = 1;
    expression(list, "nat", |data| {
        data.attr_be32(TYPE, DESTINATION)
            .attr_be32(FAMILY, family.number().into())
            .attr_be32(ADDRESS, FIRST_WORD + at)
            .attr_be32(PORT, FIRST_WORD + at + family.words())
    })
}

/// Ports are drawn at random: counting up, two connections that begin at once on two cores (a
/// resolver's A and AAAA) get the same one, and the second is dropped.
pub(super) fn masquerade(list: Expressions) -> Expressions {
    const FLAGS: u16 = 1;
    const RANDOM_FULLY: u32 = 1 << 4;
    expression(list, "masq", |data| data.attr_be32(FLAGS, RANDOM_FULLY))
}

/// Leaves the chain.
pub(super) fn leave(list: Expressions) -> Expressions {
    verdict(list, RETURN)
}

/// Drops the packet.
pub(super) fn drop_packet(list: Expressions) -> Expressions {
    verdict(list, NF_DROP)
}

fn verdict(list: Expressions, code: u32) -> Expressions {
    const DREG: u16 = 1;
    const DATA: u16 = 2;
    const VERDICT_CODE: u16 = 1;
    expression(list, "immediate", |data| {
        data.attr_be32(DREG, REGISTER_VERDICT).nest(DATA, |inner| {
            inner.nest(DATA_VERDICT, |verdict| {
                verdict.attr_be32(VERDICT_CODE, code)
            })
        })
    })
}

const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;

fn meta(list: Expressions, key: u32, register: u32) -> Expressions {
    const DREG: u16 = 1;
    const KEY: u16 = 2;
    expression(list, "meta", |data| {
        data.attr_be32(DREG, register).attr_be32(KEY, key)
    })
}

const NETWORK_HEADER: u32 = 1;

fn payload(list: Expressions, base: u32, offset: u32, len: u32, register: u32) -> Expressions {
    const DREG: u16 = 1;
    const BASE: u16 = 2;
    const OFFSET: u16 = 3;
    const LEN: u16 = 4;
    expression(list, "payload", |data| {
        data.attr_be32(DREG, register)
            .attr_be32(BASE, base)
            .attr_be32(OFFSET, offset)
            .attr_be32(LEN, len)
    })
}

fn bitwise_and(list: Expressions, mask: &[u8]) -> Expressions {
    const SREG: u16 = 1;
    const DREG: u16 = 2;
    const LEN: u16 = 3;
    const MASK: u16 = 4;
    const XOR: u16 = 5;
    let zero = vec![0; mask.len()];
    let len = u32::try_from(mask.len()).unwrap_or(u32::MAX);
    expression(list, "bitwise", |data| {
        data.attr_be32(SREG, REGISTER)
            .attr_be32(DREG, REGISTER)
            .attr_be32(LEN, len)
            .nest(MASK, |value| value.attr(DATA_VALUE, mask))
            .nest(XOR, |value| value.attr(DATA_VALUE, &zero))
    })
}

const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

fn compare(list: Expressions, how: u32, value: &[u8]) -> Expressions {
    const SREG: u16 = 1;
    const OPERATION: u16 = 2;
    const DATA: u16 = 3;
    expression(list, "cmp", |data| {
        data.attr_be32(SREG, REGISTER)
            .attr_be32(OPERATION, how)
            .nest(DATA, |inner| inner.attr(DATA_VALUE, value))
    })
}

/// The first `bits` bits of `len` bytes set.
fn mask(bits: u8, len: usize) -> Vec<u8> {
    let all = u128::MAX
        .checked_shl(128 - u32::from(bits.min(128)))
        .unwrap_or(0);
    all.to_be_bytes().into_iter().take(len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_their_bits_in_front() {
        assert_eq!(mask(0, 4), [0; 4]);
        assert_eq!(mask(20, 4), [0xff, 0xff, 0xf0, 0]);
        assert_eq!(mask(32, 4), [0xff; 4]);
        assert_eq!(mask(128, 16), [0xff; 16]);
        assert_eq!(mask(1, 16)[0], 0x80);
    }
}
