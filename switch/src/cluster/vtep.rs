//! Which MAC address does a node's tunnel end point carry?

use weft_wire::Mac;

/// FNV-1a, 64 bits: offset basis and prime.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// The MAC address of a node's tunnel end point, where no annotation gives another:
/// `02` and the first five bytes of the big-endian 64-bit FNV-1a hash of `weft-vtep:` and the
/// node's name. Every node derives the same address, so nothing has to be exchanged.
#[must_use]
pub fn vtep_mac(node_name: &str) -> Mac {
    let text = b"weft-vtep:".iter().chain(node_name.as_bytes());
    let hash = text.fold(FNV_BASIS, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    });
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    Mac::new([0x02, a, b, c, d, e])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_documented_function() {
        // Computed apart from this code, in Python.
        for (name, expected) in EXPECTED {
            assert_eq!(vtep_mac(name).to_string(), *expected, "{name}");
        }
    }

    const EXPECTED: &[(&str, &str)] = &[
        ("", "02:5a:ab:c2:b0:c6"),
        ("node-a", "02:40:fc:e7:12:d9"),
        ("node-b", "02:40:fc:e8:12:d9"),
    ];
}
