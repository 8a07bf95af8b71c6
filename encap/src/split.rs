//! What are the packets that one super-frame stands for?
//!
//! Owns segmentation in software for a frame whose virtio-net header is normalised: TCP over
//! IPv4 and IPv6, UDP datagrams over both. Writes the packets one behind the other, checksums
//! complete: the payload must be read for those, and a copy made in the same pass costs less than
//! the kernel takes for many small parts. Never decides whether a super-frame is allowed, and
//! never trusts its lengths: [`Cut::of`] checks them all.
#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "Cut::of checks every offset, and an IP packet's own length has 16 bits"
)]

use core::ops::Range;

use weft_wire::checksum::{Sum, fold};
use weft_wire::{VnetHeader, vnet};

use crate::layout::{
    ETHER_TYPE, ETHERNET, Transport, ipv4, ipv6, put_u16, sum, tcp, u16_at, u32_at, udp,
};

/// The plan of one super-frame: where its headers end and how its payload is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    transport: Transport,
    v4: bool,
    /// Offsets from the first byte, the bytes in front of the Ethernet header included.
    l3: usize,
    l4: usize,
    header_len: usize,
    /// The first byte behind the IP packet.
    end: usize,
    size: usize,
    count: usize,
}

impl Cut {
    /// The plan for `bytes`, which begin with `front` bytes before the inner Ethernet header.
    /// `vnet` is normalised: its offsets count from the Ethernet header and the checksum
    /// field holds the pseudo-header's sum over the whole super-frame.
    ///
    /// `None` when `vnet` describes no segmentation, or headers that are not there.
    #[must_use]
    pub fn of(bytes: &[u8], front: usize, vnet: &VnetHeader) -> Option<Self> {
        let (transport, v4) = kind(bytes, front, vnet)?;
        let l3 = front + ETHERNET;
        let l4 = front.checked_add(usize::from(vnet.csum_start))?;
        let header_len = front.checked_add(usize::from(vnet.hdr_len))?;
        let end = l3 + ip_len(bytes.get(l3..l4)?, v4)?;
        let size = usize::from(vnet.gso_size);
        if !whole_header(transport, bytes.get(l4..header_len)?)
            || usize::from(vnet.csum_offset) != transport.checksum()
            || size == 0
            || end > bytes.len()
        {
            return None;
        }
        let payload = end.checked_sub(header_len)?;
        Some(Self {
            transport,
            v4,
            l3,
            l4,
            header_len,
            end,
            size,
            count: payload.div_ceil(size).max(1),
        })
    }

    /// Segments, at least one.
    #[inline]
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Bytes in front of each segment's payload, those before the Ethernet header included.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// Bytes of every segment but the last, headers included; the last is no longer.
    #[inline]
    #[must_use]
    pub const fn segment_len(&self) -> usize {
        self.header_len + self.size
    }

    /// Bytes of all packets together.
    #[inline]
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.count * self.header_len + (self.end - self.header_len)
    }

    /// Where packet `n` lies among those that [`Cut::write`] wrote; empty beyond the last.
    #[inline]
    #[must_use]
    pub fn packet(&self, n: usize) -> Range<usize> {
        let total = self.total_len();
        let start = n.saturating_mul(self.segment_len()).min(total);
        start..start.saturating_add(self.segment_len()).min(total)
    }

    /// Writes all packets to `out`, one behind the other, with complete checksums. `bytes` are
    /// those the cut was made of.
    ///
    /// `None`, and nothing written, when `out` is too short or `bytes` are others.
    #[must_use]
    pub fn write(&self, bytes: &[u8], out: &mut [u8]) -> Option<()> {
        let bytes = bytes.get(..self.end)?;
        let out = out.get_mut(..self.total_len())?;
        let (header, payload) = bytes.split_at(self.header_len);
        let template = Template::new(self, header);
        // Without payload there is one packet all the same.
        let mut payload = payload.chunks(self.size);
        for (n, packet) in out.chunks_mut(self.segment_len()).enumerate() {
            let (header, place) = packet.split_at_mut(self.header_len);
            let mut sum = Sum::new();
            if !sum.add_copied(payload.next().unwrap_or_default(), place) {
                return None;
            }
            template.write(n, place.len(), sum.folded().into(), header);
        }
        Some(())
    }
}

/// Transport and whether IP is version 4, as `vnet` and the EtherType agree on them.
fn kind(bytes: &[u8], front: usize, vnet: &VnetHeader) -> Option<(Transport, bool)> {
    let at = front.checked_add(ETHER_TYPE)?;
    let v4 = match bytes.get(at..)?.first_chunk()? {
        [0x08, 0x00] => true,
        [0x86, 0xdd] => false,
        _ => return None,
    };
    let transport = match vnet.gso_type & !vnet::GSO_ECN {
        vnet::GSO_TCPV4 if v4 => Transport::Tcp,
        vnet::GSO_TCPV6 if !v4 => Transport::Tcp,
        vnet::GSO_UDP_L4 => Transport::Udp,
        _ => return None,
    };
    vnet.needs_checksum().then_some((transport, v4))
}

