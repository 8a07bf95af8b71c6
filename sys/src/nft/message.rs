//! In which messages does nf_tables take and show a table?
//!
//! Owns the framing of a transaction, of tables, chains, rules, sets and their elements
//! (linux/netfilter/nf_tables.h). All numbers in attributes are big-endian. It never decides which
//! rules there are and never calls the kernel.

use super::expression::{DATA_VALUE, Expressions};
use crate::netlink::Message;

const NFPROTO_INET: u8 = 1;
const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const NEW_SET: u16 = SUBSYSTEM | 9;
const GET_SET: u16 = SUBSYSTEM | 10;
const NEW_SET_ELEMENT: u16 = SUBSYSTEM | 12;
const GET_SET_ELEMENT: u16 = SUBSYSTEM | 13;

/// Bytes of `struct nfgenmsg`.
pub(super) const FIXED: usize = 4;

const TABLE_NAME: u16 = 1;
/// `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE`, `NFTA_SET_TABLE`: the table an object is in.
pub(super) const OF_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
pub(super) const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LEN: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DATA_LEN: u16 = 7;
const SET_DESCRIPTION: u16 = 9;
const SET_ID: u16 = 10;
const DESCRIPTION_SIZE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
pub(super) const ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const LIST_ELEMENT: u16 = 1;

const NF_ACCEPT: u32 = 1;
/// `NFT_SET_MAP`.
const MAP: u32 = 8;

/// Elements of one message: its list is an attribute, of at most 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 256;

/// Where a chain is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// `nat` or `filter`.
    pub(super) kind: &'static str,
    /// `NF_INET_*`.
    pub(super) hook: u32,
    pub(super) priority: i32,
}

/// What a part of a key or value is, in the numbering by which nft(8) shows it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Ipv4,
    Ipv6,
    Protocol,
    Port,
}

impl Field {
    const fn number(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Protocol => 12,
            Self::Port => 13,
        }
    }

    /// Bytes in a register, where every field fills whole words.
    const fn len(self) -> u32 {
        match self {
            Self::Ipv6 => 16,
            _ => 4,
        }
    }
}

/// A set, or a map if there are fields of data.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) key: Vec<Field>,
    pub(super) data: Vec<Field>,
    /// Keys with their values; those of a set are empty.
    pub(super) elements: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A transaction: all of the messages, or none.
pub(super) fn transaction(messages: Vec<Message>) -> Vec<Message> {
    let mut all = vec![batch(BATCH_BEGIN)];
    all.extend(messages);
    // One answer says it all: a refusal is told in any case, and an acknowledgement of every
    // message would overflow the socket's buffer with a few hundred rules.
    if let Some(last) = all.pop() {
        all.push(last.acknowledged());
    }
    all.push(batch(BATCH_END));
    all
}

/// The frame of a transaction; the resource id, big-endian, names the subsystem.
fn batch(kind: u16) -> Message {
    let [high, low] = (SUBSYSTEM >> 8).to_be_bytes();
    Message::new(kind, libc::NLM_F_REQUEST).put(&[0, 0, high, low])
}

/// A message with `struct nfgenmsg`: family, version, resource id.
fn message(kind: u16, flags: libc::c_int) -> Message {
    Message::new(kind, libc::NLM_F_REQUEST | flags).put(&[NFPROTO_INET, 0, 0, 0])
}

pub(super) fn new_table(name: &str) -> Message {
    message(NEW_TABLE, libc::NLM_F_CREATE).attr_str(TABLE_NAME, name)
}

pub(super) fn delete_table(name: &str) -> Message {
    message(DELETE_TABLE, 0).attr_str(TABLE_NAME, name)
}

pub(super) fn new_chain(table: &str, chain: Chain) -> Message {
    message(NEW_CHAIN, libc::NLM_F_CREATE)
        .attr_str(OF_TABLE, table)
        .attr_str(CHAIN_NAME, chain.name)
        .nest(CHAIN_HOOK, |hook| {
            hook.attr_be32(HOOK_NUMBER, chain.hook)
                .attr(HOOK_PRIORITY, &chain.priority.to_be_bytes())
        })
        .attr_be32(CHAIN_POLICY, NF_ACCEPT)
        .attr_str(CHAIN_TYPE, chain.kind)
}

