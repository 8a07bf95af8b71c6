//! Do any bytes with any virtio-net header break a promise of [`Cut`]?
//!
//! Owns the naive way to cut a super-frame: copy the headers, change the fields, add up words.

use weft_encap::Cut;
use weft_wire::{
    Fragment, Headers, IpVersion, Parsed, Transport, VnetHeader, checksum, parse, vnet,
};

const ETHERNET: usize = 14;

/// The harness: how many bytes lie before the Ethernet header, whether the checksum is made
/// partial as it should be, the virtio-net header and the bytes.
///
/// # Panics
/// When a promise does not hold.
pub fn run(bytes: &[u8]) {
    let Some((&[front, right, ..], rest)) = bytes.split_at_checked(2) else {
        return;
    };
    let Ok(vnet) = VnetHeader::parse(rest) else {
        return;
    };
    let mut bytes = rest[VnetHeader::LEN..].to_vec();
    let front = usize::from(front & 0x3f);
    let parsed = bytes.get(front..).map(parse);
    let headers = match parsed {
        Some(Ok(Parsed::Ip(headers))) => Some(headers),
        _ => None,
    };
    if let (1, Some(headers)) = (right & 1, &headers) {
        make_partial(&mut bytes[front..], headers);
    }
    let normalised = headers.is_some_and(|headers| describes(&vnet, &headers));
    let Some(cut) = Cut::of(&bytes, front, &vnet) else {
        assert!(!normalised, "{vnet:?} describes the frame");
        return;
    };
    let expected = packets(&bytes, front, &vnet);
    assert_eq!(cut.count(), expected.len());
    let mut out = vec![0xee; cut.total_len()];
    assert_eq!(cut.write(&bytes, &mut out), Some(()));
    for (n, packet) in expected.iter().enumerate() {
        assert_eq!(&out[cut.packet(n)], packet, "{n}");
        assert!(packet.len() == cut.segment_len() || n + 1 == cut.count());
        if right & 1 == 1 && normalised {
            let Ok(Parsed::Ip(own)) = parse(&packet[front..]) else {
                panic!("a packet of a frame that parses does so too");
            };
            assert!(checksum::verify_transport(&packet[front..], &own), "{n}");
        }
    }
}

/// Whether the virtio-net header is normalised for a frame with these headers.
fn describes(vnet: &VnetHeader, headers: &Headers) -> bool {
    let (kind, offset, len) = match (headers.transport, headers.version) {
        (Transport::Tcp(tcp), version) => {
            let len = headers.payload_len() - tcp.payload_len as usize;
            let kind = match version {
                IpVersion::V4 => vnet::GSO_TCPV4,
                IpVersion::V6 => vnet::GSO_TCPV6,
            };
            (kind, 16, len)
        }
        (Transport::Udp, _) => (vnet::GSO_UDP_L4, 6, 8),
        _ => return false,
    };
    headers.fragment == Fragment::Whole
        && vnet.needs_checksum()
        && vnet.gso_type & !0x80 == kind
        && vnet.csum_offset == offset
        && usize::from(vnet.csum_start) == headers.l4
        && usize::from(vnet.hdr_len) == headers.l4 + len
        && vnet.gso_size > 0
}

/// Leaves only the pseudo-header's sum in the checksum field, as a kernel does.
fn make_partial(frame: &mut [u8], headers: &Headers) {
    let offset = match headers.transport {
        Transport::Tcp(_) => 16,
        Transport::Udp => 6,
        _ => return,
    };
    if headers.fragment != Fragment::Whole {
        return;
    }
    let range = match headers.version {
        IpVersion::V4 => headers.l3 + 12..headers.l3 + 20,
        IpVersion::V6 => headers.l3 + 8..headers.l3 + 40,
    };
    let own = u64::from(headers.flow.protocol.0) + headers.payload_len() as u64;
    let sum = fold(own + plain(&frame[range]));
    frame[headers.l4 + offset..][..2].copy_from_slice(&sum.to_be_bytes());
}

/// The packets of a super-frame that [`Cut::of`] accepts.
pub(crate) fn packets(bytes: &[u8], front: usize, vnet: &VnetHeader) -> Vec<Vec<u8>> {
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let l3 = front + ETHERNET;
    let l4 = front + usize::from(vnet.csum_start);
    let data = front + usize::from(vnet.hdr_len);
    let v4 = bytes[l3] >> 4 == 4;
    let tcp = vnet.csum_offset == 16;
    let end =
        l3 + usize::from(if v4 { word(l3 + 2) } else { word(l3 + 4) }) + if v4 { 0 } else { 40 };
    let size = usize::from(vnet.gso_size);
    let count = (end - data).div_ceil(size).max(1);
    let one = |n: usize| {
        let payload = &bytes[data + n * size..end.min(data + (n + 1) * size)];
        let mut packet = [&bytes[..data], payload].concat();
        let (total, segment) = (packet.len() - l3, packet.len() - l4);
        if v4 {
            set(&mut packet, l3 + 2, total);
            set(&mut packet, l3 + 4, usize::from(word(l3 + 4)) + n);
            set(&mut packet, l3 + 10, 0);
            let checksum = !fold(plain(&packet[l3..l4]));
            set(&mut packet, l3 + 10, usize::from(checksum));
        } else {
            set(&mut packet, l3 + 4, total - 40);
        }
        if tcp {
            let seq = u32::from_be_bytes([0, 1, 2, 3].map(|at| bytes[l4 + 4 + at]));
            let seq = seq.wrapping_add(u32::try_from(n * size).expect("a packet's bytes"));
            packet[l4 + 4..l4 + 8].copy_from_slice(&seq.to_be_bytes());
            packet[l4 + 13] &= if n == 0 { 0xff } else { 0x7f };
            packet[l4 + 13] &= if n + 1 == count { 0xff } else { 0xf6 };
        } else {
            set(&mut packet, l4 + 4, segment);
        }
        let at = l4 + usize::from(vnet.csum_offset);
        // The field's sum, without the old length and with the new one.
        let pseudo = u64::from(word(at)) + 0xffff - (end - l4) as u64 + segment as u64;
        set(&mut packet, at, 0);
        let checksum = match !fold(pseudo + plain(&packet[l4..])) {
            0 if !tcp => 0xffff,
            checksum => checksum,
        };
        set(&mut packet, at, usize::from(checksum));
        packet
    };
    (0..count).map(one).collect()
}

/// Writes the low 16 bits.
fn set(packet: &mut [u8], at: usize, value: usize) {
    let [.., high, low] = value.to_be_bytes();
    packet[at..at + 2].copy_from_slice(&[high, low]);
}

/// RFC 1071 word by word.
fn plain(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    bytes.chunks(2).map(word).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}
