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
