//! What does this host's kernel turn out not to do?
//!
//! Owns one flag per offload, shared by all workers: the first that finds one refused, while the
//! same data goes without, turns it off for all and for good. Never turned on again: a kernel
//! does not learn.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use weft_wire::{VnetHeader, vnet};

/// Something the kernel does for many packets at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum Offload {
    /// Cutting one send into many datagrams (UDP_SEGMENT).
    Segments,
    /// Joining datagrams on receive (UDP_GRO).
    Joining,
    /// Taking TCP super-frames for a pod.
    Tcp,
    /// Taking UDP super-frames for a pod (USO).
    Udp,
}

impl Offload {
    pub(in crate::runtime) const ALL: [Self; 4] =
        [Self::Segments, Self::Joining, Self::Tcp, Self::Udp];

    /// The name in reports.
    pub(in crate::runtime) const fn name(self) -> &'static str {
        match self {
            Self::Segments => "udp-segment",
            Self::Joining => "udp-gro",
            Self::Tcp => "tap-tso",
            Self::Udp => "tap-uso",
        }
    }

    /// Which one a super-frame with this header needs where it is written.
    pub(super) const fn of_write(vnet: &VnetHeader) -> Self {
        match vnet.gso_type {
            vnet::GSO_UDP_L4 => Self::Udp,
            _ => Self::Tcp,
        }
    }
}

/// Which offloads were refused.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Offloads {
    refused: [AtomicBool; Offload::ALL.len()],
}

impl Offloads {
    fn flag(&self, offload: Offload) -> &AtomicBool {
        let [segments, joining, tcp, udp] = &self.refused;
        match offload {
            Offload::Segments => segments,
            Offload::Joining => joining,
            Offload::Tcp => tcp,
            Offload::Udp => udp,
        }
    }

    /// Whether the offload may be tried.
    pub(in crate::runtime) fn works(&self, offload: Offload) -> bool {
        !self.flag(offload).load(Relaxed)
    }

    /// Turns one off; whether it was still on.
    pub(in crate::runtime) fn refuse(&self, offload: Offload) -> bool {
        !self.flag(offload).swap(true, Relaxed)
    }

    /// Those that are off.
    pub(in crate::runtime) fn refused(&self) -> impl Iterator<Item = Offload> {
        let all = Offload::ALL.into_iter();
        all.filter(|offload| !self.works(*offload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_refused_once_and_for_good() {
        let offloads = Offloads::default();
        assert_eq!(offloads.refused().count(), 0);
        for (n, offload) in Offload::ALL.into_iter().enumerate() {
            assert!(offloads.works(offload));
            assert!(offloads.refuse(offload));
            assert!(!offloads.refuse(offload) && !offloads.works(offload));
            assert_eq!(offloads.refused().count(), n + 1);
        }
    }
}