/// Bytes of the IP packet as its own header has them; `ip` is all in front of the transport
/// header. `None` when that is no header of this version.
fn ip_len(ip: &[u8], v4: bool) -> Option<usize> {
    let first = *ip.first()?;
    if v4 {
        let whole = ip.len() >= ipv4::HEADER && usize::from(first & 0xf) * 4 == ip.len();
        (whole && first >> 4 == 4).then(|| usize::from(u16_at(ip, ipv4::TOTAL_LEN)))
    } else {
        let whole = ip.len() >= ipv6::HEADER && first >> 4 == 6;
        whole.then(|| ipv6::HEADER + usize::from(u16_at(ip, ipv6::PAYLOAD_LEN)))
    }
}

/// Whether `header` is exactly one transport header.
fn whole_header(transport: Transport, header: &[u8]) -> bool {
    match transport {
        Transport::Tcp => {
            header.len() >= tcp::HEADER
                && usize::from(header[tcp::DATA_OFFSET] >> 4) * 4 == header.len()
        }
        Transport::Udp => header.len() == udp::HEADER,
    }
}

/// What all segments of a cut have in common, the sums over it included.
struct Template<'a> {
    cut: &'a Cut,
    header: &'a [u8],
    /// One's complement sum of the IPv4 header without its length, identification and
    /// checksum; of pseudo-header and transport header without what differs.
    ip: u32,
    transport: u32,
    id: u16,
    seq: u32,
    flags: u8,
}

impl<'a> Template<'a> {
    /// The caller has checked that `header` is `cut.header_len` bytes with whole headers.
    fn new(cut: &'a Cut, header: &'a [u8]) -> Self {
        let (l3, l4) = (cut.l3, cut.l4);
        let (ip, l4_header) = (&header[l3..l4], &header[l4..]);
        let mut template = Self {
            cut,
            header,
            ip: 0,
            transport: sum(&l4_header[..tcp::SEQUENCE]),
            id: 0,
            seq: 0,
            flags: 0,
        };
        if cut.v4 {
            template.ip = sum(&ip[..ipv4::TOTAL_LEN])
                + sum(&ip[ipv4::FRAGMENT..ipv4::CHECKSUM])
                + sum(&ip[ipv4::ADDRESSES..]);
            template.id = u16_at(ip, ipv4::ID);
        }
        // The field holds the pseudo-header's sum with the super-frame's length, which the
        // segments' take the place of: in one's complement, adding the inverse subtracts.
        let whole = (cut.end - l4) as u16;
        let partial = u16_at(l4_header, cut.transport.checksum());
        template.transport += u32::from(partial) + u32::from(!whole);
        if cut.transport == Transport::Tcp {
            template.seq = u32_at(l4_header, tcp::SEQUENCE);
            template.flags = l4_header[tcp::FLAGS];
            template.transport += sum(&l4_header[tcp::ACKNOWLEDGMENT..tcp::DATA_OFFSET])
                + sum(&l4_header[tcp::WINDOW..tcp::CHECKSUM])
                + sum(&l4_header[tcp::CHECKSUM + 2..]);
        }
        template
    }

    /// Writes the headers of packet `n`, whose payload has so many bytes and this sum.
    fn write(&self, n: usize, payload_len: usize, payload_sum: u32, out: &mut [u8]) {
        out.copy_from_slice(self.header);
        let (front, l4_header) = out.split_at_mut(self.cut.l4);
        let ip = &mut front[self.cut.l3..];
        let segment = l4_header.len() + payload_len;
        let total = ip.len() + segment;
        if self.cut.v4 {
            // As Linux numbers segments, with DF or without (`inet_gso_segment`).
            let id = self.id.wrapping_add(n as u16);
            put_u16(ip, ipv4::TOTAL_LEN, total as u16);
            put_u16(ip, ipv4::ID, id);
            let checksum = !fold(self.ip + total as u32 + u32::from(id));
            put_u16(ip, ipv4::CHECKSUM, checksum);
        } else {
            put_u16(ip, ipv6::PAYLOAD_LEN, (total - ipv6::HEADER) as u16);
        }
        let sum = self.transport + segment as u32 + payload_sum;
        let differing = match self.cut.transport {
            Transport::Udp => {
                put_u16(l4_header, udp::LEN, segment as u16);
                segment as u32
            }
            Transport::Tcp => self.write_tcp(n, l4_header),
        };
        let checksum = match (!fold(sum + differing), self.cut.transport) {
            // 0 would say that there is no checksum (RFC 768).
            (0, Transport::Udp) => 0xffff,
            (checksum, _) => checksum,
        };
        put_u16(l4_header, self.cut.transport.checksum(), checksum);
    }

    /// Writes sequence number and flags of segment `n`; gives the sum of the words changed.
    fn write_tcp(&self, n: usize, header: &mut [u8]) -> u32 {
        let seq = self.seq.wrapping_add((n * self.cut.size) as u32);
        header[tcp::SEQUENCE..tcp::ACKNOWLEDGMENT].copy_from_slice(&seq.to_be_bytes());
        header[tcp::FLAGS] = self.flags_of(n);
        (seq >> 16) + (seq & 0xffff) + u32::from(u16_at(header, tcp::DATA_OFFSET))
    }

    const fn flags_of(&self, n: usize) -> u8 {
        let mut flags = self.flags;
        if n > 0 {
            flags &= !tcp::FIRST_ONLY;
        }
        if n + 1 < self.cut.count {
            flags &= !tcp::LAST_ONLY;
        }
        flags
    }
}

#[cfg(test)]
pub(crate) mod tests;
