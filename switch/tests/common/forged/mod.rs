//! Which frames should nobody send, and what should become of each?
//!
//! Owns the lists of hostile frames: what a pod may try, what somebody on the underlay may try, and
//! the drop reason each must be counted under. Pure: frames are built here and sent elsewhere.

use std::net::{Ipv4Addr, Ipv6Addr};

use weft_wire::Mac;

pub(crate) mod pod;
pub(crate) mod rogue;
pub(crate) mod underlay;

/// What every forged packet that has a payload carries, so that it is known when it arrives.
pub(crate) const MARK: &[u8] = b"weft e2e: this must not arrive";

/// The UDP port of harmless packets.
pub(crate) const PORT: u16 = 4000;

/// The switch's MAC as pods see it.
pub(crate) const GATEWAY: Mac = Mac::new([0x02, 0x77, 0x65, 0x66, 0x74, 0x01]);

/// Somebody with addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Party {
    pub(crate) mac: Mac,
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
}

impl Party {
    /// The address that the kernel forms from the MAC (RFC 4291, appendix A).
    pub(crate) fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.octets();
        let word = |high, low| u16::from_be_bytes([high, low]);
        let words = [word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f)];
        Ipv6Addr::new(0xfe80, 0, 0, 0, words[0], words[1], words[2], words[3])
    }
}

/// A frame, what it is, and the reason it must be dropped for.
#[derive(Clone, Debug)]
pub(crate) struct Forged {
    pub(crate) what: String,
    pub(crate) reason: &'static str,
    pub(crate) frame: Vec<u8>,
}

pub(crate) fn forged(reason: &'static str, what: impl Into<String>, frame: Vec<u8>) -> Forged {
    Forged {
        what: what.into(),
        reason,
        frame,
    }
}

/// The frame with a VLAN tag (IEEE 802.1Q) of this type.
pub(crate) fn tagged(frame: &[u8], tag: u16) -> Vec<u8> {
    let [high, low] = tag.to_be_bytes();
    let (macs, rest) = frame.split_at(12);
    [macs, &[high, low, 0, 1], rest].concat()
}
