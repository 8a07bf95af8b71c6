//! What does the kernel tell about a TUN or TAP device?
//!
//! Owns the attributes of such a device inside `IFLA_INFO_DATA` (linux/if_link.h), which the
//! kernel shows and never takes: devices are made through `/dev/net/tun`.

use super::Attributes;

const TYPE: u16 = 3;
const VNET_HDR: u16 = 5;
const PERSIST: u16 = 6;
const MULTI_QUEUE: u16 = 7;
const NUM_QUEUES: u16 = 8;
const NUM_DISABLED_QUEUES: u16 = 9;

/// `IFF_TAP`; 1 is a TUN.
const TAP: u8 = 2;

/// A TUN or TAP device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tun {
    /// Whether it passes Ethernet frames: a TAP.
    pub tap: bool,
    /// Whether frames of its queues carry a vnet header.
    pub vnet: bool,
    /// Whether it outlives its queues.
    pub persistent: bool,
    /// The number of its open queues, stopped ones too; `None` if it is single-queue.
    pub queues: Option<u32>,
}

impl Tun {
    /// The device, unless the kernel is older than Linux 4.16 and tells nothing.
    pub(super) fn decode(data: Attributes<'_>) -> Option<Self> {
        let is = |kind| data.u8(kind) == Some(1);
        let queues = || {
            let stopped = data.u32(NUM_DISABLED_QUEUES).unwrap_or(0);
            Some(data.u32(NUM_QUEUES)?.saturating_add(stopped))
        };
        Some(Self {
            tap: data.u8(TYPE)? == TAP,
            vnet: is(VNET_HDR),
            persistent: is(PERSIST),
            queues: is(MULTI_QUEUE).then(queues).flatten(),
        })
    }
}
