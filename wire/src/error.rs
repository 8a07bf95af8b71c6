//! Why was a packet not understood? One byte that says which promise it broke.

use core::fmt;

/// The reason a packet is refused before anything else looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Malformed {
    /// The bytes end before a header, or before the length a header declares.
    Truncated,
    /// A version, hardware type or protocol type that the format does not allow here.
    BadVersion,
    /// A length field contradicts another length or the format's minimum.
    BadLength,
    /// The IPv4 header checksum does not match (RFC 791).
    BadChecksum,
    /// An IPv6 extension header chain that is cut, too long, or out of order (RFC 8200 §4.1).
    HeaderChain,
    /// A first fragment without its full header chain (RFC 7112, RFC 1858), or a TCP
    /// fragment at offset 8 (RFC 3128).
    TinyFragment,
}

impl Malformed {
    /// Every reason, in declaration order.
    pub const ALL: [Self; 6] = [
        Self::Truncated,
        Self::BadVersion,
        Self::BadLength,
        Self::BadChecksum,
        Self::HeaderChain,
        Self::TinyFragment,
    ];
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the packet ends before its headers or its declared length",
            Self::BadVersion => "a version or type field has a value the format does not allow",
            Self::BadLength => "a length field contradicts the rest of the packet",
            Self::BadChecksum => "the IPv4 header checksum is wrong",
            Self::HeaderChain => "the IPv6 extension header chain is cut, too long or out of order",
            Self::TinyFragment => "a fragment is too small to show its transport header",
        })
    }
}

impl core::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::Malformed;

    #[test]
    fn one_byte_and_a_distinct_sentence_each() {
        assert_eq!(size_of::<Malformed>(), 1);
        let mut sentences = Malformed::ALL.map(|malformed| malformed.to_string());
        sentences.sort();
        assert!(sentences.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
