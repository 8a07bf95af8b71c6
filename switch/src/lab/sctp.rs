//! What do the first packet of an SCTP association and its refusal look like?
//!
//! Owns the lab's SCTP, which is the opening and no more: an INIT asks, an ABORT that carries a
//! line of text answers (RFC 9260 §3.3.2, §3.3.7). Through raw sockets, so that it works where the
//! kernel has no SCTP; where it has, both answer. A raw IPv4 socket reads the IP header too.

use weft_wire::sctp::{SctpPacket, crc32c, verify};

/// SCTP among the IP protocols.
pub(crate) const PROTOCOL: i32 = 132;

const HEADER: usize = weft_wire::sctp::HEADER_LEN;
const INIT: u8 = 1;
const ABORT: u8 = 6;
/// User-initiated abort, RFC 9260 §3.3.10.12.
const CAUSE: u16 = 12;

/// An INIT; `tag` is repeated by whoever answers it.
pub(crate) fn init(source: u16, destination: u16, tag: u32) -> Vec<u8> {
    let mut chunk = vec![INIT, 0, 0, 20];
    chunk.extend(tag.to_be_bytes());
    chunk.extend(65_536u32.to_be_bytes()); // receiver window
    chunk.extend([0, 1, 0, 1]); // one stream each way
    chunk.extend(1u32.to_be_bytes()); // first TSN
    packet(source, destination, 0, &chunk)
}

/// The ABORT that answers an INIT with a line of text; none for anything else.
pub(crate) fn answer(packet_read: &[u8], ipv4: bool, text: &[u8]) -> Option<Vec<u8>> {
    let asked = transport(packet_read, ipv4)?;
    let sctp = SctpPacket::new_checked(asked).ok()?;
    let [INIT, _, _, _, t0, t1, t2, t3, ..] = *sctp.payload() else {
        return None;
    };
    let cause = u16::try_from(4 + text.len()).ok()?;
    let mut chunk = vec![ABORT, 0];
    chunk.extend((cause + 4).to_be_bytes());
    chunk.extend(CAUSE.to_be_bytes());
    chunk.extend(cause.to_be_bytes());
    chunk.extend(text);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    let tag = u32::from_be_bytes([t0, t1, t2, t3]);
    let (to, from) = (sctp.source_port(), sctp.destination_port());
    Some(packet(from, to, tag, &chunk))
}

/// What the answer to our INIT says, if these bytes are one.
pub(crate) fn is_answer(
    packet_read: &[u8],
    ipv4: bool,
    (source, destination): (u16, u16),
    tag: u32,
) -> Option<Vec<u8>> {
    let read = transport(packet_read, ipv4)?;
    let sctp = SctpPacket::new_checked(read).ok()?;
    let ours = sctp.source_port() == destination
        && sctp.destination_port() == source
        && sctp.verification_tag() == tag
        && verify(read);
    let text = sctp.payload().get(8..).unwrap_or_default();
    ours.then(|| text.iter().copied().filter(|byte| *byte != 0).collect())
}

fn packet(source: u16, destination: u16, tag: u32, chunk: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + chunk.len());
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend(tag.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(chunk);
    let crc = crc32c(&bytes).to_le_bytes();
    if let Some(field) = bytes.get_mut(8..12) {
        field.copy_from_slice(&crc);
    }
    bytes
}

/// Skips the header that a raw IPv4 socket reads.
fn transport(bytes: &[u8], ipv4: bool) -> Option<&[u8]> {
    if !ipv4 {
        return Some(bytes);
    }
    let words = usize::from(bytes.first()? & 0x0f);
    bytes.get(words * 4..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_belongs_to_its_question() {
        let asked = init(40_000, 80, 7);
        assert!(verify(&asked));
        let answered = answer(&asked, false, b"x/a").unwrap();
        let told = is_answer(&answered, false, (40_000, 80), 7);
        assert_eq!(told.as_deref(), Some(&b"x/a"[..]));
        for (ports, tag) in [((40_001, 80), 7), ((40_000, 81), 7), ((40_000, 80), 8)] {
            assert_eq!(is_answer(&answered, false, ports, tag), None);
        }
        assert_eq!(
            answer(&answered, false, b"x/a"),
            None,
            "an answer is not asked again"
        );
        let mut with_ip = vec![0x45; 20];
        with_ip.extend(&asked);
        assert_eq!(answer(&with_ip, true, b"x/a"), Some(answered));
    }
}
