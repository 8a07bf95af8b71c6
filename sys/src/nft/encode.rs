//! What does a masquerade table look like to nf_tables?
//!
//! Owns the messages and expressions (linux/netfilter/nf_tables.h). All numbers in attributes are
//! big-endian, all addresses compared as they stand in the packet. It never calls the kernel.
//!
//! A rule is a list of expressions, each a condition or an action, run in order:
//! `meta nfproto == family`, `address & mask == base`, `oifname == name`, then `return` or
//! `masquerade`. Exclusions are rules of their own in front, ending in `return`.

use super::{MasqueradeTable, Prefix};
use crate::netlink::{Message, family, octets};

const NFPROTO_INET: u8 = 1;
const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;

const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;

const NF_INET_POST_ROUTING: u32 = 4;
/// `NF_IP_PRI_NAT_SRC`: after everything that filters.
const SOURCE_NAT_PRIORITY: u32 = 100;
const NF_ACCEPT: u32 = 1;
/// `NFT_RETURN`, -5.
const RETURN: u32 = u32::MAX - 4;

const REGISTER_VERDICT: u32 = 0;
/// A register of 16 bytes, enough for an IPv6 address and for an interface name.
const REGISTER: u32 = 1;

const CHAIN: &str = "postrouting";

/// A chain of expressions under construction.
type Expressions = Message;

pub(super) fn install(table: &MasqueradeTable) -> Vec<Message> {
    let name = &table.name;
    let mut messages = vec![
        batch(BATCH_BEGIN),
        // Deleting a table that is not there would fail the batch, so it is made first.
        new_table(name),
        delete_table(name),
        new_table(name),
        new_chain(name),
    ];
    for destination in &table.exclude_destinations {
        messages.push(rule(name, |list| {
            ret(prefix(list, Side::Destination, *destination))
        }));
    }
    for interface in &table.exclude_interfaces {
        messages.push(rule(name, |list| ret(leaves_by(list, interface))));
    }
    for source in &table.sources {
        messages.push(rule(name, |list| {
            masquerade(prefix(list, Side::Source, *source))
        }));
    }
    messages.push(batch(BATCH_END));
    messages
}

pub(super) fn delete(name: &str) -> Vec<Message> {
    vec![batch(BATCH_BEGIN), delete_table(name), batch(BATCH_END)]
}

pub(super) fn look_up(name: &str) -> Message {
    message(GET_TABLE, libc::NLM_F_ACK).attr_str(TABLE_NAME, name)
}

/// A message with `struct nfgenmsg`: family, version, resource id.
fn message(kind: u16, flags: libc::c_int) -> Message {
    Message::new(kind, libc::NLM_F_REQUEST | flags).put(&[NFPROTO_INET, 0, 0, 0])
}

/// The frame of a transaction; the resource id, big-endian, names the subsystem.
fn batch(kind: u16) -> Message {
    let [high, low] = (SUBSYSTEM >> 8).to_be_bytes();
    Message::new(kind, libc::NLM_F_REQUEST).put(&[0, 0, high, low])
}

fn new_table(name: &str) -> Message {
    message(NEW_TABLE, libc::NLM_F_ACK | libc::NLM_F_CREATE).attr_str(TABLE_NAME, name)
}

fn delete_table(name: &str) -> Message {
    message(DELETE_TABLE, libc::NLM_F_ACK).attr_str(TABLE_NAME, name)
}

fn new_chain(table: &str) -> Message {
    message(NEW_CHAIN, libc::NLM_F_ACK | libc::NLM_F_CREATE)
        .attr_str(CHAIN_TABLE, table)
        .attr_str(CHAIN_NAME, CHAIN)
        .nest(CHAIN_HOOK, |hook| {
            hook.attr_be32(HOOK_NUMBER, NF_INET_POST_ROUTING)
                .attr_be32(HOOK_PRIORITY, SOURCE_NAT_PRIORITY)
        })
        .attr_be32(CHAIN_POLICY, NF_ACCEPT)
        .attr_str(CHAIN_TYPE, "nat")
}

fn rule(table: &str, fill: impl FnOnce(Expressions) -> Expressions) -> Message {
    message(
        NEW_RULE,
        libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_APPEND,
    )
    .attr_str(RULE_TABLE, table)
    .attr_str(RULE_CHAIN, CHAIN)
    .nest(RULE_EXPRESSIONS, fill)
}

fn expression(list: Expressions, name: &str, data: impl FnOnce(Message) -> Message) -> Expressions {
    list.nest(LIST_ELEMENT, |element| {
        element
            .attr_str(EXPRESSION_NAME, name)
            .nest(EXPRESSION_DATA, data)
    })
}

