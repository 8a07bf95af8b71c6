//! Do any bytes as a UDP payload, or any frame into a tunnel, break the overlay's promises?

use weft_encap::{BadTunnel, Tunnel, VXLAN_HEADER, Vni, pop, push};
use weft_wire::{Frame, Mac};

const ETHERNET: usize = 14;
const CAPACITY: usize = 4096;

/// The harness: `bytes` as a UDP payload, and as a frame to send.
///
/// # Panics
/// When a promise does not hold.
pub fn run(bytes: &[u8]) {
    let bytes = bytes.get(..CAPACITY).unwrap_or(bytes);
    received(bytes);
    sent(bytes);
}

fn frame(bytes: &[u8]) -> Frame {
    let mut frame = Frame::with_capacity(CAPACITY);
    assert!(frame.copy_from(bytes), "the bytes fit");
    frame
}

/// The header as RFC 7348, section 5 draws it; everything but the I flag and the VNI is ignored.
fn received(bytes: &[u8]) {
    let mut payload = frame(bytes);
    let popped = pop(&mut payload);
    let (Some(inner), &[flags, _, _, _, a, b, c, _, ..]) = (bytes.get(VXLAN_HEADER..), bytes)
    else {
        assert_eq!(popped, Err(BadTunnel::Truncated));
        return;
    };
    let vni = Vni::new(u32::from_be_bytes([0, a, b, c]));
    let expected = match vni {
        _ if inner.len() < ETHERNET => Err(BadTunnel::Truncated),
        _ if flags & 0x08 == 0 => Err(BadTunnel::NoVni),
        None => Err(BadTunnel::ZeroVni),
        Some(vni) => Ok(vni),
    };
    assert_eq!(popped, expected);
    assert_eq!(
        payload.as_slice(),
        if popped.is_ok() { inner } else { bytes }
    );
}

/// What goes in comes out but for the station addresses; what does not fit is left alone.
fn sent(bytes: &[u8]) {
    let tunnel = Tunnel {
        vni: Vni::new(1 + u32::from(bytes.first().copied().unwrap_or(0))).expect("not zero"),
        src: Mac::new([2, 0, 0, 0, 0, 1]),
        dst: Mac::new([2, 0, 0, 0, 0, 2]),
    };
    let mut payload = frame(bytes);
    if push(&mut payload, &tunnel).is_err() {
        assert!(bytes.len() < ETHERNET, "there was headroom");
        assert_eq!(payload.as_slice(), bytes);
        return;
    }
    assert_eq!(payload.len(), bytes.len() + VXLAN_HEADER);
    assert_eq!(pop(&mut payload), Ok(tunnel.vni));
    let addresses = [tunnel.dst.octets(), tunnel.src.octets()].concat();
    let (now, was) = (payload.as_slice().split_at(12), bytes.split_at(12));
    assert_eq!(now, (addresses.as_slice(), was.1));
}
