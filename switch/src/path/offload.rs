//! What did the sender's kernel leave to us?
//!
//! A TAP with a vnet header may hand over a frame whose transport checksum is still
//! partial; it is finished here, before anything reads the frame. Segmentation is not
//! negotiated, so a frame that asks for it was forged (virtio 1.2 §5.1.6.2).

use weft_wire::{Frame, VnetHeader};

use super::drop::DropReason;

/// Finishes the checksum and forgets the vnet header.
pub(super) fn complete(frame: &mut Frame) -> Result<(), DropReason> {
    let vnet = std::mem::replace(&mut frame.vnet, VnetHeader::NONE);
    if vnet.is_segmented() {
        return Err(DropReason::UnexpectedOffload);
    }
    vnet.complete_checksum(frame.as_mut_slice())
        .map_err(|_| DropReason::BadOffload)
}
