//! Does this packet continue the transfer that this frame holds? One group of segments.
//!
//! Owns the rules for joining (those of Linux's GRO) and what the headers of a super-frame say
//! when its group closes. A group of one packet is that packet, unchanged.
#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a group's header lies inside its frame and an IP packet's length has 16 bits; a \
              packet is indexed after its header was compared with the group's"
)]

use weft_wire::checksum::{Sum, fold};
use weft_wire::{Frame, IpProtocol, Pool, VnetHeader, vnet};

use super::Outer;
use super::plain::{Kind, L3, addresses, same};
use crate::VXLAN_HEADER;
use crate::layout::{Transport, ipv4, ipv6, put_u16, sum, tcp, u16_at, u32_at, udp};

/// Most packets in one group: what every kernel that takes UDP segments accepts.
pub(super) const MOST: usize = 64;
/// Most bytes in one IP packet.
const LONGEST_IP: usize = 65_535;
/// IPv4's "do not fragment".
const DF: u16 = 0x4000;
/// The TCP flags a segment inside a group may have besides those of its ends.
const ACK: u8 = 0x10;
const NEVER: u8 = 0x02 | 0x04 | 0x20;

/// Segments of one flow, headers of the first in front of all payload.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) outer: Outer,
    frame: Frame,
    kind: Kind,
    /// Bytes before the payload, VXLAN's included.
    header_len: usize,
    /// Payload bytes of every segment but the last.
    size: usize,
    count: usize,
    next_seq: u32,
    /// FIN and PSH of the segments that joined.
    last_flags: u8,
    /// The sums that checksums are verified with, made when a second packet comes.
    sums: Option<Sums>,
}

/// One complement's sums of what all segments share.
#[derive(Clone, Copy, Debug)]
struct Sums {
    /// The pseudo-header without its length.
    pseudo: u32,
    /// The IPv4 header without length, identification and checksum.
    ip: u32,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// It is in the group, which may take more.
    More,
    /// It is in the group, which must be closed.
    Last,
    /// It is not: the group must be closed before the packet goes on.
    Not,
}

impl Group {
    /// A group of this one packet, which `frame` holds. Gives the frame back when nothing can
    /// ever join such a packet.
    #[inline]
    pub(super) fn begin(outer: Outer, kind: Kind, frame: Frame) -> Result<Self, Frame> {
        let Some((header_len, next_seq)) = first(kind, frame.as_slice()) else {
            return Err(frame);
        };
        let size = frame.len() - header_len;
        Ok(Self {
            outer,
            frame,
            kind,
            header_len,
            size,
            count: 1,
            next_seq,
            last_flags: 0,
            sums: None,
        })
    }

    /// Whether a packet other than plain ones, between the addresses at `range` of `payload`,
    /// could be of this flow.
    pub(super) fn is_between(&self, v4: bool, payload: &[u8]) -> bool {
        self.kind.v4 == v4 && self.frame.as_slice().get(addresses(v4)) == payload.get(addresses(v4))
    }

    /// Adds a packet if it continues the transfer.
    #[inline]
    pub(super) fn join(&mut self, outer: &Outer, payload: &[u8], pool: &mut Pool) -> Joined {
        let bytes = self.frame.as_slice();
        let len = payload.len().saturating_sub(self.header_len);
        // Most packets of other flows differ here.
        let ports = self.kind.l4()..self.kind.l4() + 4;
        if bytes.get(ports.clone()) != payload.get(ports)
            || len == 0
            || len > self.size
            || self.outer != *outer
            || !same(bytes, payload, self.kind.mask(), self.header_len)
            || !self.continues(payload)
            || !self.append(payload, pool)
        {
            return Joined::Not;
        }
        self.count += 1;
        if self.kind.transport == Transport::Tcp {
            self.next_seq = self.next_seq.wrapping_add(len as u32);
            self.last_flags = payload[self.kind.l4() + tcp::FLAGS] & tcp::LAST_ONLY;
        }
        if len < self.size || self.last_flags != 0 || self.count == MOST {
            Joined::Last
        } else {
            Joined::More
        }
    }

