//! How is an integer socket option set that no safe wrapper covers?
//!
//! Owns the one call of setsockopt(2). It never chooses options.

#![expect(unsafe_code, reason = "setsockopt(2) takes a pointer to the value")]

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

/// Sets an option whose value is `T`, a plain C value without pointers.
pub(crate) fn set<T: Copy>(
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