/// Which address of a packet.
#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

/// `meta nfproto` of the prefix's family, then its address of the packet is inside the prefix.
fn prefix(list: Expressions, side: Side, (base, bits): Prefix) -> Expressions {
    let list = compare(meta(list, META_NFPROTO), &[family(base)]);
    let base = octets(base);
    let offset = match (side, base.len()) {
        (Side::Source, 4) => 12,
        (Side::Destination, 4) => 16,
        (Side::Source, _) => 8,
        (Side::Destination, _) => 24,
    };
    let len = u32::try_from(base.len()).unwrap_or(16);
    let mask = mask(bits, base.len());
    let masked: Vec<u8> = base
        .iter()
        .zip(&mask)
        .map(|(byte, mask)| byte & mask)
        .collect();
    let list = network_header(list, offset, len);
    compare(bitwise_and(list, len, &mask), &masked)
}

/// `oifname` is `interface`.
fn leaves_by(list: Expressions, interface: &str) -> Expressions {
    let mut name = interface.as_bytes().to_vec();
    name.resize(libc::IFNAMSIZ, 0);
    compare(meta(list, META_OIFNAME), &name)
}

const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;

fn meta(list: Expressions, key: u32) -> Expressions {
    const DREG: u16 = 1;
    const KEY: u16 = 2;
    expression(list, "meta", |data| {
        data.attr_be32(DREG, REGISTER).attr_be32(KEY, key)
    })
}

fn network_header(list: Expressions, offset: u32, len: u32) -> Expressions {
    const DREG: u16 = 1;
    const BASE: u16 = 2;
    const OFFSET: u16 = 3;
    const LEN: u16 = 4;
    const NETWORK_HEADER: u32 = 1;
    expression(list, "payload", |data| {
        data.attr_be32(DREG, REGISTER)
            .attr_be32(BASE, NETWORK_HEADER)
            .attr_be32(OFFSET, offset)
            .attr_be32(LEN, len)
    })
}

fn bitwise_and(list: Expressions, len: u32, mask: &[u8]) -> Expressions {
    const SREG: u16 = 1;
    const DREG: u16 = 2;
    const LEN: u16 = 3;
    const MASK: u16 = 4;
    const XOR: u16 = 5;
    let zero = vec![0; mask.len()];
    expression(list, "bitwise", |data| {
        data.attr_be32(SREG, REGISTER)
            .attr_be32(DREG, REGISTER)
            .attr_be32(LEN, len)
            .nest(MASK, |value| value.attr(DATA_VALUE, mask))
            .nest(XOR, |value| value.attr(DATA_VALUE, &zero))
    })
}

const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

fn compare(list: Expressions, value: &[u8]) -> Expressions {
    const SREG: u16 = 1;
    const OPERATION: u16 = 2;
    const DATA: u16 = 3;
    const EQUAL: u32 = 0;
    expression(list, "cmp", |data| {
        data.attr_be32(SREG, REGISTER)
            .attr_be32(OPERATION, EQUAL)
            .nest(DATA, |inner| inner.attr(DATA_VALUE, value))
    })
}

fn ret(list: Expressions) -> Expressions {
    const DREG: u16 = 1;
    const DATA: u16 = 2;
    const VERDICT_CODE: u16 = 1;
    expression(list, "immediate", |data| {
        data.attr_be32(DREG, REGISTER_VERDICT).nest(DATA, |inner| {
            inner.nest(DATA_VERDICT, |verdict| {
                verdict.attr_be32(VERDICT_CODE, RETURN)
            })
        })
    })
}

/// Ports are drawn at random: counting up, two connections that begin at once on two cores (a
/// resolver's A and AAAA) get the same one, and the second is dropped.
fn masquerade(list: Expressions) -> Expressions {
    const FLAGS: u16 = 1;
    const RANDOM_FULLY: u32 = 1 << 4;
    expression(list, "masq", |data| data.attr_be32(FLAGS, RANDOM_FULLY))
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

    #[test]
    fn every_prefix_and_interface_has_its_rule() {
        let table = MasqueradeTable {
            name: "weft".to_owned(),
            sources: vec![
                ("10.0.1.0".parse().unwrap(), 24),
                ("fd00:1::".parse().unwrap(), 64),
            ],
            exclude_destinations: vec![("10.0.0.0".parse().unwrap(), 16)],
            exclude_interfaces: vec!["weft0".to_owned()],
        };
        assert_eq!(
            install(&table).len(),
            6 + 4,
            "batch, tables, chain and four rules"
        );
    }
}