    /// Whether the fields that may differ are as the next segment's must be. The headers are
    /// otherwise those of the group.
    #[inline]
    fn continues(&self, payload: &[u8]) -> bool {
        let l4 = self.kind.l4();
        let whole = self.frame.len() + payload.len() - self.header_len - L3;
        let transport = match self.kind.transport {
            Transport::Udp => whole_udp(payload, l4),
            Transport::Tcp => {
                u32_at(payload, l4 + tcp::SEQUENCE) == self.next_seq
                    && payload[l4 + tcp::FLAGS] & tcp::FIRST_ONLY == 0
            }
        };
        transport
            && whole <= LONGEST_IP
            && whole_ip(payload, self.kind.v4)
            && (!self.kind.v4 || self.continues_ids(payload))
    }

    /// IPv4 identifications count up as Linux writes them, unless DF makes them meaningless
    /// (RFC 6864 §4.1).
    fn continues_ids(&self, payload: &[u8]) -> bool {
        let first = u16_at(self.frame.as_slice(), L3 + ipv4::ID);
        u16_at(payload, L3 + ipv4::FRAGMENT) & DF != 0
            || u16_at(payload, L3 + ipv4::ID) == first.wrapping_add(self.count as u16)
    }

    /// Adds the packet's payload if its checksums are right, and those of the group's first. The
    /// payload is read once: it is summed on its way into the frame, and taken back if it is wrong.
    #[inline]
    fn append(&mut self, packet: &[u8], pool: &mut Pool) -> bool {
        let Some(sums) = self.sums() else {
            return false;
        };
        if self.kind.v4 && !sums.verify_ip(packet) {
            return false;
        }
        let (header, payload) = packet.split_at(self.header_len);
        let (before, mut sum) = (self.frame.len(), Sum::new());
        let added = self.frame.append_summed(payload, &mut sum)
            || (self.grow(pool) && self.frame.append_summed(payload, &mut sum));
        let header = &header[self.kind.l4()..];
        let right = added && sums.verify_segment(header, payload.len(), sum.folded());
        if !right {
            self.frame.truncate(before);
        }
        right
    }

    /// The sums of what all packets share, if the first packet's own checksums are right.
    #[inline]
    fn sums(&mut self) -> Option<Sums> {
        if self.sums.is_none() {
            let bytes = self.frame.as_slice();
            let sums = Sums::of(bytes, self.kind);
            let (segment, ip) = (
                &bytes[self.kind.l4()..],
                !self.kind.v4 || sums.verify_ip(bytes),
            );
            self.sums = (ip && sums.verify_segment(segment, 0, 0)).then_some(sums);
        }
        self.sums
    }

    /// Moves the packets to a large frame; `false` if there is none to be had or they are there
    /// already.
    #[cold]
    fn grow(&mut self, pool: &mut Pool) -> bool {
        let Some(mut large) = pool.take_large() else {
            return false;
        };
        let grows =
            large.capacity() > self.frame.capacity() && large.copy_from(self.frame.as_slice());
        if grows {
            core::mem::swap(&mut self.frame, &mut large);
        }
        pool.put(large);
        grows
    }

    /// The frame, complete: one packet as it came, or a super-frame.
    #[inline]
    pub(super) fn close(mut self) -> (Outer, Frame) {
        if let (2.., Some(sums)) = (self.count, self.sums) {
            self.write_headers(sums);
        }
        (self.outer, self.frame)
    }

    /// Makes the first segment's headers those of the super-frame, its checksum partial.
    fn write_headers(&mut self, sums: Sums) {
        let l4 = self.kind.l4();
        let segment = self.frame.len() - l4;
        let total = self.frame.len() - L3;
        let bytes = self.frame.as_mut_slice();
        if self.kind.v4 {
            let id = u32::from(u16_at(bytes, L3 + ipv4::ID));
            put_u16(bytes, L3 + ipv4::TOTAL_LEN, total as u16);
            let checksum = !fold(sums.ip + total as u32 + id);
            put_u16(bytes, L3 + ipv4::CHECKSUM, checksum);
        } else {
            put_u16(bytes, L3 + ipv6::PAYLOAD_LEN, (total - ipv6::HEADER) as u16);
        }
        let gso_type = match self.kind.transport {
            Transport::Udp => {
                put_u16(bytes, l4 + udp::LEN, segment as u16);
                vnet::GSO_UDP_L4
            }
            Transport::Tcp => {
                bytes[l4 + tcp::FLAGS] |= self.last_flags;
                let ecn = bytes[l4 + tcp::FLAGS] & tcp::FIRST_ONLY != 0;
                let family = if self.kind.v4 {
                    vnet::GSO_TCPV4
                } else {
                    vnet::GSO_TCPV6
                };
                family | if ecn { vnet::GSO_ECN } else { 0 }
            }
        };
        let offset = self.kind.transport.checksum();
        put_u16(bytes, l4 + offset, fold(sums.pseudo + segment as u32));
        self.frame.vnet = VnetHeader {
            flags: vnet::FLAG_NEEDS_CHECKSUM,
            gso_type,
            hdr_len: (self.header_len - VXLAN_HEADER) as u16,
            gso_size: self.size as u16,
            csum_start: (l4 - VXLAN_HEADER) as u16,
            csum_offset: offset as u16,
        };
    }
}

