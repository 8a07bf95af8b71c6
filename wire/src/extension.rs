//! What stands between the IPv6 header and the transport? One bounded walk of the chain.
//!
//! Owns the order and the limits of extension headers (RFC 8200 §4.1): at most
//! [`MAX_HEADERS`] of them in at most [`MAX_BYTES`] bytes, hop-by-hop options first only,
//! one fragment header only. Never looks into options and never beyond a later fragment's
//! header, whose payload only looks like headers.

use crate::{Fragment, IpProtocol, Malformed, bytes::u16_at, bytes::u32_at};

/// The longest chain we pass; RFC 8883 §2.1 has ICMPv6 codes for hosts with such limits.
pub const MAX_HEADERS: usize = 8;
/// The most bytes of extension headers we pass.
pub const MAX_BYTES: usize = 256;

/// Bytes of a fragment header (RFC 8200 §4.5).
pub const FRAGMENT_LEN: usize = 8;

const UNIT: usize = 8;

/// Where the chain led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// What the first header behind the chain is.
    pub protocol: IpProtocol,
    /// Bytes of all extension headers.
    pub len: usize,
    /// What the fragment header said, if there was one.
    pub fragment: Fragment,
    /// Whether a routing header still has to steer the packet, or is of type 0, which
    /// nodes must not process at all (RFC 5095 §3).
    pub source_routed: bool,
}

/// Walks the chain that begins `payload`, of kind `first`.
///
/// # Errors
/// `HeaderChain` when the chain is cut by the end of `payload`, too long, or out of order;
/// `TinyFragment` when it is cut in a first fragment (RFC 7112 §5); `BadLength` when a
/// fragment with more to come is not a multiple of 8 bytes or ends beyond 65,535 bytes
/// (RFC 8200 §4.5).
#[inline]
pub fn walk(payload: &[u8], first: IpProtocol) -> Result<Chain, Malformed> {
    walk_from(payload, first, Reading::Whole)
}

/// [`walk`] over a packet that an ICMP error quotes and may have cut: a fragment's length
/// is not judged.
pub(crate) fn walk_quoted(payload: &[u8], first: IpProtocol) -> Result<Chain, Malformed> {
    walk_from(payload, first, Reading::Quoted)
}

#[derive(Clone, Copy)]
enum Reading {
    Whole,
    Quoted,
}

#[inline]
fn walk_from(payload: &[u8], first: IpProtocol, reading: Reading) -> Result<Chain, Malformed> {
    let chain = Chain {
        protocol: first,
        len: 0,
        fragment: Fragment::Whole,
        source_routed: false,
    };
    if first.is_extension() {
        walk_headers(payload, chain, reading)
    } else {
        Ok(chain)
    }
}

fn walk_headers(payload: &[u8], mut chain: Chain, reading: Reading) -> Result<Chain, Malformed> {
    let mut fragmented = false;
    for index in 0..=MAX_HEADERS {
        if !chain.protocol.is_extension() {
            return Ok(chain);
        }
        if index == MAX_HEADERS {
            break;
        }
        let cut = match chain.fragment {
            Fragment::First { .. } => Malformed::TinyFragment,
            Fragment::Whole | Fragment::Later { .. } => Malformed::HeaderChain,
        };
        let rest = payload.get(chain.len..).ok_or(cut)?;
        let header: &[u8; UNIT] = rest.first_chunk().ok_or(cut)?;
        let len = header_len(chain.protocol, header[1]);
        if len > rest.len() {
            return Err(cut);
        }
        if chain.len + len > MAX_BYTES {
            break;
        }
        match chain.protocol {
            IpProtocol::HOP_BY_HOP if index != 0 => return Err(Malformed::HeaderChain),
            IpProtocol::AH if len < 12 => return Err(Malformed::HeaderChain),
            IpProtocol::FRAGMENT if fragmented => return Err(Malformed::HeaderChain),
            IpProtocol::FRAGMENT => {
                fragmented = true;
                chain.fragment = fragment(
                    header,
                    match reading {
                        Reading::Whole => rest.len() - len,
                        Reading::Quoted => 0,
                    },
                )?;
            }
            IpProtocol::ROUTING => chain.source_routed |= header[2] == 0 || header[3] != 0,
            _ => {}
        }
        chain.protocol = IpProtocol(header[0]);
        chain.len += len;
        if matches!(chain.fragment, Fragment::Later { .. }) {
            return Ok(chain);
        }
    }
    Err(Malformed::HeaderChain)
}

/// Whether a chain that [`walk`] accepted has a fragment header, an atomic one included.
pub(crate) fn contains_fragment(chain: &[u8], first: IpProtocol) -> bool {
    let (mut kind, mut rest) = (first, chain);
    while let [next, len, ..] = *rest {
        if kind == IpProtocol::FRAGMENT {
            return true;
        }
        rest = rest.get(header_len(kind, len)..).unwrap_or_default();
        kind = IpProtocol(next);
    }
    false
}

/// Bytes of a header by the unit its kind counts in.
#[inline]
fn header_len(kind: IpProtocol, field: u8) -> usize {
    match kind {
        IpProtocol::FRAGMENT => FRAGMENT_LEN,
        IpProtocol::AH => (usize::from(field) + 2) * 4,
        _ => (usize::from(field) + 1) * UNIT,
    }
}

/// Reads a fragment header in front of `payload_len` bytes. Offset 0 without more to come
/// is an atomic fragment, a packet of its own (RFC 6946 §3).
#[inline]
fn fragment(header: &[u8; UNIT], payload_len: usize) -> Result<Fragment, Malformed> {
    let word = u16_at(header, 2);
    let (offset, more) = (word & !0b111, word & 1 != 0);
    Fragment::new(u32_at(header, 4), offset, more, payload_len)
}
