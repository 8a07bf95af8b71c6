//! The eight bytes between UDP and the inner Ethernet frame (RFC 7348 §5).
//!
//! Owns their layout: flags, 24 reserved bits, VNI, 8 reserved bits. Sent with
//! only the I flag set; on receipt every other bit is ignored, group-policy bits
//! included, as the RFC asks.

use core::fmt;

use crate::Vni;

/// Bytes of a VXLAN header.
pub const VXLAN_HEADER: usize = 8;

/// The UDP port flannel and the Linux kernel use unless told otherwise.
pub const VXLAN_PORT: u16 = 8472;

/// The UDP port IANA assigned to VXLAN (RFC 7348 §8).
pub const IANA_VXLAN_PORT: u16 = 4789;

/// "The VNI is valid": the one flag bit VXLAN defines.
const FLAG_VNI: u8 = 0x08;

/// Why a tunnel payload cannot be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadTunnel {
    /// Shorter than a VXLAN header and an inner Ethernet header.
    Truncated,
    /// The I flag is clear: the packet belongs to no network.
    NoVni,
    /// The VNI is zero, which no node of ours has.
    ZeroVni,
}

impl fmt::Display for BadTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "tunnel payload too short for VXLAN and Ethernet headers",
            Self::NoVni => "VXLAN header without a valid VNI",
            Self::ZeroVni => "VXLAN header with VNI 0",
        })
    }
}

impl core::error::Error for BadTunnel {}

/// The header of a packet of network `vni`.
pub(crate) const fn emit(vni: Vni) -> [u8; VXLAN_HEADER] {
    let [_, high, middle, low] = vni.get().to_be_bytes();
    [FLAG_VNI, 0, 0, 0, high, middle, low, 0]
}

/// The network a header names.
pub(crate) fn parse(header: [u8; VXLAN_HEADER]) -> Result<Vni, BadTunnel> {
    let [flags, _, _, _, high, middle, low, _] = header;
    if flags & FLAG_VNI == 0 {
        return Err(BadTunnel::NoVni);
    }
    Vni::new(u32::from_be_bytes([0, high, middle, low])).ok_or(BadTunnel::ZeroVni)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_bytes() {
        for (vni, bytes) in [
            (1, [0x08, 0, 0, 0, 0x00, 0x00, 0x01, 0]),
            (42, [0x08, 0, 0, 0, 0x00, 0x00, 0x2a, 0]),
            (0x12_3456, [0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0]),
            (0xff_ffff, [0x08, 0, 0, 0, 0xff, 0xff, 0xff, 0]),
        ] {
            let vni = Vni::new(vni).unwrap();
            assert_eq!(emit(vni), bytes);
            assert_eq!(parse(bytes), Ok(vni));
        }
    }

    #[test]
    fn of_all_flag_bytes_only_the_i_bit_counts() {
        for flags in 0..=u8::MAX {
            let header = [flags, 0, 0, 0, 0, 0, 7, 0];
            let expected = match flags & 0x08 {
                0 => Err(BadTunnel::NoVni),
                _ => Ok(Vni::new(7).unwrap()),
            };
            assert_eq!(parse(header), expected, "{flags:#04x}");
        }
    }

    #[test]
    fn reserved_bits_are_ignored_on_receipt() {
        for at in [1, 2, 3, 7] {
            for bits in 0..=u8::MAX {
                let mut header = emit(Vni::MAX);
                header[at] = bits;
                assert_eq!(parse(header), Ok(Vni::MAX), "byte {at} = {bits:#04x}");
            }
        }
    }

    #[test]
    fn vni_zero_is_refused() {
        assert_eq!(parse([0x08, 0, 0, 0, 0, 0, 0, 0]), Err(BadTunnel::ZeroVni));
        assert_eq!(parse([0x08, 1, 1, 1, 0, 0, 0, 1]), Err(BadTunnel::ZeroVni));
    }
}
