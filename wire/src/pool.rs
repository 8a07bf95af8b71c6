//! Where do empty frames come from? A bounded free list, one per worker.
//!
//! Allocates in [`Pool::new`] only; an empty pool says so instead of growing.

use crate::Frame;

/// A bounded free list of equal [`Frame`]s.
#[derive(Debug)]
pub struct Pool {
    free: Vec<Frame>,
    count: usize,
    capacity: usize,
}

impl Pool {
    /// A pool of `count` frames of `capacity` bytes each. The only allocation.
    #[must_use]
    pub fn new(count: usize, capacity: usize) -> Self {
        let mut free = Vec::with_capacity(count);
        free.resize_with(count, || Frame::with_capacity(capacity));
        Self {
            free,
            count,
            capacity,
        }
    }

    /// An empty frame, or `None` when all are in use.
    #[inline]
    #[must_use]
    pub fn take(&mut self) -> Option<Frame> {
        let mut frame = self.free.pop()?;
        frame.reset();
        Some(frame)
    }

    /// Gives a frame back. One of another size, or beyond the pool's count, is freed.
    #[inline]
    pub fn put(&mut self, frame: Frame) {
        if self.free.len() < self.count && frame.capacity() == self.capacity {
            self.free.push(frame);
        }
    }

    /// Frames ready to take.
    #[inline]
    #[must_use]
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Frames the pool was made with.
    #[inline]
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_reset_and_never_more_than_there_were() {
        let mut pool = Pool::new(2, 64);
        let mut first = pool.take().unwrap();
        let second = pool.take().unwrap();
        assert!(pool.take().is_none());
        assert!(first.copy_from(&[1; 64]));
        let stranger = first.clone();
        pool.put(first);
        pool.put(Frame::with_capacity(65));
        assert_eq!(pool.available(), 1, "another size is not kept");
        pool.put(second);
        pool.put(stranger);
        assert_eq!((pool.available(), pool.count()), (2, 2));
        assert!(pool.take().is_some_and(|frame| frame.is_empty()));
    }
}
