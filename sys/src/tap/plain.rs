//! How is a TAP opened where the kernel has no multi-queue or vnet mode?
//!
//! Owns the plain backend, through the `tun-tap` crate: one queue of bare frames. It never falls
//! back by itself; the caller chooses it.

#![expect(unsafe_code, reason = "tun-tap gives its descriptor as a number only")]

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use tun_tap::{Iface, Mode};

/// Opens `name`, or a device of the kernel's choice if it is empty.
pub(super) fn open(name: &str) -> io::Result<OwnedFd> {
    let wanted = if name.is_empty() { "tap%d" } else { name };
    let iface = Iface::without_packet_info(wanted, Mode::Tap)?;
    let raw = iface.into_raw_fd();
    // SAFETY: from_raw_fd needs an open descriptor that nobody else closes: into_raw_fd gave up
    // ownership of it the line before, and `raw` is used nowhere else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
