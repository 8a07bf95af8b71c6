//! How are socket options set and read that no safe wrapper covers?
//!
//! Owns the calls of setsockopt(2) and getsockopt(2). It never chooses options.

#![expect(unsafe_code, reason = "both take a pointer to the value")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets an option whose value is an `int`.
pub(crate) fn set_int(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    set(fd, level, name, &value)
}

/// Sets an option whose value is `T`.
pub(crate) fn set<T: PlainOldData>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: setsockopt(2) reads `length` bytes at the pointer and keeps neither: `value` is a
    // live reference to exactly that many bytes; `fd` is open for as long as it is borrowed.
    let answer = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            length,
        )
    };
    if answer == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Reads an option whose value is `T`.
///
/// # Errors
/// Also if the kernel's value is shorter than `T`.
pub(crate) fn get<T: PlainOldData>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<T> {
    let mut value = T::ZERO;
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let mut length = size;
    let (to, to_length) = ((&raw mut value).cast(), &raw mut length);
    // SAFETY: getsockopt(2) writes at most `length` bytes at the first pointer and the count at
    // the second: `value` has exactly that many bytes, any of which are valid for T by
    // PlainOldData; both are exclusively ours. `fd` is open for as long as it is borrowed.
    let answer = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, to, to_length) };
    if answer == -1 {
        return Err(io::Error::last_os_error());
    }
    if length < size {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(value)
}

/// A C value that may be read as bytes and written as any bytes.
///
/// # Safety
/// Every pattern of bits is a valid value, there is no padding, and no pointer.
pub(crate) unsafe trait PlainOldData: Copy {
    /// The value of all zeroes.
    const ZERO: Self;
}

// SAFETY: struct ucred is three 32-bit integers.
unsafe impl PlainOldData for libc::ucred {
    const ZERO: Self = Self {
        pid: 0,
        uid: 0,
        gid: 0,
    };
}

// SAFETY: an int.
unsafe impl PlainOldData for libc::c_int {
    const ZERO: Self = 0;
}

// SAFETY: an array of integers.
unsafe impl PlainOldData for [u32; 2] {
    const ZERO: Self = [0; 2];
}

// SAFETY: an array of integers.
unsafe impl PlainOldData for [u32; 9] {
    const ZERO: Self = [0; 9];
}

// SAFETY: struct packet_mreq is an int, two shorts and eight bytes, in this order: no padding.
unsafe impl PlainOldData for libc::packet_mreq {
    const ZERO: Self = Self {
        mr_ifindex: 0,
        mr_type: 0,
        mr_alen: 0,
        mr_address: [0; 8],
    };
}