impl Sums {
    /// Of a packet that can begin a group.
    fn of(bytes: &[u8], kind: Kind) -> Self {
        let protocol = match kind.transport {
            Transport::Tcp => IpProtocol::TCP,
            Transport::Udp => IpProtocol::UDP,
        };
        let ip = &bytes[L3..kind.l4()];
        Self {
            pseudo: sum(&bytes[addresses(kind.v4)]) + u32::from(protocol.0),
            ip: if kind.v4 {
                sum(&ip[..ipv4::TOTAL_LEN])
                    + sum(&ip[ipv4::FRAGMENT..ipv4::CHECKSUM])
                    + sum(&ip[ipv4::ADDRESSES..])
            } else {
                0
            },
        }
    }

    /// Whether the IPv4 header's checksum is right, in a packet with these headers.
    #[inline]
    fn verify_ip(self, bytes: &[u8]) -> bool {
        let ip = &bytes[L3..];
        let own = u32::from(u16_at(ip, ipv4::TOTAL_LEN))
            + u32::from(u16_at(ip, ipv4::ID))
            + u32::from(u16_at(ip, ipv4::CHECKSUM));
        fold(self.ip + own) == 0xffff
    }

    /// Whether the transport checksum is right: `segment` and `rest` more bytes whose sum is
    /// known. The first of them is at an even place.
    #[inline]
    fn verify_segment(self, segment: &[u8], rest: usize, sum_of_rest: u16) -> bool {
        let len = (segment.len() + rest) as u32;
        fold(self.pseudo + len + sum(segment) + u32::from(sum_of_rest)) == 0xffff
    }
}

/// Header length and next sequence number of a packet that others can join; `kind` was seen in
/// it, so the first eight bytes of its transport header are there.
#[inline]
fn first(kind: Kind, bytes: &[u8]) -> Option<(usize, u32)> {
    let l4 = kind.l4();
    let (header_len, seq) = match kind.transport {
        Transport::Udp => (l4 + udp::HEADER, 0),
        Transport::Tcp => {
            let header = bytes.get(l4..)?.first_chunk::<{ tcp::HEADER }>()?;
            let flags = header[tcp::FLAGS];
            let len = usize::from(header[tcp::DATA_OFFSET] >> 4) * 4;
            if len < tcp::HEADER || flags & (ACK | NEVER | tcp::LAST_ONLY) != ACK {
                return None;
            }
            (l4 + len, u32_at(header, tcp::SEQUENCE))
        }
    };
    let payload = bytes.len().checked_sub(header_len)?;
    let whole =
        whole_ip(bytes, kind.v4) && (kind.transport == Transport::Tcp || whole_udp(bytes, l4));
    (whole && payload > 0).then(|| (header_len, seq.wrapping_add(payload as u32)))
}

/// Whether the IP packet ends where the bytes end.
#[inline]
fn whole_ip(bytes: &[u8], v4: bool) -> bool {
    let own = if v4 {
        usize::from(u16_at(bytes, L3 + ipv4::TOTAL_LEN))
    } else {
        ipv6::HEADER + usize::from(u16_at(bytes, L3 + ipv6::PAYLOAD_LEN))
    };
    own == bytes.len() - L3
}

/// Whether the datagram ends where the bytes end, and has a checksum.
#[inline]
fn whole_udp(bytes: &[u8], l4: usize) -> bool {
    usize::from(u16_at(bytes, l4 + udp::LEN)) == bytes.len() - l4
        && u16_at(bytes, l4 + udp::CHECKSUM) != 0
}
