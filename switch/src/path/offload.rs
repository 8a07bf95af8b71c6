//! What did the sender's kernel leave to us, and when is it done?
//!
//! A frame from a TAP may have a partial transport checksum, or stand for many packets: a
//! super-frame (virtio 1.2 §5.1.6.2). Both travel through the switch as they are, once what the
//! vnet header says was compared with the packet, because another pod of this node takes them
//! just so. A checksum is finished only where a wire or a fragment needs it.

use weft_wire::{BadOffload, Frame, Headers, Parsed, VnetHeader};

use super::drop::DropReason;

/// Puts the frame's vnet header into the normalised form. A checksum behind the transport header,
/// which is that of a tunnel within the pod, is finished at once, and the headers read anew.
#[inline]
pub(super) fn settle(frame: &mut Frame, packet: &mut Headers) -> Result<(), DropReason> {
    let asked = frame.vnet;
    match asked.normalised(frame.as_slice(), packet) {
        Ok(vnet) => {
            frame.vnet = vnet;
            Ok(())
        }
        Err(BadOffload::Segmentation) => Err(DropReason::UnexpectedOffload),
        Err(BadOffload::Checksum) => {
            let at = usize::from(asked.csum_start) + usize::from(asked.csum_offset);
            if at < packet.l4 {
                return Err(DropReason::BadOffload);
            }
            finish(frame)?;
            *packet = read_again(frame)?;
            Ok(())
        }
    }
}

/// Finishes a checksum that is still partial, and forgets the vnet header.
#[inline]
pub(super) fn finish(frame: &mut Frame) -> Result<(), DropReason> {
    let vnet = std::mem::replace(&mut frame.vnet, VnetHeader::NONE);
    vnet.complete_checksum(frame.as_mut_slice())
        .map_err(|_| DropReason::BadOffload)
}

/// The checksum may have been written into the transport header.
#[cold]
fn read_again(frame: &mut Frame) -> Result<Headers, DropReason> {
    match weft_wire::parse(frame.as_slice())? {
        Parsed::Ip(packet) => {
            frame.truncate(packet.end);
            Ok(packet)
        }
        Parsed::Arp(_) | Parsed::Other(_) => Err(DropReason::BadOffload),
    }
}

/// How many packets a frame stands for, at least one.
#[inline]
pub(crate) fn segments(frame: &Frame) -> u32 {
    if !frame.vnet.is_segmented() {
        return 1;
    }
    let gso = frame.vnet.gso();
    let segments = gso.map_or(1, |gso| gso.segments(frame.len()));
    u32::try_from(segments).unwrap_or(u32::MAX)
}

/// Bytes of these packets, each with its own headers.
#[inline]
pub(super) fn wire_len(frame: &Frame) -> usize {
    let gso = frame.vnet.gso();
    gso.map_or(frame.len(), |gso| gso.wire_len(frame.len()))
}
