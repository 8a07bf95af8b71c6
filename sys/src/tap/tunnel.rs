//! How does a super-frame inside a UDP tunnel cross a TAP whole?
//!
//! Owns the longer vnet header that says where the outer and the inner headers begin (`struct
//! virtio_net_hdr_v1_hash_tunnel`, linux/virtio_net.h), and switching a TAP to it (Linux 6.17).
//! It never looks into a frame.

use std::os::fd::AsFd;

use super::{TapQueue, control};
use crate::error::{Context, Result, SysError};

/// Bytes of the header before every frame of a queue after [`TapQueue::set_tunnel_offloads`].
pub const TUNNEL_VNET_HEADER: usize = 24;

const TUN_F_UDP_TUNNEL_GSO: u32 = 0x080;
const TUN_F_UDP_TUNNEL_GSO_CSUM: u32 = 0x100;

const GSO_UDP_TUNNEL_IPV4: u8 = 0x20;
const GSO_UDP_TUNNEL_IPV6: u8 = 0x40;
const FLAG_UDP_TUNNEL_CSUM: u8 = 8;

/// Bytes of `struct virtio_net_hdr`, in front of everything the tunnel adds.
const INNER: usize = 10;
const FLAGS: usize = 0;
const GSO_TYPE: usize = 1;
const OUTER_TRANSPORT: usize = 20;
const INNER_NETWORK: usize = 22;

/// Where the headers of a super-frame inside a UDP tunnel over IPv4 begin, in bytes from the outer
/// Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelOffsets {
    /// The outer UDP header, whose checksum field holds the pseudo-header's sum.
    pub outer_transport: u16,
    /// The inner IP header.
    pub inner_network: u16,
}

/// The header of a super-frame inside a UDP tunnel over IPv4. `inner` is the `struct
/// virtio_net_hdr` that describes its segmentation, with offsets from the outer Ethernet header.
pub fn tunnel_vnet(inner: [u8; INNER], offsets: TunnelOffsets) -> [u8; TUNNEL_VNET_HEADER] {
    let mut header = [0; TUNNEL_VNET_HEADER];
    let (front, _) = header.split_at_mut(INNER);
    front.copy_from_slice(&inner);
    header[FLAGS] |= FLAG_UDP_TUNNEL_CSUM;
    header[GSO_TYPE] |= GSO_UDP_TUNNEL_IPV4;
    let outer = offsets.outer_transport.to_le_bytes();
    let inner = offsets.inner_network.to_le_bytes();
    header[OUTER_TRANSPORT] = outer[0];
    header[OUTER_TRANSPORT + 1] = outer[1];
    header[INNER_NETWORK] = inner[0];
    header[INNER_NETWORK + 1] = inner[1];
    header
}

/// Takes apart the header of a frame that was read: the `struct virtio_net_hdr` without the
/// tunnel, its offsets still from the outer Ethernet header, and whether there is a tunnel.
pub fn without_tunnel(header: &[u8; TUNNEL_VNET_HEADER]) -> ([u8; INNER], bool) {
    const ANY: u8 = GSO_UDP_TUNNEL_IPV4 | GSO_UDP_TUNNEL_IPV6;
    let mut inner = [0; INNER];
    inner.copy_from_slice(header.split_at(INNER).0);
    let tunnelled = inner[GSO_TYPE] & ANY != 0;
    inner[GSO_TYPE] &= !ANY;
    inner[FLAGS] &= !FLAG_UDP_TUNNEL_CSUM;
    (inner, tunnelled)
}

impl TapQueue {
    /// Lets super-frames inside UDP tunnels, with and without an outer checksum, cross the device
    /// both ways, behind a header of [`TUNNEL_VNET_HEADER`] bytes. It holds for the whole device;
    /// other handles do not learn of it.
    ///
    /// # Errors
    /// EINVAL before Linux 6.17, or if the device has none of the offloads of
    /// [`TapConfig::multi_queue`](super::TapConfig::multi_queue).
    pub fn set_tunnel_offloads(&mut self) -> Result<()> {
        let what = || format!("let tunnels cross TAP {} whole", self.name);
        let offloads = self.offloads();
        if !offloads.tso {
            return Err(SysError::invalid(what(), "it has no TCP segmentation"));
        }
        control::set_vnet_header(self.as_fd(), TUNNEL_VNET_HEADER).context(what)?;
        let mask = offloads.mask() | TUN_F_UDP_TUNNEL_GSO | TUN_F_UDP_TUNNEL_GSO_CSUM;
        control::set_offload(self.as_fd(), mask).context(what)?;
        self.vnet_header = TUNNEL_VNET_HEADER;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_the_abi_says_and_comes_back() {
        let inner = [1, 1, 116, 0, 120, 5, 84, 0, 16, 0];
        let offsets = TunnelOffsets {
            outer_transport: 34,
            inner_network: 64,
        };
        let header = tunnel_vnet(inner, offsets);
        let mut expected = [0; TUNNEL_VNET_HEADER];
        expected[..10].copy_from_slice(&[9, 0x21, 116, 0, 120, 5, 84, 0, 16, 0]);
        expected[20..].copy_from_slice(&[34, 0, 64, 0]);
        assert_eq!(header, expected);
        assert_eq!(without_tunnel(&header), (inner, true));
        expected[..2].copy_from_slice(&[1, 1]);
        assert_eq!(without_tunnel(&expected), (inner, false));
    }
}
