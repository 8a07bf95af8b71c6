//! How is a TAP opened where the kernel has no multi-queue or vnet mode?
//!
//! Owns the plain backend, through the `tun-tap` crate: one queue of bare frames. It never falls
//! back by itself; the caller chooses it.

#![expect(unsafe_code, reason = "tun-tap gives its descriptor as a number only")]

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use tun_tap::{Iface, Mode};

use super::TapQueue;
use crate::error::{Context, Result, SysError};

/// Opens `name`, or a device of the kernel's choice if it is empty.
pub(super) fn open(name: &str, persist: bool) -> Result<TapQueue> {
    let wanted = if name.is_empty() { "tap%d" } else { name };
    let iface = Iface::without_packet_info(wanted, Mode::Tap)
        .map_err(|error| SysError::new(format!("create TAP {wanted}"), error))?;
    let raw = iface.into_raw_fd();
    // SAFETY: from_raw_fd needs an open descriptor that nobody else closes: into_raw_fd gave up
    // ownership of it the line before, and `raw` is used nowhere else.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    let queue = TapQueue::from_fd(fd)?;
    super::control::set_offload(super::AsFd::as_fd(&queue), 0)
        .context(|| format!("reset offloads of TAP {wanted}"))?;
    queue.set_persist(persist)?;
    Ok(queue)
}
