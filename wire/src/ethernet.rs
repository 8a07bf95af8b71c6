//! Which stations does a frame name, and what does it carry? Ethernet II (IEEE 802.3 §3.2).
//!
//! Owns MAC addresses, EtherTypes and the 14-byte header. VLAN tags and 802.3 length
//! frames are never looked into: they show as their EtherType (RFC 7348 §6.1 drops them).

use core::{fmt, str::FromStr};

use crate::{
    Malformed,
    bytes::{array_at, put, put_u16, u16_at},
};

/// Bytes of an Ethernet II header without tags.
pub const HEADER_LEN: usize = 14;

/// A 48-bit MAC address in transmission order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    /// All stations, `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// No station, `00:00:00:00:00:00`; never valid on the wire.
    pub const ZERO: Self = Self([0; 6]);

    /// The address with these octets.
    #[inline]
    #[must_use]
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The octets in transmission order.
    #[inline]
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether the group bit is set; true for broadcast.
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether this is [`Mac::BROADCAST`].
    #[inline]
    #[must_use]
    pub const fn is_broadcast(self) -> bool {
        matches!(self, Self::BROADCAST)
    }

    /// Whether this can name one station: neither a group nor [`Mac::ZERO`].
    #[inline]
    #[must_use]
    pub const fn is_unicast(self) -> bool {
        !self.is_multicast() && !matches!(self, Self::ZERO)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is not six colon-separated pairs of hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidMac;

impl fmt::Display for InvalidMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MAC address is six pairs of hexadecimal digits, like 02:00:00:00:00:01")
    }
}

impl core::error::Error for InvalidMac {}

impl FromStr for Mac {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let mut octets = [0; 6];
        let mut pairs = text.split(':');
        for octet in &mut octets {
            let pair = pairs.next().ok_or(InvalidMac)?;
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(InvalidMac);
            }
            *octet = u8::from_str_radix(pair, 16).map_err(|_| InvalidMac)?;
        }
        if pairs.next().is_some() {
            return Err(InvalidMac);
        }
        Ok(Self(octets))
    }
}

/// The EtherType of a frame, or an 802.3 length when below 0x0600.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: Self = Self(0x0800);
    /// ARP (RFC 826).
    pub const ARP: Self = Self(0x0806);
    /// Customer VLAN tag (IEEE 802.1Q).
    pub const VLAN: Self = Self(0x8100);
    /// IPv6 (RFC 2464).
    pub const IPV6: Self = Self(0x86dd);
    /// Service VLAN tag (IEEE 802.1ad).
    pub const QINQ: Self = Self(0x88a8);
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04x}", self.0)
    }
}

mod field {
    pub(super) const DESTINATION: usize = 0;
    pub(super) const SOURCE: usize = 6;
    pub(super) const ETHER_TYPE: usize = 12;
}

/// A view of an Ethernet II frame.
#[derive(Clone, Copy, Debug)]
pub struct EthernetFrame<T>(T);

impl<T: AsRef<[u8]>> EthernetFrame<T> {
    /// Checks that the header is there.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] below 14 bytes.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        if buffer.as_ref().len() < HEADER_LEN {
            return Err(Malformed::Truncated);
        }
        Ok(Self(buffer))
    }

    /// The receiving station.
    #[inline]
    pub fn destination(&self) -> Mac {
        Mac(array_at(self.0.as_ref(), field::DESTINATION))
    }

    /// The sending station.
    #[inline]
    pub fn source(&self) -> Mac {
        Mac(array_at(self.0.as_ref(), field::SOURCE))
    }

    /// What the payload is.
    #[inline]
    pub fn ether_type(&self) -> EtherType {
        EtherType(u16_at(self.0.as_ref(), field::ETHER_TYPE))
    }

    /// Everything behind the header, padding included.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.0.as_ref().get(HEADER_LEN..).unwrap_or_default()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> EthernetFrame<T> {
    /// Replaces the receiving station.
    #[inline]
    pub fn set_destination(&mut self, mac: Mac) {
        put(self.0.as_mut(), field::DESTINATION, &mac.0);
    }

    /// Replaces the sending station.
    #[inline]
    pub fn set_source(&mut self, mac: Mac) {
        put(self.0.as_mut(), field::SOURCE, &mac.0);
    }

    /// Replaces the EtherType.
    #[inline]
    pub fn set_ether_type(&mut self, ether_type: EtherType) {
        put_u16(self.0.as_mut(), field::ETHER_TYPE, ether_type.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 16] = [
        0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01, 0x86, 0xdd, 0xaa, 0xbb,
    ];

    #[test]
    fn getters_read_the_literal_header() {
        let frame = EthernetFrame::new_checked(FRAME).unwrap();
        assert_eq!(frame.destination(), Mac::new([2, 0, 0, 0, 0, 2]));
        assert_eq!(frame.source(), Mac::new([2, 0, 0, 0, 0, 1]));
        assert_eq!(frame.ether_type(), EtherType::IPV6);
        assert_eq!(frame.payload(), [0xaa, 0xbb]);
    }

    #[test]
    fn setters_write_what_getters_read() {
        let mut bytes = [0; 14];
        let mut frame = EthernetFrame::new_checked(&mut bytes).unwrap();
        frame.set_destination(Mac::new([2, 0, 0, 0, 0, 2]));
        frame.set_source(Mac::new([2, 0, 0, 0, 0, 1]));
        frame.set_ether_type(EtherType::IPV6);
        assert_eq!(bytes, FRAME[..14]);
    }

    #[test]
    fn thirteen_bytes_are_truncated() {
        let short = EthernetFrame::new_checked(&FRAME[..13]);
        assert_eq!(short.err(), Some(Malformed::Truncated));
    }

    #[test]
    fn kinds_of_mac() {
        let cases = [
            (Mac::ZERO, false, false, false),
            (Mac::BROADCAST, true, true, false),
            (Mac::new([0x33, 0x33, 0, 0, 0, 1]), true, false, false),
            (Mac::new([0x02, 0, 0, 0, 0, 1]), false, false, true),
        ];
        for (mac, multicast, broadcast, unicast) in cases {
            assert_eq!(mac.is_multicast(), multicast, "{mac}");
            assert_eq!(mac.is_broadcast(), broadcast, "{mac}");
            assert_eq!(mac.is_unicast(), unicast, "{mac}");
        }
    }

    #[test]
    fn mac_text_round_trips_and_refuses_the_rest() {
        let mac: Mac = "02:77:65:66:74:01".parse().unwrap();
        assert_eq!(mac.to_string(), "02:77:65:66:74:01");
        for text in [
            "",
            "02:77",
            "02:77:65:66:74:1",
            "02:77:65:66:74:01:02",
            "+2:77:65:66:74:01",
            "gg:00:00:00:00:00",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(InvalidMac), "{text}");
        }
    }
}
