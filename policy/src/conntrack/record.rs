//! What is written of a flow for the process that comes after this one?
//!
//! Owns the bytes: a header of 16 and one record of [`LENGTH`] per flow, all numbers little
//! endian. Any bytes can be read; what does not describe a flow is no record. Knows nothing
//! of the table, of which only what means the same in another process is written: no
//! verdicts, owners, queues, or points in time.
//!
//! ```text
//! header   magic 8 | version 2 | record length 2 | records 4
//! record   source 16 | destination 16 | ports 2+2 | protocol 1 | flags 1 | state 1 | known 1
//!          sequence numbers 8+8 | silent for (ns) 8 | packets 8+8 | bytes 8+8
//! ```

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_wire::{FlowKey, IpProtocol};

use super::config::FlowState;
use super::packet::{Kind, embedded_kind};
use crate::Span;

const MAGIC: [u8; 8] = *b"weftflow";
/// To be raised with every change of the record.
const VERSION: u16 = 1;
/// Bytes of the header.
pub(super) const HEADER: usize = 16;
/// Bytes of one record.
pub(super) const LENGTH: usize = 96;

const IS_IPV6: u8 = 1;
const INITIATOR_HERE: u8 = 1 << 1;
const RESPONDER_HERE: u8 = 1 << 2;
const FLAGS: u8 = IS_IPV6 | INITIATOR_HERE | RESPONDER_HERE;
/// The bits of what is known of sequence numbers.
const KNOWN: u8 = 0b1111;

/// Why no connection at all could be taken from some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// They do not begin as saved connections do.
    #[error("these are no saved connections")]
    NotConnections,
    /// Another version of this program saved them.
    #[error("connections saved in format {found}, this program reads format {known} only")]
    Version {
        /// The format they are in.
        found: u16,
        /// The format read here.
        known: u16,
    },
}

/// One flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// As its initiator writes it.
    pub(super) original: FlowKey,
    /// Whether the initiator and the responder are at this node: their verdicts are here.
    pub(super) here: [bool; 2],
    pub(super) flow: FlowState,
    pub(super) known: u8,
    pub(super) window: [u64; 2],
    /// Since its last packet.
    pub(super) silent: Span,
    pub(super) packets: [u64; 2],
    pub(super) bytes: [u64; 2],
}

impl Record {
    /// Appends the record.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let [initiator, responder] = self.here;
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(self.original.src.is_ipv6(), IS_IPV6)
            | flag(initiator, INITIATOR_HERE)
            | flag(responder, RESPONDER_HERE);
        for address in [self.original.src, self.original.dst] {
            out.extend(address_bits(address).to_le_bytes());
        }
        for port in [self.original.src_port, self.original.dst_port] {
            out.extend(port.to_le_bytes());
        }
        let state = self.flow.to_bits();
        out.extend([self.original.protocol.0, flags, state, self.known]);
        let [sent, received] = self.window;
        let words = [sent, received, self.silent.as_nanos()].into_iter();
        for word in words.chain(self.packets).chain(self.bytes) {
            out.extend(word.to_le_bytes());
        }
    }

    /// The flow that these bytes describe, if they do.
    pub(super) fn read(bytes: &[u8; LENGTH]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let ends = [reader.take()?, reader.take()?].map(u128::from_le_bytes);
        let [src_port, dst_port] = [reader.take()?, reader.take()?].map(u16::from_le_bytes);
        let [protocol, flags, state, known] = reader.take()?;
        let flow = FlowState::from_bits(state);
        if flow.to_bits() != state || flags & !FLAGS != 0 || known & !KNOWN != 0 {
            return None;
        }
        let [src, dst] = ends.map(|bits| address(bits, flags & IS_IPV6 != 0));
        let original = FlowKey {
            src: src?,
            dst: dst?,
            protocol: IpProtocol(protocol),
            src_port,
            dst_port,
        };
        Some(Self {
            original,
            here: [INITIATOR_HERE, RESPONDER_HERE].map(|flag| flags & flag != 0),
            flow,
            known,
            window: reader.words()?,
            silent: Span::from_nanos(reader.word()?),
            packets: reader.words()?,
            bytes: reader.words()?,
        })
    }

    /// How the flow's packets take part in tracking; `None` if its state is not one that
    /// its protocol has.
    pub(super) const fn kind(&self) -> Option<Kind> {
        match (embedded_kind(&self.original), self.flow) {
            (Some(kind @ Kind::Tcp(_)), FlowState::Tcp(_))
            | (Some(kind @ Kind::Udp), FlowState::Udp(_))
            | (Some(kind @ Kind::Sctp), FlowState::Sctp { .. })
            | (Some(kind @ Kind::EchoRequest), FlowState::Echo { .. }) => Some(kind),
            _ => None,
        }
    }
}

/// Begins `out`, which so many records will follow.
pub(super) fn write_header(records: u32, out: &mut Vec<u8>) {
    #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
    let length = LENGTH as u16;
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(records.to_le_bytes());
}

/// How many records there should be, and the bytes behind the header.
pub(super) fn open(bytes: &[u8]) -> Result<(usize, &[u8]), ImportError> {
    let mut reader = Reader(bytes);
    let not = ImportError::NotConnections;
    if reader.take().ok_or(not)? != MAGIC {
        return Err(not);
    }
    let mut half = || Ok(u16::from_le_bytes(reader.take().ok_or(not)?));
    let (found, length) = (half()?, half()?);
    if found != VERSION {
        let known = VERSION;
        return Err(ImportError::Version { found, known });
    }
    let count = u32::from_le_bytes(reader.take().ok_or(not)?);
    if usize::from(length) != LENGTH {
        return Err(not);
    }
    Ok((usize::try_from(count).unwrap_or(usize::MAX), reader.0))
}

/// Bytes not read yet.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn word(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn words(&mut self) -> Option<[u64; 2]> {
        Some([self.word()?, self.word()?])
    }
}

const fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits() as u128,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn address(bits: u128, is_v6: bool) -> Option<IpAddr> {
    if is_v6 {
        return Some(Ipv6Addr::from_bits(bits).into());
    }
    let bits = u32::try_from(bits).ok()?;
    Some(Ipv4Addr::from_bits(bits).into())
}
