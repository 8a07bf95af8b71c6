//! How are many datagrams sent with one system call?
//!
//! Owns sendmmsg(2): one message that cannot be sent never holds up those behind it. A message is
//! one datagram, or many of one flow that the kernel cuts apart (UDP_SEGMENT, udp(7)). It never
//! allocates after `new`, never waits and never retries a message.

#![expect(unsafe_code, reason = "sendmmsg(2) takes pointers to pointers")]

use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use super::address::{Control, RawAddress, SEND_CONTROL_LEN, set_control};

/// The most datagrams one message with [`Target::segment`] makes on every kernel
/// (`UDP_MAX_SEGMENTS`, 128 since Linux 6.9).
pub const MAX_SEGMENTS: usize = 64;

/// The most payload bytes of one message over IPv4: 65,535 less the IP and UDP headers. Above
/// 65,493 a message with [`Target::segment`] may be cut before it reaches the device.
pub const MAX_PAYLOAD: usize = 65_507;

/// The most parts of one message (`UIO_MAXIOV`).
pub const MAX_PARTS: usize = 1024;

/// Where a message goes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to.
    pub to: SocketAddr,
    /// Traffic class octet of every datagram: DSCP and ECN.
    pub tos: u8,
    /// Payload bytes of every datagram but the last, which may be shorter; `None` sends the whole
    /// message as one datagram. At most [`MAX_SEGMENTS`] datagrams and [`MAX_PAYLOAD`] bytes.
    pub segment: Option<NonZeroU16>,
}

/// The memory sendmmsg(2) needs for a number of messages at once.
#[derive(Debug)]
pub struct SendBatch {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    targets: Vec<RawAddress>,
    controls: Vec<Control<SEND_CONTROL_LEN>>,
}

// SAFETY: the pointers in `headers` and `vectors` are what keeps SendBatch from being Send on its
// own. A `Filling` overwrites those it hands to the kernel, and nothing else follows them, so they
// mean nothing between two fillings, on whichever thread.
unsafe impl Send for SendBatch {}

impl SendBatch {
    /// Room for `messages` messages of `parts` parts in all; at least one of each.
    pub fn new(messages: usize, parts: usize) -> Self {
        let vector = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        let (messages, parts) = (messages.max(1), parts.max(1));
        Self {
            headers: vec![super::empty_header(); messages],
            vectors: vec![vector; parts],
            targets: vec![RawAddress::EMPTY; messages],
            controls: vec![Control([0; SEND_CONTROL_LEN]); messages],
        }
    }

    /// The most messages one system call sends.
    pub fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// Begins to collect messages, which borrow their parts until they are sent.
    pub fn fill<'a>(&mut self) -> Filling<'_, 'a> {
        Filling {
            batch: self,
            messages: 0,
            parts: 0,
            open: false,
            borrowed: PhantomData,
        }
    }
}

/// Messages being collected. Dropping it sends none.
#[derive(Debug)]
pub struct Filling<'b, 'a> {
    batch: &'b mut SendBatch,
    messages: usize,
    parts: usize,
    /// Whether the last message may take more parts.
    open: bool,
    borrowed: PhantomData<&'a [u8]>,
}

