//! How is a TAP device controlled?
//!
//! Owns the ioctls of `/dev/net/tun` (linux/if_tun.h), one function each. It never reads or
//! writes frames and never decides which mode to use.

#![expect(
    unsafe_code,
    reason = "ioctl(2) takes pointers and gives descriptors as numbers"
)]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::error::{Result, SysError};
use crate::ifreq::InterfaceRequest;

/// The device every TAP queue is opened from.
const CLONE_DEVICE: &str = "/dev/net/tun";

pub(super) const IFF_TAP: u16 = 0x0002;
pub(super) const IFF_ATTACH_QUEUE: u16 = 0x0200;
pub(super) const IFF_DETACH_QUEUE: u16 = 0x0400;
pub(super) const IFF_MULTI_QUEUE: u16 = 0x0100;
pub(super) const IFF_PERSIST: u16 = 0x0800;
pub(super) const IFF_NO_PI: u16 = 0x1000;
pub(super) const IFF_VNET_HDR: u16 = 0x4000;

/// Opens a queue that belongs to no device yet but to the calling thread's namespace.
pub(super) fn open_clone_device() -> Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(CLONE_DEVICE)
        .map_err(|error| {
            let error = SysError::new(format!("open {CLONE_DEVICE}"), error);
            match error.errno() {
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
                    error.with_hint("load the kernel module: modprobe tun")
                }
                _ => error,
            }
        })?;
    Ok(file.into())
}

/// The `IFF_*` flags this kernel knows.
pub(super) fn features(fd: BorrowedFd<'_>) -> io::Result<u16> {
    let mut flags: libc::c_uint = 0;
    // SAFETY: TUNGETFEATURES writes one unsigned int at the pointer: `flags` is one, alive and
    // exclusively ours; `fd` is open while borrowed.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETFEATURES, &raw mut flags) };
    check(answer)?;
    // Flags above 16 bits do not fit `ifr_flags` and are none of ours.
    Ok(u16::try_from(flags & 0xffff).unwrap_or(0))
}

/// Attaches the queue to `name`, creating the device if there is none.
pub(super) fn attach(fd: BorrowedFd<'_>, name: &str, flags: u16) -> io::Result<()> {
    let request = InterfaceRequest::new(name).map_err(io::Error::other)?;
    let mut request = request.with_flags(flags);
    // SAFETY: TUNSETIFF reads and writes one struct ifreq at the pointer: `request` has at least
    // its size and alignment (asserted where it is defined) and is exclusively ours.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    check(answer)
}

/// Name and flags of the device the queue is attached to.
pub(super) fn attached(fd: BorrowedFd<'_>) -> io::Result<(String, u16)> {
    let mut request = InterfaceRequest::new("").map_err(io::Error::other)?;
    // SAFETY: TUNGETIFF writes one struct ifreq at the pointer: `request` has at least its size
    // and alignment (asserted where it is defined) and is exclusively ours.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) };
    check(answer)?;
    Ok((request.name(), request.flags()))
}

/// Starts or stops delivery to the queue: [`IFF_ATTACH_QUEUE`] or [`IFF_DETACH_QUEUE`].
pub(super) fn set_queue(fd: BorrowedFd<'_>, flag: u16) -> io::Result<()> {
    let request = InterfaceRequest::new("").map_err(io::Error::other)?;
    let mut request = request.with_flags(flag);
    // SAFETY: TUNSETQUEUE reads one struct ifreq at the pointer: `request` has at least its size
    // and alignment (asserted where it is defined).
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETQUEUE, &raw mut request) };
    check(answer)
}

/// Bytes of the vnet header.
pub(super) fn vnet_header(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut size: libc::c_int = 0;
    // SAFETY: TUNGETVNETHDRSZ writes one int at the pointer: `size` is one and exclusively ours.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETVNETHDRSZ, &raw mut size) };
    check(answer)?;
    usize::try_from(size).map_err(io::Error::other)
}

/// Sets the bytes of the vnet header.
pub(super) fn set_vnet_header(fd: BorrowedFd<'_>, size: usize) -> io::Result<()> {
    let size = libc::c_int::try_from(size).map_err(io::Error::other)?;
    // SAFETY: TUNSETVNETHDRSZ reads one int at the pointer: `size` is one and alive.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) };
    check(answer)
}

/// Sets the offloads (`TUN_F_*`) that the reader of the device can take.
pub(super) fn set_offload(fd: BorrowedFd<'_>, mask: libc::c_uint) -> io::Result<()> {
    let mask = libc::c_ulong::from(mask);
    // SAFETY: TUNSETOFFLOAD takes its argument by value: no memory is involved.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, mask) };
    check(answer)
}

/// Sets whether the device outlives its queues.
pub(super) fn set_persist(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let on = libc::c_ulong::from(on);
    // SAFETY: TUNSETPERSIST takes its argument by value: no memory is involved.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETPERSIST, on) };
    check(answer)
}

/// A descriptor of the namespace the device is in.
pub(super) fn device_netns(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: TUNGETDEVNETNS has no argument: no memory is involved.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETDEVNETNS) };
    check(answer)?;
    // SAFETY: from_raw_fd needs an open descriptor that nobody else closes: a successful
    // TUNGETDEVNETNS returns a new one, and `answer` is used nowhere else.
    Ok(unsafe { OwnedFd::from_raw_fd(answer) })
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