pub(super) fn new_rule(
    table: &str,
    chain: Chain,
    fill: impl FnOnce(Expressions) -> Expressions,
) -> Message {
    message(NEW_RULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND)
        .attr_str(OF_TABLE, table)
        .attr_str(RULE_CHAIN, chain.name)
        .nest(RULE_EXPRESSIONS, fill)
}

/// A set under number `id` of the transaction, and its elements.
pub(super) fn new_set(table: &str, id: u32, set: &Set) -> Vec<Message> {
    let size = u32::try_from(set.elements.len()).unwrap_or(u32::MAX);
    let flags = if set.data.is_empty() { 0 } else { MAP };
    let made = message(NEW_SET, libc::NLM_F_CREATE)
        .attr_str(OF_TABLE, table)
        .attr_str(SET_NAME, set.name)
        .attr_be32(SET_ID, id)
        .attr_be32(SET_FLAGS, flags)
        .attr_be32(SET_KEY_TYPE, number(&set.key))
        .attr_be32(SET_KEY_LEN, len(&set.key))
        .nest(SET_DESCRIPTION, |set| set.attr_be32(DESCRIPTION_SIZE, size));
    let made = match set.data.is_empty() {
        true => made,
        false => made
            .attr_be32(SET_DATA_TYPE, number(&set.data))
            .attr_be32(SET_DATA_LEN, len(&set.data)),
    };
    let mut messages = vec![made];
    let chunks = set.elements.chunks(ELEMENTS_PER_MESSAGE);
    messages.extend(chunks.map(|elements| new_elements(table, set.name, elements)));
    messages
}

fn new_elements(table: &str, set: &str, elements: &[(Vec<u8>, Vec<u8>)]) -> Message {
    message(NEW_SET_ELEMENT, libc::NLM_F_CREATE)
        .attr_str(OF_TABLE, table)
        .attr_str(ELEMENTS_SET, set)
        .nest(ELEMENTS, |list| {
            elements.iter().fold(list, |list, (key, data)| {
                list.nest(LIST_ELEMENT, |element| new_element(element, key, data))
            })
        })
}

fn new_element(element: Message, key: &[u8], data: &[u8]) -> Message {
    let element = element.nest(ELEMENT_KEY, |value| value.attr(DATA_VALUE, key));
    match data.is_empty() {
        true => element,
        false => element.nest(ELEMENT_DATA, |value| value.attr(DATA_VALUE, data)),
    }
}

/// The number of several fields in a row: six bits each.
fn number(fields: &[Field]) -> u32 {
    fields
        .iter()
        .fold(0, |number, field| number << 6 | field.number())
}

fn len(fields: &[Field]) -> u32 {
    fields.iter().map(|field| field.len()).sum()
}

/// Asks for one table.
pub(super) fn get_table(name: &str) -> Message {
    message(GET_TABLE, libc::NLM_F_ACK).attr_str(TABLE_NAME, name)
}

/// Asks for the chains of all tables of the family.
pub(super) fn get_chains() -> Message {
    message(GET_CHAIN, libc::NLM_F_DUMP)
}

/// Asks for the rules of a table.
pub(super) fn get_rules(table: &str) -> Message {
    message(GET_RULE, libc::NLM_F_DUMP).attr_str(OF_TABLE, table)
}

/// Asks for the sets of a table.
pub(super) fn get_sets(table: &str) -> Message {
    message(GET_SET, libc::NLM_F_DUMP).attr_str(OF_TABLE, table)
}

/// Asks for the elements of a set.
pub(super) fn get_elements(table: &str, set: &str) -> Message {
    message(GET_SET_ELEMENT, libc::NLM_F_DUMP)
        .attr_str(OF_TABLE, table)
        .attr_str(ELEMENTS_SET, set)
}
