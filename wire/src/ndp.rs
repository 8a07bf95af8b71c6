//! Who has this IPv6 address? Neighbour solicitation and advertisement (RFC 4861 §4.3, §4.4).
//!
//! Owns the validity rules of §7.1: hop limit 255, code 0, right checksum, no fragment
//! header (RFC 6980 §5), no option of length 0. Never decides whom to believe.

use core::net::{IpAddr, Ipv6Addr};

use crate::{
    Fragment, Headers, IpProtocol, Mac, Transport,
    bytes::{ipv6_at, put, put_u16},
    checksum::{self, Sum},
    extension, icmp, ipv6,
};

/// Bytes of a message without options: ICMPv6 header and target address.
pub const LEN: usize = 24;
/// Bytes of a link-layer address option for Ethernet (RFC 4861 §4.6.1, RFC 2464 §6).
pub const LLADDR_OPTION_LEN: usize = 8;

const TARGET: usize = 8;
const SOURCE_LLADDR: u8 = 1;
const TARGET_LLADDR: u8 = 2;
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// A valid neighbour solicitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborSolicit {
    /// The address asked for; never multicast.
    pub target: Ipv6Addr,
    /// The asking station, absent in duplicate address detection.
    pub source_lladdr: Option<Mac>,
}

impl NeighborSolicit {
    /// Reads a solicitation from a parsed frame; `None` when it is none, or not a valid
    /// one by RFC 4861 §7.1.1.
    #[must_use]
    pub fn parse(frame: &[u8], headers: &Headers) -> Option<Self> {
        let message = valid_message(frame, headers, icmp::V6_NEIGHBOR_SOLICIT)?;
        let source_lladdr = lladdr(message.options, SOURCE_LLADDR)?;
        if headers.flow.src.is_unspecified()
            && (source_lladdr.is_some() || headers.flow.dst != solicited_node(message.target))
        {
            return None;
        }
        Some(Self {
            target: message.target,
            source_lladdr,
        })
    }
}

/// A valid neighbour advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborAdvert {
    /// The address claimed; never multicast.
    pub target: Ipv6Addr,
    /// The station that has it.
    pub target_lladdr: Option<Mac>,
    /// The sender is a router.
    pub router: bool,
    /// This answers a solicitation.
    pub solicited: bool,
    /// Receivers replace what they had cached.
    pub override_cached: bool,
}

impl NeighborAdvert {
    /// The most bytes [`NeighborAdvert::emit`] writes.
    pub const MAX_LEN: usize = LEN + LLADDR_OPTION_LEN;

    /// Reads an advertisement from a parsed frame; `None` when it is none, or not a valid
    /// one by RFC 4861 §7.1.2.
    #[must_use]
    pub fn parse(frame: &[u8], headers: &Headers) -> Option<Self> {
        let message = valid_message(frame, headers, icmp::V6_NEIGHBOR_ADVERT)?;
        let solicited = message.flags & SOLICITED != 0;
        if solicited && headers.flow.dst.is_multicast() {
            return None;
        }
        Some(Self {
            target: message.target,
            target_lladdr: lladdr(message.options, TARGET_LLADDR)?,
            router: message.flags & ROUTER != 0,
            solicited,
            override_cached: message.flags & OVERRIDE != 0,
        })
    }

    /// Bytes of the ICMPv6 message.
    #[inline]
    #[must_use]
    pub const fn message_len(&self) -> usize {
        if self.target_lladdr.is_some() {
            Self::MAX_LEN
        } else {
            LEN
        }
    }

    /// Writes the ICMPv6 message with its checksum for the given addresses at the start of
    /// `out`; returns its length, or `None`, and nothing written, when `out` is too short.
    pub fn emit(&self, src: Ipv6Addr, dst: Ipv6Addr, out: &mut [u8]) -> Option<usize> {
        let message = out.get_mut(..self.message_len())?;
        let flags = [
            (self.router, ROUTER),
            (self.solicited, SOLICITED),
            (self.override_cached, OVERRIDE),
        ]
        .iter()
        .fold(
            0,
            |flags, &(set, bit)| if set { flags | bit } else { flags },
        );
        put(
            message,
            0,
            &icmp::header(icmp::V6_NEIGHBOR_ADVERT, 0, [flags, 0, 0, 0]),
        );
        put(message, TARGET, &self.target.octets());
        if let Some(mac) = self.target_lladdr {
            put(message, LEN, &[TARGET_LLADDR, 1]);
            put(message, LEN + 2, &mac.octets());
        }
        let len = message.len();
        let mut sum = Sum::new();
        sum.add_pseudo_ipv6(
            src,
            dst,
            IpProtocol::ICMPV6,
            if len == LEN { 24 } else { 32 },
        );
        sum.add_bytes(message);
        put_u16(message, icmp::CHECKSUM, sum.finish());
        Some(len)
    }
}

/// The multicast group in which the owner of `target` listens for solicitations
/// (RFC 4291 §2.7.1).
#[must_use]
pub const fn solicited_node(target: Ipv6Addr) -> IpAddr {
    let [.., a, b, c] = target.octets();
    IpAddr::V6(Ipv6Addr::from_octets([
        0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c,
    ]))
}

struct Message<'a> {
    flags: u8,
    target: Ipv6Addr,
    options: &'a [u8],
}

/// The checks RFC 4861 §7.1.1 and §7.1.2 share.
fn valid_message<'a>(frame: &'a [u8], headers: &Headers, expected: u8) -> Option<Message<'a>> {
    let Transport::Icmpv6 { kind, code: 0 } = headers.transport else {
        return None;
    };
    let whole = matches!(headers.fragment, Fragment::Whole) && !has_fragment_header(frame, headers);
    if kind != expected || headers.hop_limit != 255 || !whole {
        return None;
    }
    let message: &[u8] = frame.get(headers.l4..headers.end)?;
    let fixed: &[u8; LEN] = message.first_chunk()?;
    let target = ipv6_at(fixed, TARGET);
    if target.is_multicast() || !checksum::verify_transport(frame, headers) {
        return None;
    }
    Some(Message {
        flags: fixed[4],
        target,
        options: message.get(LEN..)?,
    })
}

/// Whether even an atomic fragment header is in the chain, which RFC 6980 §5 forbids.
fn has_fragment_header(frame: &[u8], headers: &Headers) -> bool {
    let ip = frame.get(headers.l3..headers.l4).unwrap_or_default();
    ip.get(ipv6::HEADER_LEN..).is_some_and(|chain| {
        ip.get(6)
            .is_some_and(|&first| extension::contains_fragment(chain, IpProtocol(first)))
    })
}

/// The link-layer address of the option of this kind. The outer `None`: an option of
/// length 0, a cut option, or an address that is not Ethernet's.
fn lladdr(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        let len = usize::from(units) * 8;
        if len == 0 {
            return None;
        }
        let option = options.get(..len)?;
        if kind == wanted {
            let &[_, _, a, b, c, d, e, f] = option else {
                return None;
            };
            found = Some(Mac::new([a, b, c, d, e, f]));
        }
        options = options.get(len..)?;
    }
    options.is_empty().then_some(found)
}
