//! What would a slow and obvious reading say? Small oracles the harnesses share.

/// The kinds of IPv4 options up to the end of the list (RFC 791, section 3.1); `None` where an
/// option's length contradicts the list.
#[must_use]
pub(crate) fn ipv4_options(options: &[u8]) -> Option<Vec<u8>> {
    let mut kinds = Vec::new();
    let mut bytes = options.iter().copied();
    while let Some(kind) = bytes.next() {
        match kind {
            0 => break,
            1 => kinds.push(kind),
            _ => {
                let body = bytes.next()?.checked_sub(2)?;
                for _ in 0..body {
                    bytes.next()?;
                }
                kinds.push(kind);
            }
        }
    }
    Some(kinds)
}

/// The Internet checksum over `bytes`, one 16-bit word at a time (RFC 1071).
#[must_use]
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for word in bytes.chunks(2) {
        let word = [
            word.first().copied().unwrap_or(0),
            word.get(1).copied().unwrap_or(0),
        ];
        sum += u32::from(u16::from_be_bytes(word));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(!sum & 0xffff).unwrap_or_default()
}

/// The frame with the right IPv4 header checksum, if it holds an IPv4 header with another: a
/// fuzzer that had to find each checksum by itself would see little behind it.
pub(crate) fn with_ipv4_checksum(frame: &[u8]) -> Option<Vec<u8>> {
    const L3: usize = 14;
    let is_ipv4 = frame.get(12..14)? == [0x08, 0x00];
    let header_len = usize::from(frame.get(L3)? & 0x0f) * 4;
    let mut repaired = frame.to_vec();
    let header = repaired.get_mut(L3..L3 + header_len)?;
    header.get_mut(10..12)?.fill(0);
    let sum = checksum(header).to_be_bytes();
    header.get_mut(10..12)?.copy_from_slice(&sum);
    (is_ipv4 && repaired != frame).then_some(repaired)
}
