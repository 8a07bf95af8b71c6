//! Does a packet fit the next hop, and if not, what then?
//!
//! IPv6 and IPv4 with DF go back with the MTU (RFC 8200 §5, RFC 1191). Other IPv4 is cut
//! into fragments (RFC 791 §3.2), fragments of fragments included, before encapsulation:
//! tunnel packets themselves are never fragmented (RFC 7348 §4.3). The frame becomes the
//! first fragment; the rest comes from the pool, and if that is short, nothing is sent.
//!
//! A super-frame fits if each packet it stands for does. TCP that may be fragmented is cut into
//! smaller segments instead; UDP of that kind goes back with the MTU like the others, because
//! its datagrams' sizes are the sender's.

use std::ops::Range;

use weft_wire::ethernet::HEADER_LEN as ETHERNET;
use weft_wire::ipv4::{HEADER_LEN as IPV4, Ipv4Packet};
use weft_wire::{Fragment, Frame, Gso, GsoKind, Headers, checksum};

use super::drop::DropReason;
use super::fate::Out;
use super::icmp::Tell;
use super::offload;
use super::refusal::Refusal;

/// The longest IPv4 header, options included.
const LONGEST_HEADER: usize = 60;
const TOTAL_LEN: Range<usize> = 2..4;
const CHECKSUM: Range<usize> = 10..12;

/// Leaves a packet of at most `mtu` bytes alone, cuts a larger one, or refuses it.
#[inline]
pub(super) fn fit(
    frame: &mut Frame,
    packet: &Headers,
    mtu: u16,
    out: &mut Out,
) -> Result<(), Refusal> {
    if packet.ip_len() <= usize::from(mtu) {
        return Ok(());
    }
    shrink(frame, packet, mtu, out)
}

#[inline(never)]
fn shrink(frame: &mut Frame, packet: &Headers, mtu: u16, out: &mut Out) -> Result<(), Refusal> {
    let gso = frame.vnet.gso();
    let longest = gso.map_or_else(|| packet.ip_len(), |gso| gso.packet_len());
    if longest <= usize::from(mtu) {
        return Ok(());
    }
    let too_big = Refusal::telling(DropReason::TooBig, Tell::TooBig { mtu });
    if packet.dont_fragment {
        return Err(too_big);
    }
    if let Some(gso) = gso {
        frame.vnet.gso_size = smaller(gso, mtu).ok_or(too_big)?;
        return Ok(());
    }
    offload::finish(frame)?;
    cut(frame, packet, mtu.into(), out).ok_or_else(|| {
        out.forget_pieces();
        DropReason::NoBuffer.into()
    })
}

/// The payload of a TCP segment that fits.
fn smaller(gso: Gso, mtu: u16) -> Option<u16> {
    if gso.kind == GsoKind::Udp {
        return None;
    }
    let headers = usize::from(gso.header_len).checked_sub(ETHERNET)?;
    let size = usize::from(mtu).checked_sub(headers)?;
    u16::try_from(size).ok().filter(|size| *size > 0)
}

/// Cuts an IPv4 packet. `None`: not enough buffers; the frame is as it was.
fn cut(frame: &mut Frame, packet: &Headers, mtu: usize, out: &mut Out) -> Option<()> {
    let first_header = packet.l4 - packet.l3;
    let chunk = mtu.checked_sub(first_header)? & !7;
    let (base, more) = match packet.fragment {
        Fragment::Later { offset, more, .. } => (usize::from(offset), more),
        Fragment::First { .. } => (0, true),
        Fragment::Whole => (0, false),
    };
    let bytes = frame.as_slice();
    let (header, len) = later_header(bytes.get(packet.l3..packet.l4)?)?;
    let header = header.get(..len)?;
    let payload = bytes.get(packet.l4..packet.end)?;
    let mut at = chunk;
    while chunk > 0 && at < payload.len() {
        let end = payload.len().min(at + chunk);
        let mut piece = out.pool.take()?;
        let written = write(
            &mut piece,
            [bytes.get(..ETHERNET)?, header, payload.get(at..end)?],
        )
        .and_then(|()| set_place(piece.as_mut_slice(), base + at, more || end < payload.len()));
        out.keep(piece);
        written?;
        at = end;
    }
    frame.truncate(packet.l4 + chunk);
    set_place(frame.as_mut_slice(), base, true)
}

/// The header of fragments beyond the first: only options with the copied flag
/// (RFC 791 §3.1), padded to a multiple of 4 bytes.
fn later_header(header: &[u8]) -> Option<([u8; LONGEST_HEADER], usize)> {
    let mut later = [0; LONGEST_HEADER];
    let (fixed, mut options) = header.split_at_checked(IPV4)?;
    later.get_mut(..IPV4)?.copy_from_slice(fixed);
    let mut len = IPV4;
    while let [kind, rest @ ..] = options {
        let size = match (kind, rest) {
            (END_OF_OPTIONS, _) => break,
            (NO_OPERATION, _) => 1,
            (_, [size, ..]) => usize::from(*size).max(2),
            (_, []) => break,
        };
        let (option, next) = options.split_at_checked(size)?;
        if kind & COPIED != 0 {
            later.get_mut(len..len + size)?.copy_from_slice(option);
            len += size;
        }
        options = next;
    }
    let len = len.next_multiple_of(4);
    *later.first_mut()? = 0x40 | u8::try_from(len / 4).ok()?;
    Some((later, len))
}

const END_OF_OPTIONS: &u8 = &0;
const NO_OPERATION: &u8 = &1;
const COPIED: u8 = 0x80;

fn write<const N: usize>(piece: &mut Frame, parts: [&[u8]; N]) -> Option<()> {
    piece.set_len(parts.iter().map(|part| part.len()).sum());
    let mut room = piece.as_mut_slice();
    for part in parts {
        let (here, rest) = room.split_at_mut_checked(part.len())?;
        here.copy_from_slice(part);
        room = rest;
    }
    Some(())
}

/// Writes length, place and checksum of a fragment that ends with its frame.
fn set_place(frame: &mut [u8], offset: usize, more: bool) -> Option<()> {
    let ip = frame.get_mut(ETHERNET..)?;
    let total_len = u16::try_from(ip.len()).ok()?;
    ip.get_mut(TOTAL_LEN)?
        .copy_from_slice(&total_len.to_be_bytes());
    let mut view = Ipv4Packet::new_checked(&mut *ip).ok()?;
    view.set_fragment(u16::try_from(offset).ok()?, more);
    let header_len = view.header_len();
    ip.get_mut(CHECKSUM)?.fill(0);
    let checksum = checksum::ipv4_header(ip.get(..header_len)?);
    ip.get_mut(CHECKSUM)?
        .copy_from_slice(&checksum.to_be_bytes());
    Some(())
}
