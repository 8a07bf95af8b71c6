//! How are many frames sent or received with one system call?
//!
//! Owns sendmmsg(2) and recvmmsg(2) on packet sockets. It never allocates.

#![expect(unsafe_code, reason = "both calls take pointers to pointers")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// The most frames of one call.
pub const BATCH: usize = 64;

const EMPTY: libc::iovec = libc::iovec {
    iov_base: ptr::null_mut(),
    iov_len: 0,
};

pub(super) fn send<'a>(
    fd: BorrowedFd<'_>,
    frames: impl Iterator<Item = &'a [u8]>,
) -> io::Result<usize> {
    let mut vectors = [EMPTY; BATCH];
    let mut count = 0;
    for (vector, frame) in vectors.iter_mut().zip(frames) {
        // The kernel only reads what a sent iovec points at.
        vector.iov_base = frame.as_ptr().cast_mut().cast();
        vector.iov_len = frame.len();
        count += 1;
    }
    let mut headers = headers(&mut vectors);
    let count = limited(count);
    // SAFETY: sendmmsg(2) needs `count` mmsghdr at the pointer, whose pointers are valid for reads
    // of the lengths beside them, and writes msg_len of each: `headers` has BATCH >= `count`, each
    // with one iovec of `vectors`, alive, that is a `&'a [u8]`; 'a outlives this call. `fd` is open.
    let answer = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
    usize::try_from(answer).map_err(|_| io::Error::last_os_error())
}

pub(super) fn recv<'b>(
    fd: BorrowedFd<'_>,
    buffers: impl Iterator<Item = &'b mut [u8]>,
    lengths: &mut [usize; BATCH],
) -> io::Result<usize> {
    let mut vectors = [EMPTY; BATCH];
    let mut count = 0;
    for (vector, buffer) in vectors.iter_mut().zip(buffers) {
        vector.iov_base = buffer.as_mut_ptr().cast();
        vector.iov_len = buffer.len();
        count += 1;
    }
    let mut headers = headers(&mut vectors);
    let count = limited(count);
    let (at, flags, no_timeout) = (headers.as_mut_ptr(), libc::MSG_WAITFORONE, ptr::null_mut());
    // SAFETY: recvmmsg(2) needs `count` mmsghdr at the pointer, whose pointers are valid for writes
    // of the lengths beside them: `headers` has BATCH >= `count`, each with one iovec of `vectors`,
    // alive, that is a `&'b mut [u8]` of its own; 'b outlives this call. `fd` is open.
    let answer = unsafe { libc::recvmmsg(fd.as_raw_fd(), at, count, flags, no_timeout) };
    let received = usize::try_from(answer).map_err(|_| io::Error::last_os_error())?;
    for (length, header) in lengths.iter_mut().zip(&headers).take(received) {
        *length = usize::try_from(header.msg_len).unwrap_or(0);
    }
    Ok(received)
}

/// One header for each of `vectors`.
fn headers(vectors: &mut [libc::iovec; BATCH]) -> [libc::mmsghdr; BATCH] {
    vectors.each_mut().map(|vector| libc::mmsghdr {
        msg_hdr: libc::msghdr {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: vector,
            msg_iovlen: 1,
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        },
        msg_len: 0,
    })
}

fn limited(count: usize) -> libc::c_uint {
    libc::c_uint::try_from(count).unwrap_or(0)
}
