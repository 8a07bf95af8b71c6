//! How are many datagrams sent with one system call?
//!
//! Owns sendmmsg(2): one datagram that cannot be sent never holds up those behind it. It never
//! allocates after `new`, never waits and never retries a datagram.

#![expect(unsafe_code, reason = "sendmmsg(2) takes pointers to pointers")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use super::address::{Control, RawAddress, TOS_CONTROL_LEN, set_tos};

/// One datagram to send.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// Its traffic class octet: DSCP and ECN.
    pub tos: u8,
    /// The payload, in two parts so that a header need not be copied before it; either may be
    /// empty.
    pub parts: [&'a [u8]; 2],
}

impl<'a> Message<'a> {
    /// A datagram whose payload is in one piece.
    pub const fn new(to: SocketAddr, tos: u8, payload: &'a [u8]) -> Self {
        Self {
            to,
            tos,
            parts: [payload, &[]],
        }
    }
}

/// The memory sendmmsg(2) needs for up to `capacity` datagrams at once.
#[derive(Debug)]
pub struct SendBatch {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<[libc::iovec; 2]>,
    targets: Vec<RawAddress>,
    controls: Vec<Control<TOS_CONTROL_LEN>>,
}

// SAFETY: the pointers in `headers` and `vectors` are what keeps SendBatch from being Send on its
// own. Each call of `send` overwrites those it hands to the kernel, and nothing else follows them,
// so they mean nothing between calls, on whichever thread.
unsafe impl Send for SendBatch {}

impl SendBatch {
    /// Room for `capacity` datagrams per system call, at least one.
    pub fn new(capacity: usize) -> Self {
        let vector = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        let capacity = capacity.max(1);
        Self {
            headers: vec![super::empty_header(); capacity],
            vectors: vec![[vector; 2]; capacity],
            targets: vec![RawAddress::EMPTY; capacity],
            controls: vec![Control([0; TOS_CONTROL_LEN]); capacity],
        }
    }

    /// The most datagrams one system call sends.
    pub fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// Sends `messages` in order, in as many system calls as their number and failures take, and
    /// returns how many the kernel took.
    ///
    /// `on_failure` is told the index and error of each of the others: EMSGSIZE for one over the
    /// path MTU, ENETUNREACH, ENOBUFS. `WouldBlock` (the send buffer is full) is said of a message
    /// and of all behind it, which are then not tried.
    pub fn send<'a>(
        &mut self,
        socket: impl AsFd,
        messages: impl IntoIterator<Item = Message<'a>>,
        mut on_failure: impl FnMut(usize, io::Error),
    ) -> usize {
        let mut messages = messages.into_iter();
        let (mut sent, mut first) = (0, 0);
        let mut blocked = false;
        loop {
            let ready = self.prepare(messages.by_ref());
            if ready == 0 {
                return sent;
            }
            let mut next = 0;
            while next < ready {
                let answer = match blocked {
                    true => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
                    false => self.send_prepared(socket.as_fd(), next, ready),
                };
                match answer {
                    Ok(count) => {
                        next += count;
                        sent += count;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        blocked |= error.kind() == io::ErrorKind::WouldBlock;
                        on_failure(first + next, error);
                        next += 1;
                    }
                }
            }
            first += ready;
        }
    }

    /// Points one header at each message; returns how many.
    fn prepare<'a>(&mut self, messages: impl Iterator<Item = Message<'a>>) -> usize {
        let mut ready = 0;
        let slots = self.headers.iter_mut().zip(&mut self.vectors);
        let slots = slots.zip(self.targets.iter_mut().zip(&mut self.controls));
        for (((header, vectors), (target, control)), message) in slots.zip(messages) {
            for (vector, part) in vectors.iter_mut().zip(message.parts) {
                // The kernel only reads what a sent iovec points at.
                vector.iov_base = part.as_ptr().cast_mut().cast();
                vector.iov_len = part.len();
            }
            let raw = &mut header.msg_hdr;
            raw.msg_namelen = target.set(message.to);
            raw.msg_name = target.0.as_mut_ptr().cast();
            raw.msg_iov = vectors.as_mut_ptr();
            raw.msg_iovlen = vectors.len();
            raw.msg_controllen = set_tos(control, message.to, message.tos);
            raw.msg_control = control.0.as_mut_ptr().cast();
            ready += 1;
        }
        ready
    }

    /// Hands the messages `from..to` of the last `prepare` to the kernel; returns how many it took,
    /// at least one.
    fn send_prepared(&mut self, fd: BorrowedFd<'_>, from: usize, to: usize) -> io::Result<usize> {
        let Some(headers) = self.headers.get_mut(from..to) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let count = libc::c_uint::try_from(headers.len()).unwrap_or(libc::c_uint::MAX);
        let (fd, headers) = (fd.as_raw_fd(), headers.as_mut_ptr());
        // SAFETY: sendmmsg(2) needs `count` mmsghdr at `headers`, whose pointers are valid for
        // reads of the lengths beside them, and writes msg_len of each. `prepare` set them all:
        // name and control point at this batch's own arrays, which do not move; the iovecs at the
        // `&'a [u8]` of messages, and 'a outlives `send`, the only caller. `fd` is open.
        let answer = unsafe { libc::sendmmsg(fd, headers, count, 0) };
        match usize::try_from(answer) {
            Ok(0) => Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(sent) => Ok(sent),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}
