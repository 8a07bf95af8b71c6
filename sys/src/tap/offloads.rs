//! What may the kernel leave undone in the frames of a TAP?
//!
//! Owns the sets of offloads asked of the kernel and their order, most first (`TUN_F_*`,
//! linux/if_tun.h). It never calls the kernel.

const TUN_F_CSUM: u32 = 0x01;
const TUN_F_TSO4: u32 = 0x02;
const TUN_F_TSO6: u32 = 0x04;
const TUN_F_TSO_ECN: u32 = 0x08;
const TUN_F_USO4: u32 = 0x20;
const TUN_F_USO6: u32 = 0x40;

/// What frames read from a TAP may leave undone; their vnet header says which does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Transport checksums. Without it the kernel leaves nothing else undone either.
    pub checksum: bool,
    /// Segmentation of TCP over IPv4 and IPv6, also with congestion marks.
    pub tso: bool,
    /// Segmentation of UDP over IPv4 and IPv6 (Linux 6.2).
    pub uso: bool,
}

impl Offloads {
    /// Every frame comes finished.
    pub const NONE: Self = Self {
        checksum: false,
        tso: false,
        uso: false,
    };

    /// What is asked of a device, in this order until the kernel agrees.
    pub(super) const FALLING: [Self; 4] = [
        Self {
            checksum: true,
            tso: true,
            uso: true,
        },
        Self {
            checksum: true,
            tso: true,
            uso: false,
        },
        Self {
            checksum: true,
            tso: false,
            uso: false,
        },
        Self::NONE,
    ];

    /// As `TUN_F_*`.
    pub(super) const fn mask(self) -> u32 {
        let mut mask = 0;
        if self.checksum {
            mask |= TUN_F_CSUM;
        }
        if self.tso {
            mask |= TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
        }
        if self.uso {
            mask |= TUN_F_USO4 | TUN_F_USO6;
        }
        mask
    }
}
