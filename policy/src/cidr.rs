//! Does an address lie in a prefix?
//!
//! [`Cidr`] is a prefix whose host bits are zero, so that it has one spelling. Text and
//! configuration forms (`ipnetwork`) are converted at the edges.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IPv4 or IPv6 prefix with zero host bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    base: IpAddr,
    length: u8,
}

/// Why a text or a pair is no [`Cidr`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCidr {
    /// Not of the form `address/length`.
    #[error("is not of the form ADDRESS/LENGTH")]
    Syntax,
    /// The length exceeds the address's bits.
    #[error("has a prefix length beyond the address's bits")]
    Length,
    /// The address has bits set beyond the prefix.
    #[error("has host bits set")]
    HostBits,
}

impl Cidr {
    /// The prefix of `length` bits at `base`.
    ///
    /// # Errors
    /// [`BadCidr::Length`], or [`BadCidr::HostBits`] if bits are set beyond the prefix.
    pub fn new(base: IpAddr, length: u8) -> Result<Self, BadCidr> {
        if length > bits(base) {
            return Err(BadCidr::Length);
        }
        if masked(base, length) != base {
            return Err(BadCidr::HostBits);
        }
        Ok(Self { base, length })
    }

    /// The lowest address, which is the node's pod-network address (flannel's convention).
    #[must_use]
    pub const fn base(&self) -> IpAddr {
        self.base
    }

    /// The prefix length in bits.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Whether the address lies inside.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address, self.length) == self.base
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }
}

/// The address with all bits beyond `length` cleared. The family is kept, so that no
/// IPv4 address ever lies in an IPv6 prefix.
#[must_use]
pub fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX
                .checked_shl(32u32.saturating_sub(length.into()))
                .unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128u32.saturating_sub(length.into()))
                .unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.length)
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let (base, length) = text.split_once('/').ok_or(BadCidr::Syntax)?;
        let base = base.parse().map_err(|_| BadCidr::Syntax)?;
        let length = length.parse().map_err(|_| BadCidr::Syntax)?;
        Self::new(base, length)
    }
}

impl TryFrom<ipnetwork::IpNetwork> for Cidr {
    type Error = BadCidr;

    fn try_from(network: ipnetwork::IpNetwork) -> Result<Self, BadCidr> {
        Self::new(network.ip(), network.prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_and_is_not_a_prefix() {
        for (text, expected) in [
            ("10.244.1.0/24", Ok(())),
            ("0.0.0.0/0", Ok(())),
            ("10.244.1.7/32", Ok(())),
            ("fd00:10:244:1::/64", Ok(())),
            ("::/0", Ok(())),
            ("10.244.1.1/24", Err(BadCidr::HostBits)),
            ("10.244.1.0/33", Err(BadCidr::Length)),
            ("fd00::/129", Err(BadCidr::Length)),
            ("10.244.1.0", Err(BadCidr::Syntax)),
            ("pods/24", Err(BadCidr::Syntax)),
            ("10.244.1.0/-1", Err(BadCidr::Syntax)),
        ] {
            assert_eq!(text.parse::<Cidr>().map(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn containment_and_overlap_never_cross_families() {
        let all4: Cidr = "0.0.0.0/0".parse().unwrap();
        let all6: Cidr = "::/0".parse().unwrap();
        let pods: Cidr = "10.244.1.0/24".parse().unwrap();
        assert!(pods.contains("10.244.1.255".parse().unwrap()));
        assert!(!pods.contains("10.244.2.0".parse().unwrap()));
        assert!(all4.contains("1.2.3.4".parse().unwrap()));
        assert!(!all4.contains("::1".parse().unwrap()));
        assert!(!all6.contains("1.2.3.4".parse().unwrap()));
        assert!(all4.overlaps(&pods) && pods.overlaps(&all4));
        assert!(!all6.overlaps(&pods));
    }
}
