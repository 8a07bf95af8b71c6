//! How are a pod's Ethernet frames read and written?
//!
//! Owns TAP devices: creating them, their queues, reading and writing frames. A device belongs to
//! the network namespace in which it was opened; its queues work from any thread and namespace
//! afterwards, and keep that namespace alive. It never configures addresses or routes.
//! See Documentation/networking/tuntap.rst.

mod control;
mod offloads;
mod open;
mod plain;
mod tunnel;

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::error::{Context, Result, SysError};
use control::{IFF_ATTACH_QUEUE, IFF_DETACH_QUEUE, IFF_NO_PI, IFF_PERSIST, IFF_TAP, IFF_VNET_HDR};
pub use offloads::Offloads;
pub use open::open;
pub use tunnel::{TUNNEL_VNET_HEADER, TunnelOffsets, tunnel_vnet, without_tunnel};

/// Bytes of the header before every frame of a queue with [`TapQueue::has_vnet`]:
/// `struct virtio_net_hdr_mrg_rxbuf` (virtio 1.2, 5.1.6).
pub const VNET_HEADER: usize = 12;

/// The most queues the kernel gives one device (`MAX_TAP_QUEUES`).
pub const MAX_QUEUES: usize = 256;

/// What kind of TAP device to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapConfig {
    /// Number of queues, 1 to [`MAX_QUEUES`].
    pub queues: usize,
    /// Whether every frame carries a [`VNET_HEADER`].
    pub vnet: bool,
    /// Whether the device is made to outlive its queues as soon as all are open. `false` leaves an
    /// existing device as it is in this and makes a new one that goes with its last queue;
    /// [`TapQueue::set_persist`] changes it later.
    pub persist: bool,
    /// Whether to use the plain backend: one queue, no vnet header, every kernel.
    pub plain: bool,
    /// Whether to take unfinished checksums and super-frames from the kernel, as far as it gives
    /// them ([`TapQueue::offloads`]); needs `vnet`.
    pub offloads: bool,
}

impl TapConfig {
    /// The plain backend: one queue, bare frames.
    pub const PLAIN: Self = Self {
        queues: 1,
        vnet: false,
        persist: false,
        plain: true,
        offloads: false,
    };

    /// `queues` queues with vnet headers and offloads.
    pub const fn multi_queue(queues: usize) -> Self {
        Self {
            queues,
            vnet: true,
            persist: false,
            plain: false,
            offloads: true,
        }
    }
}

/// Why a TAP device did not open.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The kernel, or the existing device of that name, has no multi-queue mode.
    #[error("{0}")]
    NoMultiQueue(SysError),
    /// The kernel has no vnet header of the wanted size, or the open queues of the device of that
    /// name have another frame format.
    #[error("{0}")]
    NoVnetHeader(SysError),
    /// Everything else, such as a missing privilege.
    #[error("{0}")]
    Other(#[from] SysError),
}

impl TapError {
    /// Whether [`TapConfig::PLAIN`] may succeed where this failed.
    pub fn may_fall_back(&self) -> bool {
        matches!(self, Self::NoMultiQueue(_) | Self::NoVnetHeader(_))
    }
}

impl From<TapError> for SysError {
    fn from(error: TapError) -> Self {
        match error {
            TapError::NoMultiQueue(error)
            | TapError::NoVnetHeader(error)
            | TapError::Other(error) => error,
        }
    }
}

/// One queue of a TAP device, in non-blocking mode.
///
/// Closing the last queue of a device that is not persistent removes the device, which can take
/// tens of milliseconds: not on a thread that forwards.
#[derive(Debug)]
pub struct TapQueue {
    fd: OwnedFd,
    name: String,
    vnet_header: usize,
    offloads: Offloads,
}

