//! How is a record laid out in the file, and which bytes of a file are records?
//!
//! The file begins with a line of text, [`HEADER`]. Then each record is
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the JSON, little-endian |
//! | 4 | CRC-32 of all that follows, little-endian |
//! | 8 | how much of the file was durable when this was written, little-endian |
//! | … | JSON |
//!
//! A file that is written as a whole begins with a record of `null`, which says nothing but how
//! much was durable: without it a file of one record could be damaged and nobody would know.
//!
//! A power cut may lose any part of what was not yet durable, in any order: a record that was
//! never finished can have whole ones behind it. Damage to what was durable is another matter,
//! and the third field tells them apart: it is damage if a later record says so.

use crate::ipam::Record;

/// First line of the file.
pub const HEADER: &[u8] = b"weft attachments, version 1\n";

/// What the header of every version begins with.
const FAMILY: &[u8] = b"weft attachments, version ";

/// The longest JSON of one record, in bytes: more than any call to the daemon can bring about.
pub const MAX_RECORD: usize = 1 << 21;

/// Bytes of a record before its JSON.
const PREFIX: usize = 16;

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The records, in order.
    pub records: Vec<Record>,
    /// How much of the file they and the header are; what follows was never finished.
    pub length: u64,
}

/// Why bytes are not a journal, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The header is missing.
    #[error("not a journal")]
    NotAJournal,
    /// The header names another version.
    #[error("a journal of another version")]
    OtherVersion,
    /// The record at `offset` was durable and is not whole.
    #[error("damaged at byte {offset}")]
    Damaged {
        /// Where it begins.
        offset: u64,
    },
    /// The record at `offset` is whole and none of this version.
    #[error("unknown record at byte {offset}: {source}")]
    Unknown {
        /// Where it begins.
        offset: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Lays out a record of a file of which the first `durable` bytes survive a power cut; `None` if
/// it is longer than [`MAX_RECORD`].
#[must_use]
pub fn encode(record: &Record, durable: u64) -> Option<Vec<u8>> {
    lay_out(Some(record), durable)
}

fn lay_out(record: Option<&Record>, durable: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; PREFIX];
    serde_json::to_writer(&mut bytes, &record).ok()?;
    let length = bytes.len().checked_sub(PREFIX)?;
    if length > MAX_RECORD {
        return None;
    }
    let length = u32::try_from(length).ok()?;
    bytes
        .get_mut(8..PREFIX)?
        .copy_from_slice(&durable.to_le_bytes());
    let sum = crc32fast::hash(bytes.get(8..)?);
    bytes.get_mut(..4)?.copy_from_slice(&length.to_le_bytes());
    bytes.get_mut(4..8)?.copy_from_slice(&sum.to_le_bytes());
    Some(bytes)
}

/// Lays out a whole file, which is durable before anybody reads it; `None` if a record is longer
/// than [`MAX_RECORD`].
#[must_use]
pub fn encode_file(records: &[Record]) -> Option<Vec<u8>> {
    let mut bytes = HEADER.to_vec();
    let mut frames = Vec::with_capacity(records.len() + 1);
    for record in std::iter::once(None).chain(records.iter().map(Some)) {
        frames.push(lay_out(record, 0)?);
    }
    let total = HEADER.len() + frames.iter().map(Vec::len).sum::<usize>();
    for mut frame in frames {
        frame
            .get_mut(8..PREFIX)?
            .copy_from_slice(&(total as u64).to_le_bytes());
        let sum = crc32fast::hash(frame.get(8..)?);
        frame.get_mut(4..8)?.copy_from_slice(&sum.to_le_bytes());
        bytes.append(&mut frame);
    }
    Some(bytes)
}

/// Reads a file.
///
/// # Errors
/// If the bytes are no journal of this version, or what was durable is damaged.
pub fn read(bytes: &[u8]) -> Result<Read, ReadError> {
    if !bytes.starts_with(HEADER) {
        return Err(if bytes.starts_with(FAMILY) {
            ReadError::OtherVersion
        } else {
            ReadError::NotAJournal
        });
    }
    let mut records = Vec::new();
    let mut offset = HEADER.len();
    let mut durable = 0;
    while let Some(frame) = Frame::at(bytes, offset) {
        let record: Option<Record> =
            serde_json::from_slice(frame.json).map_err(|source| ReadError::Unknown {
                offset: offset as u64,
                source,
            })?;
        records.extend(record);
        durable = durable.max(frame.durable);
        offset = frame.end;
    }
    let length = offset as u64;
    // Records behind the first bad one only bear witness.
    let mut rest = offset + 1;
    while rest < bytes.len() && durable <= length {
        match Frame::at(bytes, rest) {
            Some(frame) => {
                durable = durable.max(frame.durable);
                rest = frame.end;
            }
            None => rest += 1,
        }
    }
    if durable > length {
        return Err(ReadError::Damaged { offset: length });
    }
    Ok(Read { records, length })
}

/// A record that is whole.
struct Frame<'a> {
    durable: u64,
    json: &'a [u8],
    end: usize,
}

impl<'a> Frame<'a> {
    fn at(bytes: &'a [u8], offset: usize) -> Option<Self> {
        let (prefix, rest) = bytes.get(offset..)?.split_first_chunk::<PREFIX>()?;
        let &[l0, l1, l2, l3, s0, s1, s2, s3, ref durable @ ..] = prefix;
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?;
        if length == 0 || length > MAX_RECORD {
            return None;
        }
        let json = rest.get(..length)?;
        let end = offset + PREFIX + length;
        let sum = crc32fast::hash(bytes.get(offset + 8..end)?);
        (sum == u32::from_le_bytes([s0, s1, s2, s3])).then(|| Self {
            durable: u64::from_le_bytes(*durable),
            json,
            end,
        })
    }
}