impl<'a> Filling<'_, 'a> {
    /// Begins a message without parts; `false` if there is no room for one: send first.
    pub fn begin(&mut self, target: Target) -> bool {
        let Self {
            batch,
            messages,
            parts,
            open,
            ..
        } = self;
        *open = false;
        let at = *messages;
        let slot = (
            batch.headers.get_mut(at),
            batch.targets.get_mut(at),
            batch.controls.get_mut(at),
        );
        let (Some(header), Some(address), Some(control)) = slot else {
            return false;
        };
        if *parts == batch.vectors.len() {
            return false;
        }
        let raw = &mut header.msg_hdr;
        raw.msg_namelen = address.set(target.to);
        raw.msg_controllen = set_control(control, target.to, target.tos, target.segment);
        raw.msg_iovlen = 0;
        *messages += 1;
        *open = true;
        true
    }

    /// Adds `bytes` to the message begun last. `false` if there is no room for it or the message
    /// has [`MAX_PARTS`]: that message is taken back whole; send, then begin it again.
    pub fn part(&mut self, bytes: &'a [u8]) -> bool {
        let batch = &mut *self.batch;
        let last = self.messages.checked_sub(1).filter(|_| self.open);
        let Some(header) = last.and_then(|last| batch.headers.get_mut(last)) else {
            return false;
        };
        let count = &mut header.msg_hdr.msg_iovlen;
        match batch.vectors.get_mut(self.parts) {
            Some(vector) if *count < MAX_PARTS => {
                // The kernel only reads what a sent iovec points at.
                vector.iov_base = bytes.as_ptr().cast_mut().cast();
                vector.iov_len = bytes.len();
                *count += 1;
                self.parts += 1;
                true
            }
            _ => {
                self.parts -= *count;
                self.messages -= 1;
                self.open = false;
                false
            }
        }
    }

    /// Messages collected.
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Sends the messages in order, in as many system calls as their failures take, and returns
    /// how many the kernel took.
    ///
    /// `on_failure` is told the index and error of each of the others: EMSGSIZE for a datagram
    /// over the path MTU; for one with [`Target::segment`] also EINVAL (a segment over the path
    /// MTU, or more segments than the kernel makes) and EIO (the device cannot complete checksums
    /// of segments); ENETUNREACH, ENOBUFS. `WouldBlock` (the send buffer is full) is said of a
    /// message and of all behind it, which are then not tried.
    pub fn send(
        mut self,
        socket: impl AsFd,
        mut on_failure: impl FnMut(usize, io::Error),
    ) -> usize {
        self.batch.point(self.messages);
        let (mut sent, mut next) = (0, 0);
        let mut blocked = false;
        while next < self.messages {
            let answer = match blocked {
                true => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
                false => self.call(socket.as_fd(), next),
            };
            match answer {
                Ok(count) => {
                    next += count;
                    sent += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    blocked |= error.kind() == io::ErrorKind::WouldBlock;
                    on_failure(next, error);
                    next += 1;
                }
            }
        }
        sent
    }
}

impl SendBatch {
    /// Points the first `messages` headers at their address, control messages and parts.
    fn point(&mut self, messages: usize) {
        let mut parts = self.vectors.as_mut_ptr();
        let slots = self.headers.iter_mut().zip(&mut self.targets);
        let slots = slots.zip(&mut self.controls).take(messages);
        for ((header, address), control) in slots {
            let raw = &mut header.msg_hdr;
            raw.msg_name = address.0.as_mut_ptr().cast();
            raw.msg_control = control.0.as_mut_ptr().cast();
            raw.msg_iov = parts;
            // Parts lie one behind the other in the order of their messages.
            parts = parts.wrapping_add(raw.msg_iovlen);
        }
    }
}

impl Filling<'_, '_> {
    /// Hands the messages from `from` on to the kernel; returns how many it took, at least one.
    fn call(&mut self, fd: BorrowedFd<'_>, from: usize) -> io::Result<usize> {
        let Some(headers) = self.batch.headers.get_mut(from..self.messages) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let count = libc::c_uint::try_from(headers.len()).unwrap_or(libc::c_uint::MAX);
        let (fd, headers) = (fd.as_raw_fd(), headers.as_mut_ptr());
        // SAFETY: sendmmsg(2) needs `count` mmsghdr at `headers`, whose pointers are valid for
        // reads of the lengths beside them, and writes msg_len of each. `begin` set the lengths
        // and `point`, called by `send` before, the pointers: name and control at this batch's own
        // arrays, iov at as many elements of `vectors` as `part` counted, none of which moves
        // while the batch is borrowed. Each iovec is a `&'a [u8]`, and 'a outlives `self`, which
        // holds it. `fd` is open while borrowed.
        let answer = unsafe { libc::sendmmsg(fd, headers, count, 0) };
        match usize::try_from(answer) {
            Ok(0) => Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(sent) => Ok(sent),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}
