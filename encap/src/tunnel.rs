//! How a frame enters and leaves the tunnel.
//!
//! Owns [`push`] and [`pop`]: the VXLAN header in the frame's headroom, and the
//! inner Ethernet addresses, which name the two tunnel endpoints and not the pods
//! (flannel's convention, so that a kernel VXLAN device is an equal peer). Never
//! knows who the peer is; UDP and outer IP are the socket's.

use core::fmt;

use weft_wire::{Frame, Mac};

use crate::Vni;
use crate::vxlan::{self, BadTunnel, VXLAN_HEADER};

const MAC: usize = 6;
const ETHERNET_HEADER: usize = 14;

/// What the tunnel to one peer needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tunnel {
    /// The overlay network.
    pub vni: Vni,
    /// Inner source MAC: this node's tunnel endpoint.
    pub src: Mac,
    /// Inner destination MAC: the peer's tunnel endpoint.
    pub dst: Mac,
}

/// The frame has no room for a VXLAN header in front, or holds less than an
/// Ethernet header; it was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHeadroom;

impl fmt::Display for NoHeadroom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room for a VXLAN header in front of the frame")
    }
}

impl core::error::Error for NoHeadroom {}

/// Turns an Ethernet frame into the UDP payload that carries it to a peer.
///
/// # Errors
/// [`NoHeadroom`], with the frame as it was.
#[inline]
pub fn push(frame: &mut Frame, tunnel: &Tunnel) -> Result<(), NoHeadroom> {
    if frame.len() < ETHERNET_HEADER {
        return Err(NoHeadroom);
    }
    frame.prepend(VXLAN_HEADER).ok_or(NoHeadroom)?;
    let start = frame.as_mut_slice().first_chunk_mut().ok_or(NoHeadroom)?;
    *start = start_of(tunnel);
    Ok(())
}

/// The VXLAN header and the two inner addresses behind it.
#[inline]
const fn start_of(tunnel: &Tunnel) -> [u8; VXLAN_HEADER + 2 * MAC] {
    let [h0, h1, h2, h3, h4, h5, h6, h7] = vxlan::emit(tunnel.vni);
    let [d0, d1, d2, d3, d4, d5] = tunnel.dst.octets();
    let [s0, s1, s2, s3, s4, s5] = tunnel.src.octets();
    [
        h0, h1, h2, h3, h4, h5, h6, h7, d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5,
    ]
}