impl TapQueue {
    /// Takes over a queue that was opened elsewhere and sets it non-blocking. Its name and frame
    /// format are read from the kernel; offloads are not, and said to be none until set.
    ///
    /// # Errors
    /// If `fd` is not a TAP queue without packet information.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let what = || "take over a TAP queue".to_owned();
        let (name, flags) = control::attached(fd.as_fd()).context(what)?;
        if flags & IFF_TAP == 0 || flags & IFF_NO_PI == 0 {
            return Err(SysError::invalid(
                what(),
                format!("{name} is not a TAP of bare frames"),
            ));
        }
        let vnet_header = match flags & IFF_VNET_HDR {
            0 => 0,
            _ => control::vnet_header(fd.as_fd()).context(what)?,
        };
        rustix::io::ioctl_fionbio(&fd, true).context(what)?;
        Ok(Self {
            fd,
            name,
            vnet_header,
            offloads: Offloads::NONE,
        })
    }

    /// Name of the device when the queue was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether every frame is preceded by a vnet header.
    pub fn has_vnet(&self) -> bool {
        self.vnet_header != 0
    }

    /// Bytes of the header before every frame: 0, 10, 12 or [`TUNNEL_VNET_HEADER`].
    pub fn vnet_header_len(&self) -> usize {
        self.vnet_header
    }

    /// What frames read may leave undone, as set when the queue was opened or by this handle.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Sets what frames read may leave undone. It holds for the whole device; other handles do not
    /// learn of it. What is written needs no permission.
    ///
    /// # Errors
    /// EINVAL if the kernel does not know one of them.
    pub fn set_offloads(&mut self, offloads: Offloads) -> Result<()> {
        control::set_offload(self.as_fd(), offloads.mask())
            .context(|| format!("set the offloads of TAP {}", self.name))?;
        self.offloads = offloads;
        Ok(())
    }

    /// Reads one frame; what does not fit is lost.
    ///
    /// # Errors
    /// `WouldBlock` when none is queued; EBADFD when the device has been deleted.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.fd, buffer)?)
    }

    /// Reads one frame into several buffers.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn readv(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        Ok(rustix::io::readv(&self.fd, buffers)?)
    }

    /// Writes one frame, preceded by its header where the queue has one.
    ///
    /// # Errors
    /// EIO while the device is down, EINVAL for a malformed header or frame, EBADFD when the
    /// device has been deleted.
    pub fn write(&self, frame: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.fd, frame)?)
    }

    /// Writes one frame from several buffers.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn writev(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::io::writev(&self.fd, parts)?)
    }

    /// Stops (`false`) or resumes (`true`) the delivery of frames to this queue of a multi-queue
    /// device. A stopped queue still keeps device and carrier alive.
    ///
    /// # Errors
    /// EINVAL if it is in that state already or the device is single-queue.
    pub fn set_delivery(&self, on: bool) -> Result<()> {
        let flag = if on {
            IFF_ATTACH_QUEUE
        } else {
            IFF_DETACH_QUEUE
        };
        control::set_queue(self.as_fd(), flag)
            .context(|| format!("switch a queue of TAP {}", self.name))
    }

    /// Sets whether the device outlives its queues.
    ///
    /// # Errors
    /// EBADFD when the device has been deleted.
    pub fn set_persist(&self, on: bool) -> Result<()> {
        control::set_persist(self.as_fd(), on).context(|| format!("keep TAP {}", self.name))
    }

    /// Whether the device outlives its queues.
    ///
    /// # Errors
    /// EBADFD when the device has been deleted.
    pub fn is_persistent(&self) -> Result<bool> {
        let (_, flags) = control::attached(self.as_fd())
            .context(|| format!("look up whether TAP {} is kept", self.name))?;
        Ok(flags & IFF_PERSIST != 0)
    }

    /// The namespace the device is in (Linux 5.2).
    ///
    /// # Errors
    /// EINVAL on an older kernel; a permission error without CAP_NET_ADMIN over that namespace.
    pub fn netns(&self) -> Result<crate::netns::Netns> {
        let fd = control::device_netns(self.as_fd())
            .context(|| format!("find the namespace of TAP {}", self.name))?;
        Ok(crate::netns::Netns::from_fd(fd))
    }

    /// Another handle of the same queue (not another queue).
    ///
    /// # Errors
    /// If the process has too many open files.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self
            .fd
            .try_clone()
            .context(|| format!("duplicate a queue of TAP {}", self.name))?;
        Ok(Self {
            fd,
            name: self.name.clone(),
            vnet_header: self.vnet_header,
            offloads: self.offloads,
        })
    }
}

impl AsFd for TapQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for TapQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<TapQueue> for OwnedFd {
    fn from(queue: TapQueue) -> Self {
        queue.fd
    }
}
