//! Where do empty frames come from? Bounded free lists of two sizes, one pool per worker.
//!
//! The usual class holds one packet, the large class (a pool has none unless asked) a
//! super-frame. Allocates in [`Pool::new`] and [`Pool::with_large`] only; an empty class says
//! so instead of growing or borrowing from the other.

use crate::Frame;

/// A bounded free list of [`Frame`]s in two sizes.
#[derive(Debug)]
pub struct Pool {
    usual: Class,
    large: Class,
}

/// Equal frames, never more of them than there were at the start.
#[derive(Debug)]
struct Class {
    free: Vec<Frame>,
    count: usize,
    capacity: usize,
}

impl Class {
    fn new(count: usize, capacity: usize) -> Self {
        let mut free = Vec::with_capacity(count);
        free.resize_with(count, || Frame::with_capacity(capacity));
        Self {
            free,
            count,
            capacity,
        }
    }

    #[inline]
    fn take(&mut self) -> Option<Frame> {
        let mut frame = self.free.pop()?;
        frame.reset();
        Some(frame)
    }

    /// Keeps the frame, or gives it back when it is not one of this class.
    #[inline]
    fn keep(&mut self, frame: Frame) -> Option<Frame> {
        if frame.capacity() != self.capacity || self.free.len() >= self.count {
            return Some(frame);
        }
        self.free.push(frame);
        None
    }
}

impl Pool {
    /// A pool of `count` frames of `capacity` bytes each, and no large ones.
    #[must_use]
    pub fn new(count: usize, capacity: usize) -> Self {
        Self {
            usual: Class::new(count, capacity),
            large: Class::new(0, 0),
        }
    }

    /// The pool with `count` large frames of `capacity` bytes each beside the usual ones,
    /// in place of those it had.
    #[must_use]
    pub fn with_large(self, count: usize, capacity: usize) -> Self {
        Self {
            large: Class::new(count, capacity),
            ..self
        }
    }

    /// An empty frame of the usual class, or `None` when all are in use.
    #[inline]
    #[must_use]
    pub fn take(&mut self) -> Option<Frame> {
        self.usual.take()
    }

    /// An empty frame of the large class, or `None` when all are in use.
    #[inline]
    #[must_use]
    pub fn take_large(&mut self) -> Option<Frame> {
        self.large.take()
    }

    /// Gives a frame back to the class of its size. One of another size, or beyond its
    /// class's count, is freed.
    #[inline]
    pub fn put(&mut self, frame: Frame) {
        if let Some(frame) = self.usual.keep(frame) {
            drop(self.large.keep(frame));
        }
    }

    /// Frames of the usual class ready to take.
    #[inline]
    #[must_use]
    pub fn available(&self) -> usize {
        self.usual.free.len()
    }

    /// Frames of the large class ready to take.
    #[inline]
    #[must_use]
    pub fn large_available(&self) -> usize {
        self.large.free.len()
    }

    /// Frames of the usual class the pool was made with.
    #[inline]
    #[must_use]
    pub const fn count(&self) -> usize {
        self.usual.count
    }

    /// Frames of the large class the pool was made with.
    #[inline]
    #[must_use]
    pub const fn large_count(&self) -> usize {
        self.large.count
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

    #[test]
    fn each_size_goes_back_to_its_class() {
        let mut pool = Pool::new(1, 64).with_large(2, 256);
        assert!(Pool::new(1, 64).take_large().is_none());
        let (small, large, other) = (pool.take(), pool.take_large(), pool.take_large());
        assert!(pool.take().is_none() && pool.take_large().is_none());
        let mut large = large.unwrap();
        assert_eq!(large.capacity(), 256);
        assert!(large.copy_from(&[1; 256]));
        let stranger = large.clone();
        pool.put(large);
        assert_eq!((pool.available(), pool.large_available()), (0, 1));
        pool.put(small.unwrap());
        pool.put(other.unwrap());
        pool.put(stranger);
        assert_eq!((pool.available(), pool.large_available()), (1, 2));
        assert_eq!(pool.count(), 1);
        assert!(pool.take_large().is_some_and(|frame| frame.is_empty()));
    }
}