/// Turns a UDP payload into the Ethernet frame it carries; the inner frame is
/// checked only for holding an Ethernet header.
///
/// # Errors
/// [`BadTunnel`], with the payload as it was.
#[inline]
pub fn pop(payload: &mut Frame) -> Result<Vni, BadTunnel> {
    if payload.len() < VXLAN_HEADER + ETHERNET_HEADER {
        return Err(BadTunnel::Truncated);
    }
    let header = payload
        .as_slice()
        .first_chunk()
        .ok_or(BadTunnel::Truncated)?;
    let vni = vxlan::parse(*header)?;
    payload.trim_front(VXLAN_HEADER);
    Ok(vni)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_wire::HEADROOM;

    use super::*;

    fn frame_of(bytes: &[u8]) -> Frame {
        let mut frame = Frame::with_capacity(2048);
        assert!(frame.copy_from(bytes));
        frame
    }

    fn tunnel(vni: u32) -> Tunnel {
        Tunnel {
            vni: Vni::new(vni).unwrap(),
            src: Mac::new([0x02, 0, 0, 0, 0, 0x0a]),
            dst: Mac::new([0x02, 0, 0, 0, 0, 0x0b]),
        }
    }

    const INNER: [u8; 18] = [
        0x02, 0x77, 0x65, 0x66, 0x74, 0x01, // the gateway, as the pod sent it
        0x02, 0x00, 0x00, 0x00, 0x00, 0x01, // the pod
        0x08, 0x00, // IPv4
        0x45, 0x00, 0x00, 0x14, // payload, untouched
    ];

    #[test]
    fn push_writes_literal_bytes() {
        let mut frame = frame_of(&INNER);
        push(&mut frame, &tunnel(0x12_3456)).unwrap();
        let expected = [
            0x08, 0x00, 0x00, 0x00, 0x12, 0x34, 0x56, 0x00, // VXLAN
            0x02, 0x00, 0x00, 0x00, 0x00, 0x0b, // peer's endpoint
            0x02, 0x00, 0x00, 0x00, 0x00, 0x0a, // our endpoint
            0x08, 0x00, 0x45, 0x00, 0x00, 0x14,
        ];
        assert_eq!(frame.as_slice(), expected);
    }

    #[test]
    fn pop_gives_the_inner_frame() {
        let mut payload = frame_of(&[0x08, 0, 0, 0, 0, 0, 1, 0]);
        payload.grow(INNER.len()).unwrap().copy_from_slice(&INNER);
        assert_eq!(pop(&mut payload), Ok(Vni::new(1).unwrap()));
        assert_eq!(payload.as_slice(), INNER);
    }

    #[test]
    fn truncation_at_every_length_is_refused_without_change() {
        let mut whole = frame_of(&INNER);
        push(&mut whole, &tunnel(9)).unwrap();
        for len in 0..=whole.len() {
            let mut cut = whole.clone();
            cut.truncate(len);
            let result = pop(&mut cut);
            if len < VXLAN_HEADER + ETHERNET_HEADER {
                assert_eq!(result, Err(BadTunnel::Truncated), "{len}");
                assert_eq!(cut.as_slice(), &whole.as_slice()[..len]);
            } else {
                assert_eq!(result, Ok(tunnel(9).vni), "{len}");
                assert_eq!(cut.len(), len - VXLAN_HEADER);
            }
        }
    }

    #[test]
    fn refused_payloads_are_left_alone() {
        for (first, error) in [(0x00, BadTunnel::NoVni), (0x08, BadTunnel::ZeroVni)] {
            let mut bytes = [0; 30];
            bytes[0] = first;
            let mut payload = frame_of(&bytes);
            assert_eq!(pop(&mut payload), Err(error));
            assert_eq!(payload.as_slice(), bytes);
        }
    }

    #[test]
    fn nesting_stops_when_the_headroom_is_used_up() {
        let mut frame = frame_of(&INNER);
        for _ in 0..HEADROOM / VXLAN_HEADER {
            push(&mut frame, &tunnel(1)).unwrap();
        }
        let before = frame.as_slice().to_vec();
        assert_eq!(push(&mut frame, &tunnel(1)), Err(NoHeadroom));
        assert_eq!(frame.as_slice(), before);
    }

    #[test]
    fn less_than_an_ethernet_header_is_not_pushed() {
        for len in 0..ETHERNET_HEADER {
            let mut frame = frame_of(&INNER[..len]);
            assert_eq!(push(&mut frame, &tunnel(1)), Err(NoHeadroom), "{len}");
            assert_eq!(frame.as_slice(), &INNER[..len]);
        }
    }

    proptest! {
        #[test]
        fn pop_undoes_push(
            vni in 1_u32..=0xff_ffff,
            inner in proptest::collection::vec(any::<u8>(), 14..1600),
        ) {
            let tunnel = tunnel(vni);
            let mut frame = frame_of(&inner);
            push(&mut frame, &tunnel).unwrap();
            prop_assert_eq!(frame.len(), inner.len() + VXLAN_HEADER);
            prop_assert_eq!(pop(&mut frame), Ok(tunnel.vni));
            prop_assert_eq!(&frame.as_slice()[..6], tunnel.dst.octets());
            prop_assert_eq!(&frame.as_slice()[6..12], tunnel.src.octets());
            prop_assert_eq!(&frame.as_slice()[12..], &inner[12..]);
        }

        #[test]
        fn any_bytes_pop_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut payload = frame_of(&bytes);
            let taken = pop(&mut payload).is_ok();
            let legal = bytes.len() >= 22 && bytes[0] & 8 != 0 && bytes[4..7] != [0; 3];
            prop_assert_eq!(taken, legal);
        }
    }
}
