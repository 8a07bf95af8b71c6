//! How are many datagrams received with one system call?
//!
//! Owns recvmmsg(2) and what it says about each datagram. It never allocates after `new` and
//! never keeps a caller's buffer past the call.

#![expect(unsafe_code, reason = "recvmmsg(2) takes pointers to pointers")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use super::address::{ADDRESS_LEN, Control, RawAddress, read_control};

/// Room for a traffic class, a segment size and for messages a socket's owner might switch on besides.
const CONTROL_LEN: usize = 64;

const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What the kernel says about a datagram, or about several that it joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes written into the buffer.
    pub len: usize,
    /// Who sent it; `0.0.0.0:0` if the kernel did not say, which it does for UDP.
    pub source: SocketAddr,
    /// Its traffic class octet: DSCP and ECN; 0 on a socket that does not ask for it.
    pub tos: u8,
    /// Payload bytes of every datagram but the last, which may be shorter, if the kernel joined
    /// several ([`set_gro`](super::set_gro)); a lone datagram may be said to be one segment.
    pub segment: Option<NonZeroU16>,
    /// Whether the buffer was too short for it.
    pub truncated: bool,
}

/// The memory recvmmsg(2) needs for up to `capacity` datagrams at once.
#[derive(Debug)]
pub struct RecvBatch {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    sources: Vec<RawAddress>,
    controls: Vec<Control<CONTROL_LEN>>,
    received: usize,
}

// SAFETY: the pointers in `headers` and `vectors` are what keeps RecvBatch from being Send on its
// own. Each call of `recv` overwrites those it hands to the kernel, and nothing else follows them,
// so they mean nothing between calls, on whichever thread.
unsafe impl Send for RecvBatch {}

impl RecvBatch {
    /// Room for `capacity` datagrams per call.
    pub fn new(capacity: usize) -> Self {
        let vector = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            headers: vec![super::empty_header(); capacity],
            vectors: vec![vector; capacity],
            sources: vec![RawAddress::EMPTY; capacity],
            controls: vec![Control([0; CONTROL_LEN]); capacity],
            received: 0,
        }
    }

    /// The most datagrams one call receives.
    pub fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// Receives datagrams into `buffers`, one each and in order, up to [`Self::capacity`]; returns
    /// how many. Never waits on a non-blocking socket; on a blocking one it waits for the first.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; an error queued on the socket.
    pub fn recv<'b>(
        &mut self,
        socket: impl AsFd,
        buffers: impl IntoIterator<Item = &'b mut [u8]>,
    ) -> io::Result<usize> {
        self.received = 0;
        let ready = self.prepare(buffers);
        if ready == 0 {
            return Ok(0);
        }
        let fd = socket.as_fd().as_raw_fd();
        let headers = self.headers.as_mut_ptr();
        let count = libc::c_uint::try_from(ready).unwrap_or(libc::c_uint::MAX);
        let (flags, no_timeout) = (libc::MSG_WAITFORONE, ptr::null_mut());
        // SAFETY: recvmmsg(2) needs `count` mmsghdr at `headers`, whose pointers are valid for
        // writes of the lengths beside them. `prepare` has just set the first `count <= len`:
        // name and control point at this batch's own arrays, which do not move during the call;
        // each iovec at a `&'b mut [u8]` of its own, and 'b outlives the call. A null timeout
        // means none. `fd` is open while `socket` is borrowed.
        let answer = unsafe { libc::recvmmsg(fd, headers, count, flags, no_timeout) };
        self.received = usize::try_from(answer).map_err(|_| io::Error::last_os_error())?;
        Ok(self.received)
    }

    /// What the last call of [`Self::recv`] received, in the order of its buffers.
    pub fn received(&self) -> impl ExactSizeIterator<Item = Received> + '_ {
        let of_last_call = self.headers.iter().take(self.received);
        let described = of_last_call.zip(&self.sources).zip(&self.controls);
        described.map(|((header, source), control)| {
            let message = &header.msg_hdr;
            let name_len = usize::try_from(message.msg_namelen).unwrap_or(0);
            let control = control.0.get(..message.msg_controllen);
            let said = control.map(read_control).unwrap_or_default();
            Received {
                len: usize::try_from(header.msg_len).unwrap_or(0),
                source: source.get(name_len).unwrap_or(UNKNOWN),
                tos: said.tos.unwrap_or(0),
                segment: said.segment,
                truncated: message.msg_flags & libc::MSG_TRUNC != 0,
            }
        })
    }

    /// Points one header at each buffer; returns how many.
    fn prepare<'b>(&mut self, buffers: impl IntoIterator<Item = &'b mut [u8]>) -> usize {
        let mut ready = 0;
        let slots = self.headers.iter_mut().zip(&mut self.vectors);
        let slots = slots.zip(self.sources.iter_mut().zip(&mut self.controls));
        for (((header, vector), (source, control)), buffer) in slots.zip(buffers) {
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = buffer.len();
            let message = &mut header.msg_hdr;
            message.msg_name = source.0.as_mut_ptr().cast();
            message.msg_namelen = ADDRESS_LEN;
            message.msg_iov = vector;
            message.msg_iovlen = 1;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = CONTROL_LEN;
            message.msg_flags = 0;
            ready += 1;
        }
        ready
    }
}
