//! Where does a packet live while it is switched? One owned buffer with room in front.
//!
//! Owns the arithmetic of headroom, start and length. Knows no format except that a
//! virtio-net header travels beside the bytes. Never allocates after it was built.
#![expect(
    clippy::indexing_slicing,
    reason = "every method keeps start + len <= buffer.len(), the only bounds used"
)]

use core::fmt;

use crate::{VnetHeader, checksum::Sum};

/// Bytes in front of a fresh frame: room for the tunnel headers of the largest underlay
/// (Ethernet 14, IPv6 40, UDP 8, VXLAN 8) and a virtio-net header, rounded to cache lines.
pub const HEADROOM: usize = 128;

/// An owned packet buffer: headroom, then the frame, then spare room.
#[derive(Clone)]
pub struct Frame {
    buffer: Box<[u8]>,
    start: usize,
    len: usize,
    /// What the TAP said about the frame, or should be told.
    pub vnet: VnetHeader,
}

impl Frame {
    /// An empty frame with room for `capacity` bytes behind [`HEADROOM`]. Allocates.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            buffer: vec![0; HEADROOM + capacity].into_boxed_slice(),
            start: HEADROOM,
            len: 0,
            vnet: VnetHeader::NONE,
        }
    }

    /// Bytes that fit behind the headroom of an empty frame.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.len() - HEADROOM
    }

    /// Empties the frame, restores the headroom and forgets the virtio-net header.
    #[inline]
    pub fn reset(&mut self) {
        self.start = HEADROOM;
        self.len = 0;
        self.vnet = VnetHeader::NONE;
    }

    /// The packet's bytes.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer[self.start..self.start + self.len]
    }

    /// The packet's bytes, to change in place.
    #[inline]
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.start + self.len]
    }

    /// Bytes in the packet.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the packet has no bytes.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that [`Frame::prepend`] can still add.
    #[inline]
    #[must_use]
    pub const fn headroom(&self) -> usize {
        self.start
    }

    /// Adds `n` bytes in front and returns them; their content is unspecified.
    /// `None`, and no change, when the headroom is smaller.
    #[inline]
    #[must_use]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(n)?;
        self.len += n;
        Some(&mut self.buffer[self.start..self.start + n])
    }

    /// Drops `n` bytes at the front, or all of them when there are fewer.
    #[inline]
    pub fn trim_front(&mut self, n: usize) {
        let n = n.min(self.len);
        self.start += n;
        self.len -= n;
    }

    /// Keeps the first `n` bytes; no change when there are fewer.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(n);
    }

    /// Adds `n` zero bytes at the end and returns them: what an earlier packet left in the
    /// buffer never shows. `None`, and no change, when the room is smaller.
    #[inline]
    #[must_use]
    pub fn grow(&mut self, n: usize) -> Option<&mut [u8]> {
        let old_end = self.start + self.len;
        let added = self.buffer[old_end..].get_mut(..n)?;
        added.fill(0);
        self.len += n;
        Some(added)
    }

    /// The whole room from the packet's start: read into it, then [`Frame::set_len`].
    #[inline]
    #[must_use]
    pub fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..]
    }

    /// [`Frame::spare_mut`] that begins `n` bytes before the packet's start, or with the
    /// whole headroom when it is smaller: a read can put a prefix there.
    #[inline]
    #[must_use]
    pub fn spare_with_front(&mut self, n: usize) -> &mut [u8] {
        let n = n.min(self.start);
        &mut self.buffer[self.start - n..]
    }

    /// Declares that the packet has `n` bytes, as many as there is room for.
    #[inline]
    pub fn set_len(&mut self, n: usize) {
        self.len = n.min(self.buffer.len() - self.start);
    }

    /// Replaces the packet by a copy of `bytes`, from the current start on.
    /// False, and no change, when the room is smaller.
    #[inline]
    #[must_use]
    pub fn copy_from(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.buffer[self.start..].get_mut(..bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.len = bytes.len();
        true
    }

    /// [`Frame::append`] that adds the bytes to `sum` in the same pass. False, and neither
    /// changes, when the room is smaller.
    #[inline]
    #[must_use]
    pub fn append_summed(&mut self, bytes: &[u8], sum: &mut Sum) -> bool {
        let end = self.start + self.len;
        let room = self.buffer[end..].get_mut(..bytes.len());
        let done = room.is_some_and(|room| sum.add_copied(bytes, room));
        if done {
            self.len += bytes.len();
        }
        done
    }

    /// Adds a copy of `bytes` at the end. False, and no change, when the room is smaller.
    #[inline]
    #[must_use]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let end = self.start + self.len;
        let Some(room) = self.buffer[end..].get_mut(..bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        true
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("start", &self.start)
            .field("len", &self.len)
            .field("vnet", &self.vnet)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headroom_start_and_length_move_together() {
        let mut frame = Frame::with_capacity(8);
        assert!(frame.is_empty() && frame.capacity() == 8);
        assert!(frame.copy_from(&[1, 2, 3, 4]));
        frame.prepend(2).unwrap().copy_from_slice(&[8, 9]);
        assert_eq!(frame.as_slice(), [8, 9, 1, 2, 3, 4]);
        assert_eq!(frame.headroom(), HEADROOM - 2);
        frame.trim_front(3);
        assert_eq!(frame.as_slice(), [2, 3, 4]);
        frame.truncate(2);
        frame.truncate(5);
        frame.grow(2).unwrap()[1] = 7;
        assert_eq!(
            frame.as_slice(),
            [2, 3, 0, 7],
            "grown bytes are zero, not old"
        );
        frame.truncate(2);
        assert!(frame.append(&[0, 7]) && frame.append(&[]));
        assert_eq!(frame.as_slice(), [2, 3, 0, 7]);
        frame.as_mut_slice()[0] = 6;
        assert_eq!((frame.as_slice()[0], frame.len()), (6, 4));
        frame.trim_front(100);
        assert!(frame.is_empty());
    }

    #[test]
    fn what_is_appended_can_be_summed_on_the_way() {
        let mut frame = Frame::with_capacity(8);
        let mut sum = Sum::new();
        assert!(frame.append_summed(&[0x12, 0x34, 0x56], &mut sum));
        assert!(frame.append_summed(&[0x78], &mut sum));
        assert!(!frame.append_summed(&[1; 5], &mut sum));
        assert_eq!(frame.as_slice(), [0x12, 0x34, 0x56, 0x78]);
        assert_eq!(sum.folded(), 0x1234 + 0x5678);
    }

    #[test]
    fn requests_beyond_the_room_change_nothing() {
        let mut frame = Frame::with_capacity(4);
        assert!(!frame.copy_from(&[0; 5]));
        assert!(frame.copy_from(&[1, 2, 3]));
        assert!(frame.grow(2).is_none());
        assert!(!frame.append(&[4, 5]));
        assert!(frame.prepend(HEADROOM + 1).is_none());
        assert_eq!(
            (frame.as_slice(), frame.headroom()),
            (&[1, 2, 3][..], HEADROOM)
        );
        assert_eq!(
            frame.prepend(HEADROOM).map(|front| front.len()),
            Some(HEADROOM)
        );
        assert!(frame.prepend(1).is_none());
        frame.set_len(usize::MAX);
        assert_eq!(frame.len(), HEADROOM + 4);
        assert!(frame.grow(usize::MAX).is_none());
    }

    #[test]
    fn a_read_may_begin_in_the_headroom() {
        let mut frame = Frame::with_capacity(4);
        assert_eq!(frame.spare_mut().len(), 4);
        frame
            .spare_with_front(2)
            .copy_from_slice(&[9, 9, 1, 2, 3, 4]);
        frame.set_len(3);
        assert_eq!(frame.as_slice(), [1, 2, 3]);
        assert_eq!(frame.spare_with_front(usize::MAX).len(), HEADROOM + 4);
    }

    #[test]
    fn reset_forgets_everything() {
        let mut frame = Frame::with_capacity(4);
        assert!(frame.copy_from(&[1, 2, 3]));
        frame.trim_front(1);
        frame.vnet.flags = 1;
        frame.reset();
        assert!(frame.is_empty() && frame.headroom() == HEADROOM);
        assert_eq!(frame.vnet, VnetHeader::NONE);
    }
}
